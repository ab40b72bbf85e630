//! Files that are waited for: folders that are complete, whatever kills the process that writes them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

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

/// Gives a complete folder its place. At every moment either what was there, perhaps aside, or the
/// new one can be found.
pub(crate) fn put_in_place(beside: &Path, place: &Path) -> Result<(), CheckpointError> {
    if place.exists() {
        let aside = place.with_extension(ASIDE);
        if aside.exists() {
            // Left by a process that was killed after it had put a newer one in its place.
            fs::remove_dir_all(&aside).map_err(disk("delete", &aside))?;
        }
        fs::rename(place, &aside).map_err(disk("rename", place))?;
    }
    fs::rename(beside, place).map_err(disk("rename", beside))
}

/// True of a folder whose place a new one takes.
pub(crate) fn is_aside(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == ASIDE)
}

/// Writes a file, and waits for the disk.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    File::create(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(disk("write", path))
}

/// Waits until the disk has the names in a folder.
pub(crate) fn sync_directory(path: &Path) -> Result<(), CheckpointError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(disk("sync", path))
}

/// Checksum, in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
