//! Trajectories become batches, ahead of the update that wants them.
//!
//! The assembler is a thread of its own: while the learner updates from one batch, the next one
//! is turned into tensors and waits. Only one waits, for every batch ahead makes data older.

use std::time::{Duration, Instant};

use engram_mdp::{EnvSpec, StreamId};
use engram_policy::{Batch, PolicyError};
use engram_service::Shutdown;
use tch::Device;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::algorithms::Replayed;
use crate::batches::selector::{Gathered, Gathering};
use crate::replay::Sample;
use crate::rpc::publisher::Newest;
use crate::rpc::queue::Arrivals;
use crate::telemetry::metrics::{Dropped, Metrics, Phase};

/// Batches that wait for the learner, beside the one that it works on.
pub const BATCHES_AHEAD: usize = 1;

/// What an update learns from, and what has arrived for it.
#[derive(Debug)]
pub struct Assembled {
    /// What it learns from.
    pub content: Content,
    /// The versions of the oldest weights in each trajectory that has arrived.
    pub policy_versions: Vec<u64>,
    /// Agent decisions in those.
    pub env_steps: u64,
    /// Trajectories that were dropped on the way because they were stale.
    pub stale: u64,
    /// How long its tensors took to make.
    pub assembly_time: Duration,
}

/// What an update learns from.
#[derive(Debug)]
pub enum Content {
    /// What has arrived itself.
    Streams {
        /// The tensors.
        batch: Batch,
        /// Their trajectories, in the order of the batch.
        rows: Vec<Row>,
    },
    /// What the replay gave.
    Sequences {
        /// The tensors.
        replayed: Replayed,
        /// Where they came from.
        sample: Sample,
    },
}

/// Where one trajectory of a batch came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The stream.
    pub stream: StreamId,
    /// The incarnation of its actor.
    pub generation: u64,
    /// Its place in that generation's stream, counted without gaps from zero.
    pub sequence: u64,
    /// The version of the oldest weights in it.
    pub policy_version: u64,
}

/// Which trajectories go into a batch.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Trajectories per batch.
    pub batch_size: usize,
    /// A trajectory that is older than so many versions when a batch has room for it is dropped.
    pub max_policy_lag: u64,
    /// Whether a batch holds at most one trajectory of each stream, as a learner needs that
    /// carries state from one to the next.
    pub one_per_stream: bool,
}

/// Turns trajectories into batches.
#[derive(Debug)]
pub struct Assembler {
    /// Where trajectories come from.
    pub arrivals: Arrivals,
    /// Which ones go into a batch.
    pub rules: Rules,
    /// The world that they were checked against.
    pub spec: EnvSpec,
    /// Where the tensors go.
    pub device: Device,
    /// The learner's version.
    pub newest: Newest,
    /// What is shown of it.
    pub metrics: Metrics,
}

impl Assembler {
    /// Assembles until the learner takes no more batches or `stop` is triggered. A batch that
    /// cannot be made is a bug, for its trajectories were checked when they came.
    pub fn run(
        mut self,
        runtime: &Handle,
        stop: &Shutdown,
        batches: &mpsc::Sender<Assembled>,
    ) -> Result<(), PolicyError> {
        let mut gathering = Gathering::new(self.rules.clone());
        while self.gather(&mut gathering, runtime, stop) {
            let assembled = self.assemble(gathering.take())?;
            if batches.blocking_send(assembled).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Waits until a batch is complete. `false` when there will be none.
    fn gather(&mut self, gathering: &mut Gathering, runtime: &Handle, stop: &Shutdown) -> bool {
        gathering.begin(self.newest.version());
        let (mut arrived, mut told) = (Vec::new(), 0);
        loop {
            self.metrics.dropped(Dropped::Stale, gathering.stale() - told);
            told = gathering.stale();
            gathering.complain();
            if gathering.is_complete() {
                return true;
            }
            let taken = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.triggered() => 0,
                    taken = self.arrivals.take(&mut arrived, gathering.missing()) => taken,
                }
            });
            if taken == 0 {
                return false;
            }
            self.metrics.queue_depth(self.arrivals.depth());
            let newest = self.newest.version();
            arrived.drain(..).for_each(|arrival| gathering.add(arrival, newest));
        }
    }

    fn assemble(&self, gathered: Gathered) -> Result<Assembled, PolicyError> {
        let started = Instant::now();
        let Gathered { trajectories, rows, stale } = gathered;
        let batch = Batch::from_trajectories(&trajectories, &self.spec, self.device)?;
        let env_steps = trajectories.iter().map(|t| t.env_steps() as u64).sum();
        let assembly_time = started.elapsed();
        self.metrics.phase(Phase::Assemble, assembly_time);
        let policy_versions = rows.iter().map(|row| row.policy_version).collect();
        let content = Content::Streams { batch, rows };
        Ok(Assembled { content, policy_versions, env_steps, stale, assembly_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let assembler = Assembler {
            arrivals,
            rules: Rules { batch_size: 2, max_policy_lag: 10, one_per_stream: false },
            spec: spec(),
            device: Device::Cpu,
            newest,
            metrics: Metrics::new(),
        };
        let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
        let (runtime, stop) = (Handle::current(), Shutdown::new());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || assembler.run(&runtime, &stopped, &sender));
        for sequence in 0..5 {
            intake.place().await.unwrap().put(arrival(0, sequence, 1));
        }
        for first in [0, 2] {
            let assembled = batches.recv().await.unwrap();
            let Content::Streams { batch, rows } = &assembled.content else { panic!("streams") };
            assert_eq!((batch.batch(), assembled.env_steps), (2, 8));
            assert_eq!((rows.len(), assembled.policy_versions.len()), (2, 2), "from {first}");
        }
        stop.trigger();
        assert!(batches.recv().await.is_none(), "half a batch");
        thread.join().unwrap().unwrap();
    }
}
