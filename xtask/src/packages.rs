//! Programs that some tests want from the system: brought where that is easy, named where it is
//! not. Tests skip loudly what they cannot run.

use std::env;
use std::ffi::OsStr;
use std::process::{Command, Stdio};

use crate::host::is_program;

/// A program, and the package of Debian and Ubuntu that it is in.
pub(crate) struct Wanted {
    /// Its command.
    pub(crate) program: &'static str,
    /// Package to install.
    pub(crate) package: &'static str,
    /// For what, in a message.
    pub(crate) purpose: &'static str,
}

/// Programs that the tests want.
pub(crate) const OF_TESTS: [Wanted; 2] = [
    Wanted {
        program: "prometheus",
        package: "prometheus",
        purpose: "the tests of its configuration, alerts and dashboard",
    },
    Wanted {
        program: "systemd-analyze",
        package: "systemd",
        purpose: "the tests of the units for systemd",
    },
];

/// Programs that the feature `atari` is built with.
pub(crate) const OF_ATARI: [Wanted; 1] =
    [Wanted { program: "cmake", package: "cmake", purpose: "the feature `atari` and its tests" }];

/// True if a program can be found.
pub(crate) fn is_there(program: &str) -> bool {
    is_program(OsStr::new(program), &search_path())
}

/// Installs what is missing, if root and apt-get are there; says so otherwise. Nothing here is an
/// error: the tests that need it tell.
pub(crate) fn bring(wanted: &[Wanted]) {
    let missing = missing(wanted, &search_path());
    if missing.is_empty() {
        return;
    }
    if !is_root() || !is_program(OsStr::new("apt-get"), &search_path()) {
        for Wanted { program, package, purpose } in missing {
            eprintln!("no {program} here, for {purpose} (Debian: apt install {package})");
        }
        return;
    }
    let packages: Vec<&str> = missing.iter().map(|wanted| wanted.package).collect();
    eprintln!("==> apt-get install {}", packages.join(" "));
    install_all(&packages);
}

/// Installs a package of Debian and Ubuntu, if root and apt-get are there.
pub(crate) fn install(package: &str) {
    if is_root() && is_program(OsStr::new("apt-get"), &search_path()) {
        eprintln!("==> apt-get install {package}");
        install_all(&[package]);
    }
}

fn install_all(packages: &[&str]) {
    // Lists of packages may be missing or old; without a network both fail, and quickly enough.
    let install = || apt(&["install"], packages);
    let installed = install() || (apt(&["update"], &[]) && install());
    if !installed {
        eprintln!("apt-get could not install {}", packages.join(" "));
    }
}

fn missing<'a>(wanted: &'a [Wanted], path: &OsStr) -> Vec<&'a Wanted> {
    wanted.iter().filter(|wanted| !is_program(OsStr::new(wanted.program), path)).collect()
}

/// Debian keeps some programs where only root's PATH leads.
fn search_path() -> std::ffi::OsString {
    let mut path = env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

fn apt(command: &[&str], packages: &[&str]) -> bool {
    let status = Command::new("apt-get")
        .args(["--quiet", "--yes", "--no-install-recommends"])
        .args(command)
        .args(packages)
        // Services of packages stay off: the tests start their own, on free ports.
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_there_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("here"), "").unwrap();
        let wanted =
            ["here", "gone"].map(|program| Wanted { program, package: "p", purpose: "a test" });
        let missing = missing(&wanted, folder.path().as_os_str());
        assert_eq!(missing.iter().map(|wanted| wanted.program).collect::<Vec<_>>(), ["gone"]);
    }
}
