//! What is asked: supervised tasks over sequences of frames.
//!
//! Every episode of a task has the same number of frames, so that parallel streams of episodes
//! begin theirs together and an unroll asks something of all of them or of none.

use anyhow::{Result, bail};
use engram_mdp::{ActionSpec, Dtype, EnvSpec, Generator, ObservationSpec};

use super::copy::Copy;
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

/// What one episode shows and asks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Episode {
    width: usize,
    /// `[E, D]`.
    observations: Vec<f32>,
    /// The class that must be named at each of the E frames; `None` where nothing is asked.
    answers: Vec<Option<usize>>,
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

    /// How many classes there are to name.
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

impl Episode {
    /// Frames that show zeros and ask nothing.
    pub(crate) fn blank(frames: usize, width: usize) -> Self {
        Episode { width, observations: vec![0.0; frames * width], answers: vec![None; frames] }
    }

    /// What frame `time` shows, `[D]`.
    pub(crate) fn observation(&self, time: usize) -> &[f32] {
        &self.observations[time * self.width..(time + 1) * self.width]
    }

    /// Makes frame `time` show a one in `channel`.
    pub(crate) fn show(&mut self, time: usize, channel: usize) {
        assert!(channel < self.width, "a channel of the observation");
        self.observations[time * self.width + channel] = 1.0;
    }

    /// What must be named at frame `time`.
    pub(crate) fn answer(&self, time: usize) -> Option<usize> {
        self.answers[time]
    }

    /// Asks for `class` at frame `time`.
    pub(crate) fn ask(&mut self, time: usize, class: usize) {
        self.answers[time] = Some(class);
    }
}

/// Plays many episodes to somebody who sees every frame and names a class each time; the share of
/// questions answered rightly.
#[cfg(test)]
pub(crate) fn share_right(task: &Task, mut player: impl FnMut(usize, &[f32]) -> usize) -> f64 {
    let mut generator = engram_mdp::Seed::new(5).generator();
    let (mut right, mut asked) = (0u32, 0u32);
    for _ in 0..2_000 {
        let episode = task.episode(&mut generator);
        for time in 0..task.episode_frames() {
            let named = player(time, episode.observation(time));
            if let Some(answer) = episode.answer(time) {
                asked += 1;
                right += u32::from(named == answer);
            }
        }
    }
    f64::from(right) / f64::from(asked)
}
