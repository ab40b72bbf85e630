//! The machine and the checkout: where things lie, and which tools are there.
//!
//! Everything the set-up takes from outside is in [`Host`], so a test can hand it another world.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::release::{self, VERSION, Wheel};

/// Machine and checkout.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// Folder in which libtorch is kept, shared by all checkouts of the user.
    pub(crate) cache: PathBuf,
    /// The home of cargo, where cargo-deny keeps its database.
    pub(crate) cargo_home: PathBuf,
    /// `LIBTORCH`, when the user set it: `None` if it is only our own `.libtorch`.
    pub(crate) libtorch: Option<PathBuf>,
    /// Command of Python: a program and its first arguments.
    pub(crate) python: Vec<OsString>,
    /// Command of the C++ compiler, likewise.
    pub(crate) compiler: Vec<OsString>,
    /// Operating system, processor and C library, as `linux-x86_64-gnu`.
    pub(crate) platform: String,
    /// The wheels that a CPU build needs.
    pub(crate) wheels: Vec<Wheel>,
}

impl Host {
    /// The machine this runs on.
    pub(crate) fn here() -> Result<Host> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest.parent().context("xtask lies in a checkout")?.to_path_buf();
        Host::from_environment(root, |name| env::var_os(name))
    }

    fn from_environment(root: PathBuf, get: impl Fn(&str) -> Option<OsString>) -> Result<Host> {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let link = root.join(".libtorch");
        let libtorch = get("LIBTORCH").map(|path| root.join(path)).filter(|path| *path != link);
        let home = || Some(PathBuf::from(get("HOME")?).join(".cargo"));
        let cargo_home = get("CARGO_HOME").map(PathBuf::from).or_else(home).unwrap_or_default();
        let compiler = get("CXX").unwrap_or_else(|| "c++".into());
        Ok(Host {
            cache: cache_directory(get)?,
            cargo_home: root.join(cargo_home),
            root,
            libtorch,
            python: vec!["python3".into()],
            compiler: compiler.to_string_lossy().split_whitespace().map(OsString::from).collect(),
            platform: platform(),
            wheels: release::wheels(),
        })
    }

    /// The link to libtorch that every build goes through.
    pub(crate) fn link(&self) -> PathBuf {
        self.root.join(".libtorch")
    }

    /// Python, ready for arguments.
    pub(crate) fn python(&self) -> Command {
        command(&self.python)
    }

    /// The C++ compiler, ready for arguments.
    pub(crate) fn compiler(&self) -> Command {
        command(&self.compiler)
    }

    /// Refuses a machine without a C++ compiler, which torch-sys needs. Only looks: it is instant.
    pub(crate) fn require_compiler(&self) -> Result<()> {
        let path = env::var_os("PATH").unwrap_or_default();
        let program = self.compiler.first().map_or(OsStr::new("c++"), OsString::as_os_str);
        if !is_program(program, &path) {
            bail!(
                "no C++ compiler: {program:?} is not on the PATH. Install one \
                 (Debian and Ubuntu: apt install g++; Fedora: dnf install gcc-c++) or set CXX"
            );
        }
        Ok(())
    }

    /// Refuses a platform for which nobody builds the libtorch we need.
    pub(crate) fn require_platform(&self) -> Result<()> {
        if self.platform != "linux-x86_64-gnu" {
            bail!(
                "no libtorch can be fetched for {}: set-up knows linux-x86_64-gnu. Bring \
                 libtorch {VERSION} yourself (`pip install torch=={VERSION}` carries one where \
                 PyTorch supports the platform) and set LIBTORCH to the folder that holds its \
                 include and lib",
                self.platform,
            );
        }
        Ok(())
    }

    /// Refuses a machine without Python, which fetches and unpacks.
    pub(crate) fn require_python(&self) -> Result<()> {
        let remedy = "install Python 3 with pip (Debian and Ubuntu: apt install python3 \
                      python3-pip), or set LIBTORCH to a libtorch that is already there";
        match self.python().args(["-c", "import ssl, zipfile, zlib"]).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                bail!("python3 does not work: {}: {remedy}", last_lines(&said, 1))
            }
            Err(error) => bail!("python3 cannot be started ({error}): {remedy}"),
        }
    }

    /// Refuses to begin what the disk cannot hold.
    pub(crate) fn require_space(&self, directory: &Path, needed: u64) -> Result<()> {
        let script = "import shutil, sys; print(shutil.disk_usage(sys.argv[1]).free)";
        let output = self.python().args(["-c", script]).arg(directory).output()?;
        let free: u64 = String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse()
            .with_context(|| format!("cannot tell the free space of {}", directory.display()))?;
        if free < needed {
            bail!(
                "the disk is too full: {} has {} free and set-up needs {}. Make room, or set \
                 ENGRAM_CACHE to a folder on another disk",
                directory.display(),
                megabytes(free),
                megabytes(needed),
            );
        }
        Ok(())
    }
}

/// The last `count` lines that say something, joined by line breaks.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> =
        text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Bytes for people.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

fn command(words: &[OsString]) -> Command {
    let (program, first) = words.split_first().expect("a tool has a name");
    let mut command = Command::new(program);
    command.args(first);
    command
}

/// True if a program is found on a search path.
pub(crate) fn is_program(name: &OsStr, path: &OsStr) -> bool {
    if name.to_string_lossy().contains('/') {
        return Path::new(name).is_file();
    }
    env::split_paths(path).any(|folder| folder.join(name).is_file())
}

fn cache_directory(get: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let current = env::current_dir().context("the current directory is gone")?;
    if let Some(path) = get("ENGRAM_CACHE") {
        return Ok(current.join(path));
    }
    if let Some(path) = get("XDG_CACHE_HOME") {
        return Ok(current.join(path).join("engram"));
    }
    match get("HOME") {
        Some(path) => Ok(current.join(path).join(".cache/engram")),
        None => bail!("neither ENGRAM_CACHE, XDG_CACHE_HOME nor HOME is set: set ENGRAM_CACHE"),
    }
}

fn platform() -> String {
    let libc = if cfg!(target_env = "gnu") { "-gnu" } else { "" };
    format!("{}-{}{libc}", env::consts::OS, env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host in another environment.
    fn host(variables: &[(&str, &str)]) -> Result<Host> {
        Host::from_environment(PathBuf::from("/checkout"), |name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_cache_is_engram_cache_else_xdg_else_home() {
        let all = [("ENGRAM_CACHE", "/e"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(host(&all).unwrap().cache, Path::new("/e"));
        assert_eq!(host(&all[1..]).unwrap().cache, Path::new("/x/engram"));
        assert_eq!(host(&all[2..]).unwrap().cache, Path::new("/h/.cache/engram"));
        assert!(host(&[]).unwrap_err().to_string().contains("set ENGRAM_CACHE"));
    }

    #[test]
    fn the_home_of_cargo_is_cargo_home_else_in_home() {
        let all = [("CARGO_HOME", "/c"), ("HOME", "/h")];
        assert_eq!(host(&all).unwrap().cargo_home, Path::new("/c"));
        assert_eq!(host(&all[1..]).unwrap().cargo_home, Path::new("/h/.cargo"));
    }

    #[test]
    fn our_own_link_is_not_taken_for_the_users_libtorch() {
        let libtorch = |value| host(&[("HOME", "/h"), ("LIBTORCH", value)]).unwrap().libtorch;
        assert_eq!(libtorch("/checkout/.libtorch"), None);
        assert_eq!(libtorch(".libtorch"), None);
        assert_eq!(libtorch(""), None);
        assert_eq!(libtorch("/opt/libtorch"), Some(PathBuf::from("/opt/libtorch")));
    }

    #[test]
    fn a_missing_compiler_is_named_with_the_package_that_brings_it() {
        let none = host(&[("HOME", "/h"), ("CXX", "/nowhere/c++ -m64")]).unwrap();
        let message = none.require_compiler().unwrap_err().to_string();
        assert!(message.contains("no C++ compiler: \"/nowhere/c++\""), "{message}");
        assert!(message.contains("apt install g++"), "{message}");
    }

    #[test]
    fn a_missing_or_broken_python_is_named_with_the_package_that_brings_it() {
        let mut host = host(&[("HOME", "/h")]).unwrap();
        host.python = vec!["/nowhere/python3".into()];
        let message = host.require_python().unwrap_err().to_string();
        assert!(message.contains("apt install python3 python3-pip"), "{message}");
        host.python =
            ["sh", "-c", "echo 'No module named zlib' >&2; exit 1"].map(Into::into).into();
        let message = host.require_python().unwrap_err().to_string();
        assert!(message.contains("does not work: No module named zlib: install"), "{message}");
    }

    #[test]
    fn a_platform_without_a_build_is_told_to_set_libtorch() {
        let mut host = host(&[("HOME", "/h")]).unwrap();
        host.platform = "macos-aarch64".into();
        let message = host.require_platform().unwrap_err().to_string();
        assert!(message.contains("macos-aarch64") && message.contains("set LIBTORCH"), "{message}");
        host.platform = "linux-x86_64-gnu".into();
        host.require_platform().unwrap();
    }

    #[test]
    fn a_full_disk_is_refused_before_anything_is_fetched() {
        let mut host = host(&[("HOME", "/h")]).unwrap();
        host.python = ["sh", "-c", "echo 400000000"].map(Into::into).into();
        host.require_space(Path::new("/"), 400_000_000).unwrap();
        let message = host.require_space(Path::new("/"), 1_300_000_000).unwrap_err().to_string();
        assert!(message.contains("400 MB free and set-up needs 1300 MB"), "{message}");
        assert!(message.contains("ENGRAM_CACHE"), "{message}");
    }

    #[test]
    fn the_last_lines_are_those_that_say_something() {
        assert_eq!(last_lines("a\n\nb  \nc\n\n", 2), "b\nc");
        assert_eq!(last_lines("", 2), "");
    }
}
