//! What is learned, between two updates: the policy, the algorithm, and how far they are.
//!
//! Everything here belongs to one thread. It is saved whole and goes on from there bit for bit.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use engram_mdp::{EnvSpec, Generator, Seed};
use engram_policy::{Batch, Policy, PolicyConfig, PolicyError};
use tch::Device;

use crate::algorithms::{Algorithm, NonFinite, UpdateStats};
use crate::checkpoint::{Checkpoint, CheckpointError, State};
use crate::config::RlConfig;
use crate::counters::Counters;
use crate::episodes::Episodes;
use crate::publisher::Weights;
use crate::streams::Streams;
use crate::tensors;

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
}

/// A policy that learns.
pub struct Learner {
    recipe: Recipe,
    spec: EnvSpec,
    policy: Policy,
    algorithm: Algorithm,
    counters: Counters,
    generators: BTreeMap<String, Generator>,
}

impl Learner {
    /// One that has learned nothing yet, for a world.
    pub fn new(recipe: Recipe, spec: EnvSpec) -> Result<Self, PolicyError> {
        let seed = recipe.seed.derive("policy", 0);
        let policy = Policy::new(&recipe.policy, &spec, seed, recipe.device)?;
        let algorithm = Algorithm::new(&recipe.rl, &policy);
        let (counters, generators) = (Counters::default(), BTreeMap::new());
        Ok(Learner { recipe, spec, policy, algorithm, counters, generators })
    }

    /// One that goes on where a checkpoint, which was read from `path`, was made.
    pub fn resume(
        recipe: Recipe,
        path: &Path,
        checkpoint: &Checkpoint,
    ) -> Result<Self, CheckpointError> {
        let misfit = |why: String| CheckpointError::Tensors { path: path.into(), why };
        let state = &checkpoint.state;
        let mut learner =
            Learner::new(recipe, state.spec.clone()).map_err(|error| misfit(error.to_string()))?;
        learner.policy.load(&checkpoint.weights).map_err(|error| misfit(error.to_string()))?;
        let remembered = tensors::from_bytes(&checkpoint.optimizer).map_err(misfit)?;
        let loaded = learner.algorithm.load_state(&remembered);
        loaded.map_err(|error| misfit(error.to_string()))?;
        learner.counters = state.counters;
        learner.generators.clone_from(&state.generators);
        Ok(learner)
    }

    /// Makes one update from a batch of so many env steps. If a number was not finite, weights
    /// and optimizer are as they were; the env steps count either way.
    pub fn update(&mut self, batch: &Batch, env_steps: u64) -> Result<UpdateStats, NonFinite> {
        let progress = self.counters.env_steps as f64 / self.recipe.budget as f64;
        let updated = self.algorithm.update(&self.policy, batch, progress);
        self.counters.env_steps += env_steps;
        match updated {
            Ok(_) => self.counters.updates += 1,
            Err(_) => self.counters.non_finite_updates += 1,
        }
        updated
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

    /// Everything that is needed to go on from here.
    pub fn checkpoint(&self, streams: Streams, episodes: Episodes) -> Checkpoint {
        let state = State {
            run_id: self.recipe.run_id.clone(),
            config: self.recipe.config.clone(),
            spec: self.spec.clone(),
            counters: self.counters,
            generators: self.generators.clone(),
            streams,
            episodes,
        };
        let optimizer = Bytes::from(tensors::to_bytes(&self.algorithm.state()));
        Checkpoint { state, weights: self.weights().bytes, optimizer }
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
