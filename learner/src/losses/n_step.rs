//! n-step returns: what a decision came to within n steps, and what it bootstraps from.
//!
//! Sutton & Barto 2018, section 7.1: `G_t = r_t + γ r_{t+1} + … + γ^{m−1} r_{t+m−1} + γ^m V_{t+m}`.
//! Usually m is n. It is less where the episode or the sequence ends earlier: at a Last frame,
//! which still has a value if the episode was truncated and none if it was terminated; at the last
//! of the T + 1 frames. One step, n = 1, is the Bellman target of Q-learning.

use tch::{Device, Kind, Tensor};

/// Sequences, as their rewards see them. Everything has shape `[T, B]`.
#[derive(Clone, Copy, Debug)]
pub struct NStepInput<'a> {
    /// r_t, that followed the decision.
    pub rewards: &'a Tensor,
    /// 1 where the next frame terminated the episode: nothing comes after; else 0. A truncated
    /// episode has 0 everywhere.
    pub terminated: &'a Tensor,
    /// 1, or 0 where there was no decision: at a Last frame, in padding, in a burn-in. No return
    /// reaches across such a frame, but it may bootstrap from its value.
    pub mask: &'a Tensor,
}

/// Returns of n steps. Everything has shape `[T, B]`; constants, on the rewards' device.
#[derive(Debug)]
pub struct NStepReturns {
    /// Σ_{k<m} γ^k r_{t+k}; 0 where the mask is 0.
    pub rewards: Tensor,
    /// t + m, the frame of 1..=T from which to bootstrap, as i64; t + 1 where the mask is 0.
    pub bootstrap: Tensor,
    /// Weight of that frame's value: γ^m, or 0 where the episode was terminated there. 0
    /// where the mask is 0.
    pub discounts: Tensor,
}

/// The returns of up to `n` ≥ 1 steps, discounted by γ = `discount` per step.
///
/// Nothing is differentiated, so the numbers are worked through on the host, in one copy there and
/// one back.
pub fn n_step_returns(input: &NStepInput<'_>, discount: f64, n: usize) -> NStepReturns {
    assert!(n >= 1, "a return is of one step at least");
    let (length, batch) = input.checked_shape();
    let host = input.to_host();
    let cells = length * batch;
    let [rewards, terminated, mask] =
        [0, 1, 2].map(|column| &host[column * cells..(column + 1) * cells]);

    let mut sums = vec![0.0; 2 * cells];
    let (returns, discounts) = sums.split_at_mut(cells);
    let mut bootstrap: Vec<i64> = (0..cells).map(|cell| (cell / batch + 1) as i64).collect();
    for start in (0..cells).filter(|&cell| mask[cell] != 0.0) {
        let mut factor = 1.0;
        for cell in (start..cells).step_by(batch).take(n).take_while(|&cell| mask[cell] != 0.0) {
            returns[start] += factor * rewards[cell];
            factor *= discount;
            bootstrap[start] = (cell / batch + 1) as i64;
            if terminated[cell] != 0.0 {
                factor = 0.0;
                break;
            }
        }
        discounts[start] = factor;
    }

    let shape = [length as i64, batch as i64];
    let (kind, device) = (input.rewards.kind(), input.rewards.device());
    let sums = Tensor::from_slice(&sums).view([2, shape[0], shape[1]]);
    let sums = sums.to_kind(kind).to_device(device);
    NStepReturns {
        rewards: sums.get(0),
        bootstrap: Tensor::from_slice(&bootstrap).view(shape).to_device(device),
        discounts: sums.get(1),
    }
}

impl NStepReturns {
    /// The targets of a value function whose values of the T + 1 frames are `values`, of shape
    /// `[T + 1, B]`: `rewards + discounts ⊙ values[bootstrap]`, `[T, B]`, in the values' kind.
    pub fn backup(&self, values: &Tensor) -> Tensor {
        let (length, batch) = self.shape();
        assert_eq!(values.size(), [length + 1, batch], "values are [T + 1, B]");
        let kind = values.kind();
        self.rewards.to_kind(kind) + self.discounts.to_kind(kind) * self.bootstrapped(values)
    }

    /// Of `frames`, `[T + 1, B, …]`, those from which each decision bootstraps: `[T, B, …]`.
    pub fn bootstrapped(&self, frames: &Tensor) -> Tensor {
        let mut shape = frames.size();
        let mut index = self.bootstrap.size();
        shape[0] = index[0];
        index.resize(shape.len(), 1);
        let index = self.bootstrap.view(index.as_slice()).expand(&shape, false);
        frames.gather(0, &index, false)
    }

    /// T and B.
    pub fn shape(&self) -> (i64, i64) {
        self.rewards.size2().expect("returns are [T, B]")
    }
}

impl NStepInput<'_> {
    /// T and B.
    fn checked_shape(&self) -> (usize, usize) {
        let (length, batch) = self.rewards.size2().expect("rewards are [T, B]");
        assert_eq!(self.terminated.size(), [length, batch], "terminated is [T, B], as rewards");
        assert_eq!(self.mask.size(), [length, batch], "the mask is [T, B], as rewards");
        (length as usize, batch as usize)
    }

    /// Everything, one after another, in the order of the fields.
    fn to_host(self) -> Vec<f64> {
        let columns = [self.rewards, self.terminated, self.mask];
        let flat = columns.map(|column| column.detach().flatten(0, 1).to_kind(Kind::Double));
        let all = Tensor::cat(&flat, 0).to_device(Device::Cpu);
        let mut host = vec![0.0; all.numel()];
        all.copy_data(&mut host, all.numel());
        host
    }
}
