//! Episode of a supervised task: the frames that it shows and the answers that it asks for.

/// One episode: observations, and questions with their answers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskEpisode {
    width: usize,
    /// `[E, D]`.
    observations: Vec<f32>,
    /// The class that must be named at each of the E frames; `None` where nothing is asked.
    answers: Vec<Option<usize>>,
}

impl TaskEpisode {
    /// Frames that show zeros and ask nothing.
    pub(crate) fn blank(frames: usize, width: usize) -> Self {
        TaskEpisode { width, observations: vec![0.0; frames * width], answers: vec![None; frames] }
    }

    /// Observation of frame `time`, `[D]`.
    pub(crate) fn observation(&self, time: usize) -> &[f32] {
        &self.observations[time * self.width..(time + 1) * self.width]
    }

    /// Makes frame `time` show a one in `channel`.
    pub(crate) fn show(&mut self, time: usize, channel: usize) {
        assert!(channel < self.width, "a channel of the observation");
        self.observations[time * self.width + channel] = 1.0;
    }

    /// Class that must be named at frame `time`.
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
pub(crate) fn share_right(
    episode: impl Fn(&mut engram_mdp::Generator) -> TaskEpisode,
    mut player: impl FnMut(usize, &[f32]) -> usize,
) -> f64 {
    let mut generator = engram_mdp::Seed::new(5).generator();
    let (mut right, mut asked) = (0u32, 0u32);
    for _ in 0..2_000 {
        let episode = episode(&mut generator);
        for time in 0..episode.answers.len() {
            let named = player(time, episode.observation(time));
            if let Some(answer) = episode.answer(time) {
                asked += 1;
                right += u32::from(named == answer);
            }
        }
    }
    f64::from(right) / f64::from(asked)
}
