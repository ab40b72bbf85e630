//! Segment folder: files of a replay on the disk. Full segments are written and mapped into memory.

use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::episode::TrajectoryShape;
use super::segment::{Segment, WrittenFile};
use super::segment_file::{self, name};
use crate::config::replay::Storage;
use crate::durable::{self, owner::Owner};

/// Folder of the segments of a replay on the disk.
#[derive(Debug)]
pub(super) struct SegmentFolder {
    path: PathBuf,
    shape: TrajectoryShape,
    /// Owner of the run's folder, where it has one.
    pub(super) owner: Option<Owner>,
}

impl SegmentFolder {
    /// Folder at `path`, which need not exist.
    pub(super) fn new(path: PathBuf, shape: TrajectoryShape) -> Self {
        SegmentFolder { path, shape, owner: None }
    }

    /// Writes a sealed segment. It is synced with the next checkpoint. Where that fails it stays
    /// in memory, and the next checkpoint tries again.
    pub(super) fn write(&self, segment: &Segment) {
        if self.is_lost() {
            return;
        }
        let wrote = durable::create_folder(&self.path)
            .and_then(|()| segment_file::write(&self.path, segment, &self.shape));
        match wrote {
            Ok(sha256) => {
                let mut written =
                    segment.file.written.lock().unwrap_or_else(PoisonError::into_inner);
                *written = Some(WrittenFile { sha256, synced: false });
            }
            Err(error) => {
                let folder = self.path.display();
                tracing::warn!(%folder, %error, "a segment stays in memory");
            }
        }
    }

    /// Maps the file of a segment that has been written and still lies in memory. Nothing where
    /// there is no such file, or where it cannot be read.
    pub(super) fn map(&self, segment: &Segment) -> Option<Segment> {
        if !segment.is_in_memory() {
            return None;
        }
        // Somebody who holds the lock is writing this very segment.
        let written = segment.file.written.try_lock().ok()?.clone()?;
        let ends = (segment.first, segment.last());
        let path = self.path.join(name(ends.0, ends.1));
        match segment_file::read(&path, ends, None, &self.shape, Storage::Disk) {
            Ok(mapped) => {
                let kept = segment.file.kept.load(Ordering::Relaxed);
                mapped.file.kept.store(kept, Ordering::Relaxed);
                *mapped.file.written.lock().expect("nobody else knows it") = Some(written);
                Some(mapped)
            }
            Err(why) => {
                tracing::warn!(path = %path.display(), why, "a segment stays in memory");
                None
            }
        }
    }

    /// Deletes the file of a forgotten segment, unless a checkpoint may refer to it; that one is
    /// for `prune_segments`.
    pub(super) fn delete(&self, segment: &Segment) {
        let kept = segment.file.kept.load(Ordering::Relaxed);
        if segment.is_in_memory() || kept || self.is_lost() {
            return;
        }
        let path = self.path.join(name(segment.first, segment.last()));
        if let Err(error) = durable::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "a forgotten segment stays");
        }
    }

    /// True once another learner owns the run's folder. Its segments may have the same names.
    fn is_lost(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.look().is_err())
    }
}
