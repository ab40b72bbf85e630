//! Gymnasium and numpy, for the tests of served environments: a folder of the cache, beside Python's
//! own packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::host::{Host, last_lines};
use crate::setup;

/// The version that the tests are written against.
const GYMNASIUM: &str = "gymnasium==1.4.0";

/// The variable that tells the tests of the folder.
pub(crate) const VARIABLE: &str = "ENGRAM_TEST_PACKAGES";

/// The folder of the packages, which are fetched if they are not there.
pub(crate) fn provide(host: &Host) -> Result<PathBuf> {
    let folder = host.cache.join(GYMNASIUM.replace("==", "-"));
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&host.cache)
        .with_context(|| format!("cannot create {}", host.cache.display()))?;
    let _alone = setup::lock(&host.cache.join("gymnasium.lock"))?;
    if !folder.is_dir() {
        fetch(host, &folder)?;
    }
    Ok(folder)
}

/// Fetches into a folder beside, which becomes the right one when all is there.
fn fetch(host: &Host, folder: &Path) -> Result<()> {
    let unfinished = folder.with_extension("unfinished");
    if unfinished.is_dir() {
        fs::remove_dir_all(&unfinished)?;
    }
    eprintln!("==> pip install {GYMNASIUM} (20 MB)");
    let output = host
        .python()
        .args(["-m", "pip", "install", "--only-binary=:all:", "--no-input", "--quiet"])
        .args(["--disable-pip-version-check", "--target"])
        .arg(&unfinished)
        .arg(GYMNASIUM)
        .output()
        .context("python3 cannot be started")?;
    if !output.status.success() {
        bail!("pip cannot: {}", last_lines(&String::from_utf8_lossy(&output.stderr), 3));
    }
    fs::rename(&unfinished, folder).with_context(|| format!("cannot make {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host whose pip runs a line of shell, where `$target` is the folder.
    fn host(cache: &Path, line: &str) -> Host {
        let mut host = Host::here().unwrap();
        host.cache = cache.into();
        let script = format!("while [ \"$1\" != --target ]; do shift; done; target=$2; {line}");
        host.python = ["sh", "-c", &script, "pip"].map(Into::into).into();
        host
    }

    #[test]
    fn packages_are_fetched_once_and_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("xtask-gymnasium-{}", std::process::id()));
        let failing = host(&folder, "mkdir $target; echo 'no network' >&2; exit 1");
        let error = provide(&failing).unwrap_err().to_string();
        assert!(error.contains("no network"), "{error}");
        let working = host(&folder, "mkdir $target && touch $target/gymnasium");
        let there = provide(&working).unwrap();
        assert!(there.join("gymnasium").is_file());
        assert_eq!(provide(&failing).unwrap(), there, "nothing is fetched again");
        fs::remove_dir_all(&folder).unwrap();
    }
}
