//! A replay in a checkpoint: its segments are files that never change, so each is written once.
//!
//! ```text
//! replay/000000000000-000000000211.safetensors      named by their first and last episode
//! replay/000000000212-000000000399.safetensors
//! ```
//!
//! [`Replay::snapshot`] seals the open segment and takes hold of all of them, which is quick;
//! [`Snapshot::write`] waits for the disk, on another thread, and returns the [`Saved`] that
//! belongs into the checkpoint's state. [`Replay::restore`] reads it back. [`prune`] deletes the
//! files that no kept checkpoint refers to. Open episodes are not saved: their streams go on with
//! the next First frame, and the env steps that come before it are counted as dropped.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::file::{self, Place};
use super::segment::{Segment, Written};
use super::shelf::Totals;
use super::{EpisodeId, Replay, ReplayError, World};
use crate::config::replay::{ReplayConfig, Storage};

/// A replay, as a checkpoint's state holds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// Its segments, the oldest first.
    pub segments: Vec<SavedSegment>,
    /// The oldest episode that is not forgotten.
    pub oldest: EpisodeId,
    /// The number of the next episode.
    pub next: EpisodeId,
    /// The largest priority so far; nothing where sampling is uniform.
    pub largest_priority: Option<f32>,
    /// What has happened so far.
    pub totals: Totals,
    /// Decisions of the longest episode ever completed.
    pub longest_episode: usize,
}

/// A segment and its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedSegment {
    /// The file, in the replay's folder.
    pub name: String,
    /// Its checksum.
    pub sha256: String,
    /// Its first episode.
    pub first: EpisodeId,
    /// Its last one.
    pub last: EpisodeId,
    /// Env steps in it that are not forgotten.
    pub env_steps: u64,
    /// The priorities in it that are not forgotten; empty where sampling is uniform.
    pub priorities: Vec<f32>,
}

/// A replay at one moment, to be written.
#[derive(Debug)]
pub struct Snapshot {
    pub(super) world: World,
    /// Each segment, its live env steps and their priorities.
    pub(super) segments: Vec<(Arc<Segment>, u64, Vec<f32>)>,
    /// Everything but the segments.
    pub(super) saved: Saved,
}

/// What of a saved replay could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Segments.
    pub segments: u64,
    /// Episodes in them.
    pub episodes: u64,
    /// Env steps of these.
    pub env_steps: u64,
}

impl Snapshot {
    /// Writes into `folder` what is not there yet, waits until all of it would outlast a power
    /// failure, and returns what the checkpoint's state must hold.
    pub fn write(&self, folder: &Path) -> Result<Saved, ReplayError> {
        fs::create_dir_all(folder).map_err(disk("create", folder))?;
        let mut saved = self.saved.clone();
        for (segment, env_steps, priorities) in &self.segments {
            saved.segments.push(SavedSegment {
                name: file::name(segment.first, segment.last()),
                sha256: self.settle(segment, folder)?,
                first: segment.first,
                last: segment.last(),
                env_steps: *env_steps,
                priorities: priorities.clone(),
            });
        }
        file::sync(folder).map_err(disk("sync", folder))?;
        Ok(saved)
    }

    /// Writes a segment, unless it was written before, and syncs it, unless it was synced.
    fn settle(&self, segment: &Segment, folder: &Path) -> Result<String, ReplayError> {
        let path = folder.join(file::name(segment.first, segment.last()));
        let mut written = segment.file.written.lock().unwrap_or_else(PoisonError::into_inner);
        let sha256 = match &*written {
            Some(Written { sha256, synced: true }) => return Ok(sha256.clone()),
            Some(Written { sha256, synced: false }) => sha256.clone(),
            None => file::write(folder, segment, &self.world).map_err(disk("write", &path))?,
        };
        file::sync(&path).map_err(disk("sync", &path))?;
        *written = Some(Written { sha256: sha256.clone(), synced: true });
        Ok(sha256)
    }
}

impl Replay {
    /// Seals the open segment and takes hold of everything. Writes nothing.
    pub fn snapshot(&mut self) -> Snapshot {
        let shelf = &mut self.shelf;
        shelf.seal();
        shelf.map_written();
        let mut segments: Vec<(Arc<Segment>, u64, Vec<f32>)> =
            shelf.sealed.iter().map(|segment| (segment.clone(), 0, Vec::new())).collect();
        for (segment, ..) in &segments {
            segment.file.kept.store(true, Ordering::Relaxed);
        }
        for (entry, (number, decisions)) in shelf.places().enumerate() {
            let (_, env_steps, priorities) = &mut segments[number];
            *env_steps += decisions;
            priorities.extend(shelf.priorities_of(entry));
        }
        let saved = Saved {
            segments: Vec::new(),
            oldest: shelf.oldest().unwrap_or(shelf.open.next()),
            next: shelf.open.next(),
            largest_priority: shelf.priorities.as_ref().map(|priorities| priorities.largest()),
            totals: shelf.totals,
            longest_episode: shelf.longest,
        };
        Snapshot { world: shelf.world.clone(), segments, saved }
    }

    /// A replay as it was saved into `folder`. What is missing or torn is left out, with a
    /// warning that says how much that was.
    pub fn restore(
        config: ReplayConfig,
        world: World,
        folder: PathBuf,
        saved: &Saved,
    ) -> Result<(Self, Lost), ReplayError> {
        let place = match config.storage {
            Storage::Memory => Place::Memory,
            Storage::Disk => Place::Map,
        };
        let mut replay = Replay::new(config, world, Some(folder.clone()))?;
        let (shelf, mut lost) = (&mut replay.shelf, Lost::default());
        for segment in &saved.segments {
            match read(&folder, segment, &shelf.world, place) {
                Ok(read) => shelf.restore(read, saved.oldest, &segment.priorities),
                Err(torn) => {
                    let live = segment.first.max(saved.oldest).0..segment.last.0 + 1;
                    lost.segments += 1;
                    lost.episodes += live.end.saturating_sub(live.start);
                    lost.env_steps += segment.env_steps;
                    tracing::warn!(env_steps = segment.env_steps, "{torn}; the rest is kept");
                }
            }
        }
        if lost.segments > 0 {
            let (kept, of) = (shelf.env_steps, shelf.env_steps + lost.env_steps);
            let Lost { segments, episodes, .. } = lost;
            tracing::warn!(segments, episodes, "the replay has kept {kept} of {of} env steps");
        }
        shelf.go_on(saved);
        Ok((replay, lost))
    }
}

/// Deletes the segments in `folder` that none of `keep`, the replays of all kept checkpoints,
/// refers to. What is newer than all of these stays: the next checkpoint may refer to it. Returns
/// how many files were deleted.
pub fn prune(folder: &Path, keep: &[Saved]) -> Result<usize, ReplayError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(disk("list", folder)(error)),
    };
    let known: HashSet<&str> =
        keep.iter().flat_map(|saved| &saved.segments).map(|s| s.name.as_str()).collect();
    let next = keep.iter().map(|saved| saved.next).max();
    let mut deleted = 0;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(first) = file::first_episode(name) else { continue };
        if known.contains(name) || next.is_none_or(|next| first >= next) {
            continue;
        }
        fs::remove_file(&path).map_err(disk("delete", &path))?;
        deleted += 1;
    }
    Ok(deleted)
}

fn read(
    folder: &Path,
    saved: &SavedSegment,
    world: &World,
    place: Place,
) -> Result<Segment, ReplayError> {
    let SavedSegment { first, last, .. } = *saved;
    let path = folder.join(&saved.name);
    let read = file::read(&path, (first, last), Some(&saved.sha256), world, place);
    let segment = read.map_err(|why| ReplayError::Torn { path, first, last, why })?;
    let written = Written { sha256: saved.sha256.clone(), synced: true };
    *segment.file.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
    segment.file.kept.store(true, Ordering::Relaxed);
    Ok(segment)
}

pub(super) fn disk(what: &'static str, path: &Path) -> impl Fn(io::Error) -> ReplayError + use<> {
    let path = path.to_path_buf();
    move |source| ReplayError::Disk { what, path: path.clone(), source }
}
