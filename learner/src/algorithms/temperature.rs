//! Temperature α of soft actor-critic: given, or learned.

use tch::{Device, Kind, Tensor, no_grad};

use crate::algorithms::optimizer::Optimizer;
use crate::algorithms::state_dict::{StateDict, StateError, below, find, under};
use crate::config::OptimizerConfig;

/// α.
pub(super) enum Alpha {
    /// As it is.
    Fixed(f64),
    /// Learned.
    Tuned(Box<TunedAlpha>),
}

/// α that is learned.
pub(super) struct TunedAlpha {
    log: Tensor,
    optimizer: Optimizer,
    rule: TuningRule,
}

/// Rule by which α is learned.
#[derive(Clone, Copy, Debug)]
pub(super) struct TuningRule {
    /// α at the start.
    pub(super) initial: f64,
    /// α at most.
    pub(super) greatest: f64,
    /// The entropy aimed at, in nats.
    pub(super) target_entropy: f64,
    /// The step size of log α.
    pub(super) learning_rate: f64,
    /// Loss of log α, given the policy's entropy and the one aimed at.
    pub(super) loss: fn(&Tensor, &Tensor, f64) -> Tensor,
}

impl Alpha {
    pub(super) fn tuned(rule: TuningRule, device: Device) -> Self {
        let log = Tensor::full([1], rule.initial.ln(), (Kind::Float, device));
        let log = log.set_requires_grad(true);
        let adam = OptimizerConfig::adam(1e-8);
        let optimizer = Optimizer::new(&adam, &[("log".into(), log.shallow_clone())]);
        Alpha::Tuned(Box::new(TunedAlpha { log, optimizer, rule }))
    }

    pub(super) fn tensor(&self, like: &Tensor) -> Tensor {
        match self {
            Alpha::Fixed(value) => Tensor::full([1], *value, (like.kind(), like.device())),
            Alpha::Tuned(alpha) => alpha.log.detach().exp().to_kind(like.kind()),
        }
    }

    pub(super) fn value(&self) -> f64 {
        match self {
            Alpha::Fixed(value) => *value,
            Alpha::Tuned(alpha) => alpha.log.double_value(&[0]).exp(),
        }
    }

    /// Moves α so that the policy's entropy comes nearer to what is aimed at.
    pub(super) fn update(&mut self, entropy: &Tensor) {
        let Alpha::Tuned(alpha) = self else { return };
        let TunedAlpha { log, optimizer, rule } = &mut **alpha;
        let loss = (rule.loss)(log, &entropy.to_kind(Kind::Float), rule.target_entropy);
        let weights = [("log".to_owned(), log.shallow_clone())];
        let gradient = optimizer.gradient(&loss.sum(Kind::Float), &weights);
        optimizer.step(&weights, &gradient, rule.learning_rate);
        if rule.greatest.is_finite() {
            let _ = no_grad(|| log.clamp_max_(rule.greatest.ln()));
        }
    }

    /// Everything it remembers between updates, added to `state`.
    pub(super) fn save(&self, state: &mut StateDict) {
        if let Alpha::Tuned(alpha) = self {
            let TunedAlpha { log, optimizer, .. } = &**alpha;
            state.push(("log_temperature".into(), log.detach().copy()));
            state.extend(under("temperature_optimizer", optimizer.state()));
        }
    }

    /// Goes on from what [`save`](Self::save) added.
    pub(super) fn load(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        if let Alpha::Tuned(alpha) = self {
            let TunedAlpha { log, optimizer, .. } = &mut **alpha;
            let stored = find(state, "log_temperature", &[1])?;
            no_grad(|| log.copy_(stored));
            optimizer.load_state(&below("temperature_optimizer", state))?;
        }
        Ok(())
    }
}
