//! What is learned, between two updates: the policy, the algorithm, and how far they are.
//!
//! Everything here belongs to one thread. It is saved whole and goes on from there bit for bit.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use engram_mdp::{EnvSpec, Seed};
use engram_policy::{Batch, Loaded, Policy, PolicyConfig};
use tch::{Device, Kind};

use crate::algorithms::{Algorithm, NonFinite, Replayed, UpdateStats};
use crate::batches::batcher::{Content, Row};
use crate::batches::carry_table::{Carried, Tally};
use crate::config::flags::ByteSize;
use crate::config::{OffPolicyConfig, RlConfig};
use crate::replay::{Priority, Sample};
use crate::rpc::publisher::Weights;
use crate::rpc::stream_positions::Streams;
use crate::run::error::LearnerError;
use crate::storage::checkpoint::{Checkpoint, CheckpointError, State};
use crate::storage::tensors;
use crate::storage::warm_start::Origin;
use crate::telemetry::counters::Counters;
use crate::telemetry::episodes::Episodes;

/// How to make a learner.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The run.
    pub run_id: String,
    /// Its resolved configuration, as TOML, for the checkpoints.
    pub config: String,
    /// The algorithm.
    pub rl: RlConfig,
    /// The network.
    pub policy: PolicyConfig,
    /// The experiment's seed.
    pub seed: Seed,
    /// Env steps of the whole run: what a learning rate's schedule is relative to.
    pub budget: u64,
    /// Where the network computes.
    pub device: Device,
    /// The most that may be kept of streams between unrolls.
    pub stream_memory: ByteSize,
}

/// What an update came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Updated {
    /// What it did.
    pub stats: UpdateStats,
    /// The new priorities of what was learned from; none where a replay is sampled uniformly.
    pub priorities: Vec<Priority>,
}

/// A policy that learns.
pub struct Learner {
    recipe: Recipe,
    /// The settings of an algorithm that learns from a replay.
    off_policy: Option<OffPolicyConfig>,
    spec: EnvSpec,
    policy: Policy,
    algorithm: Algorithm,
    carried: Carried,
    counters: Counters,
}

impl Learner {
    /// One that has learned nothing yet, for a world.
    pub fn new(recipe: Recipe, spec: EnvSpec) -> Result<Self, LearnerError> {
        let seed = recipe.seed.derive("policy", 0);
        let (outputs, device) = (recipe.rl.outputs(), recipe.device);
        let mut policy =
            Policy::with_outputs(&outputs, Kind::Float, &recipe.policy, &spec, seed, device)
                .map_err(LearnerError::World)?;
        policy.freeze(recipe.rl.freeze()).map_err(LearnerError::Freeze)?;
        if policy.trainable().is_empty() {
            return Err(LearnerError::NothingLearns { frozen: recipe.rl.freeze().to_vec() });
        }
        let off_policy = recipe.rl.off_policy();
        let carried = match off_policy {
            None => Carried::new(&policy, recipe.stream_memory, recipe.rl.batch_size())?,
            // Sequences from a replay begin with what is stored beside them.
            Some(_) => Carried::nothing(recipe.device),
        };
        let algorithm = Algorithm::new(&recipe.rl, &policy, recipe.seed.derive("critic", 0));
        let counters = Counters::default();
        Ok(Learner { recipe, off_policy, spec, policy, algorithm, carried, counters })
    }

    /// One that goes on where a checkpoint, which was read from `path`, was made.
    pub fn resume(
        recipe: Recipe,
        path: &Path,
        checkpoint: &Checkpoint,
    ) -> Result<Self, LearnerError> {
        let misfit = |why: String| CheckpointError::Tensors { path: path.into(), why };
        let state = &checkpoint.state;
        let mut learner = match Learner::new(recipe, state.spec.clone()) {
            Err(LearnerError::World(error)) => return Err(misfit(error.to_string()).into()),
            made => made?,
        };
        learner.policy.load(&checkpoint.weights).map_err(|error| misfit(error.to_string()))?;
        let remembered = tensors::from_bytes(&checkpoint.optimizer).map_err(misfit)?;
        let loaded = learner.algorithm.load_state(&remembered);
        loaded.map_err(|error| misfit(error.to_string()))?;
        learner.carried.load(&state.carried, &checkpoint.carried).map_err(misfit)?;
        learner.counters = state.counters;
        Ok(learner)
    }

    /// Takes over parts of another policy's weights, before the first update.
    pub fn begin_from(&mut self, origin: &Origin) -> Result<Loaded, LearnerError> {
        assert_eq!(self.counters.updates, 0, "a run begins once");
        Ok(origin.give(&mut self.policy)?)
    }

    /// Makes one update, for which so many env steps have arrived. If a number was not finite,
    /// weights and optimizer are as they were, and streams that were learned from begin anew; the
    /// env steps count either way.
    pub fn update(&mut self, content: &Content, env_steps: u64) -> Result<Updated, NonFinite> {
        let Counters { updates, non_finite_updates, .. } = self.counters;
        let attempt = updates + non_finite_updates;
        self.policy.set_dropout(Some(self.recipe.seed.derive("dropout", attempt)));
        let updated = match content {
            Content::Streams { batch, rows } => self.update_from_streams(batch, rows),
            Content::Sequences { replayed, sample } => self.update_from_replay(replayed, sample),
        };
        self.counters.env_steps += env_steps;
        match updated {
            Ok(_) => self.counters.updates += 1,
            Err(_) => self.counters.non_finite_updates += 1,
        }
        updated
    }

    fn update_from_streams(&mut self, batch: &Batch, rows: &[Row]) -> Result<Updated, NonFinite> {
        let started = Instant::now();
        let carry = self.carried.take(rows);
        let taking = started.elapsed();
        let progress = self.counters.env_steps as f64 / self.recipe.budget as f64;
        let (mut stats, carry) = self.algorithm.update(&self.policy, batch, carry, progress)?;
        let updated = Instant::now();
        self.carried.put(rows, &carry);
        stats.phases.forward += taking;
        stats.phases.optimizer += updated.elapsed();
        Ok(Updated { stats, priorities: Vec::new() })
    }

    fn update_from_replay(
        &mut self,
        replayed: &Replayed,
        sample: &Sample,
    ) -> Result<Updated, NonFinite> {
        let (stats, td_errors) = self.algorithm.update_from_replay(&self.policy, replayed)?;
        let config = self.off_policy.as_ref().expect("what is replayed is off-policy");
        let priorities = match config.is_prioritized() {
            true => {
                let errors = td_errors.to_kind(Kind::Float).to_device(Device::Cpu).contiguous();
                let errors = Vec::<f32>::try_from(errors.view(-1)).expect("floats, row by row");
                sample.priorities(&errors, config.priority_largest_share)
            }
            false => Vec::new(),
        };
        Ok(Updated { stats, priorities })
    }

    /// From here on weights say to explore like this far into the run: so many env steps after
    /// learning from a replay has started, or before that.
    pub fn explore(&mut self, since_warm_up: Option<u64>) {
        if let Some(config) = &self.off_policy {
            let choice = self.algorithm.choice();
            self.policy.set_exploration(config.exploration(choice, since_warm_up));
        }
    }

    /// The names of the numbers that an update reports.
    pub fn columns(&self) -> &'static [&'static str] {
        self.algorithm.columns()
    }

    /// What is kept of streams, where anything is, and what happened to it since this was last
    /// asked.
    pub fn carried(&mut self) -> Option<Tally> {
        self.carried.carries().then(|| self.carried.tally())
    }

    /// The weights as they are, under the next version.
    pub fn next_weights(&mut self) -> Weights {
        self.counters.policy_version += 1;
        self.weights()
    }

    /// The weights as they are, under the version that they have.
    pub fn weights(&self) -> Weights {
        let policy_version = self.counters.policy_version;
        Weights { policy_version, bytes: self.policy.save(policy_version).into() }
    }

    /// Moves the version up to `policy_version`, which a killed predecessor has used already.
    pub fn skip_versions(&mut self, policy_version: u64) {
        self.counters.policy_version = self.counters.policy_version.max(policy_version);
    }

    /// Everything that is needed to go on from here, but for a replay.
    pub fn checkpoint(&mut self, streams: Streams, episodes: Episodes) -> Checkpoint {
        let (saved, carried) = self.carried.save();
        let state = State {
            run_id: self.recipe.run_id.clone(),
            config: self.recipe.config.clone(),
            spec: self.spec.clone(),
            counters: self.counters,
            generators: BTreeMap::new(),
            streams,
            carried: saved,
            replay: None,
            limiter: None,
            episodes,
        };
        let optimizer = Bytes::from(tensors::to_bytes(&self.algorithm.state()));
        let weights = self.weights().bytes;
        Checkpoint { state, weights, optimizer, carried: carried.into() }
    }

    /// How far it is.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Adds time spent training.
    pub fn add_seconds(&mut self, seconds: f64) {
        self.counters.seconds += seconds;
    }

    /// Whether the run has had its env steps.
    pub fn is_finished(&self) -> bool {
        self.counters.env_steps >= self.recipe.budget
    }

    /// The world.
    pub fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    /// Whether something is kept of streams from one unroll to the next.
    pub fn carries(&self) -> bool {
        self.carried.carries()
    }

    /// Numbers of recurrent state that every trajectory must bring.
    pub fn core_state_width(&self) -> usize {
        self.policy.exported_state_width().unwrap_or(0)
    }
}

impl std::fmt::Debug for Learner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner").field("counters", &self.counters).finish_non_exhaustive()
    }
}
