//! Files that are waited for: folders that are complete, whatever kills the process that writes them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::durable::{self, owner::Owner};
use crate::storage::checkpoint_error::{CheckpointError, disk, torn};

/// Extension of a folder whose place a new one takes.
pub(crate) const ASIDE: &str = "old";

/// Part of a manifest that every format has.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Manifest of a folder, in JSON, of the format that this build reads.
pub(crate) fn read_manifest<T: DeserializeOwned>(
    path: &Path,
    name: &str,
    reads: u32,
) -> Result<T, CheckpointError> {
    let text = read_file(path, name)?;
    let Version { format: found } =
        serde_json::from_slice(&text).map_err(|error| torn(path, error))?;
    if found != reads {
        return Err(CheckpointError::Format { path: path.into(), found, reads });
    }
    serde_json::from_slice(&text).map_err(|error| torn(path, error))
}

/// File of a folder; without it the folder is torn.
pub(crate) fn read_file(path: &Path, name: &str) -> Result<Vec<u8>, CheckpointError> {
    fs::read(path.join(name)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            torn(path, format!("{name} is missing"))
        }
        _ => disk("read", &path.join(name))(error),
    })
}

/// Gives a complete folder its place, for good once this returns. Where another one stands there,
/// the two are exchanged in one step, and that one is aside then. On a disk that cannot exchange it
/// goes aside first, so at every moment either what was there, perhaps aside, or the new one can be
/// found.
pub(crate) fn put_in_place(beside: &Path, place: &Path) -> Result<(), CheckpointError> {
    if !place.exists() {
        durable::rename(beside, place).map_err(disk("rename", beside))?;
        return durable::sync_parent(place).map_err(disk("sync the folder of", place));
    }
    let aside = place.with_extension(ASIDE);
    if aside.exists() {
        // Left by a process that was killed after it had put a newer one in its place.
        durable::remove_folder(&aside).map_err(disk("delete", &aside))?;
    }
    if durable::exchange(beside, place).map_err(disk("exchange", place))? {
        durable::rename(beside, &aside).map_err(disk("rename", beside))?;
    } else {
        durable::rename(place, &aside).map_err(disk("rename", place))?;
        durable::rename(beside, place).map_err(disk("rename", beside))?;
    }
    durable::sync_parent(place).map_err(disk("sync the folder of", place))
}

/// Place of a folder that is being written, which no other owner of the run's folder has.
pub(crate) fn half_written(folder: &Path, name: &str, owner: Option<&Owner>) -> PathBuf {
    folder.join(match owner {
        Some(owner) => format!("{name}-{:016x}", owner.instance()),
        None => name.into(),
    })
}

/// Deletes what processes that were killed have left in such places, whoever owned them.
pub(crate) fn remove_half_written(folder: &Path, name: &str) {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let half = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix(name).map(|_| ());
    for path in paths.filter(|path| half(path).is_some()) {
        if let Err(error) = durable::remove_folder(&path) {
            tracing::warn!(path = %path.display(), %error, "half a folder stays");
        }
    }
}

/// True of a folder whose place a new one takes.
pub(crate) fn is_aside(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == ASIDE)
}

/// Checksum, in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    fn folder(path: &Path, text: &str) {
        fs::create_dir(path).unwrap();
        fs::write(path.join("text"), text).unwrap();
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path.join("text")).unwrap()
    }

    #[test]
    fn what_stood_there_is_aside_once_a_new_one_has_its_place() {
        let run = tempfile::tempdir().unwrap();
        let [place, beside, aside] = ["7", ".new", "7.old"].map(|name| run.path().join(name));
        for (number, before) in [("1", None), ("2", Some("1")), ("3", Some("2"))] {
            folder(&beside, number);
            put_in_place(&beside, &place).unwrap();
            assert_eq!(text(&place), number);
            assert!(!beside.exists());
            assert_eq!(aside.exists().then(|| text(&aside)).as_deref(), before);
        }
    }

    /// The place was once empty between two renames: `engram eval` and `engram plot`, which know
    /// nothing of what is aside, could find a run without its only checkpoint.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_reader_finds_one_of_both_at_every_moment() {
        let run = tempfile::tempdir().unwrap();
        let [place, beside] = ["7", ".new"].map(|name| run.path().join(name));
        let other = run.path().join("8");
        folder(&place, "0");
        folder(&other, "0");
        if !durable::exchange(&place, &other).unwrap() {
            eprintln!("skipped: this disk cannot exchange folders");
            return;
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reads = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    assert!(place.exists(), "after {reads} reads");
                    reads += 1;
                }
            });
            for number in 0..100 {
                folder(&beside, &number.to_string());
                put_in_place(&beside, &place).unwrap();
            }
            over.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
    }
}
