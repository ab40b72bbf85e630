//! Disk: what a run that trains keeps there.

use std::path::PathBuf;

use engram_policy::Snapshot;
use engram_service::Shutdown;
use tokio::runtime::Handle;

use crate::run::evaluations::{Evaluated, Evaluations, TrainedWeights};
use crate::storage::checkpoint_writer::{CheckpointWriter, PendingCheckpoint};
use crate::storage::run_folder::RunFolder;
use crate::telemetry::counters::Counters;
use crate::telemetry::progress_log::ProgressLog;

/// Files that a run leaves on the disk.
pub(crate) struct Disk {
    pub(crate) folder: RunFolder,
    pub(crate) progress_log: ProgressLog,
    pub(crate) writer: CheckpointWriter,
    pub(crate) evaluations: Evaluations,
    /// The checkpoint that this process went on from.
    pub(crate) resumed: Option<PathBuf>,
}

impl Disk {
    /// Weights are about to be published.
    pub(crate) fn publishing(&mut self, counters: &Counters, weights: &Snapshot) {
        // Before anybody can act with them.
        self.folder.note_version(weights.version());
        self.evaluations.published(counters, weights);
    }

    /// Writes the last checkpoint, and then waits until what a run has learned is evaluated. Returns
    /// the newest checkpoint. The folder belongs to the run until then.
    pub(crate) fn end(
        self,
        last: Option<PendingCheckpoint>,
        learned: Option<TrainedWeights>,
        runtime: &Handle,
        shutdown: &Shutdown,
    ) -> (Option<PathBuf>, Evaluated) {
        let checkpoint = self.writer.finish(last).or(self.resumed);
        let evaluated = match learned {
            Some(learned) => self.evaluations.finish(learned, &self.folder, runtime, shutdown),
            None => Evaluated::default(),
        };
        (checkpoint, evaluated)
    }
}
