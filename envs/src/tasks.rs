//! Sets of tasks that are drawn once and split into some for training and some for tests.

use engram_mdp::{Generator, Seed};
use serde::Deserialize;

/// The part of a set of tasks that is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// The tasks to train on.
    Train,
    /// The tasks kept for tests.
    Test,
}

/// A set of tasks of a family.
pub(crate) struct TaskSet {
    /// Their number.
    pub(crate) tasks: u32,
    /// Those at the beginning belong to the training split.
    pub(crate) train_tasks: u32,
    /// The part that is played.
    pub(crate) split: Split,
    /// The seed from which all are drawn.
    pub(crate) seed: Seed,
}

impl TaskSet {
    /// The tasks of the split, each drawn by `draw`. Both splits come from one sequence.
    pub(crate) fn draw<T>(&self, draw: impl FnMut(&mut Generator) -> T) -> Vec<T> {
        let mut generator = self.seed.derive("tasks", 0).generator();
        let mut draw = draw;
        let mut train: Vec<T> = (0..self.tasks).map(|_| draw(&mut generator)).collect();
        let test = train.split_off(self.train_tasks as usize);
        match self.split {
            Split::Train => train,
            Split::Test => test,
        }
    }
}
