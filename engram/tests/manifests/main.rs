//! The manifests for Kubernetes and the units for systemd: valid, safe, and of one mind with the
//! programs that they start.
//!
//! `tools` are what reads them (kubectl, Kubernetes' schemas, systemd-analyze, promtool), `program`
//! is what a program's `--help` says, `cluster` the checks of a set of manifests.

mod cluster;
mod kubernetes;
mod program;
mod systemd;
mod tools;

use std::path::{Path, PathBuf};

/// The folder of files for other machines.
fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}
