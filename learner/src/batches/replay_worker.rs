//! Replay worker: from what actors send to sequences to learn from, by way of the replay.
//!
//! It is a thread of its own: it puts what arrives into the replay and draws from it, as the
//! [rate limiter](crate::replay::rate_limiter) lets either side. While the learner updates from one
//! batch the next one is drawn and waits. When the rate limiter holds arrivals back their queue
//! fills, and actors wait; when it holds updates back the learner waits for a batch.
//!
//! The replay lies behind a lock, for the learner's thread has a say in it twice: after an update
//! it brings priorities, and for a checkpoint it asks for everything that is needed to go on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use engram_mdp::{EnvSpec, Generator, Seed};
use engram_policy::{Batch, PolicyError};
use engram_service::Shutdown;
use rand::RngExt;
use tch::Device;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::algorithms::ReplayBatch;
use crate::batches::batch::LearnerBatch;
use crate::batches::random_shift::RandomShift;
use crate::config::rate_limiter::RateLimiterConfig;
use crate::config::replay::ReplayConfig;
use crate::durable::owner::Owner;
use crate::replay::rate_limiter::{RateLimiter, RateLimiterCounts};
use crate::replay::{
    Priority, Replay, ReplayError, ReplaySample, ReplaySnapshot, ReplayState, TrajectoryShape,
};
use crate::rpc::membership::Forgotten;
use crate::rpc::queue::{Arrival, Arrivals};
use crate::rpc::unroll_grants::UnrollGrants;
use crate::telemetry::metric_labels::{Dropped, HeldBack, UpdatePhase};
use crate::telemetry::metrics::Metrics;

/// The replay and what decides over it, shared by the replay worker and the learner's thread.
#[derive(Clone, Debug)]
pub struct SharedReplay(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    replay: Replay,
    limiter: RateLimiter,
    generator: Generator,
    /// Batches that were drawn and not learned from yet.
    ahead: u64,
}

/// Name of the generator in checkpoints, and by which it is derived.
const GENERATOR: &str = "replay";

/// Replay as a checkpoint tells of it.
#[derive(Clone, Copy, Debug)]
pub struct SavedReplay<'a> {
    /// Segments and their episodes.
    pub replay: &'a ReplayState,
    /// Counts of the rate limiter.
    pub counted: RateLimiterCounts,
    /// Generators of the run, by name.
    pub generators: &'a BTreeMap<String, Generator>,
}

/// Settings and surroundings of a replay.
#[derive(Clone, Debug)]
pub struct ReplaySetup {
    /// Contents of the replay, and how it is sampled.
    pub replay: ReplayConfig,
    /// Updates per env step.
    pub rate_limiter: RateLimiterConfig,
    /// Decisions per trajectory.
    pub unroll_length: usize,
    /// Shape that trajectories were checked against.
    pub shape: TrajectoryShape,
    /// Folder of its segments, which are there or will be.
    pub folder: Option<PathBuf>,
    /// The experiment's seed.
    pub seed: Seed,
}

impl SharedReplay {
    /// An empty one.
    pub fn new(setup: ReplaySetup) -> Result<Self, ReplayError> {
        let ReplaySetup { replay, rate_limiter, unroll_length, shape, folder, seed } = setup;
        let limiter = RateLimiter::new(rate_limiter, unroll_length)?;
        let replay = Replay::new(replay, shape, folder)?;
        let generator = seed.derive(GENERATOR, 0).generator();
        Ok(SharedReplay::of(Shared { replay, limiter, generator, ahead: 0 }))
    }

    fn of(shared: Shared) -> Self {
        SharedReplay(Arc::new(Mutex::new(shared)))
    }

    /// The one that a checkpoint tells of. Segments that cannot be read are said and left out.
    pub fn resume(setup: ReplaySetup, saved: SavedReplay<'_>) -> Result<Self, ReplayError> {
        let Some(folder) = setup.folder.clone() else { return SharedReplay::new(setup) };
        let ReplaySetup { replay, rate_limiter, unroll_length, shape, seed, .. } = setup;
        let mut limiter = RateLimiter::restored(rate_limiter, unroll_length, saved.counted)?;
        let (replay, lost) = Replay::restore(replay, shape, folder, saved.replay)?;
        if lost.segments > 0 && replay.size().episodes == 0 {
            limiter.begin_anew();
        }
        let generator = saved.generators.get(GENERATOR).cloned();
        let generator = generator.unwrap_or_else(|| seed.derive(GENERATOR, 0).generator());
        Ok(SharedReplay::of(Shared { replay, limiter, generator, ahead: 0 }))
    }

    /// Adds the generator to those of a checkpoint, and takes hold of the replay. Batches that
    /// nothing was learned from yet are as if they had not been drawn.
    pub fn save(
        &self,
        generators: &mut BTreeMap<String, Generator>,
    ) -> (RateLimiterCounts, ReplaySnapshot) {
        let mut shared = self.lock();
        generators.insert(GENERATOR.into(), shared.generator.clone());
        (shared.counted(), shared.replay.snapshot())
    }

    /// Its files belong to an owner of the run's folder, who may lose it.
    pub fn own(&self, owner: Owner) {
        self.lock().replay.own(owner);
    }

    /// Counts of the rate limiter, as a checkpoint has them.
    pub fn counted(&self) -> RateLimiterCounts {
        self.lock().counted()
    }

    /// Something was learned from a batch, or its update was skipped.
    pub fn learned(&self) {
        let mut shared = self.lock();
        shared.ahead = shared.ahead.saturating_sub(1);
    }

    /// Env steps inserted since learning has started, if it has.
    pub fn since_warm_up(&self) -> Option<u64> {
        let limiter = &self.lock().limiter;
        limiter.has_started().then(|| limiter.counted().env_steps)
    }

    /// True if there are updates to be made for the env steps that were inserted, or one is under
    /// way.
    pub fn owes_updates(&self) -> bool {
        let shared = self.lock();
        shared.ahead > 0 || shared.limiter.may_update()
    }

    /// Changes the priorities of sequences that were learned from.
    pub fn prioritize(&self, priorities: &[Priority]) {
        self.lock().replay.update_priorities(priorities);
    }

    /// Drops the open episodes of actors that were forgotten; returns their env steps.
    pub fn forget(&self, actors: &[Forgotten]) -> u64 {
        let mut shared = self.lock();
        let forget = |&Forgotten { actor, generation }| shared.replay.forget(actor, generation);
        actors.iter().map(forget).sum()
    }

    /// A panic elsewhere leaves it as good as it was: an episode is in the replay or it is not.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn counted(&self) -> RateLimiterCounts {
        let counted = self.limiter.counted();
        RateLimiterCounts { updates: counted.updates - self.ahead, ..counted }
    }
}

/// Fills the replay and draws from it.
#[derive(Debug)]
pub struct ReplayWorker {
    /// Source of trajectories.
    pub arrivals: Arrivals,
    /// The replay.
    pub replay: SharedReplay,
    /// Env steps in it that no batch was charged with before the run was resumed.
    pub unlearned_env_steps: u64,
    /// Env steps of the run's budget that no batch was charged with so far.
    pub env_steps_left: u64,
    /// The most env steps of a trajectory.
    pub unroll_length: u64,
    /// Sequences per batch.
    pub batch_size: usize,
    /// Decisions at the beginning of each row that only warm up the memory.
    pub burn_in: usize,
    /// Shift of images, if they are shifted.
    pub random_shift: Option<RandomShift>,
    /// The environment that trajectories were checked against.
    pub spec: EnvSpec,
    /// Device of the tensors.
    pub device: Device,
    /// Rights to begin unrolls.
    pub grants: UnrollGrants,
    /// Metrics that show it.
    pub metrics: Metrics,
}

/// Sequences out of the replay, side by side.
#[derive(Debug)]
pub struct SampledBatch {
    /// Their tensors.
    pub batch: ReplayBatch,
    /// Origin of the sequences in the replay.
    pub sample: ReplaySample,
}

/// Trajectories that have arrived since the last batch.
#[derive(Debug, Default)]
struct New {
    env_steps: u64,
    /// Of the oldest weights in each trajectory.
    policy_versions: Vec<u64>,
}

impl ReplayWorker {
    /// Works until the learner takes no more batches or `stop` is triggered. A batch that cannot
    /// be made is a bug, for its trajectories were checked when they came.
    ///
    /// Once the run has had its env steps nothing more is inserted, and the updates that these owe
    /// are the last ones.
    pub fn run(
        mut self,
        runtime: &Handle,
        stop: &Shutdown,
        batches: &mpsc::Sender<LearnerBatch<SampledBatch>>,
    ) -> Result<(), PolicyError> {
        let mut new = New { env_steps: self.unlearned_env_steps, ..New::default() };
        loop {
            let held_back = !self.fill(&mut new);
            let started = Instant::now();
            if self.replay.lock().limiter.may_update() {
                self.env_steps_left = self.env_steps_left.saturating_sub(new.env_steps);
                let assembled = self.draw(std::mem::take(&mut new))?;
                if batches.blocking_send(assembled).is_err() {
                    return Ok(());
                }
                if held_back {
                    self.metrics.held_back(HeldBack::Insertions, started.elapsed());
                }
                continue;
            }
            if self.env_steps_left == 0 {
                runtime.block_on(stop.triggered());
                return Ok(());
            }
            // Even with the budget in hand: it counts once an update has been charged with it.
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
            if self.replay.lock().limiter.has_started() {
                self.metrics.held_back(HeldBack::Updates, started.elapsed());
            }
            arrived.drain(..).for_each(|arrival| self.insert(&arrival, &mut new));
        }
    }

    /// Inserts what waits, as far as the rate limiter lets; `false` if that held something back.
    fn fill(&mut self, new: &mut New) -> bool {
        let mut all = true;
        loop {
            self.metrics.queue_depth(self.arrivals.depth());
            if new.env_steps >= self.env_steps_left {
                break;
            }
            if !self.replay.lock().limiter.may_insert(self.unroll_length) {
                all = self.arrivals.depth() == 0;
                break;
            }
            let Some(arrival) = self.arrivals.next_now() else { break };
            self.insert(&arrival, new);
        }
        all
    }

    fn insert(&self, arrival: &Arrival, new: &mut New) {
        let mut shared = self.replay.lock();
        let env_steps = arrival.trajectory.env_steps() as u64;
        let episodes = match shared.replay.insert(arrival.generation, &arrival.trajectory) {
            Ok(inserted) => {
                self.metrics.replay_dropped(inserted.dropped_env_steps);
                inserted.episodes
            }
            Err(error) => {
                self.metrics.dropped(Dropped::Unreplayable, 1);
                tracing::warn!("{error}");
                Vec::new()
            }
        };
        shared.limiter.inserted(env_steps, &episodes);
        // In turns, who acts waits until the updates that this owes are made and published.
        match shared.limiter.may_update() {
            true => self.grants.batched(1),
            false => self.grants.dropped(1),
        }
        self.metrics.replay(&shared.replay.size());
        new.env_steps += env_steps;
        new.policy_versions.push(arrival.trajectory.oldest_version());
    }

    fn draw(&self, new: New) -> Result<LearnerBatch<SampledBatch>, PolicyError> {
        let started = Instant::now();
        let (sample, seed, last_minibatch) = {
            let mut shared = self.replay.lock();
            let Shared { replay, limiter, generator, ahead } = &mut *shared;
            limiter.updated();
            *ahead += 1;
            let last_minibatch = !(limiter.is_in_turns() && limiter.may_update());
            let sample = match replay.sample(self.batch_size, generator) {
                Ok(sample) => sample,
                Err(ReplayError::Empty { .. }) => {
                    panic!("learning starts after the first complete episode")
                }
                Err(error) => panic!("a replay that was checked is sampled: {error}"),
            };
            let seed = self.random_shift.map(|shift| (shift, Seed::new(generator.random())));
            (sample, seed, last_minibatch)
        };
        let mut batch = Batch::from_trajectories(&sample.rows, &self.spec, self.device)?;
        if let Some((shift, seed)) = seed {
            batch.inputs.observation = shift.apply(&batch.inputs.observation, seed);
        }
        let batch = ReplayBatch::new(batch, &sample, self.burn_in);
        let assembly_time = started.elapsed();
        self.metrics.phase(UpdatePhase::Assemble, assembly_time);
        let New { env_steps, policy_versions } = new;
        let content = SampledBatch { batch, sample };
        let stale = 0;
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
