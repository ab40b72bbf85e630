//! Random sequences as replay has them, and what a decision came to by the book.

use engram_learner::losses::Decisions;
use engram_learner::losses::n_step::{NStepInput, NStepReturns, n_step_returns};
use engram_mdp::Generator;
use rand::RngExt;
use tch::{Kind, Tensor};

use crate::Grid;

/// γ: a number that is not exact in binary.
pub(crate) const GAMMA: f64 = 0.93;

/// A frame of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Frame {
    /// Something was done here.
    Acts,
    /// The episode ended, and the environment with it.
    Terminated,
    /// The episode ended, but the environment went on.
    Truncated,
    /// End of what is known of the row: the frame is real, and so is its value.
    Cut,
    /// Nothing is here.
    Padding,
}

/// T decisions and T + 1 frames of B rows. At frames that do not act there stands something
/// random: it must not matter.
#[derive(Clone, Debug)]
pub(crate) struct Sequences {
    /// `[B][T + 1]`.
    pub(crate) frames: Vec<Vec<Frame>>,
    /// `[T, B]`; of these the tensors are made.
    pub(crate) rewards: Grid,
    pub(crate) actions: Grid,
    pub(crate) importance: Grid,
}

/// Tensors of [`Sequences`], `[T, B]`.
pub(crate) struct Columns {
    pub(crate) rewards: Tensor,
    pub(crate) terminated: Tensor,
    pub(crate) mask: Tensor,
    pub(crate) actions: Tensor,
    pub(crate) importance: Tensor,
}

/// Return of a decision: its rewards, and the frame whose value follows, with its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) rewards: f64,
    pub(crate) end: usize,
    pub(crate) discount: f64,
}

impl Sequences {
    /// Episodes of all lengths, packed into rows that are cut anywhere and padded, with `actions`
    /// to choose from.
    pub(crate) fn random(
        [length, batch, actions]: [usize; 3],
        reward: f64,
        rng: &mut Generator,
    ) -> Self {
        let frames = (0..batch).map(|_| random_row(length, rng)).collect();
        let shape = [length, batch];
        Sequences {
            frames,
            rewards: Grid::random(&shape, -reward..reward, rng),
            actions: Grid::of(&shape, |_| rng.random_range(0..actions) as f64),
            importance: Grid::random(&shape, 0.1..1.5, rng),
        }
    }

    pub(crate) fn length(&self) -> usize {
        self.rewards.shape[0]
    }

    /// Every (t, b), as they lie.
    pub(crate) fn cells(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let batch = self.rewards.shape[1];
        (0..self.length()).flat_map(move |t| (0..batch).map(move |b| (t, b)))
    }

    pub(crate) fn acts(&self, t: usize, b: usize) -> bool {
        self.frames[b][t] == Frame::Acts
    }

    /// Number of decisions.
    pub(crate) fn decisions(&self) -> f64 {
        self.cells().filter(|&(t, b)| self.acts(t, b)).count() as f64
    }

    pub(crate) fn action(&self, t: usize, b: usize) -> usize {
        self.actions.at(&[t, b]) as usize
    }

    /// Return of the decision at t: rewards until the first frame within `n` at which nothing
    /// was done, and the value there unless the environment has ended.
    pub(crate) fn outcome(&self, t: usize, b: usize, n: usize) -> Outcome {
        let furthest = (t + n).min(self.length());
        let end = (t + 1..furthest).find(|&frame| !self.acts(frame, b)).unwrap_or(furthest);
        let rewards = (t..end).map(|k| GAMMA.powi((k - t) as i32) * self.rewards.at(&[k, b])).sum();
        let discount = match self.frames[b][end] {
            Frame::Terminated => 0.0,
            _ => GAMMA.powi((end - t) as i32),
        };
        Outcome { rewards, end, discount }
    }

    pub(crate) fn columns(&self, kind: Kind) -> Columns {
        let shape = &self.rewards.shape;
        let of = |says: &dyn Fn(usize, usize) -> bool| {
            Grid::of(shape, |i| f64::from(u8::from(says(i[0], i[1])))).tensor(kind)
        };
        Columns {
            rewards: self.rewards.tensor(kind),
            terminated: of(&|t, b| self.frames[b][t + 1] == Frame::Terminated),
            mask: of(&|t, b| self.acts(t, b)),
            actions: self.actions.tensor(Kind::Int64),
            importance: self.importance.tensor(kind),
        }
    }
}

impl Columns {
    pub(crate) fn returns(&self, n: usize) -> NStepReturns {
        let (rewards, terminated, mask) = (&self.rewards, &self.terminated, &self.mask);
        n_step_returns(&NStepInput { rewards, terminated, mask }, GAMMA, n)
    }

    pub(crate) fn decisions(&self, with_importance: bool) -> Decisions<'_> {
        Decisions {
            actions: &self.actions,
            mask: &self.mask,
            importance: with_importance.then_some(&self.importance),
        }
    }
}

/// Now and then a burn-in, in which nothing is learned; then episodes, and where one is cut the
/// next sequence, or nothing more.
fn random_row(length: usize, rng: &mut Generator) -> Vec<Frame> {
    let burn_in = rng.random_range(0..8_usize).saturating_sub(5);
    let mut frames = vec![Frame::Padding; burn_in];
    for _ in burn_in..=length {
        let before = if frames.len() == burn_in { None } else { frames.last() };
        frames.push(match (before, rng.random_range(0..12)) {
            (Some(Frame::Padding), _) | (Some(Frame::Cut), 0..6) => Frame::Padding,
            (Some(Frame::Acts), 0 | 1) => Frame::Terminated,
            (Some(Frame::Acts), 2 | 3) => Frame::Truncated,
            (Some(Frame::Acts), 4) => Frame::Cut,
            _ => Frame::Acts,
        });
    }
    frames.truncate(length + 1);
    frames
}
