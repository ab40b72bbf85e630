//! A batch of sequences from a replay, as algorithms learn from them.
//!
//! Rows may begin with a burn-in, of which nothing is learned: it only brings the memory into a
//! state that the present weights could have. What comes after it is what an algorithm sees: T
//! decisions and T + 1 frames.

use engram_policy::{Batch, Batched, CoreState, Policy};
use tch::Tensor;

use crate::config::OffPolicyConfig;
use crate::losses::Decisions;
use crate::losses::n_step::{NStepInput, NStepReturns, n_step_returns};
use crate::replay::ReplaySample;

/// Sequences to learn from.
#[derive(Debug)]
pub struct ReplayBatch {
    batch: Batch,
    burn_in: i64,
    /// f32 `[T, B]`: 1 where something is learned from a decision, else 0.
    mask: Tensor,
    /// f32 `[T, B]`: importance weights; `None` where all are 1.
    importance: Option<Tensor>,
}

impl ReplayBatch {
    /// `batch` is of the rows of `sample`, whose first `burn_in` decisions are a burn-in.
    pub fn new(batch: Batch, sample: &ReplaySample, burn_in: usize) -> Self {
        let (burn_in, rows) = (burn_in as i64, batch.batch());
        let device = batch.rewards.device();
        let weights = Tensor::from_slice(&sample.weights()).view([-1, rows]);
        let weights = weights.narrow(0, burn_in, weights.size()[0] - burn_in).to_device(device);
        let mask = weights.ne(0.0).to_kind(weights.kind());
        let weighted = sample.pieces.iter().any(|piece| piece.weight != 1.0);
        ReplayBatch { batch, burn_in, mask, importance: weighted.then_some(weights) }
    }

    /// T.
    pub fn decisions(&self) -> i64 {
        self.mask.size()[0]
    }

    /// Decisions that were taken.
    pub fn taken<'a>(&'a self, actions: &'a Tensor) -> Decisions<'a> {
        Decisions { actions, mask: &self.mask, importance: self.importance.as_ref() }
    }

    /// 1 where something is learned from a decision, else 0, `[T, B]`.
    pub fn mask(&self) -> &Tensor {
        &self.mask
    }

    /// Importance weights, `[T, B]`, unless all are 1.
    pub fn importance(&self) -> Option<&Tensor> {
        self.importance.as_ref()
    }

    /// The actions taken, `[T, B]`.
    pub fn actions(&self) -> Tensor {
        self.learned(&self.batch.actions)
    }

    /// Returns of the decisions.
    pub fn returns<O>(&self, config: &OffPolicyConfig<O>) -> NStepReturns {
        let rewards = config.reward_clip.of(&self.batch.rewards);
        let (rewards, terminated) = (self.learned(&rewards), self.learned(&self.batch.terminated));
        let input = NStepInput { rewards: &rewards, terminated: &terminated, mask: &self.mask };
        n_step_returns(&input, config.discount, config.n_step)
    }

    /// Memory of `policy` at the T + 1 frames, `[T + 1, B, H]`.
    pub fn remember(&self, policy: &Policy) -> Tensor {
        let inputs = &self.batch.inputs;
        let state = self.state(policy);
        if self.burn_in == 0 {
            return policy.remember(inputs, &state).0;
        }
        let state = policy.burn_in(&inputs.narrow(0, self.burn_in), &state);
        let rest = inputs.narrow(self.burn_in, self.decisions() + 1);
        policy.remember(&rest, &state.detach()).0
    }

    /// Numbers of the T decisions, `[T, B]`, as numbers of the whole rows: zeros stand before
    /// them.
    pub fn of_whole_rows(&self, numbers: &Tensor) -> Tensor {
        numbers.constant_pad_nd([0, 0, self.burn_in, 0])
    }

    /// The state before the first frame: what was stored with it, or zeros.
    fn state(&self, policy: &Policy) -> CoreState {
        match self.batch.core_state.size()[1] {
            0 => policy.initial_state(self.batch.batch()),
            _ => policy
                .core_state(&self.batch.core_state)
                .expect("core states are checked where trajectories enter"),
        }
    }

    fn learned(&self, column: &Tensor) -> Tensor {
        column.narrow(0, self.burn_in, self.decisions())
    }
}
