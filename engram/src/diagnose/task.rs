//! Supervised tasks over sequences of frames.
//!
//! Every episode of a task has the same number of frames, so that parallel streams of episodes
//! begin theirs together and an unroll asks something of all of them or of none.

use std::fmt::Debug;

use anyhow::{Result, bail};
use engram_mdp::{ActionSpec, Dtype, EnvSpec, Generator, ObservationSpec};

use super::episode::TaskEpisode;

/// The longest episode, in frames, that a task may be asked for.
const MAX_FRAMES: usize = 1_000_000;

/// A task and its difficulty.
pub(crate) trait Task: Debug + Send + Sync {
    /// Checks the task's own settings.
    fn validate(&self) -> Result<()>;

    /// A short name with the settings that make it hard, fit for a folder.
    fn name(&self) -> String;

    /// E: frames of an episode.
    fn episode_frames(&self) -> usize;

    /// Frames from the showing of what is asked for to the answer, at least.
    fn dependency(&self) -> usize;

    /// D: numbers in an observation.
    fn width(&self) -> usize;

    /// Number of classes.
    fn classes(&self) -> usize;

    /// The next episode that `generator` makes.
    fn episode(&self, generator: &mut Generator) -> TaskEpisode;

    /// Checks the settings.
    fn check(&self) -> Result<()> {
        self.validate()?;
        let frames = self.episode_frames();
        if frames > MAX_FRAMES {
            bail!("an episode would have {frames} frames; it may have {MAX_FRAMES}");
        }
        Ok(())
    }

    /// The accuracy of whoever remembers nothing: classes are equally likely.
    fn chance(&self) -> f64 {
        1.0 / self.classes() as f64
    }

    /// The environment of a policy whose actions are the classes.
    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: self.name(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![self.width()] },
            action: ActionSpec::Discrete { count: self.classes() },
            frame_stack: 1,
            action_repeat: 1,
        }
    }
}
