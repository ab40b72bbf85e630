//! From what actors send to sequences to learn from, by way of the replay.
//!
//! The replayer is a thread of its own: it puts what arrives into the replay and draws from it,
//! as the [`limiter`](crate::replay::rate_limiter) lets either side. While the learner updates from one batch
//! the next one is drawn and waits. When the limiter holds arrivals back their queue fills, and
//! actors wait; when it holds updates back the learner waits for a batch.
//!
//! The replay lies behind a lock, for the learner's thread has a say in it twice: after an update
//! it brings priorities, and for a checkpoint it asks for everything that is needed to go on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engram_mdp::{EnvSpec, Generator, Seed};
use engram_policy::{Batch, PolicyError};
use engram_service::Shutdown;
use tch::Device;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::algorithms::Replayed;
use crate::batches::batcher::{Assembled, Content};
use crate::replay::rate_limiter::{Limiter, LimiterConfig};
use crate::replay::{Priority, Replay, ReplayConfig, ReplayError, Snapshot, World};
use crate::rpc::queue::{Arrival, Arrivals};
use crate::run::error::LearnerError;
use crate::storage::checkpoint::State;
use crate::telemetry::metrics::{Dropped, HeldBack, Metrics, Phase};

/// The replay and what decides over it, shared by the replayer and the learner's thread.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    replay: Replay,
    limiter: Limiter,
    generator: Generator,
}

/// What the generator is called in checkpoints, and derived by.
const GENERATOR: &str = "replay";

/// How a replay is made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is kept, and how it is sampled.
    pub replay: ReplayConfig,
    /// Updates per env step.
    pub limiter: LimiterConfig,
    /// Decisions per trajectory.
    pub unroll_length: usize,
    /// What trajectories were checked against.
    pub world: World,
    /// Where its segments are, or will be.
    pub folder: Option<PathBuf>,
    /// The experiment's seed.
    pub seed: Seed,
}

impl Memory {
    /// An empty one.
    pub fn new(plan: Plan) -> Result<Self, LearnerError> {
        let Plan { replay, limiter, unroll_length, world, folder, seed } = plan;
        let limiter = Limiter::new(limiter, unroll_length)?;
        let replay = Replay::new(replay, world, folder)?;
        let generator = seed.derive(GENERATOR, 0).generator();
        Ok(Memory(Arc::new(Mutex::new(Shared { replay, limiter, generator }))))
    }

    /// The one that a checkpoint tells of. Segments that cannot be read are said and left out.
    pub fn resume(plan: Plan, state: &State) -> Result<Self, LearnerError> {
        let (Some(saved), Some(counted), Some(folder)) =
            (&state.replay, state.limiter, plan.folder.clone())
        else {
            return Memory::new(plan);
        };
        let Plan { replay, limiter, unroll_length, world, seed, .. } = plan;
        let mut limiter = Limiter::restored(limiter, unroll_length, counted)?;
        let (replay, lost) = Replay::restore(replay, world, folder, saved)?;
        if lost.segments > 0 && replay.held().episodes == 0 {
            limiter.begin_anew();
        }
        let generator = state.generators.get(GENERATOR).cloned();
        let generator = generator.unwrap_or_else(|| seed.derive(GENERATOR, 0).generator());
        Ok(Memory(Arc::new(Mutex::new(Shared { replay, limiter, generator }))))
    }

    /// Adds to a checkpoint what only this side knows, and takes hold of the replay.
    pub fn save(&self, state: &mut State) -> Snapshot {
        let mut shared = self.lock();
        state.limiter = Some(shared.limiter.counted());
        state.generators.insert(GENERATOR.into(), shared.generator.clone());
        shared.replay.snapshot()
    }

    /// Env steps inserted since learning has started, if it has.
    pub fn since_warm_up(&self) -> Option<u64> {
        let limiter = &self.lock().limiter;
        limiter.has_started().then(|| limiter.counted().env_steps)
    }

    /// Changes the priorities of sequences that were learned from.
    pub fn prioritize(&self, priorities: &[Priority]) {
        self.lock().replay.update_priorities(priorities);
    }

    /// A panic elsewhere leaves it as good as it was: an episode is in the replay or it is not.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fills the replay and draws from it.
#[derive(Debug)]
pub struct Replayer {
    /// Where trajectories come from.
    pub arrivals: Arrivals,
    /// The replay.
    pub memory: Memory,
    /// The most env steps of a trajectory.
    pub unroll_length: u64,
    /// Sequences per batch.
    pub batch_size: usize,
    /// Decisions at the beginning of each row that only warm up the memory.
    pub burn_in: usize,
    /// The world that trajectories were checked against.
    pub spec: EnvSpec,
    /// Where the tensors go.
    pub device: Device,
    /// What is shown of it.
    pub metrics: Metrics,
}

/// What has arrived since the last batch.
#[derive(Debug, Default)]
struct New {
    env_steps: u64,
    /// Of the oldest weights in each trajectory.
    policy_versions: Vec<u64>,
}

impl Replayer {
    /// Works until the learner takes no more batches or `stop` is triggered. A batch that cannot
    /// be made is a bug, for its trajectories were checked when they came.
    pub fn run(
        mut self,
        runtime: &Handle,
        stop: &Shutdown,
        batches: &mpsc::Sender<Assembled>,
    ) -> Result<(), PolicyError> {
        let mut new = New::default();
        loop {
            let held_back = !self.fill(&mut new);
            let started = Instant::now();
            if self.memory.lock().limiter.may_update() {
                let assembled = self.draw(std::mem::take(&mut new))?;
                if batches.blocking_send(assembled).is_err() {
                    return Ok(());
                }
                if held_back {
                    self.metrics.held_back(HeldBack::Insertions, started.elapsed());
                }
                continue;
            }
            let mut arrived = Vec::with_capacity(1);
            let taken = runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = stop.triggered() => 0,
                    taken = self.arrivals.take(&mut arrived, 1) => taken,
                }
            });
            if taken == 0 {
                return Ok(());
            }
            if self.memory.lock().limiter.has_started() {
                self.metrics.held_back(HeldBack::Updates, started.elapsed());
            }
            arrived.drain(..).for_each(|arrival| self.insert(&arrival, &mut new));
        }
    }

    /// Inserts what waits, as far as the limiter lets; `false` if that held something back.
    fn fill(&mut self, new: &mut New) -> bool {
        let mut all = true;
        loop {
            self.metrics.queue_depth(self.arrivals.depth());
            if !self.memory.lock().limiter.may_insert(self.unroll_length) {
                all = self.arrivals.depth() == 0;
                break;
            }
            let Some(arrival) = self.arrivals.next_now() else { break };
            self.insert(&arrival, new);
        }
        all
    }

    fn insert(&self, arrival: &Arrival, new: &mut New) {
        let mut shared = self.memory.lock();
        let env_steps = arrival.trajectory.env_steps() as u64;
        let episodes = match shared.replay.insert(arrival) {
            Ok(inserted) => {
                self.metrics.replay_dropped(inserted.dropped_env_steps);
                inserted.episodes
            }
            Err(error) => {
                self.metrics.dropped(Dropped::Unreplayable, 1);
                tracing::warn!("{error}");
                0
            }
        };
        shared.limiter.inserted(env_steps, episodes);
        self.metrics.replay(&shared.replay.held());
        new.env_steps += env_steps;
        new.policy_versions.push(arrival.trajectory.oldest_version());
    }

    fn draw(&self, new: New) -> Result<Assembled, PolicyError> {
        let started = Instant::now();
        let sample = {
            let mut shared = self.memory.lock();
            let Shared { replay, limiter, generator } = &mut *shared;
            limiter.updated();
            match replay.sample(self.batch_size, generator) {
                Ok(sample) => sample,
                Err(ReplayError::Empty { .. }) => {
                    panic!("learning starts after the first complete episode")
                }
                Err(error) => panic!("a replay that was checked is sampled: {error}"),
            }
        };
        let batch = Batch::from_trajectories(&sample.rows, &self.spec, self.device)?;
        let replayed = Replayed::new(batch, &sample, self.burn_in);
        let assembly_time = started.elapsed();
        self.metrics.phase(Phase::Assemble, assembly_time);
        let New { env_steps, policy_versions } = new;
        let content = Content::Sequences { replayed, sample };
        Ok(Assembled { content, policy_versions, env_steps, stale: 0, assembly_time })
    }
}
