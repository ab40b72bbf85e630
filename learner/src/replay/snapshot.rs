//! Snapshot: a replay in a checkpoint. Its segments are files that never change, so each is
//! written once.
//!
//! ```text
//! replay/000000000000-000000000211.safetensors      named by their first and last episode
//! replay/000000000212-000000000399.safetensors
//! ```
//!
//! `Replay::snapshot` seals the open segment and takes hold of all of them, which is quick;
//! [`ReplaySnapshot::write`] waits for the disk, on another thread, and returns the [`ReplayState`]
//! that belongs into the checkpoint's state. `Replay::restore` reads it back. [`prune_segments`]
//! deletes the files that no kept checkpoint refers to. Open episodes are not saved: their streams
//! go on with the next First frame, and the env steps that come before it are counted as dropped.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};

use super::episode::{EpisodeId, TrajectoryShape};
use super::episode_store::{EpisodeStore, ReplayTotals};
use super::error::ReplayError;
use super::segment::{Segment, WrittenFile};
use super::segment_file;
use crate::config::replay::Storage;
use crate::durable;

/// State of a replay, in the state of a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayState {
    /// Its segments, the oldest first.
    pub segments: Vec<SegmentState>,
    /// Oldest episode that is not forgotten.
    pub oldest: EpisodeId,
    /// Number of the next episode.
    pub next: EpisodeId,
    /// Largest priority so far; nothing where sampling is uniform.
    pub largest_priority: Option<f32>,
    /// Totals of everything that has happened so far.
    pub totals: ReplayTotals,
    /// Decisions of the longest episode ever completed.
    pub longest_episode: usize,
}

/// State of a segment and its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentState {
    /// Name of the file, in the replay's folder.
    pub name: String,
    /// Its checksum.
    pub sha256: String,
    /// Its first episode.
    pub first: EpisodeId,
    /// Its last one.
    pub last: EpisodeId,
    /// Env steps in it that are not forgotten.
    pub env_steps: u64,
    /// Priorities in it that are not forgotten; empty where sampling is uniform.
    pub priorities: Vec<f32>,
}

/// Replay at one moment, to be written.
#[derive(Debug)]
pub struct ReplaySnapshot {
    shape: TrajectoryShape,
    /// Each segment, its live env steps and their priorities.
    segments: Vec<(Arc<Segment>, u64, Vec<f32>)>,
    /// Everything but the segments.
    state: ReplayState,
}

/// Losses of a restored replay: segments that could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostSegments {
    /// Segments.
    pub segments: u64,
    /// Episodes in them.
    pub episodes: u64,
    /// Env steps of these.
    pub env_steps: u64,
}

impl ReplaySnapshot {
    /// Writes into `folder` what is not there yet, waits until all of it would outlast a power
    /// failure, and returns what the checkpoint's state must hold.
    pub fn write(&self, folder: &Path) -> Result<ReplayState, ReplayError> {
        durable::create_folder(folder).map_err(disk("create", folder))?;
        let mut state = self.state.clone();
        for (segment, env_steps, priorities) in &self.segments {
            state.segments.push(SegmentState {
                name: segment_file::name(segment.first, segment.last()),
                sha256: self.settle(segment, folder)?,
                first: segment.first,
                last: segment.last(),
                env_steps: *env_steps,
                priorities: priorities.clone(),
            });
        }
        segment_file::sync(folder).map_err(disk("sync", folder))?;
        Ok(state)
    }

    /// Writes a segment, unless it was written before, and syncs it, unless it was synced.
    fn settle(&self, segment: &Segment, folder: &Path) -> Result<String, ReplayError> {
        let path = folder.join(segment_file::name(segment.first, segment.last()));
        let mut written = segment.file.written.lock().unwrap_or_else(PoisonError::into_inner);
        let sha256 = match &*written {
            Some(WrittenFile { sha256, synced: true }) => return Ok(sha256.clone()),
            Some(WrittenFile { sha256, synced: false }) => sha256.clone(),
            None => {
                segment_file::write(folder, segment, &self.shape).map_err(disk("write", &path))?
            }
        };
        segment_file::sync(&path).map_err(disk("sync", &path))?;
        *written = Some(WrittenFile { sha256: sha256.clone(), synced: true });
        Ok(sha256)
    }
}

/// Takes hold of all segments, which are sealed. Writes nothing.
pub(super) fn take(store: &EpisodeStore) -> ReplaySnapshot {
    let mut segments: Vec<(Arc<Segment>, u64, Vec<f32>)> =
        store.sealed().iter().map(|segment| (segment.clone(), 0, Vec::new())).collect();
    for (segment, ..) in &segments {
        segment.file.kept.store(true, Ordering::Relaxed);
    }
    for (entry, (number, decisions)) in store.places().enumerate() {
        let (_, env_steps, priorities) = &mut segments[number];
        *env_steps += decisions;
        priorities.extend(store.priorities_of(entry));
    }
    let state = ReplayState {
        segments: Vec::new(),
        oldest: store.oldest().unwrap_or(store.next()),
        next: store.next(),
        largest_priority: store.largest_priority(),
        totals: store.totals(),
        longest_episode: store.longest(),
    };
    ReplaySnapshot { shape: store.shape.clone(), segments, state }
}

/// Fills an empty store with what was saved into `folder`. What is missing or torn is left out,
/// with a warning that says how much that was.
pub(super) fn restore(
    store: &mut EpisodeStore,
    folder: &Path,
    state: &ReplayState,
) -> LostSegments {
    let (storage, mut lost) = (store.config.storage, LostSegments::default());
    for segment in &state.segments {
        match read(folder, segment, &store.shape, storage) {
            Ok(read) => store.restore(read, state.oldest, &segment.priorities),
            Err(torn) => {
                let live = segment.first.max(state.oldest).0..segment.last.0 + 1;
                lost.segments += 1;
                lost.episodes += live.end.saturating_sub(live.start);
                lost.env_steps += segment.env_steps;
                tracing::warn!(env_steps = segment.env_steps, "{torn}; the rest is kept");
            }
        }
    }
    if lost.segments > 0 {
        let (kept, of) = (store.env_steps(), store.env_steps() + lost.env_steps);
        let LostSegments { segments, episodes, .. } = lost;
        tracing::warn!(segments, episodes, "the replay has kept {kept} of {of} env steps");
    }
    store.go_on(state.next, state.totals, state.longest_episode);
    if let Some(largest) = state.largest_priority {
        store.set_largest_priority(largest);
    }
    lost
}

/// Deletes the segments in `folder` that none of `keep`, the replays of all kept checkpoints,
/// refers to. What is newer than all of these stays: the next checkpoint may refer to it. Returns
/// how many files were deleted.
pub fn prune_segments(folder: &Path, keep: &[ReplayState]) -> Result<usize, ReplayError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(disk("list", folder)(error)),
    };
    let known: HashSet<&str> =
        keep.iter().flat_map(|state| &state.segments).map(|s| s.name.as_str()).collect();
    let next = keep.iter().map(|state| state.next).max();
    let mut deleted = 0;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(first) = segment_file::first_episode(name) else { continue };
        if known.contains(name) || next.is_none_or(|next| first >= next) {
            continue;
        }
        durable::remove_file(&path).map_err(disk("delete", &path))?;
        deleted += 1;
    }
    Ok(deleted)
}

fn read(
    folder: &Path,
    saved: &SegmentState,
    shape: &TrajectoryShape,
    storage: Storage,
) -> Result<Segment, ReplayError> {
    let SegmentState { first, last, .. } = *saved;
    let path = folder.join(&saved.name);
    let read = segment_file::read(&path, (first, last), Some(&saved.sha256), shape, storage);
    let segment = read.map_err(|why| ReplayError::Torn { path, first, last, why })?;
    let written = WrittenFile { sha256: saved.sha256.clone(), synced: true };
    *segment.file.written.lock().unwrap_or_else(PoisonError::into_inner) = Some(written);
    segment.file.kept.store(true, Ordering::Relaxed);
    Ok(segment)
}

fn disk(what: &'static str, path: &Path) -> impl Fn(io::Error) -> ReplayError + use<> {
    let path = path.to_path_buf();
    move |source| ReplayError::Disk { what, path: path.clone(), source }
}
