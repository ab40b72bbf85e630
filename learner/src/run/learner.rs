//! Learner: the policy, what trains it, and how far it is.
//!
//! Everything here belongs to one thread. It is saved whole and goes on from there bit for bit.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use engram_mdp::EnvSpec;
use engram_policy::{Loaded, Policy, Snapshot};
use tch::Kind;

use crate::algorithms::{AlgorithmConfig, NonFinite, UpdateStats};
use crate::replay::ReplaySnapshot;
use crate::rpc::membership::SavedMembership;
use crate::rpc::publisher::Weights;
use crate::run::error::LearnerError;
use crate::run::learner_config::LearnerConfig;
use crate::run::pipeline::{Pipeline, Resumed};
use crate::storage::checkpoint::{Checkpoint, CheckpointState, Mark};
use crate::storage::tensors;
use crate::storage::warm_start::WarmStart;
use crate::telemetry::counters::Counters;
use crate::telemetry::episodes::Episodes;

/// A policy that learns, by the pipeline `P`.
pub struct Learner<P> {
    config: LearnerConfig,
    policy: Policy,
    pipeline: P,
    counters: Counters,
}

impl<P: Pipeline> Learner<P> {
    /// One that has learned nothing yet, for an environment. Parts of another run's weights are
    /// there before the algorithm begins, which may have networks like the policy.
    pub fn new(
        algorithm: &Arc<P::Config>,
        config: LearnerConfig,
        spec: &EnvSpec,
        warm_start: Option<&WarmStart>,
    ) -> Result<Self, LearnerError> {
        let mut policy = new_policy(&**algorithm, &config, spec)?;
        if let Some(warm_start) = warm_start {
            let Loaded { tensors, numbers } = warm_start.apply(&mut policy)?;
            tracing::info!(%warm_start, tensors, numbers, "weights of another run");
        }
        let pipeline = P::open(algorithm, &config, &policy, None)?;
        Ok(Learner { config, policy, pipeline, counters: Counters::default() })
    }

    /// One that goes on where a checkpoint was made.
    pub fn resume(
        algorithm: &Arc<P::Config>,
        config: LearnerConfig,
        resumed: Resumed<'_>,
    ) -> Result<Self, LearnerError> {
        let Checkpoint { state, weights, optimizer, .. } = resumed.checkpoint;
        let mut policy = match new_policy(&**algorithm, &config, &state.spec) {
            Err(LearnerError::Environment(error)) => return Err(resumed.misfit(error.to_string())),
            made => made?,
        };
        policy.load(weights).map_err(|error| resumed.misfit(error.to_string()))?;
        let mut pipeline = P::open(algorithm, &config, &policy, Some(resumed))?;
        let remembered = tensors::from_bytes(optimizer).map_err(|why| resumed.misfit(why))?;
        let loaded = pipeline.algorithm_mut().load_state(&remembered);
        loaded.map_err(|error| resumed.misfit(error.to_string()))?;
        Ok(Learner { config, policy, pipeline, counters: state.counters })
    }

    /// Makes one update, for which so many env steps have arrived. If a number was not finite,
    /// weights and optimizer are as they were, and streams that were learned from begin anew; the
    /// env steps count either way.
    pub fn update(&mut self, batch: &P::Batch, env_steps: u64) -> Result<UpdateStats, NonFinite> {
        self.set_dropout();
        let progress = self.counters.env_steps as f64 / self.config.run.env_steps as f64;
        let updated = self.pipeline.update(&self.policy, batch, progress);
        self.counters.env_steps += env_steps;
        match updated {
            Ok(_) => {
                self.counters.updates += 1;
                self.constrain();
                self.pipeline.restart_if_due(&self.policy, self.counters.updates);
            }
            Err(_) => self.counters.non_finite_updates += 1,
        }
        updated
    }

    /// Keeps weights in their range, in every network.
    fn constrain(&mut self) {
        self.policy.constrain();
        let networks = self.pipeline.algorithm_mut().networks();
        networks.into_iter().for_each(|network| network.constrain());
    }

    /// Draws anew, in every network, what the next update drops.
    fn set_dropout(&mut self) {
        let Counters { updates, non_finite_updates, .. } = self.counters;
        let seed = self.config.seed().derive("dropout", updates + non_finite_updates);
        self.policy.set_dropout(Some(seed));
        let networks = self.pipeline.algorithm_mut().networks();
        for (network, number) in networks.into_iter().zip(0..) {
            network.set_dropout(Some(seed.derive("network", number)));
        }
    }

    /// Names of the numbers that an update reports.
    pub fn columns(&self) -> Vec<&'static str> {
        self.pipeline.columns()
    }

    /// Lets weights say from here on how to explore with them, where it is theirs to say.
    pub fn explore(&mut self) {
        if let Some(exploration) = self.pipeline.exploration() {
            self.policy.set_exploration(exploration);
        }
    }

    /// A copy of the weights as they are, under the next version.
    pub fn next_snapshot(&mut self) -> Snapshot {
        self.explore();
        self.counters.policy_version += 1;
        self.snapshot()
    }

    /// A copy of the weights as they are, under the version that they have.
    pub fn snapshot(&self) -> Snapshot {
        self.policy.snapshot(self.counters.policy_version)
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

    /// Everything that is needed to go on from here; a replay is written beside it.
    pub fn checkpoint(
        &mut self,
        membership: SavedMembership,
        episodes: Episodes,
    ) -> (Checkpoint, Option<ReplaySnapshot>) {
        let state = CheckpointState {
            run_id: self.config.run_id.clone(),
            config: self.config.resolved.to_toml(),
            spec: self.spec().clone(),
            counters: self.counters,
            generators: BTreeMap::new(),
            membership,
            carry_table: Vec::new(),
            replay: None,
            rate_limiter: None,
            episodes,
        };
        let optimizer = tensors::to_bytes(&self.pipeline.algorithm().state()).into();
        let weights = self.weights().bytes;
        let carry_table = Bytes::new();
        let mut checkpoint = Checkpoint { state, weights, optimizer, carry_table };
        let replay = self.pipeline.save(&mut checkpoint);
        (checkpoint, replay)
    }

    /// Mark of the run, as it is.
    pub fn mark(&self) -> Mark {
        Mark::of(&self.counters, self.pipeline.rate_limiter())
    }

    /// Counters of the run.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Adds time spent training.
    pub fn add_seconds(&mut self, seconds: f64) {
        self.counters.seconds += seconds;
    }

    /// True if the run has had its env steps, and all updates that these owe.
    pub fn is_finished(&self) -> bool {
        self.counters.env_steps >= self.config.run.env_steps && !self.pipeline.owes_updates()
    }

    /// The environment.
    pub fn spec(&self) -> &EnvSpec {
        self.policy.spec()
    }

    /// Numbers of recurrent state that every trajectory must bring.
    pub fn core_state_width(&self) -> usize {
        self.policy.exported_state_width().unwrap_or(0)
    }

    /// The pipeline.
    pub fn pipeline(&self) -> &P {
        &self.pipeline
    }

    /// The pipeline, to be changed.
    pub fn pipeline_mut(&mut self) -> &mut P {
        &mut self.pipeline
    }
}

/// The policy of a run that begins.
fn new_policy<C: AlgorithmConfig + ?Sized>(
    algorithm: &C,
    config: &LearnerConfig,
    spec: &EnvSpec,
) -> Result<Policy, LearnerError> {
    let seed = config.seed().derive("policy", 0);
    let (outputs, device) = (algorithm.outputs(), config.device);
    let mut policy =
        Policy::with_outputs(&outputs, Kind::Float, &config.policy, spec, seed, device)
            .map_err(LearnerError::Environment)?;
    let frozen = algorithm.freeze();
    policy.freeze(frozen).map_err(LearnerError::Freeze)?;
    if policy.trainable().is_empty() {
        return Err(LearnerError::NothingLearns { frozen: frozen.to_vec() });
    }
    Ok(policy)
}

impl<P> std::fmt::Debug for Learner<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Learner").field("counters", &self.counters).finish_non_exhaustive()
    }
}
