//! Epochs of minibatches over one batch of unrolls: what PPO and PQN share.
//!
//! Each minibatch is an equal, random share of the batch's trajectories, unrolled again from the
//! states that came with them. Every epoch begins with the carry that streams had before the batch,
//! and the last epoch says what they carry on.

use std::time::Instant;

use engram_mdp::Seed;
use engram_policy::{Batch, Batched, Carry, Policy, UnrollContext};
use rand::seq::SliceRandom;
use tch::Tensor;

use super::algorithm::{NonFinite, to_host};
use super::optimizer::{Optimizer, clipped, global_norm};
use super::state_dict::{StateDict, StateError, copies, find, restore, under};
use crate::config::{OptimizerConfig, OutOfRange, require};
use crate::telemetry::update_stats::Phases;

/// The optimizer, and how often it was given a batch.
#[derive(Debug)]
pub(super) struct Epochs {
    optimizer: Optimizer,
    /// Batches so far, from which shares of the next one are drawn.
    batches: i64,
}

/// Plan for one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct EpochPlan {
    /// Passes over the batch, at most.
    pub(super) epochs: usize,
    /// Optimizer steps of each.
    pub(super) minibatches: usize,
    /// Step size.
    pub(super) learning_rate: f64,
    /// Gradients longer than this are shortened to it.
    pub(super) max_grad_norm: f64,
}

/// Loss of a minibatch, and N numbers to report. All are scalars.
pub(super) struct PartLoss<const N: usize> {
    /// Scalar that is minimized.
    pub(super) total: Tensor,
    /// Numbers to report.
    pub(super) numbers: [Tensor; N],
    /// Context that the loss reaches back to.
    pub(super) context: UnrollContext,
}

/// Means over the optimizer steps of a batch.
pub(super) struct EpochMeans<const N: usize> {
    /// Optimizer steps.
    pub(super) steps: f64,
    /// Loss that was minimized.
    pub(super) loss: f64,
    /// Length of the gradient before it was clipped.
    pub(super) grad_norm: f64,
    /// Numbers to report.
    pub(super) numbers: [f64; N],
    /// Time, a sum.
    pub(super) phases: Phases,
    /// Carry of the streams from here on.
    pub(super) carry: Carry,
}

/// Sums over optimizer steps.
struct Sums<const N: usize> {
    steps: f64,
    loss: f64,
    grad_norm: f64,
    numbers: [f64; N],
    phases: Phases,
}

impl EpochPlan {
    /// Checks the sizes of a configuration.
    pub(super) fn validate(
        batch_size: usize,
        epochs: usize,
        minibatches: usize,
    ) -> Result<(), OutOfRange> {
        let sized = (1..=65_536).contains(&batch_size);
        require(sized, "batch_size", batch_size, "between 1 and 65536 trajectories")?;
        require((1..=1000).contains(&epochs), "epochs", epochs, "between 1 and 1000")?;
        let divides = minibatches >= 1 && batch_size.is_multiple_of(minibatches);
        let range = "a divisor of rl.batch_size, at least 1";
        require(divides, "minibatches", minibatches, range)
    }
}

impl Epochs {
    /// No batch yet.
    pub(super) fn new(optimizer: &OptimizerConfig, policy: &Policy) -> Self {
        Epochs { optimizer: Optimizer::new(optimizer, &policy.trainable()), batches: 0 }
    }

    /// Rows of the next batch, of `batch` trajectories, for each minibatch of an epoch.
    pub(super) fn minibatches(&self, batch: i64, epoch: usize, count: usize) -> Vec<Vec<i64>> {
        let mut rows: Vec<i64> = (0..batch).collect();
        if count > 1 {
            let seed = Seed::new(self.batches as u64).derive("epoch", epoch as u64);
            rows.shuffle(&mut seed.generator());
        }
        let size = rows.len().div_ceil(count).max(1);
        rows.chunks(size).map(<[i64]>::to_vec).collect()
    }

    /// Learns from `batch`, whose streams carry `carry`. `loss` is that of some of its trajectories,
    /// what their streams carry, and their rows, i64 `[N]`. No further epoch begins once `ends` says
    /// so of an epoch's mean numbers. If a number is not finite, everything is as it was.
    pub(super) fn learn<const N: usize>(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: &Carry,
        plan: &EpochPlan,
        loss: impl Fn(&Batch, Carry, &Tensor) -> PartLoss<N>,
        ends: impl Fn(&[f64; N]) -> bool,
    ) -> Result<EpochMeans<N>, NonFinite> {
        let weights = policy.trainable();
        let before = (under("weights", copies(&weights)), self.optimizer.state());
        let learned = self.all_epochs(policy, batch, carry, plan, loss, ends);
        match &learned {
            Ok(_) => self.batches += 1,
            Err(_) => {
                let back = "what was copied fits";
                restore(&weights, "weights", &before.0).expect(back);
                self.optimizer.load_state(&before.1).expect(back);
            }
        }
        learned
    }

    fn all_epochs<const N: usize>(
        &mut self,
        policy: &Policy,
        batch: &Batch,
        carry: &Carry,
        plan: &EpochPlan,
        loss: impl Fn(&Batch, Carry, &Tensor) -> PartLoss<N>,
        ends: impl Fn(&[f64; N]) -> bool,
    ) -> Result<EpochMeans<N>, NonFinite> {
        let mut sums = Sums::<N>::default();
        for epoch in 0.. {
            let (before, mut carries) = (sums.numbers, Vec::new());
            let minibatches = self.minibatches(batch.batch(), epoch, plan.minibatches);
            for rows in &minibatches {
                let started = Instant::now();
                let index = Tensor::from_slice(rows).to_device(policy.device());
                let part = loss(&batch.select(rows), carry.index_select(&index), &index);
                sums.phases.forward += started.elapsed();
                carries.push(self.step(policy, part, plan, &mut sums)?);
            }
            let count = minibatches.len() as f64;
            let means = std::array::from_fn(|i| (sums.numbers[i] - before[i]) / count);
            if epoch + 1 == plan.epochs || ends(&means) {
                // Row `rows[i]` of the batch stands at place i of what was carried on.
                let places = Tensor::from_slice(&minibatches.concat()).argsort(0, false);
                let carry = Carry::cat(&carries).index_select(&places.to_device(policy.device()));
                return Ok(sums.means(carry));
            }
        }
        unreachable!("there is a last epoch")
    }

    /// One optimizer step. Returns what the streams carry on.
    fn step<const N: usize>(
        &mut self,
        policy: &Policy,
        loss: PartLoss<N>,
        plan: &EpochPlan,
        sums: &mut Sums<N>,
    ) -> Result<Carry, NonFinite> {
        let started = Instant::now();
        let PartLoss { total, numbers, context } = loss;
        let (gradients, carry) = policy.gradient(&total, context);
        let gradient = self.optimizer.flatten(&gradients);
        let [total, norm] = to_host([&total, &global_norm(&gradient)]);
        let numbers = to_host(numbers.each_ref());
        NonFinite::check("loss", total)?;
        NonFinite::check("gradient's length", norm)?;
        let backward_ended = Instant::now();

        let gradient = clipped(gradient, norm, plan.max_grad_norm);
        self.optimizer.step(&policy.trainable(), &gradient, plan.learning_rate);
        sums.steps += 1.0;
        sums.loss += total;
        sums.grad_norm += norm;
        sums.numbers.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        sums.phases.backward += backward_ended - started;
        sums.phases.optimizer += backward_ended.elapsed();
        Ok(carry)
    }

    /// Everything that it remembers.
    pub(super) fn state(&self) -> StateDict {
        let mut state = self.optimizer.state();
        state.push(("batches".into(), Tensor::from_slice(&[self.batches])));
        state
    }

    /// Remembers what [`state`](Self::state) said.
    pub(super) fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        let batches = find(state, "batches", &[1])?.int64_value(&[0]);
        self.optimizer.load_state(state)?;
        self.batches = batches;
        Ok(())
    }
}

impl<const N: usize> Default for Sums<N> {
    fn default() -> Self {
        let phases = Phases::default();
        Sums { steps: 0.0, loss: 0.0, grad_norm: 0.0, numbers: [0.0; N], phases }
    }
}

impl<const N: usize> Sums<N> {
    fn means(self, carry: Carry) -> EpochMeans<N> {
        let Sums { steps, loss, grad_norm, numbers, phases } = self;
        EpochMeans {
            steps,
            loss: loss / steps,
            grad_norm: grad_norm / steps,
            numbers: numbers.map(|sum| sum / steps),
            phases,
            carry,
        }
    }
}
