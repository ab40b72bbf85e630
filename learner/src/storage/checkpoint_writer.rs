//! Checkpoints go to the disk on a thread of their own, so that training does not wait for it.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use engram_service::threads::spawn_named;

use crate::replay::{Snapshot, prune_segments};
use crate::run::error::LearnerError;
use crate::storage::checkpoint::{Checkpoint, Store};
use crate::telemetry::metrics::Metrics;

/// A checkpoint that waits for the disk.
#[derive(Debug)]
pub struct Unwritten {
    /// Everything but the replay.
    pub checkpoint: Checkpoint,
    /// The replay, where something is learned from one.
    pub replay: Option<Snapshot>,
}

/// Where checkpoints go.
#[derive(Clone, Debug)]
pub struct Places {
    /// Their own folder.
    pub store: Store,
    /// The folder of a replay's segments.
    pub replay: PathBuf,
}

/// Writes checkpoints in the background.
#[derive(Debug)]
pub struct Writer {
    queue: SyncSender<Unwritten>,
    thread: JoinHandle<Option<PathBuf>>,
}

impl Writer {
    /// A writer into `places`.
    pub fn start(places: Places, metrics: Metrics) -> Self {
        // Full, while the disk is slower than the interval: the next one will do.
        let (queue, checkpoints) = sync_channel(1);
        let work = move || write_all(&places, &metrics, checkpoints);
        Writer { queue, thread: spawn_named("checkpoint", work) }
    }

    /// Writes a checkpoint soon. `false`, and nothing happens, while the one before still
    /// waits for the disk.
    pub fn offer(&self, checkpoint: Unwritten) -> bool {
        match self.queue.try_send(checkpoint) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Writes the last checkpoint and waits for it. Returns the newest one on the disk, if this
    /// writer wrote any.
    pub fn finish(self, last: Option<Unwritten>) -> Option<PathBuf> {
        if let Some(checkpoint) = last {
            // If the thread has panicked, it has said so, and joining it tells.
            let _ = self.queue.send(checkpoint);
        }
        drop(self.queue);
        self.thread.join().unwrap_or_default()
    }
}

fn write_all(
    places: &Places,
    metrics: &Metrics,
    checkpoints: Receiver<Unwritten>,
) -> Option<PathBuf> {
    let mut newest = None;
    for checkpoint in checkpoints {
        let started = Instant::now();
        match places.write(checkpoint) {
            Ok(path) => {
                metrics.checkpoint_written(started.elapsed(), SystemTime::now());
                tracing::debug!(path = %path.display(), "checkpoint");
                newest = Some(path);
            }
            Err(error) => {
                metrics.checkpoint_failed();
                tracing::warn!(%error, "no checkpoint; training goes on, the last one stays");
            }
        }
    }
    newest
}

impl Places {
    /// Segments first, so that a checkpoint never names a file that is not there.
    fn write(&self, unwritten: Unwritten) -> Result<PathBuf, LearnerError> {
        let Unwritten { mut checkpoint, replay } = unwritten;
        let Some(snapshot) = replay else { return Ok(self.store.write(&checkpoint)?) };
        checkpoint.state.replay = Some(snapshot.write(&self.replay)?);
        let path = self.store.write(&checkpoint)?;
        let pruned = self.store.replays().map_err(LearnerError::from);
        if let Err(error) = pruned.and_then(|keep| Ok(prune_segments(&self.replay, &keep)?)) {
            tracing::warn!(%error, "old segments of the replay stay");
        }
        Ok(path)
    }
}
