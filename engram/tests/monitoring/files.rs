//! Files of the checkout.

use std::path::PathBuf;

/// Path of a file of `deploy/`.
pub(crate) fn deploy_path(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path)
}

/// A file of `deploy/`.
pub(crate) fn deploy(path: &str) -> String {
    root(&format!("deploy/{path}"))
}

/// A file, from the root.
pub(crate) fn root(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
