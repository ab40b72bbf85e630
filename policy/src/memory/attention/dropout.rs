//! Dropout (Srivastava et al. 2014, <https://jmlr.org/papers/v15/srivastava14a.html>) whose masks
//! come from Engram's own generators, so that a seed decides them.

use std::cell::Cell;

use engram_mdp::{Generator, Seed};
use tch::Tensor;

use crate::random;

/// Draws the masks of one unroll.
pub(in crate::memory) struct Dropout {
    share: f64,
    generator: Generator,
}

/// Seeds of the masks of a layer's unrolls: each unroll has one of its own.
pub(in crate::memory) struct DropoutSeeds {
    share: f64,
    seed: Seed,
    unrolls: Cell<u64>,
}

impl DropoutSeeds {
    /// `share` of all numbers are dropped.
    pub(in crate::memory) fn new(share: f64, seed: Seed) -> Self {
        assert!((0.0..1.0).contains(&share), "something is left of what is dropped from");
        DropoutSeeds { share, seed, unrolls: Cell::new(0) }
    }

    /// The next unroll's masks; `None` where nothing is dropped.
    pub(in crate::memory) fn next(&self) -> Option<Dropout> {
        let unroll = self.unrolls.replace(self.unrolls.get() + 1);
        let generator = self.seed.derive("dropout", unroll).generator();
        (self.share > 0.0).then_some(Dropout { share: self.share, generator })
    }
}

impl Dropout {
    /// Zero with probability `share`, else `x / (1 - share)`.
    pub(in crate::memory) fn apply(&mut self, x: &Tensor) -> Tensor {
        let kept = random::uniform(&mut self.generator, &x.size()).ge(self.share);
        x * (kept.to_device(x.device()).to_kind(x.kind()) / (1.0 - self.share))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn a_share_is_dropped_and_the_mean_stays() {
        let seeds = DropoutSeeds::new(0.2, Seed::new(3));
        let ones = Tensor::ones([100, 300], (Kind::Float, Device::Cpu));
        let one = seeds.next().unwrap().apply(&ones);
        let dropped = one.eq(0.0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
        assert!((dropped - 0.2).abs() < 0.01, "{dropped}");
        assert!((one.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 0.01);
        assert_ne!(seeds.next().unwrap().apply(&ones), one, "every unroll has its own");
        assert_eq!(DropoutSeeds::new(0.2, Seed::new(3)).next().unwrap().apply(&ones), one);
        assert!(DropoutSeeds::new(0.0, Seed::new(3)).next().is_none());
    }
}
