//! Pipeline: how a run learns, from streams or from a replay.
//!
//! The decision is made once, at startup, and is a type from there on: [`StreamsPipeline`] or [`ReplayPipeline`].
//! What differs between the two is here; the loop of `training` and the
//! [`learner`](super::learner) know neither.
//!
//! | | [`StreamsPipeline`] | [`ReplayPipeline`] |
//! |---|---|---|
//! | batches are made by | the batcher, of what has just arrived | the replay worker, of all that was kept |
//! | between updates it keeps | a carry per stream | episodes, priorities, what the rate limiter counted |
//! | how actors explore | as the policy says | the weights say it |

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use engram_mdp::{EnvSpec, Seed};
use engram_policy::{Exploration, Policy, PolicyError};
use engram_service::Shutdown;
use engram_service::threads::spawn_named;
use tch::{Device, Kind, no_grad};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::algorithms::{
    Algorithm, AlgorithmConfig, LearnsFromReplay, LearnsFromStreams, NonFinite, ReplayAlgorithm,
    StreamsAlgorithm, UpdateStats,
};
use crate::batches::batch::{BATCHES_AHEAD, LearnerBatch};
use crate::batches::batcher::{Batcher, StreamsBatch};
use crate::batches::carry_table::CarryTable;
use crate::batches::random_shift::RandomShift;
use crate::batches::replay_worker::{
    ReplaySetup, ReplayWorker, SampledBatch, SavedReplay, SharedReplay,
};
use crate::batches::selector::SelectorRules;
use crate::config::OffPolicyConfig;
use crate::durable::owner::Owner;
use crate::replay::rate_limiter::RateLimiterCounts;
use crate::replay::{ReplaySnapshot, TrajectoryShape};
use crate::rpc::membership::Forgotten;
use crate::rpc::publisher::Newest;
use crate::rpc::queue::Arrivals;
use crate::rpc::unroll_grants::UnrollGrants;
use crate::run::error::LearnerError;
use crate::run::learner_config::LearnerConfig;
use crate::storage::checkpoint::Checkpoint;
use crate::storage::checkpoint_error::CheckpointError;
use crate::storage::run_folder::replay_folder;
use crate::storage::tensors;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::ranks::{RANK_COLUMNS, ranks};

/// Pipeline of a run. It belongs to the thread that learns.
pub trait Pipeline: Sized {
    /// Settings of an algorithm of this kind.
    type Config: AlgorithmConfig + ?Sized;

    /// Content of a batch.
    type Batch: Send + 'static;

    /// The pipeline of a run that begins, or that goes on from a checkpoint, whose weights `policy`
    /// has then.
    fn open(
        algorithm: &Arc<Self::Config>,
        config: &LearnerConfig,
        policy: &Policy,
        resumed: Option<Resumed<'_>>,
    ) -> Result<Self, LearnerError>;

    /// The algorithm.
    fn algorithm(&self) -> &dyn Algorithm;

    /// The algorithm, to be changed.
    fn algorithm_mut(&mut self) -> &mut dyn Algorithm;

    /// Names of the numbers that an update reports.
    fn columns(&self) -> Vec<&'static str> {
        self.algorithm().columns().to_vec()
    }

    /// Makes one update of `policy`, after the share `progress` of the run's env steps.
    fn update(
        &mut self,
        policy: &Policy,
        batch: &Self::Batch,
        progress: f64,
    ) -> Result<UpdateStats, NonFinite>;

    /// Starts `policy` and the algorithm anew, where the settings ask for it after so many updates.
    fn restart_if_due(&mut self, _policy: &Policy, _updates: u64) {}

    /// Drops what it keeps of actors that were forgotten.
    fn forget(&mut self, actors: &[Forgotten], metrics: &Metrics);

    /// Shows in metrics what it keeps between updates.
    fn report(&mut self, metrics: &Metrics);

    /// Exploration of actors with the next weights, where the weights say it.
    fn exploration(&self) -> Option<Exploration>;

    /// Updates between two publications of the weights.
    fn publish_updates(&self) -> u64;

    /// Counts of a replay's rate limiter.
    fn rate_limiter(&self) -> Option<RateLimiterCounts>;

    /// True if updates are still to be made for the env steps that it has taken.
    fn owes_updates(&self) -> bool;

    /// Adds what this pipeline keeps between updates to a checkpoint; a replay goes beside it.
    fn save(&mut self, checkpoint: &mut Checkpoint) -> Option<ReplaySnapshot>;

    /// Starts the thread that makes batches.
    fn start(&self, source: BatchSource) -> BatchThread<Self::Batch>;
}

/// Checkpoint that a run goes on from.
#[derive(Clone, Copy, Debug)]
pub struct Resumed<'a> {
    /// Its folder.
    pub path: &'a Path,
    /// Its content.
    pub checkpoint: &'a Checkpoint,
}

impl Resumed<'_> {
    /// The error that says why the checkpoint does not fit.
    pub(crate) fn misfit(self, why: String) -> LearnerError {
        CheckpointError::Tensors { path: self.path.into(), why }.into()
    }
}

/// Source of batches: where trajectories come from, and what was agreed about them.
#[derive(Debug)]
pub struct BatchSource {
    /// Trajectories.
    pub arrivals: Arrivals,
    /// The environment that they were checked against.
    pub spec: EnvSpec,
    /// The learner's version.
    pub newest: Newest,
    /// Rights to begin unrolls.
    pub grants: UnrollGrants,
    /// Versions that a trajectory may be behind.
    pub max_policy_lag: u64,
    /// Decisions per trajectory.
    pub unroll_length: usize,
    /// Env steps that the run has still to learn from.
    pub env_steps_left: u64,
    /// Device of the tensors.
    pub device: Device,
    /// Owner of the run's folder, if the run has one.
    pub owner: Option<Owner>,
    /// Metrics of batches.
    pub metrics: Metrics,
    /// Runtime on which the thread waits.
    pub runtime: Handle,
}

/// Thread that makes batches.
#[derive(Debug)]
pub struct BatchThread<B> {
    /// Its batches.
    pub batches: mpsc::Receiver<LearnerBatch<B>>,
    /// Ends it.
    pub stop: Shutdown,
    /// Its end.
    pub thread: JoinHandle<Result<(), PolicyError>>,
}

/// Learning from streams: each trajectory once, and what streams carry from one to the next.
#[derive(Debug)]
pub struct StreamsPipeline {
    algorithm: Box<dyn StreamsAlgorithm>,
    carry_table: CarryTable,
    batch_size: usize,
    minibatches: usize,
    seed: Seed,
}

/// Learning from a replay: sequences out of all that was kept.
#[derive(Debug)]
pub struct ReplayPipeline {
    algorithm: Box<dyn ReplayAlgorithm>,
    /// Settings that the algorithm is started anew with.
    settings: Arc<dyn LearnsFromReplay>,
    replay: SharedReplay,
    /// Env steps that had entered the replay without having been learned from when it was saved.
    unlearned_env_steps: u64,
    config: OffPolicyConfig,
    random_shift: Option<RandomShift>,
    seed: Seed,
}

impl StreamsPipeline {
    /// The carries of all streams.
    pub fn carry_table(&mut self) -> &mut CarryTable {
        &mut self.carry_table
    }
}

impl Pipeline for StreamsPipeline {
    type Config = dyn LearnsFromStreams;
    type Batch = StreamsBatch;

    fn open(
        algorithm: &Arc<Self::Config>,
        config: &LearnerConfig,
        policy: &Policy,
        resumed: Option<Resumed<'_>>,
    ) -> Result<Self, LearnerError> {
        let (batch_size, memory) = (algorithm.batch_size(), config.flags.stream_memory);
        let (minibatches, algorithm) = (algorithm.minibatches(), algorithm.start(policy));
        let carry = algorithm.initial_carry(policy, 1);
        let mut carry_table = CarryTable::new(&carry, policy.device(), memory, batch_size)?;
        if let Some(resumed) = resumed {
            let Checkpoint { state, carry_table: carries, .. } = resumed.checkpoint;
            if !state.carry_table.is_empty() {
                let carries = tensors::from_bytes(carries).map_err(|why| resumed.misfit(why))?;
                let loaded = carry_table.load(&state.carry_table, &carries);
                loaded.map_err(|why| resumed.misfit(why))?;
            }
        }
        let seed = config.seed().derive("minibatches", 0);
        Ok(StreamsPipeline { algorithm, carry_table, batch_size, minibatches, seed })
    }

    fn algorithm(&self) -> &dyn Algorithm {
        &*self.algorithm
    }

    fn algorithm_mut(&mut self) -> &mut dyn Algorithm {
        &mut *self.algorithm
    }

    fn update(
        &mut self,
        policy: &Policy,
        StreamsBatch { batch, keys }: &StreamsBatch,
        progress: f64,
    ) -> Result<UpdateStats, NonFinite> {
        let started = Instant::now();
        let carry = self.carry_table.take(keys);
        let taking = started.elapsed();
        let (mut stats, carry) = self.algorithm.update(policy, batch, carry, progress)?;
        let updated = Instant::now();
        self.carry_table.put(keys, &carry);
        stats.phases.forward += taking;
        stats.phases.optimizer += updated.elapsed();
        Ok(stats)
    }

    fn forget(&mut self, actors: &[Forgotten], _metrics: &Metrics) {
        self.carry_table.forget(actors);
    }

    fn report(&mut self, metrics: &Metrics) {
        if self.carry_table.carries() {
            metrics.carry_table(&self.carry_table.stats());
        }
    }

    fn exploration(&self) -> Option<Exploration> {
        self.algorithm.exploration()
    }

    fn publish_updates(&self) -> u64 {
        1
    }

    fn rate_limiter(&self) -> Option<RateLimiterCounts> {
        None
    }

    // Env steps count with the update that learns from them.
    fn owes_updates(&self) -> bool {
        false
    }

    fn save(&mut self, checkpoint: &mut Checkpoint) -> Option<ReplaySnapshot> {
        let (streams, carries) = self.carry_table.save();
        if !streams.is_empty() {
            checkpoint.state.carry_table = streams;
            checkpoint.carry_table = tensors::to_bytes(&carries).into();
        }
        None
    }

    fn start(&self, source: BatchSource) -> BatchThread<StreamsBatch> {
        let rules = SelectorRules {
            batch_size: self.batch_size,
            max_policy_lag: source.max_policy_lag,
            one_per_stream: self.carry_table.carries(),
        };
        let BatchSource { arrivals, spec, newest, grants, device, metrics, runtime, .. } = source;
        let (minibatches, seed) = (self.minibatches, self.seed);
        let batcher =
            Batcher { arrivals, rules, minibatches, seed, spec, device, newest, grants, metrics };
        BatchThread::spawn("batcher", runtime, move |runtime, stop, batches| {
            batcher.run(runtime, stop, batches)
        })
    }
}

impl Pipeline for ReplayPipeline {
    type Config = dyn LearnsFromReplay;
    type Batch = SampledBatch;

    fn open(
        algorithm: &Arc<Self::Config>,
        config: &LearnerConfig,
        policy: &Policy,
        resumed: Option<Resumed<'_>>,
    ) -> Result<Self, LearnerError> {
        let (settings, shared, seed) = (algorithm.clone(), algorithm.shared(), config.seed());
        shared.replay.check_frame_stack(policy.spec().frame_stack)?;
        let algorithm = settings.start(policy, seed.derive("critic", 0));
        let state_width = policy.exported_state_width().unwrap_or(0);
        let setup = ReplaySetup {
            replay: shared.replay.clone(),
            rate_limiter: shared.rate_limiter,
            unroll_length: config.run.unroll_length,
            shape: TrajectoryShape { spec: policy.spec().clone(), state_width },
            folder: config.folder.as_deref().map(replay_folder),
            seed: config.seed(),
        };
        let saved = resumed.and_then(|Resumed { checkpoint: Checkpoint { state, .. }, .. }| {
            let (replay, counted) = (state.replay.as_ref()?, state.rate_limiter?);
            Some(SavedReplay { replay, counted, generators: &state.generators })
        });
        let replay = match saved {
            Some(saved) => SharedReplay::resume(setup, saved)?,
            None => SharedReplay::new(setup)?,
        };
        let learned = resumed.map_or(0, |resumed| resumed.checkpoint.state.counters.env_steps);
        let unlearned_env_steps = replay.counted().inserted().saturating_sub(learned);
        let random_shift = RandomShift::of(&shared, policy.spec())?;
        Ok(ReplayPipeline {
            algorithm,
            settings,
            replay,
            unlearned_env_steps,
            config: shared,
            random_shift,
            seed,
        })
    }

    fn algorithm(&self) -> &dyn Algorithm {
        &*self.algorithm
    }

    fn algorithm_mut(&mut self) -> &mut dyn Algorithm {
        &mut *self.algorithm
    }

    fn columns(&self) -> Vec<&'static str> {
        let ranks = if self.config.log_ranks { &RANK_COLUMNS[..] } else { &[] };
        [self.algorithm.columns(), ranks].concat()
    }

    fn update(
        &mut self,
        policy: &Policy,
        SampledBatch { batch, sample }: &SampledBatch,
        _progress: f64,
    ) -> Result<UpdateStats, NonFinite> {
        let updated = self.algorithm.update(policy, batch);
        self.replay.learned();
        let (mut stats, td_errors) = updated?;
        if self.config.log_ranks {
            let said = no_grad(|| batch.remember(policy));
            let ranks = ranks(&said.narrow(0, 0, batch.decisions()), batch.mask());
            stats.numbers.extend(RANK_COLUMNS.into_iter().zip(ranks));
        }
        if let Some(largest_share) = self.config.largest_share() {
            let errors = td_errors.to_kind(Kind::Float).to_device(Device::Cpu).contiguous();
            let errors = Vec::<f32>::try_from(errors.view(-1)).expect("floats, row by row");
            self.replay.prioritize(&sample.priorities(&errors, largest_share));
        }
        Ok(stats)
    }

    fn restart_if_due(&mut self, policy: &Policy, updates: u64) {
        if self.config.reset_updates.is_none_or(|every| !updates.is_multiple_of(every)) {
            return;
        }
        let seed = self.seed.derive("restart", updates);
        policy.restart(seed.derive("policy", 0));
        self.algorithm = self.settings.start(policy, seed.derive("critic", 0));
        tracing::info!(updates, "all weights start anew: rl.reset_updates");
    }

    fn forget(&mut self, actors: &[Forgotten], metrics: &Metrics) {
        metrics.replay_dropped(self.replay.forget(actors));
    }

    // The replay worker shows the replay as it fills it.
    fn report(&mut self, _metrics: &Metrics) {}

    fn exploration(&self) -> Option<Exploration> {
        let since_warm_up = self.replay.since_warm_up();
        Some(self.config.exploration.at(self.algorithm.choice(), since_warm_up))
    }

    fn publish_updates(&self) -> u64 {
        self.config.publish_updates
    }

    fn rate_limiter(&self) -> Option<RateLimiterCounts> {
        Some(self.replay.counted())
    }

    fn owes_updates(&self) -> bool {
        self.replay.owes_updates()
    }

    fn save(&mut self, checkpoint: &mut Checkpoint) -> Option<ReplaySnapshot> {
        let (counted, snapshot) = self.replay.save(&mut checkpoint.state.generators);
        checkpoint.state.rate_limiter = Some(counted);
        Some(snapshot)
    }

    fn start(&self, source: BatchSource) -> BatchThread<SampledBatch> {
        let BatchSource { arrivals, spec, device, grants, metrics, runtime, .. } = source;
        source.owner.into_iter().for_each(|owner| self.replay.own(owner));
        let worker = ReplayWorker {
            arrivals,
            replay: self.replay.clone(),
            unlearned_env_steps: self.unlearned_env_steps,
            env_steps_left: source.env_steps_left,
            unroll_length: source.unroll_length as u64,
            batch_size: self.config.batch_size,
            burn_in: self.config.replay.burn_in(),
            random_shift: self.random_shift,
            spec,
            device,
            grants,
            metrics,
        };
        BatchThread::spawn("replay-worker", runtime, move |runtime, stop, batches| {
            worker.run(runtime, stop, batches)
        })
    }
}

impl<B: Send + 'static> BatchThread<B> {
    fn spawn(
        name: &'static str,
        runtime: Handle,
        work: impl FnOnce(&Handle, &Shutdown, &mpsc::Sender<LearnerBatch<B>>) -> Result<(), PolicyError>
        + Send
        + 'static,
    ) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
        let stop = Shutdown::new();
        let stopping = stop.clone();
        let thread = spawn_named(name, move || work(&runtime, &stopping, &sender));
        BatchThread { batches, stop, thread }
    }
}
