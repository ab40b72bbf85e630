//! One-step actor-critic (Sutton & Barto 2018, section 13.5): no correction for policy lag.

use std::time::Duration;

use engram_learner::algorithms::optimizer::Optimizer;
use engram_learner::algorithms::state_dict::{StateDict, StateError};
use engram_learner::algorithms::{
    Algorithm, AlgorithmConfig, LearnsFromStreams, NonFinite, Phases, StreamsAlgorithm, UpdateStats,
};
use engram_learner::config::{OptimizerConfig, OutOfRange};
use engram_policy::{Batch, Carry, Outputs, Policy};
use serde::Deserialize;
use tch::{Kind, Tensor};

/// Settings, the `[rl]` part.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActorCriticConfig {
    /// Trajectories per update.
    pub batch_size: usize,
    /// γ, what a reward counts for one step later.
    pub discount: f64,
    /// The step size.
    pub learning_rate: f64,
    /// The rule that turns gradients into steps.
    pub optimizer: OptimizerConfig,
}

#[derive(Debug)]
struct ActorCritic {
    config: ActorCriticConfig,
    optimizer: Optimizer,
}

impl StreamsAlgorithm for ActorCritic {
    fn update(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: Carry,
        _progress: f64,
    ) -> Result<(UpdateStats, Carry), NonFinite> {
        let unrolled = policy
            .unroll_streams(&batch.inputs, &batch.core_state, carry)
            .expect("core states are checked where trajectories enter");
        let (length, values) = (batch.unroll_length(), unrolled.output.value());
        let going_on = 1.0 - batch.terminated.to_kind(Kind::Float);
        let next = values.narrow(0, 1, length).detach() * going_on * self.config.discount;
        let errors: Tensor = (&batch.rewards + next) - values.narrow(0, 0, length);
        let log_probs = unrolled.output.distribution.narrow(0, length).log_prob(&batch.actions);
        let losses = errors.square() * 0.5 - log_probs * errors.detach();
        let loss = (losses * &batch.weights).mean(Kind::Float);

        let weights = policy.trainable();
        let (gradients, carry) = policy.gradient(&loss, unrolled.context);
        let number = loss.double_value(&[]);
        NonFinite::check("loss", number)?;
        let gradient = self.optimizer.flatten(&gradients);
        self.optimizer.step(&weights, &gradient, self.config.learning_rate);
        // A real one says where the time went.
        let phases = Phases { forward: Duration::ZERO, ..Phases::default() };
        Ok((UpdateStats { numbers: vec![("loss", number)], phases }, carry))
    }
}

impl Algorithm for ActorCritic {
    fn columns(&self) -> &'static [&'static str] {
        &["loss"]
    }

    fn state(&self) -> StateDict {
        self.optimizer.state()
    }

    fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        self.optimizer.load_state(state)
    }
}

impl AlgorithmConfig for ActorCriticConfig {
    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn max_non_finite_updates(&self) -> u32 {
        10
    }

    fn freeze(&self) -> &[String] {
        &[]
    }

    fn outputs(&self) -> Outputs {
        Outputs::ActorCritic {}
    }

    fn validate(&self) -> Result<(), OutOfRange> {
        match (0.0..=1.0).contains(&self.discount) {
            true => Ok(()),
            false => Err(OutOfRange {
                key: "discount",
                found: self.discount.to_string(),
                range: "between 0 and 1",
            }),
        }
    }
}

impl LearnsFromStreams for ActorCriticConfig {
    fn start(&self, policy: &Policy) -> Box<dyn StreamsAlgorithm> {
        let optimizer = Optimizer::new(&self.optimizer, &policy.trainable());
        Box::new(ActorCritic { config: self.clone(), optimizer })
    }
}
