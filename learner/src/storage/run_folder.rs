//! Run folder: files of a run.
//!
//! ```text
//! runs/<name>/
//!     config.toml           the resolved configuration; it can be run again
//!     meta.json             every start: version, revision, host, command line, time
//!     progress.csv          learning curves              (see `progress_log`)
//!     events.out.tfevents.* the same for TensorBoard
//!     final-evaluation.csv  episodes after the end   (`engram train --evaluate`)
//!     checkpoints/          from which the run resumes   (see `checkpoint`)
//!     plots/                made by `engram plot`
//!     policy_version        the newest version that any inference server can have seen
//!     owner                 the learner that has come last (see `owner`)
//!     lock                  held by that one while it runs
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use engram_service::metrics::{REVISION, VERSION};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::durable;
use crate::durable::owner::{self, Owner, host};

/// Folder of a run, which belongs to one learner as long as this lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    versions: File,
    owner: Owner,
    // Unlocked at the latest when the process dies.
    lock: File,
}

/// Failure to use a run's folder.
#[derive(Debug, Error)]
pub enum RunFolderError {
    /// Another learner uses it.
    #[error(
        "{} belongs to a learner that is running: {holder}; stop it, or choose another --run-name",
        .path.display()
    )]
    Busy {
        /// The folder.
        path: PathBuf,
        /// The learner: process and host.
        holder: String,
    },
    /// The disk.
    #[error("cannot write {}: {source}; choose another folder by --runs", .path.display())]
    Disk {
        /// Path of the file or folder.
        path: PathBuf,
        /// Reason.
        source: io::Error,
    },
}

/// `meta.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Meta {
    starts: Vec<RunStart>,
}

/// Start of the run.
#[derive(Debug, Serialize, Deserialize)]
struct RunStart {
    version: String,
    git_revision: String,
    host: String,
    command_line: Vec<String>,
    unix_seconds: u64,
    env_steps: u64,
}

impl RunFolder {
    /// Opens a run's folder, and makes it where there is none.
    pub fn open(path: &Path) -> Result<Self, RunFolderError> {
        for directory in [path, &path.join("checkpoints"), &path.join("plots")] {
            durable::create_folder(directory).map_err(disk(directory))?;
        }
        // Made by a process that was killed before it had waited for that.
        durable::sync_parent(path).map_err(disk(path))?;
        let lock_path = path.join("lock");
        let lock = open(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = owner::read(path).unwrap_or_else(|| "it has not said which".into());
                return Err(RunFolderError::Busy { path: path.into(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(disk(&lock_path)(error)),
        }
        // Before anything is read, so that whoever was here before changes nothing of that.
        let owner = Owner::claim(path).map_err(disk(path))?;
        let versions = open(&path.join("policy_version"))?;
        Ok(RunFolder { path: path.into(), versions, owner, lock })
    }

    /// Path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its owner.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Folder of its checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Notes the configuration, and that the run starts or goes on at `env_steps`.
    pub fn begin(&self, config: &str, env_steps: u64) -> Result<(), RunFolderError> {
        let path = self.path.join("config.toml");
        durable::replace(&path, config.as_bytes()).map_err(disk(&path))?;
        let path = self.path.join("meta.json");
        let mut meta: Meta = fs::read(&path)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        meta.starts.push(RunStart::now(env_steps));
        let text = serde_json::to_string_pretty(&meta).expect("numbers and strings make JSON");
        durable::replace(&path, (text + "\n").as_bytes()).map_err(disk(&path))
    }

    /// Newest version that was published by any start of this run; 0 for none.
    ///
    /// A killed learner resumes from a checkpoint that is older than its newest weights. It must
    /// not use their versions again: an inference server may have acted with them, and versions
    /// never go back within a trajectory.
    pub fn newest_version(&self) -> u64 {
        let mut digits = [0; VERSION_DIGITS];
        let read = self.versions.read_exact_at(&mut digits, 0);
        let text = read.ok().and_then(|()| std::str::from_utf8(&digits).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// Notes that a version was published: a small write in place, which needs no new room on the
    /// disk and is not waited for. It survives the process, though not a power cut.
    pub fn note_version(&self, policy_version: u64) {
        if self.owner.look().is_err() {
            return;
        }
        let text = format!("{policy_version:0width$}\n", width = VERSION_DIGITS);
        if let Err(error) = self.versions.write_all_at(text.as_bytes(), 0) {
            tracing::debug!(%error, "the newest version was not noted");
        }
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // Closing the file would not do: a process that is being started elsewhere holds a copy
        // of it for a moment.
        let _ = self.lock.unlock();
    }
}

/// The folder of a replay's segments, in the folder of a run.
pub fn replay_folder(run: &Path) -> PathBuf {
    run.join("replay")
}

const VERSION_DIGITS: usize = 20;

impl RunStart {
    fn now(env_steps: u64) -> Self {
        RunStart {
            version: VERSION.into(),
            git_revision: git_revision(),
            host: host(),
            command_line: std::env::args().collect(),
            unix_seconds: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            env_steps,
        }
    }
}

/// Revision that was built; in a checkout that did not say, the one that is checked out.
fn git_revision() -> String {
    if REVISION != "unknown" {
        return REVISION.into();
    }
    let source = env!("CARGO_MANIFEST_DIR");
    let output = Command::new("git").args(["-C", source, "rev-parse", "HEAD"]).output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().into()
        }
        _ => REVISION.into(),
    }
}

fn open(path: &Path) -> Result<File, RunFolderError> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    options.map_err(disk(path))
}

fn disk(path: &Path) -> impl Fn(io::Error) -> RunFolderError + use<> {
    let path = path.to_path_buf();
    move |source| RunFolderError::Disk { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_learner_at_a_time() {
        let runs = tempfile::tempdir().unwrap();
        let path = runs.path().join("recall");
        let folder = RunFolder::open(&path).unwrap();
        let error = RunFolder::open(&path).unwrap_err();
        assert!(matches!(error, RunFolderError::Busy { .. }));
        let holder = format!("is running: process {} on {}, instance ", std::process::id(), host());
        assert!(error.to_string().contains(&holder), "{error}");
        drop(folder);
        assert!(RunFolder::open(&path).is_ok());
    }

    #[test]
    fn every_start_is_noted() {
        let runs = tempfile::tempdir().unwrap();
        for env_steps in [0, 640] {
            let folder = RunFolder::open(runs.path()).unwrap();
            folder.begin("seed = 1\n", env_steps).unwrap();
        }
        let meta: Meta =
            serde_json::from_slice(&fs::read(runs.path().join("meta.json")).unwrap()).unwrap();
        let steps: Vec<u64> = meta.starts.iter().map(|start| start.env_steps).collect();
        assert_eq!(steps, [0, 640]);
        assert_eq!(fs::read_to_string(runs.path().join("config.toml")).unwrap(), "seed = 1\n");
    }

    #[test]
    fn the_newest_version_outlives_the_learner() {
        let runs = tempfile::tempdir().unwrap();
        let folder = RunFolder::open(runs.path()).unwrap();
        assert_eq!(folder.newest_version(), 0);
        folder.note_version(9);
        folder.note_version(10);
        drop(folder);
        assert_eq!(RunFolder::open(runs.path()).unwrap().newest_version(), 10);
    }
}
