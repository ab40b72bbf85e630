//! Trajectories become batches, ahead of the update that wants them.
//!
//! The batcher is a thread of its own: while the learner updates from one batch, the next one
//! is turned into tensors and waits. Only one waits, with another one in the batcher's hands, for
//! every batch ahead makes data older.

use std::time::Instant;

use engram_mdp::{EnvSpec, Seed};
use engram_policy::{Batch, PolicyError};
use engram_service::Shutdown;
use rand::seq::SliceRandom;
use tch::Device;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::batches::batch::LearnerBatch;
use crate::batches::selector::{Selected, Selector, SelectorRules, TrajectoryKey};
use crate::rpc::publisher::Newest;
use crate::rpc::queue::Arrivals;
use crate::rpc::unroll_grants::UnrollGrants;
use crate::telemetry::metric_labels::{Dropped, UpdatePhase};
use crate::telemetry::metrics::Metrics;

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
    /// Updates for each batch, each from a random share of its trajectories.
    pub minibatches: usize,
    /// Seed of the shares.
    pub seed: Seed,
    /// The environment that they were checked against.
    pub spec: EnvSpec,
    /// Device of the tensors.
    pub device: Device,
    /// The learner's version.
    pub newest: Newest,
    /// Rights to begin unrolls.
    pub grants: UnrollGrants,
    /// Metrics that show it.
    pub metrics: Metrics,
}

/// Share of a batch.
struct Minibatch {
    selected: Selected,
    /// True for the last one of its batch.
    last: bool,
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
            let selected = selector.take();
            self.grants.batched(selected.keys.len());
            for minibatch in self.split(selected) {
                let assembled = self.assemble(minibatch)?;
                if batches.blocking_send(assembled).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Waits until a batch is complete. `false` when there will be none.
    fn select(&mut self, selector: &mut Selector, runtime: &Handle, stop: &Shutdown) -> bool {
        selector.begin(self.newest.version());
        let (mut arrived, mut reported) = (Vec::new(), 0);
        loop {
            let stale = selector.stale() - reported;
            self.metrics.dropped(Dropped::Stale, stale);
            self.grants.dropped(stale as usize);
            reported = selector.stale();
            selector.warn_if_starved();
            if selector.is_complete() {
                return true;
            }
            let taken = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.triggered() => Some(0),
                    taken = self.arrivals.take(&mut arrived, selector.missing()) => Some(taken),
                    () = self.grants.exhausted(selector.in_hand()) => None,
                }
            });
            match taken {
                Some(0) => return false,
                Some(_) => {}
                None => {
                    selector.warn_of_few_streams();
                    return true;
                }
            }
            self.metrics.queue_depth(self.arrivals.depth());
            let newest = self.newest.version();
            arrived.drain(..).for_each(|arrival| selector.add(arrival, newest));
        }
    }

    /// Deals a batch out into minibatches of one size, at random. What is random follows from the
    /// streams and from the learner's version, not from the order in which trajectories came.
    fn split(&self, selected: Selected) -> Vec<Minibatch> {
        let Selected { trajectories, keys, stale } = selected;
        let mut rows: Vec<_> = keys.into_iter().zip(trajectories).collect();
        rows.sort_by_key(|(key, _)| {
            (key.stream.actor, key.stream.env_index, key.generation, key.sequence)
        });
        if self.minibatches > 1 {
            rows.shuffle(&mut self.seed.derive("batch", self.newest.version()).generator());
        }
        let size = rows.len().div_ceil(self.minibatches).max(1);
        let last = rows.len().div_ceil(size).max(1) - 1;
        let mut rows = rows.into_iter();
        let minibatch = |index| {
            let (keys, trajectories) = rows.by_ref().take(size).unzip();
            let stale = if index == 0 { stale } else { 0 };
            Minibatch { selected: Selected { trajectories, keys, stale }, last: index == last }
        };
        (0..=last).map(minibatch).collect()
    }

    fn assemble(
        &self,
        Minibatch { selected, last: last_minibatch }: Minibatch,
    ) -> Result<LearnerBatch<StreamsBatch>, PolicyError> {
        let started = Instant::now();
        let Selected { trajectories, keys, stale } = selected;
        let batch = Batch::from_trajectories(&trajectories, &self.spec, self.device)?;
        let env_steps = trajectories.iter().map(|t| t.env_steps() as u64).sum();
        let assembly_time = started.elapsed();
        self.metrics.phase(UpdatePhase::Assemble, assembly_time);
        let policy_versions = keys.iter().map(|key| key.policy_version).collect();
        let content = StreamsBatch { batch, keys };
        Ok(LearnerBatch {
            content,
            policy_versions,
            last_minibatch,
            env_steps,
            stale,
            assembly_time,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batches::batch::BATCHES_AHEAD;
    use crate::config::flags::ByteSize;
    use crate::fixtures::{spec, trajectory};
    use crate::rpc::publisher::{Weights, publisher};
    use crate::rpc::queue::{Arrival, bounded};

    fn arrival(env_index: u32, sequence: u64, policy_version: u64) -> Arrival {
        let mut trajectory = trajectory(env_index, sequence);
        trajectory.policy_versions.fill(policy_version);
        Arrival { trajectory, generation: 1 }
    }

    fn batcher(
        arrivals: Arrivals,
        newest: Newest,
        batch_size: usize,
        minibatches: usize,
    ) -> Batcher {
        Batcher {
            arrivals,
            rules: SelectorRules { batch_size, max_policy_lag: 10, one_per_stream: false },
            spec: spec(),
            minibatches,
            seed: Seed::new(1),
            device: Device::Cpu,
            newest,
            grants: UnrollGrants::unlimited(),
            metrics: Metrics::new(),
        }
    }

    fn newest(policy_version: u64) -> Newest {
        let (publisher, newest) = publisher();
        publisher.publish(Weights { policy_version, bytes: bytes::Bytes::new() });
        newest
    }

    #[tokio::test]
    async fn batches_are_full_and_wait_one_ahead() {
        let (intake, arrivals) = bounded(8, ByteSize::QUEUE_MEMORY);
        let batcher = batcher(arrivals, newest(1), 2, 1);
        let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
        let (runtime, stop) = (Handle::current(), Shutdown::new());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || batcher.run(&runtime, &stopped, &sender));
        for sequence in 0..5 {
            intake.place(1).await.unwrap().put(arrival(0, sequence, 1));
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

    /// Minibatches of eight trajectories of eight streams that came in `order`, as the environments
    /// of each, at a version of the learner.
    fn dealt(order: &[u32], version: u64) -> Vec<Vec<u32>> {
        let (_, arrivals) = bounded(1, ByteSize::QUEUE_MEMORY);
        let batcher = batcher(arrivals, newest(version), 8, 4);
        let mut selector = Selector::new(batcher.rules.clone());
        order.iter().for_each(|&env| selector.add(arrival(env, 0, version), version));
        let minibatches = batcher.split(selector.take());
        let last: Vec<bool> = minibatches.iter().map(|minibatch| minibatch.last).collect();
        assert_eq!(last, [false, false, false, true]);
        let envs = |minibatch: &Minibatch| {
            let keys = minibatch.selected.keys.iter().zip(&minibatch.selected.trajectories);
            keys.map(|(key, trajectory)| {
                assert_eq!(key.stream, trajectory.stream);
                key.stream.env_index
            })
            .collect()
        };
        minibatches.iter().map(envs).collect()
    }

    #[test]
    fn minibatches_are_equal_shares_that_do_not_depend_on_the_order_of_arrival() {
        let dealt_once = dealt(&[0, 1, 2, 3, 4, 5, 6, 7], 3);
        assert!(dealt_once.iter().all(|minibatch| minibatch.len() == 2));
        let mut all = dealt_once.concat();
        assert_ne!(all, [0, 1, 2, 3, 4, 5, 6, 7], "shuffled");
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(dealt(&[7, 2, 5, 0, 1, 3, 6, 4], 3), dealt_once);
        assert_ne!(dealt(&[0, 1, 2, 3, 4, 5, 6, 7], 4), dealt_once);
    }
}
