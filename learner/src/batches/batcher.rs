//! Trajectories become batches, ahead of the update that wants them.
//!
//! The batcher is a thread of its own: while the learner updates from one batch, the next one
//! is turned into tensors and waits. Only one waits, with another one in the batcher's hands, for
//! every batch ahead makes data older.

use std::time::Instant;

use engram_mdp::EnvSpec;
use engram_policy::{Batch, PolicyError};
use engram_service::Shutdown;
use tch::Device;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::batches::batch::LearnerBatch;
use crate::batches::selector::{Selected, Selector, SelectorRules, TrajectoryKey};
use crate::rpc::publisher::Newest;
use crate::rpc::queue::Arrivals;
use crate::telemetry::metrics::{Dropped, Metrics, Phase};

/// Trajectories of streams, side by side.
#[derive(Debug)]
pub struct StreamsBatch {
    /// Their tensors.
    pub batch: Batch,
    /// Their keys, in the order of the batch.
    pub keys: Vec<TrajectoryKey>,
}

/// Turns trajectories into batches.
#[derive(Debug)]
pub struct Batcher {
    /// Source of trajectories.
    pub arrivals: Arrivals,
    /// Rules of the batch selector: the trajectories that go into a batch.
    pub rules: SelectorRules,
    /// The environment that they were checked against.
    pub spec: EnvSpec,
    /// Device of the tensors.
    pub device: Device,
    /// The learner's version.
    pub newest: Newest,
    /// Metrics that show it.
    pub metrics: Metrics,
}

impl Batcher {
    /// Assembles until the learner takes no more batches or `stop` is triggered. A batch that
    /// cannot be made is a bug, for its trajectories were checked when they came.
    pub fn run(
        mut self,
        runtime: &Handle,
        stop: &Shutdown,
        batches: &mpsc::Sender<LearnerBatch<StreamsBatch>>,
    ) -> Result<(), PolicyError> {
        let mut selector = Selector::new(self.rules.clone());
        while self.select(&mut selector, runtime, stop) {
            let assembled = self.assemble(selector.take())?;
            if batches.blocking_send(assembled).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Waits until a batch is complete. `false` when there will be none.
    fn select(&mut self, selector: &mut Selector, runtime: &Handle, stop: &Shutdown) -> bool {
        selector.begin(self.newest.version());
        let (mut arrived, mut reported) = (Vec::new(), 0);
        loop {
            self.metrics.dropped(Dropped::Stale, selector.stale() - reported);
            reported = selector.stale();
            selector.warn_if_starved();
            if selector.is_complete() {
                return true;
            }
            let taken = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.triggered() => 0,
                    taken = self.arrivals.take(&mut arrived, selector.missing()) => taken,
                }
            });
            if taken == 0 {
                return false;
            }
            self.metrics.queue_depth(self.arrivals.depth());
            let newest = self.newest.version();
            arrived.drain(..).for_each(|arrival| selector.add(arrival, newest));
        }
    }

    fn assemble(&self, selected: Selected) -> Result<LearnerBatch<StreamsBatch>, PolicyError> {
        let started = Instant::now();
        let Selected { trajectories, keys, stale } = selected;
        let batch = Batch::from_trajectories(&trajectories, &self.spec, self.device)?;
        let env_steps = trajectories.iter().map(|t| t.env_steps() as u64).sum();
        let assembly_time = started.elapsed();
        self.metrics.phase(Phase::Assemble, assembly_time);
        let policy_versions = keys.iter().map(|key| key.policy_version).collect();
        let content = StreamsBatch { batch, keys };
        Ok(LearnerBatch { content, policy_versions, env_steps, stale, assembly_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::batch::BATCHES_AHEAD;
    use crate::fixtures::{spec, trajectory};
    use crate::rpc::publisher::{Weights, publisher};
    use crate::rpc::queue::{Arrival, bounded};

    fn arrival(env_index: u32, sequence: u64, policy_version: u64) -> Arrival {
        let mut trajectory = trajectory(env_index, sequence);
        trajectory.policy_versions.fill(policy_version);
        Arrival { trajectory, generation: 1 }
    }

    #[tokio::test]
    async fn batches_are_full_and_wait_one_ahead() {
        let (intake, arrivals) = bounded(8);
        let (publisher, newest) = publisher();
        publisher.publish(Weights { policy_version: 1, bytes: bytes::Bytes::new() });
        let batcher = Batcher {
            arrivals,
            rules: SelectorRules { batch_size: 2, max_policy_lag: 10, one_per_stream: false },
            spec: spec(),
            device: Device::Cpu,
            newest,
            metrics: Metrics::new(),
        };
        let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
        let (runtime, stop) = (Handle::current(), Shutdown::new());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || batcher.run(&runtime, &stopped, &sender));
        for sequence in 0..5 {
            intake.place().await.unwrap().put(arrival(0, sequence, 1));
        }
        for first in [0, 2] {
            let assembled = batches.recv().await.unwrap();
            let StreamsBatch { batch, keys } = &assembled.content;
            assert_eq!((batch.batch(), assembled.env_steps), (2, 8));
            assert_eq!((keys.len(), assembled.policy_versions.len()), (2, 2), "from {first}");
        }
        stop.trigger();
        assert!(batches.recv().await.is_none(), "half a batch");
        thread.join().unwrap().unwrap();
    }
}
