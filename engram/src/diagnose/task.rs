//! Supervised tasks over sequences of frames.
//!
//! Every episode of a task has the same number of frames, so that parallel streams of episodes
//! begin theirs together and an unroll asks something of all of them or of none.

use anyhow::{Result, bail};
use engram_mdp::{ActionSpec, Dtype, EnvSpec, Generator, ObservationSpec};

use super::copy::Copy;
use super::episode::Episode;
use super::recall::Recall;

/// The longest episode, in frames, that a task may be asked for.
const MAX_FRAMES: usize = 1_000_000;

/// A task and its difficulty.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// Say bits in the order in which they were shown.
    Copy(Copy),
    /// Name the one symbol that was to be kept.
    Recall(Recall),
}

impl Task {
    /// Checks the settings.
    pub(crate) fn validate(&self) -> Result<()> {
        match self {
            Task::Copy(copy) => copy.validate()?,
            Task::Recall(recall) => recall.validate()?,
        }
        if self.episode_frames() > MAX_FRAMES {
            let frames = self.episode_frames();
            bail!("an episode would have {frames} frames; it may have {MAX_FRAMES}");
        }
        Ok(())
    }

    /// A short name with the settings that make it hard, fit for a folder.
    pub(crate) fn name(&self) -> String {
        match self {
            Task::Copy(copy) => copy.name(),
            Task::Recall(recall) => recall.name(),
        }
    }

    /// E: frames of an episode.
    pub(crate) fn episode_frames(&self) -> usize {
        match self {
            Task::Copy(copy) => copy.episode_frames(),
            Task::Recall(recall) => recall.episode_frames(),
        }
    }

    /// Frames from the showing of what is asked for to the answer, at least.
    pub(crate) fn dependency(&self) -> usize {
        match self {
            Task::Copy(copy) => copy.dependency(),
            Task::Recall(recall) => recall.dependency(),
        }
    }

    /// D: numbers in an observation.
    pub(crate) fn width(&self) -> usize {
        match self {
            Task::Copy(copy) => copy.width(),
            Task::Recall(recall) => recall.width(),
        }
    }

    /// Number of classes.
    pub(crate) fn classes(&self) -> usize {
        match self {
            Task::Copy(_) => 2,
            Task::Recall(recall) => recall.choices,
        }
    }

    /// The accuracy of whoever remembers nothing: classes are equally likely.
    pub(crate) fn chance(&self) -> f64 {
        1.0 / self.classes() as f64
    }

    /// The world of a policy whose actions are the classes.
    pub(crate) fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: self.name(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![self.width()] },
            action: ActionSpec::Discrete { count: self.classes() },
            action_repeat: 1,
        }
    }

    /// The next episode that `generator` makes.
    pub(crate) fn episode(&self, generator: &mut Generator) -> Episode {
        match self {
            Task::Copy(copy) => copy.episode(generator),
            Task::Recall(recall) => recall.episode(generator),
        }
    }
}
