//! Gymnasium and numpy, for the tests of served environments and of the environments in Python.

use std::path::PathBuf;

use anyhow::Result;

use crate::host::Host;
use crate::pip::{self, Package};

/// The version that the tests are written against.
const GYMNASIUM: Package<'_> =
    Package { requirement: "gymnasium==1.4.0", options: None, size: "20 MB" };

/// The variable that tells the tests of the folder.
pub(crate) const VARIABLE: &str = "ENGRAM_TEST_PACKAGES";

/// The folder of the packages, which are fetched if they are not there.
pub(crate) fn provide(host: &Host) -> Result<PathBuf> {
    pip::provide(host, &GYMNASIUM)
}
