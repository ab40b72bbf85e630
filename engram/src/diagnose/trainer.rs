//! One network that learns from streams: cross-entropy at the frames where something is asked.
//!
//! The state is carried from unroll to unroll as a number, without gradient; with RTRL, so are the
//! sensitivities. An unroll in which nothing is asked has no loss, so nothing is updated: state and
//! sensitivities pass through it with the weights as they are.

use anyhow::Result;
use engram_learner::algorithms::optimizer::{Optimizer, clipped, global_norm};
use engram_learner::config::OptimizerConfig;
use engram_mdp::{EnvSpec, Seed};
use engram_policy::{Batched, Carry, CoreState, Distribution, Policy, PolicyConfig, UnrollContext};
use tch::{Device, Kind, Tensor, no_grad};

use super::streams::Unroll;

/// PyTorch's defaults.
const ADAM: OptimizerConfig = OptimizerConfig::adam(1e-8);

/// Step size and clipping of updates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    /// Adam's.
    pub(crate) learning_rate: f64,
    /// Gradients longer than this are shortened to it.
    pub(crate) max_grad_norm: f64,
}

/// A policy whose actions are classes, and what it needs to learn from B streams.
pub(crate) struct Trainer {
    policy: Policy,
    weights: Vec<(String, Tensor)>,
    optimizer: Optimizer,
    steps: Steps,
    /// The state before the next unroll, where the memory's state is of the kind that travels.
    state: CoreState,
    /// Carry from unroll to unroll; see `Policy::initial_carry`.
    carry: Carry,
}

/// Result of an update.
pub(crate) struct Learned {
    /// The mean cross-entropy of its questions.
    pub(crate) loss: f64,
    /// For each question, whether the answer was right, in the order of `[T B]`.
    pub(crate) right: Vec<bool>,
}

/// The loss or its gradient is no number any more, and nothing was updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Diverged;

impl Trainer {
    /// A fresh network, whose weights follow from the seed alone, at the beginning of `batch`
    /// streams.
    pub(crate) fn new(
        config: &PolicyConfig,
        spec: &EnvSpec,
        batch: usize,
        steps: Steps,
        seed: Seed,
        device: Device,
    ) -> Result<Self> {
        let policy = Policy::new(config, spec, seed, device)?;
        let weights = policy.trainable();
        let optimizer = Optimizer::new(&ADAM, &weights);
        let (state, carry) =
            (policy.initial_state(batch as i64), policy.initial_carry(batch as i64));
        Ok(Trainer { policy, weights, optimizer, steps, state, carry })
    }

    /// Numbers that learn.
    pub(crate) fn parameters(&self) -> usize {
        self.policy.parameter_count()
    }

    /// Reads an unroll; learns from it if anything is asked there.
    pub(crate) fn read(&mut self, unroll: &Unroll) -> Result<Result<Option<Learned>, Diverged>> {
        let Some((rows, classes)) = unroll.questions(self.policy.device()) else {
            let (_, context) = no_grad(|| self.forward(unroll))?;
            self.carry = self.policy.next_carry(context);
            return Ok(Ok(None));
        };
        let (logits, context) = self.forward(unroll)?;
        let logits = logits.index_select(0, &rows);
        let right = logits.argmax(-1, false).eq_tensor(&classes);
        let loss = -Distribution::Categorical { logits }.log_prob(&classes).mean(Kind::Float);
        let (gradients, carry) = self.policy.gradient(&loss, context);
        self.carry = carry;
        let gradient = self.optimizer.flatten(&gradients);
        let (loss, norm) = (loss.double_value(&[]), global_norm(&gradient).double_value(&[]));
        if !loss.is_finite() || !norm.is_finite() {
            return Ok(Err(Diverged));
        }
        let gradient = clipped(gradient, norm, self.steps.max_grad_norm);
        self.optimizer.step(&self.weights, &gradient, self.steps.learning_rate);
        let right = Vec::<bool>::try_from(right)?;
        Ok(Ok(Some(Learned { loss, right })))
    }

    /// Logits of an unroll's T B frames, `[T B, K]`, and what a loss of them reaches back to, from
    /// which comes what is carried on; then the next unroll may come.
    fn forward(&mut self, unroll: &Unroll) -> Result<(Tensor, UnrollContext)> {
        let (time, device) = (unroll.length(), self.policy.device());
        let inputs = unroll.inputs(time, device);
        let (output, context) = if self.carry.is_empty() {
            let (output, state) = self.policy.unroll(&inputs, &self.state);
            self.state = state.detach();
            (output, UnrollContext::none())
        } else {
            let with_shared = unroll.inputs(time + 1, device);
            let (core_state, travels) = self.core_state();
            let carry = std::mem::replace(&mut self.carry, Carry::nothing(0));
            let unrolled = self.policy.unroll_streams(&with_shared, &core_state, carry)?;
            if travels {
                // With trajectories, an actor would say it.
                let (_, state) = no_grad(|| self.policy.unroll(&inputs, &self.state));
                self.state = state;
            }
            (unrolled.output, unrolled.context)
        };
        let Distribution::Categorical { logits } = output.distribution.narrow(0, time as i64)
        else {
            unreachable!("the actions of a task are classes")
        };
        Ok((logits.flatten(0, 1), context))
    }

    /// The state before an unroll in the form in which it travels, `[B, S]`, and whether it does.
    fn core_state(&self) -> (Tensor, bool) {
        match self.policy.exported_state_width() {
            Some(_) => (self.state.flatten(), true),
            None => {
                let none = [self.state.batch(), 0];
                (Tensor::zeros(none, (Kind::Float, self.policy.device())), false)
            }
        }
    }
}
