//! The causal depthwise convolution inside an episode, as `conv1d` and `mamba` use it:
//!
//! ```text
//! y_t = Σ_k w_k ⊙ x_{t-k} + b        k = 0 .. K - 1; x is zero before the episode's first frame
//! ```
//!
//! It carries the last K − 1 inputs. Weights and biases start as PyTorch's Conv1d does, uniform in
//! `±1/√K`. Unrolling takes K products of shifted inputs (`recent`) and no loop over time.

use tch::Tensor;

use super::recent::Recent;
use crate::parameters::Parameters;
use crate::resets::Resets;

/// K taps for each of H channels.
pub(super) struct CausalConv {
    /// w: `[H, K]`; column k is multiplied with the input of k frames before.
    weight: Tensor,
    /// b: `[H]`.
    bias: Tensor,
    channels: i64,
    taps: i64,
}

impl CausalConv {
    pub(super) fn new(channels: i64, taps: i64, name: &str, p: &mut Parameters) -> Self {
        let bound = 1.0 / (taps as f64).sqrt();
        CausalConv {
            weight: p.uniform(format!("{name}.weight"), &[channels, taps], bound),
            bias: p.uniform(format!("{name}.bias"), &[channels], bound),
            channels,
            taps,
        }
    }

    /// The inputs before `batch` episodes: zeros, `[B, K - 1, H]`.
    pub(super) fn initial(&self, batch: i64) -> Tensor {
        let shape = [batch, self.taps - 1, self.channels];
        Tensor::zeros(shape, (self.weight.kind(), self.weight.device()))
    }

    /// x `[B, H]` and the K − 1 inputs before it `[B, K - 1, H]`, oldest first, already zero where
    /// x begins an episode. Returns y `[B, H]` and what is before the next x.
    pub(super) fn step(&self, x: &Tensor, before: &Tensor) -> (Tensor, Tensor) {
        let (batch, channels) = x.size2().expect("the convolution steps with [B, H]");
        assert_eq!(before.size(), [batch, self.taps - 1, channels], "K - 1 inputs before");
        let seen = Tensor::cat(&[before, &x.unsqueeze(1)], 1); // [B, K, H]
        let weight = self.weight.flip([1]).tr(); // [K, H], oldest first
        let y = (&seen * weight).sum_dim_intlist(1, false, None) + &self.bias;
        (y, seen.narrow(1, 1, self.taps - 1))
    }

    /// x `[T, B, H]` and the K − 1 inputs before it `[B, K - 1, H]`, as the last call has left
    /// them: resets at moment 0 are not yet applied. Returns y `[T, B, H]` and what is before
    /// the next x.
    pub(super) fn unroll(&self, x: &Tensor, before: &Tensor, resets: &Resets) -> (Tensor, Tensor) {
        let recent = Recent::new(x, before, resets);
        let mut y = self.bias.addcmul(&self.weight.select(1, 0), x);
        for k in 1..self.taps {
            y = y.addcmul(&self.weight.select(1, k), &recent.back(k));
        }
        (y, recent.after())
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;
    use tch::{Device, Kind};

    use super::*;
    use crate::random;

    const DOUBLE: (Kind, Device) = (Kind::Double, Device::Cpu);

    /// A frame's taps, one after another, backwards until its episode's beginning.
    fn slowly(conv: &CausalConv, x: &Tensor, resets: &Resets) -> Tensor {
        let (time, batch, _) = x.size3().unwrap();
        let y = Tensor::zeros_like(x);
        for (t, b) in (0..time).flat_map(|t| (0..batch).map(move |b| (t, b))) {
            let mut sum = conv.bias.detach().copy();
            for k in 0..conv.taps.min(t + 1) {
                sum += conv.weight.detach().select(1, k) * x.get(t - k).get(b);
                if resets.at((t - k) as usize)[b as usize] {
                    break;
                }
            }
            y.get(t).get(b).copy_(&sum);
        }
        y
    }

    #[test]
    fn every_frame_sees_the_last_taps_of_its_own_episode() {
        for taps in [1, 2, 4, 9] {
            let mut p = Parameters::new(Seed::new(1), Kind::Double, Device::Cpu);
            let conv = CausalConv::new(3, taps, "conv", &mut p);
            let mut generator = Seed::new(taps as u64).generator();
            let (time, batch) = (7, 5);
            let x = random::normal(&mut generator, &[time, batch, 3]).to_kind(Kind::Double);
            let first = random::uniform(&mut generator, &[time * batch]).lt(0.25);
            let resets = Resets::new(Vec::<bool>::try_from(first).unwrap(), batch as usize);
            let (y, after) = conv.unroll(&x, &conv.initial(batch), &resets);
            assert!((&y - slowly(&conv, &x, &resets)).abs().max().double_value(&[]) < 1e-12);

            let mut before = conv.initial(batch);
            for t in 0..time {
                let first = resets.first_at(t as usize, Device::Cpu).view([-1, 1, 1]);
                let (output, next) = conv.step(&x.get(t), &before.masked_fill(&first, 0.0));
                assert!((output - y.get(t)).abs().max().double_value(&[]) < 1e-12);
                before = next;
            }
            assert_eq!(before, after);
        }
    }

    #[test]
    fn what_is_not_finite_ends_with_its_episode() {
        let mut p = Parameters::new(Seed::new(1), Kind::Double, Device::Cpu);
        let conv = CausalConv::new(2, 3, "conv", &mut p);
        let before = Tensor::full([1, 2, 2], f64::NAN, DOUBLE);
        let resets = Resets::new(vec![false, true, false], 1);
        let (y, after) = conv.unroll(&Tensor::ones([3, 1, 2], DOUBLE), &before, &resets);
        let finite = Vec::<bool>::try_from(y.select(2, 0).view(-1).isfinite()).unwrap();
        assert_eq!(finite, [false, true, true]);
        assert_eq!(after, Tensor::ones([1, 2, 2], DOUBLE));
    }
}
