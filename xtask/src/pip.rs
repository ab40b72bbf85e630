//! Packages of Python: folders of the cache, beside Python's own packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::host::{Host, last_lines};
use crate::setup;

/// A package at one version.
pub(crate) struct Package<'a> {
    /// As pip names it: `project==version`. The folder is named after it.
    pub(crate) requirement: &'a str,
    /// Options of pip that say this and more; else it is asked for by its name alone.
    pub(crate) options: Option<&'a [&'a str]>,
    /// The size of all that is fetched, for people.
    pub(crate) size: &'a str,
}

/// The folder of a package, which is fetched if it is not there.
pub(crate) fn provide(host: &Host, package: &Package<'_>) -> Result<PathBuf> {
    let name = package.requirement.replace("==", "-");
    let folder = host.cache.join(&name);
    if folder.is_dir() {
        return Ok(folder);
    }
    fs::create_dir_all(&host.cache)
        .with_context(|| format!("cannot create {}", host.cache.display()))?;
    let _alone = setup::lock(&host.cache.join(format!("{name}.lock")))?;
    if !folder.is_dir() {
        fetch(host, package, &folder)?;
    }
    Ok(folder)
}

/// Fetches into a folder beside, which becomes the right one when all is there.
fn fetch(host: &Host, package: &Package<'_>, folder: &Path) -> Result<()> {
    let unfinished = folder.with_extension("unfinished");
    if unfinished.is_dir() {
        fs::remove_dir_all(&unfinished)?;
    }
    eprintln!("==> pip install {} ({})", package.requirement, package.size);
    let output = host
        .python()
        .args(["-m", "pip", "install", "--only-binary=:all:", "--no-input", "--quiet"])
        .args(["--disable-pip-version-check", "--target"])
        .arg(&unfinished)
        .args(package.options.unwrap_or(&[package.requirement]))
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

    const PACKAGE: Package<'_> = Package { requirement: "thing==1.0", options: None, size: "1 MB" };

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
        let folder = std::env::temp_dir().join(format!("xtask-pip-{}", std::process::id()));
        let failing = host(&folder, "mkdir $target; echo 'no network' >&2; exit 1");
        let error = provide(&failing, &PACKAGE).unwrap_err().to_string();
        assert!(error.contains("no network"), "{error}");
        let working = host(&folder, "mkdir $target && echo $3 > $target/asked");
        let there = provide(&working, &PACKAGE).unwrap();
        let asked = fs::read_to_string(there.join("asked")).unwrap();
        assert_eq!(asked.trim(), "thing==1.0");
        assert_eq!(provide(&failing, &PACKAGE).unwrap(), there, "nothing is fetched again");
        fs::remove_dir_all(&folder).unwrap();
    }
}
