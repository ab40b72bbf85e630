//! Checkpoint writer: checkpoints go to the disk on a thread of their own, so that training does
//! not wait for it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use engram_service::threads::spawn_named;
use thiserror::Error;

use crate::replay::{ReplayError, ReplaySnapshot, prune_segments};
use crate::storage::checkpoint::{Checkpoint, CheckpointStore, Mark};
use crate::storage::checkpoint_error::CheckpointError;
use crate::telemetry::metrics::Metrics;

/// Checkpoint that waits for the disk.
#[derive(Debug)]
pub struct PendingCheckpoint {
    /// Everything but the replay.
    pub checkpoint: Checkpoint,
    /// The replay, where something is learned from one.
    pub replay: Option<ReplaySnapshot>,
}

/// Folders of checkpoints.
#[derive(Clone, Debug)]
pub struct CheckpointFolders {
    /// Their own folder.
    pub store: CheckpointStore,
    /// Folder of a replay's segments.
    pub replay: PathBuf,
}

/// Writer of checkpoints in the background.
#[derive(Debug)]
pub struct CheckpointWriter {
    queue: SyncSender<PendingCheckpoint>,
    /// True while a checkpoint waits for the disk.
    busy: Arc<AtomicBool>,
    written: Arc<Mutex<Mark>>,
    thread: JoinHandle<Option<PathBuf>>,
}

impl CheckpointWriter {
    /// Writer into `folders`, whose newest checkpoint is of `saved`.
    pub fn start(folders: CheckpointFolders, saved: Mark, metrics: Metrics) -> Self {
        // Full, while the disk is slower than the interval: the next one will do.
        let (queue, checkpoints) = sync_channel(1);
        let (written, busy) = (Arc::new(Mutex::new(saved)), Arc::new(AtomicBool::new(false)));
        let (told, still_busy) = (written.clone(), busy.clone());
        let work = move || write_all(&folders, &metrics, &told, &still_busy, checkpoints);
        CheckpointWriter { queue, busy, written, thread: spawn_named("checkpoint", work) }
    }

    /// Mark of the newest checkpoint that is on the disk. One that waits for it,
    /// or that the disk refused does not count.
    pub fn written(&self) -> Mark {
        *self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while a checkpoint waits for the disk. Whoever makes the next one only after that has
    /// one in memory at a time, besides what it is a copy of.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Writes a checkpoint soon.
    pub fn write(&self, checkpoint: PendingCheckpoint) {
        self.busy.store(true, Ordering::Release);
        // If the thread has panicked, it has said so, and joining it tells.
        let _ = self.queue.send(checkpoint);
    }

    /// Writes the last checkpoint and waits for it. Returns the newest one on the disk, if this
    /// writer wrote any.
    pub fn finish(self, last: Option<PendingCheckpoint>) -> Option<PathBuf> {
        if let Some(checkpoint) = last {
            // If the thread has panicked, it has said so, and joining it tells.
            let _ = self.queue.send(checkpoint);
        }
        drop(self.queue);
        self.thread.join().unwrap_or_default()
    }
}

/// Failure to write a checkpoint, or the replay beside it.
#[derive(Debug, Error)]
pub(crate) enum WriteError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

fn write_all(
    folders: &CheckpointFolders,
    metrics: &Metrics,
    written: &Mutex<Mark>,
    busy: &AtomicBool,
    checkpoints: Receiver<PendingCheckpoint>,
) -> Option<PathBuf> {
    let mut newest = None;
    for checkpoint in checkpoints {
        let (started, mark) = (Instant::now(), checkpoint.checkpoint.state.mark());
        match folders.write(checkpoint) {
            Ok(path) => {
                metrics.checkpoint_written(started.elapsed(), SystemTime::now());
                tracing::debug!(path = %path.display(), "checkpoint");
                newest = Some(path);
                *written.lock().unwrap_or_else(PoisonError::into_inner) = mark;
            }
            // Training ends, and says so.
            Err(WriteError::Checkpoint(CheckpointError::Taken(_))) => {}
            Err(error) => {
                metrics.checkpoint_failed();
                tracing::warn!(%error, "no checkpoint; training goes on, the last one stays");
            }
        }
        busy.store(false, Ordering::Release);
    }
    newest
}

impl CheckpointFolders {
    /// Segments first, so that a checkpoint never names a file that is not there.
    pub(crate) fn write(&self, pending: PendingCheckpoint) -> Result<PathBuf, WriteError> {
        let PendingCheckpoint { mut checkpoint, replay } = pending;
        self.store.look()?;
        let Some(snapshot) = replay else { return Ok(self.store.write(&checkpoint)?) };
        checkpoint.state.replay = Some(snapshot.write(&self.replay)?);
        let path = self.store.write(&checkpoint)?;
        if let Err(error) = self.prune_segments() {
            tracing::warn!(%error, "old segments of the replay stay");
        }
        Ok(path)
    }

    fn prune_segments(&self) -> Result<(), WriteError> {
        prune_segments(&self.replay, &self.store.replays()?)?;
        Ok(())
    }
}
