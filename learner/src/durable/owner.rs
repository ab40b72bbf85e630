//! Owner of a run's folder: the learner that has come last.
//!
//! The lock on a folder keeps a second learner out, where its file system has locks. Over a network
//! that is not always so, and one that was cut off from its folder for a while may find that another
//! has gone on with the run. So whoever comes writes a name into the file `owner` before it reads
//! anything else, and every learner looks whose name is there before it changes a file. One that finds
//! another's has lost the folder: it changes nothing there any more, and ends.
//!
//! A file system has no step that both looks and renames, so the moment between the two stays. What
//! can happen in it is that one more checkpoint of the same run, or segment of its replay, appears,
//! complete as all are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use engram_service::process::any_number;
use thiserror::Error;

use crate::durable;

/// Owner of a folder: this learner, until another one comes.
#[derive(Clone, Debug)]
pub struct Owner(Arc<OwnerName>);

#[derive(Debug)]
struct OwnerName {
    folder: PathBuf,
    /// A number that no other learner has.
    instance: u64,
    name: String,
    /// Whoever was found in its place.
    successor: OnceLock<String>,
}

/// A folder has another owner.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{} was taken over by another learner: {owner}; this one, {name}, ends and changes nothing \
     there any more",
    .folder.display()
)]
pub struct Taken {
    /// The folder.
    pub folder: PathBuf,
    /// Its owner.
    pub owner: String,
    /// The learner that was its owner before.
    pub name: String,
}

impl Owner {
    /// Makes this learner the owner of a folder, whoever was.
    pub(crate) fn claim(folder: &Path) -> io::Result<Self> {
        let instance = any_number();
        let name =
            format!("process {} on {}, instance {instance:016x}", std::process::id(), host());
        durable::replace(&file(folder), format!("{name}\n").as_bytes())?;
        let (folder, successor) = (folder.into(), OnceLock::new());
        Ok(Owner(Arc::new(OwnerName { folder, instance, name, successor })))
    }

    /// Looks whose the folder is. A folder that does not say has not changed hands.
    pub fn look(&self) -> Result<(), Taken> {
        self.taken()?;
        match read(&self.0.folder) {
            Some(owner) if owner != self.0.name => {
                let _ = self.0.successor.set(owner);
                self.taken()
            }
            _ => Ok(()),
        }
    }

    /// Result of the looks so far.
    pub fn taken(&self) -> Result<(), Taken> {
        let OwnerName { folder, name, successor, .. } = &*self.0;
        let Some(owner) = successor.get().cloned() else { return Ok(()) };
        Err(Taken { folder: folder.clone(), owner, name: name.clone() })
    }

    /// A number that no other learner has.
    pub(crate) fn instance(&self) -> u64 {
        self.0.instance
    }
}

/// Name of the owner that a folder says.
pub(crate) fn read(folder: &Path) -> Option<String> {
    let text = fs::read_to_string(file(folder)).ok()?;
    let name = text.trim();
    (!name.is_empty()).then(|| name.into())
}

/// Name of this machine.
pub(crate) fn host() -> String {
    fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".into(), |name| name.trim().into())
}

fn file(folder: &Path) -> PathBuf {
    folder.join("owner")
}
