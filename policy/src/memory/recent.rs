//! Recent inputs inside an episode, as layers with a window of frames carry and see them: `conv1d`,
//! `mamba` and `frame_stack`.
//!
//! K frames are seen, the present one included, and K − 1 are carried. No loop over time: frame
//! t − k of all t is one shifted view, in which what belongs to an episode before is put to zero,
//! where there is such a thing.

use tch::Tensor;

use crate::resets::Resets;

/// Inputs of an unroll, and the K − 1 before it.
pub(super) struct Recent {
    /// `[K - 1 + T, B, H]`.
    seen: Tensor,
    /// `Resets::ages` of the T × B rows.
    ages: Vec<Option<i64>>,
    time: i64,
    batch: i64,
    /// K − 1.
    earlier: i64,
}

impl Recent {
    /// x `[T, B, H]` and the K − 1 inputs before it `[B, K - 1, H]`, oldest first, as the last call
    /// has left them: resets at moment 0 are not yet applied.
    pub(super) fn new(x: &Tensor, before: &Tensor, resets: &Resets) -> Self {
        let (time, batch, width) = x.size3().expect("inputs have shape [T, B, H]");
        let earlier = before.size()[1];
        assert_eq!(before.size(), [batch, earlier, width], "K - 1 inputs before");
        let seen = Tensor::cat(&[&before.transpose(0, 1), x], 0);
        Recent { seen, ages: resets.ages(), time, batch, earlier }
    }

    /// x_{t-k} for all t, `[T, B, H]`: zero before the episode's first frame. k is below K.
    pub(super) fn back(&self, k: i64) -> Tensor {
        let shifted = self.seen.narrow(0, self.earlier - k, self.time);
        let unseen = self.ages.iter().map(|age| age.is_some_and(|age| age < k));
        without(&shifted, unseen.collect(), &[self.time, self.batch, 1])
    }

    /// The K − 1 inputs before the next x, `[B, K - 1, H]`, oldest first.
    pub(super) fn after(&self) -> Tensor {
        let after = self.seen.narrow(0, self.time, self.earlier).transpose(0, 1);
        let (last, frames) = (&self.ages[self.ages.len() - self.batch as usize..], self.earlier);
        // Of the inputs before the next frame, the i-th is K - 2 - i frames older than the last.
        let unseen = last
            .iter()
            .flat_map(|age| (0..frames).map(move |i| age.is_some_and(|age| age < frames - 1 - i)));
        without(&after, unseen.collect(), &[self.batch, frames, 1])
    }
}

/// `x` with zeros where `unseen`, which has shape `shape`, says so. Not by a product: what was not
/// finite would survive it.
fn without(x: &Tensor, unseen: Vec<bool>, shape: &[i64]) -> Tensor {
    if !unseen.contains(&true) {
        return x.contiguous();
    }
    let unseen = Tensor::from_slice(&unseen).view(shape).to_device(x.device());
    x.masked_fill(&unseen, 0.0)
}
