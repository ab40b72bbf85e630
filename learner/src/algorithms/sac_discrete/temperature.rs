//! Temperature α of soft actor-critic: given, or learned.

use engram_policy::Policy;
use tch::{Kind, Tensor, no_grad};

use super::config::Temperature;
use crate::algorithms::optimizer::Optimizer;
use crate::algorithms::state_dict::{StateDict, StateError, below, find, under};
use crate::config::OptimizerConfig;
use crate::losses::sac_discrete::{target_entropy, temperature_loss};

/// α.
pub(super) enum Alpha {
    Fixed(f64),
    Tuned { log: Tensor, optimizer: Optimizer, target_entropy: f64, learning_rate: f64 },
}

impl Alpha {
    pub(super) fn new(config: Temperature, policy: &Policy) -> Self {
        match config {
            Temperature::Fixed { value } => Alpha::Fixed(value),
            Temperature::Tuned { initial, entropy_share, learning_rate } => {
                let log = Tensor::full([1], initial.ln(), (Kind::Float, policy.device()));
                let log = log.set_requires_grad(true);
                let rule = OptimizerConfig::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
                let optimizer = Optimizer::new(&rule, &[("log".into(), log.shallow_clone())]);
                let target_entropy = target_entropy(entropy_share, policy.spec().action.width());
                Alpha::Tuned { log, optimizer, target_entropy, learning_rate }
            }
        }
    }

    pub(super) fn tensor(&self, like: &Tensor) -> Tensor {
        match self {
            Alpha::Fixed(value) => Tensor::full([1], *value, (like.kind(), like.device())),
            Alpha::Tuned { log, .. } => log.detach().exp().to_kind(like.kind()),
        }
    }

    pub(super) fn value(&self) -> f64 {
        match self {
            Alpha::Fixed(value) => *value,
            Alpha::Tuned { log, .. } => log.double_value(&[0]).exp(),
        }
    }

    /// Moves α so that the policy's entropy comes nearer to what is aimed at.
    pub(super) fn update(&mut self, entropy: &Tensor) {
        let Alpha::Tuned { log, optimizer, target_entropy, learning_rate } = self else { return };
        let loss = temperature_loss(log, &entropy.to_kind(Kind::Float), *target_entropy);
        let weights = [("log".to_owned(), log.shallow_clone())];
        let gradient = optimizer.gradient(&loss.sum(Kind::Float), &weights);
        optimizer.step(&weights, &gradient, *learning_rate);
    }

    /// Everything it remembers between updates, added to `state`.
    pub(super) fn save(&self, state: &mut StateDict) {
        if let Alpha::Tuned { log, optimizer, .. } = self {
            state.push(("log_temperature".into(), log.detach().copy()));
            state.extend(under("temperature_optimizer", optimizer.state()));
        }
    }

    /// Goes on from what [`save`](Self::save) added.
    pub(super) fn load(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        if let Alpha::Tuned { log, optimizer, .. } = self {
            let stored = find(state, "log_temperature", &[1])?;
            no_grad(|| log.copy_(stored));
            optimizer.load_state(&below("temperature_optimizer", state))?;
        }
        Ok(())
    }
}
