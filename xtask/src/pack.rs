//! Pack: the programs and their configs in one archive, for a machine that has PyTorch but no
//! compiler. Its PyTorch brings libtorch, with CUDA or without.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::host::{Host, megabytes};
use crate::release::VERSION;

/// The programs.
pub(crate) const PROGRAMS: [&str; 5] =
    ["engram", "engram-learner", "engram-inference-server", "engram-actor", "engram-evaluator"];

/// Files and folders of the checkout that come with them.
const BESIDE: [&str; 3] = ["configs", "LICENSE-MIT", "LICENSE-APACHE"];

/// Bytes of the archive, at most: it must pass through where little does.
const LIMIT: u64 = 64_000_000;

/// Profile of cargo whose programs are packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile(pub(crate) String);

impl Default for Profile {
    fn default() -> Self {
        Profile("release".into())
    }
}

impl Profile {
    /// Folder of its programs, in the target folder.
    fn folder(&self) -> &str {
        match self.0.as_str() {
            "dev" | "test" => "debug",
            "bench" => "release",
            name => name,
        }
    }
}

/// Packs the programs that were built with a profile into `dist/`, and tells the archive's size.
pub(crate) fn pack(host: &Host, profile: &Profile) -> Result<()> {
    let programs = target_folder()?.join(profile.folder());
    let name = format!("engram-{}-{}", env!("CARGO_PKG_VERSION"), host.platform);
    let archive = assemble(&host.root, &programs, &host.root.join("dist"), &name)?;
    let bytes = fs::metadata(&archive)?.len();
    println!("{}: {} ({bytes} bytes)", archive.display(), megabytes(bytes));
    if bytes > LIMIT {
        bail!("the archive has {}, more than {}", megabytes(bytes), megabytes(LIMIT));
    }
    Ok(())
}

/// The folder that cargo builds into: this program lies in it.
fn target_folder() -> Result<PathBuf> {
    let own = env::current_exe().context("this program has no path")?;
    let folder = own.ancestors().nth(2).context("this program lies in no target folder")?;
    Ok(folder.to_path_buf())
}

/// Lays everything out below `dist`, and makes an archive of it there.
fn assemble(root: &Path, programs: &Path, dist: &Path, name: &str) -> Result<PathBuf> {
    let folder = dist.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    for program in PROGRAMS {
        let built = programs.join(program);
        if !built.exists() {
            bail!("{} is not built", built.display());
        }
        tool("strip", [OsStr::new("-o"), folder.join(program).as_ref(), built.as_ref()])?;
    }
    for beside in BESIDE {
        tool("cp", [OsStr::new("-R"), root.join(beside).as_ref(), folder.as_ref()])?;
    }
    fs::write(folder.join("README.txt"), readme())?;
    let archive = dist.join(format!("{name}.tar.gz"));
    let flags = ["-czf".as_ref(), archive.as_os_str(), "-C".as_ref(), dist.as_os_str()];
    tool("tar", flags.into_iter().chain([OsStr::new(name)]))?;
    Ok(archive)
}

/// The line that runs what was packed.
fn readme() -> String {
    format!(
        "Engram's programs, for a Linux with PyTorch {VERSION}, which brings libtorch. In this \
         folder:\n\n    \
         export LD_LIBRARY_PATH=$(python3 -c 'import torch, os; \
         print(os.path.join(os.path.dirname(torch.__file__), \"lib\"))')\n    \
         ./engram check --device cuda\n"
    )
}

/// Runs a program of every Linux with a compiler.
fn tool<'a>(name: &str, args: impl IntoIterator<Item = &'a OsStr>) -> Result<()> {
    let status = Command::new(name).args(args).status();
    let status = status.with_context(|| format!("`{name}` cannot be started: install it"))?;
    if !status.success() {
        bail!("`{name}` failed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_holds_programs_configs_and_the_line_that_runs_them() {
        let folder = tempfile::tempdir().unwrap();
        let (root, programs) = (folder.path().join("root"), folder.path().join("programs"));
        fs::create_dir_all(root.join("configs/env")).unwrap();
        fs::create_dir_all(&programs).unwrap();
        for file in ["configs/env/recall.toml", "LICENSE-MIT", "LICENSE-APACHE"] {
            fs::write(root.join(file), "text").unwrap();
        }
        let dist = root.join("dist");
        let missing = assemble(&root, &programs, &dist, "engram-1").unwrap_err();
        assert!(missing.to_string().contains("engram is not built"), "{missing}");
        let own = env::current_exe().unwrap();
        for program in PROGRAMS {
            // Small, and strip takes it.
            tool("strip", [OsStr::new("-o"), programs.join(program).as_ref(), own.as_ref()])
                .unwrap();
        }
        let archive = assemble(&root, &programs, &dist, "engram-1").unwrap();
        let list = Command::new("tar").arg("-tzf").arg(&archive).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        for file in ["engram", "engram-actor", "README.txt", "configs/env/recall.toml"] {
            assert!(list.lines().any(|line| line == format!("engram-1/{file}")), "{list}");
        }
        assert!(readme().contains("./engram check --device cuda"));
    }

    #[test]
    fn profiles_lie_where_cargo_puts_them() {
        let folder = |name: &str| Profile(name.into()).folder().to_owned();
        assert_eq!(Profile::default().folder(), "release");
        assert_eq!([folder("dev"), folder("small")], ["debug", "small"]);
    }
}
