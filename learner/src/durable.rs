//! Durable: changes of files that are still there after a power cut.
//!
//! A disk keeps what was written, and the names in a folder, to itself until it is told to sync them,
//! and in no order that could be relied upon. So a file is synced before it gets its name, and its
//! folder after that. All that a run resumes from is changed by these functions alone; a test records
//! what they do, and rebuilds what a crash after any of it may leave (`storage/crash_tests.rs`).

pub mod owner;

#[cfg(test)]
pub(crate) mod recorder;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[cfg(test)]
use recorder::{can_exchange, tell};

/// Operation on a file or a folder.
#[cfg_attr(not(test), expect(dead_code, reason = "tests record"))]
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    CreateFolder(PathBuf),
    /// Makes a file, or empties it.
    CreateFile(PathBuf),
    Append(PathBuf, Vec<u8>),
    /// Waits until the disk has a file's bytes, or a folder's names.
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Exchange(PathBuf, PathBuf),
    RemoveFolder(PathBuf),
    RemoveFile(PathBuf),
}

/// A file that is written from its begin.
#[derive(Debug)]
pub(crate) struct NewFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> NewFile<'a> {
    /// An empty file.
    pub(crate) fn create(path: &'a Path) -> io::Result<Self> {
        tell(|| Operation::CreateFile(path.into()));
        Ok(NewFile { path, file: File::create(path)? })
    }

    /// Writes on.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        tell(|| Operation::Append(self.path.into(), bytes.into()));
        self.file.write_all(bytes)
    }
}

/// Makes a folder, and those above it, for good.
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    create_folder(parent(path))?;
    match fs::create_dir(path) {
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) => return Err(error),
        Ok(()) => tell(|| Operation::CreateFolder(path.into())),
    }
    sync_parent(path)
}

/// Writes a file, whose name is not for good yet, and waits for the disk.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NewFile::create(path)?;
    file.append(bytes)?;
    tell(|| Operation::Sync(path.into()));
    file.file.sync_all()
}

/// Writes a file beside its place and renames it, so that readers see the old one or the new one,
/// after a power cut, too.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    write(beside, bytes)?;
    rename(beside, path)?;
    sync_parent(path)
}

/// Waits until the disk has a file's bytes, or the names in a folder.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    tell(|| Operation::Sync(path.into()));
    File::open(path)?.sync_all()
}

/// Waits until the disk has the name of a file or folder.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    sync(parent(path))
}

/// Renames a file or folder in its folder.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    tell(|| Operation::Rename(from.into(), to.into()));
    fs::rename(from, to)
}

/// Exchanges two folders in one step; `false`, and nothing happens, where the disk cannot.
#[cfg(target_os = "linux")]
pub(crate) fn exchange(one: &Path, other: &Path) -> io::Result<bool> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    if !can_exchange() {
        return Ok(false);
    }
    match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
        Ok(()) => {
            tell(|| Operation::Exchange(one.into(), other.into()));
            Ok(true)
        }
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn exchange(_one: &Path, _other: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Deletes a folder and what is in it.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    tell(|| Operation::RemoveFolder(path.into()));
    fs::remove_dir_all(path)
}

/// Deletes a file.
pub(crate) fn remove_file(path: &Path) -> io::Result<()> {
    tell(|| Operation::RemoveFile(path.into()));
    fs::remove_file(path)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

#[cfg(not(test))]
fn tell(_: impl FnOnce() -> Operation) {}

#[cfg(all(target_os = "linux", not(test)))]
fn can_exchange() -> bool {
    true
}
