//! Checkpoints go to the disk on a thread of their own, so that training does not wait for it.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use engram_service::threads::spawn_named;

use crate::checkpoint::{Checkpoint, Store};
use crate::metrics::Metrics;

/// Writes checkpoints in the background.
#[derive(Debug)]
pub struct Writer {
    queue: SyncSender<Checkpoint>,
    thread: JoinHandle<Option<PathBuf>>,
}

impl Writer {
    /// A writer into `store`.
    pub fn start(store: Store, metrics: Metrics) -> Self {
        // Full, while the disk is slower than the interval: the next one will do.
        let (queue, checkpoints) = sync_channel(1);
        let work = move || write_all(&store, &metrics, &checkpoints);
        Writer { queue, thread: spawn_named("checkpoint", work) }
    }

    /// Writes a checkpoint soon. `false`, and nothing happens, while the one before still
    /// waits for the disk.
    pub fn offer(&self, checkpoint: Checkpoint) -> bool {
        match self.queue.try_send(checkpoint) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }

    /// Writes the last checkpoint and waits for it. Returns the newest one on the disk, if this
    /// writer wrote any.
    pub fn finish(self, last: Option<Checkpoint>) -> Option<PathBuf> {
        if let Some(checkpoint) = last {
            // If the thread has panicked, it has said so, and joining it tells.
            let _ = self.queue.send(checkpoint);
        }
        drop(self.queue);
        self.thread.join().unwrap_or_default()
    }
}

fn write_all(
    store: &Store,
    metrics: &Metrics,
    checkpoints: &Receiver<Checkpoint>,
) -> Option<PathBuf> {
    let mut newest = None;
    for checkpoint in checkpoints {
        let started = Instant::now();
        match store.write(&checkpoint) {
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
