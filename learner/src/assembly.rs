//! Trajectories become batches, ahead of the update that wants them.
//!
//! The assembler is a thread of its own: while the learner updates from one batch, the next one
//! is turned into tensors and waits. Only one waits, for every batch ahead makes data older.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use engram_mdp::{EnvSpec, StreamId, Trajectory};
use engram_policy::{Batch, PolicyError};
use engram_service::Shutdown;
use tch::Device;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::metrics::{Dropped, Metrics, Phase};
use crate::publisher::Newest;
use crate::queue::{Arrival, Arrivals};
use crate::streams::Continuity;

/// Batches that wait for the learner, beside the one that it works on.
pub const BATCHES_AHEAD: usize = 1;

/// A batch and what is known of its trajectories.
#[derive(Debug)]
pub struct Assembled {
    /// The tensors.
    pub batch: Batch,
    /// Its trajectories, in the order of the batch.
    pub rows: Vec<Row>,
    /// Agent decisions in it.
    pub env_steps: u64,
    /// Trajectories that were dropped on the way to it because they were stale.
    pub stale: u64,
    /// How long its tensors took to make.
    pub assembly_time: Duration,
}

/// Where one trajectory of a batch came from.
///
/// This is what an algorithm needs that carries state from one unroll of a stream to the next:
/// it would keep that state by stream, and begin anew where there is no direct successor. Such an
/// algorithm must also be given at most one trajectory per stream in a batch; `gather` is the
/// place to hold back the second one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The stream.
    pub stream: StreamId,
    /// Whether it follows the last trajectory of that stream that was in any batch.
    pub continuity: Continuity,
    /// The version of the oldest weights in it.
    pub policy_version: u64,
}

/// Which trajectories go into a batch.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Trajectories per batch.
    pub batch_size: usize,
    /// A trajectory older than so many versions is dropped.
    pub max_policy_lag: u64,
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

/// Fresh trajectories, until they fill a batch.
#[derive(Debug, Default)]
struct Gathering {
    trajectories: Vec<Trajectory>,
    rows: Vec<Row>,
    stale: u64,
    complained: bool,
    /// Streams of which a trajectory was dropped: their next one follows nothing.
    broken: HashSet<StreamId>,
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
        let mut gathering = Gathering::default();
        while self.gather(&mut gathering, runtime, stop) {
            let assembled = self.assemble(&mut gathering)?;
            if batches.blocking_send(assembled).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Waits until a batch is full. `false` when there will be none.
    fn gather(&mut self, gathering: &mut Gathering, runtime: &Handle, stop: &Shutdown) -> bool {
        let mut arrived = Vec::new();
        while gathering.rows.len() < self.rules.batch_size {
            let missing = self.rules.batch_size - gathering.rows.len();
            let taken = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.triggered() => 0,
                    taken = self.arrivals.take(&mut arrived, missing) => taken,
                }
            });
            if taken == 0 {
                return false;
            }
            self.metrics.queue_depth(self.arrivals.depth());
            let (newest, stale) = (self.newest.version(), gathering.stale);
            for arrival in arrived.drain(..) {
                gathering.add(arrival, newest, self.rules.max_policy_lag);
            }
            self.metrics.dropped(Dropped::Stale, gathering.stale - stale);
            gathering.complain(&self.rules);
        }
        true
    }

    fn assemble(&self, gathering: &mut Gathering) -> Result<Assembled, PolicyError> {
        let started = Instant::now();
        let trajectories = std::mem::take(&mut gathering.trajectories);
        let batch = Batch::from_trajectories(&trajectories, &self.spec, self.device)?;
        let env_steps = trajectories.iter().map(|t| t.env_steps() as u64).sum();
        let stale = std::mem::take(&mut gathering.stale);
        gathering.complained = false;
        let assembly_time = started.elapsed();
        self.metrics.phase(Phase::Assemble, assembly_time);
        let rows = std::mem::take(&mut gathering.rows);
        Ok(Assembled { batch, rows, env_steps, stale, assembly_time })
    }
}

impl Gathering {
    /// Says so, once, when so much is stale that batches do not fill.
    fn complain(&mut self, rules: &Rules) {
        if self.complained || self.stale < 8 * rules.batch_size as u64 {
            return;
        }
        tracing::warn!(
            trajectories = self.stale,
            max_policy_lag = rules.max_policy_lag,
            "most trajectories are stale: allow a larger run.max_policy_lag, or take fewer actors"
        );
        self.complained = true;
    }

    /// Keeps a trajectory if it is not stale.
    fn add(&mut self, arrival: Arrival, newest: u64, max_policy_lag: u64) {
        let Arrival { trajectory, continuity } = arrival;
        let stream = trajectory.stream;
        let policy_version = trajectory.oldest_version();
        if newest.saturating_sub(policy_version) > max_policy_lag {
            self.stale += 1;
            self.broken.insert(stream);
            return;
        }
        let continuity = match (self.broken.remove(&stream), continuity) {
            (true, Continuity::Continues) => Continuity::Gap { missing: 1 },
            (_, continuity) => continuity,
        };
        self.rows.push(Row { stream, continuity, policy_version });
        self.trajectories.push(trajectory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{spec, stream, trajectory};
    use crate::publisher::{Weights, publisher};
    use crate::queue::bounded;

    fn arrival(env_index: u32, sequence: u64, policy_version: u64) -> Arrival {
        let mut trajectory = trajectory(env_index, sequence);
        trajectory.policy_versions.fill(policy_version);
        Arrival { trajectory, continuity: Continuity::Continues }
    }

    #[test]
    fn a_stale_trajectory_is_dropped_and_breaks_its_stream() {
        let mut gathering = Gathering::default();
        for (sequence, policy_version) in [(0, 9), (1, 4), (2, 5), (3, 9)] {
            gathering.add(arrival(0, sequence, policy_version), 10, 5);
        }
        gathering.add(arrival(1, 0, 9), 10, 5);
        let (follows, breaks) = (Continuity::Continues, Continuity::Gap { missing: 1 });
        let row = |env_index, continuity, policy_version| Row {
            stream: stream(env_index),
            continuity,
            policy_version,
        };
        let expected =
            [row(0, follows, 9), row(0, breaks, 5), row(0, follows, 9), row(1, follows, 9)];
        assert_eq!(gathering.rows, expected);
        assert_eq!((gathering.stale, gathering.trajectories.len()), (1, 4));
    }

    #[tokio::test]
    async fn batches_are_full_and_wait_one_ahead() {
        let (intake, arrivals) = bounded(8);
        let (publisher, newest) = publisher();
        publisher.publish(Weights { policy_version: 1, bytes: bytes::Bytes::new() });
        let assembler = Assembler {
            arrivals,
            rules: Rules { batch_size: 2, max_policy_lag: 10 },
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
            assert_eq!((assembled.batch.batch(), assembled.env_steps), (2, 8));
            assert_eq!(assembled.rows.len(), 2, "from {first}");
        }
        stop.trigger();
        assert!(batches.recv().await.is_none(), "half a batch");
        thread.join().unwrap().unwrap();
    }
}
