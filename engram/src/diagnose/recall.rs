//! One symbol is marked to be kept; others like it follow; it must be named at the end.
//!
//! ```text
//! frame      0       1 … D          D + 1
//! symbol     cue     random ones    –
//! store      1       0              0
//! query      0       0              1        ◀ name the cue
//! ```
//!
//! The difficulty is selection, not noise: each distractor is one of the same K symbols, on the
//! same channels, and as large as the cue. Only the store flag tells them apart. A fading sum of
//! all that was shown says nearly nothing after 50 of them; the cue has to be let in, and
//! everything else kept out. The gradient that teaches the first of these comes from the query,
//! D + 1 frames later.

use anyhow::{Result, bail};
use clap::Args;
use engram_mdp::Generator;
use rand::RngExt;

use super::episode::TaskEpisode;
use super::task::Task;

/// The difficulty of recall.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct RecallTask {
    /// Frames between the cue and the query, each of which shows a distractor
    #[arg(long, value_name = "D", default_value_t = 50)]
    pub(crate) delay: usize,
    /// Number of symbols
    #[arg(long, value_name = "K", default_value_t = 4)]
    pub(crate) choices: usize,
}

impl Task for RecallTask {
    fn validate(&self) -> Result<()> {
        if self.delay == 0 {
            bail!("--delay is 0; a cue must be kept for at least 1 frame to need memory");
        }
        if !(2..=1024).contains(&self.choices) {
            bail!("--choices is {}; it must be between 2 and 1024", self.choices);
        }
        Ok(())
    }

    fn name(&self) -> String {
        format!("recall-delay{}-choices{}", self.delay, self.choices)
    }

    fn episode_frames(&self) -> usize {
        self.delay.saturating_add(2)
    }

    fn dependency(&self) -> usize {
        self.delay + 1
    }

    /// The symbols, then the store flag, then the query flag.
    fn width(&self) -> usize {
        self.choices + 2
    }

    fn classes(&self) -> usize {
        self.choices
    }

    fn episode(&self, generator: &mut Generator) -> TaskEpisode {
        let (store, query) = (self.choices, self.choices + 1);
        let mut episode = TaskEpisode::blank(self.episode_frames(), self.width());
        let mut symbol = || generator.random_range(0..self.choices);
        let cue = symbol();
        episode.show(0, cue);
        episode.show(0, store);
        for time in 1..=self.delay {
            episode.show(time, symbol());
        }
        episode.show(self.delay + 1, query);
        episode.ask(self.delay + 1, cue);
        episode
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;

    use super::super::episode::share_right;
    use super::*;

    const RECALL: RecallTask = RecallTask { delay: 6, choices: 4 };

    fn episode(generator: &mut Generator) -> TaskEpisode {
        RECALL.episode(generator)
    }

    fn symbol(frame: &[f32]) -> Option<usize> {
        frame[..4].iter().position(|&x| x == 1.0)
    }

    #[test]
    fn one_symbol_is_stored_and_asked_for_and_the_others_look_like_it() {
        let episode = RECALL.episode(&mut Seed::new(2).generator());
        let frames: Vec<&[f32]> = (0..8).map(|time| episode.observation(time)).collect();
        let flags: Vec<&[f32]> = frames.iter().map(|frame| &frame[4..]).collect();
        assert_eq!((flags[0], flags[7]), ([1.0, 0.0].as_slice(), [0.0, 1.0].as_slice()));
        assert!(flags[1..7].iter().all(|flags| *flags == [0.0, 0.0]));
        let shown: Vec<_> = frames.iter().map(|frame| symbol(frame)).collect();
        assert!(shown[..7].iter().all(Option::is_some) && shown[7].is_none());
        let answers: Vec<_> = (0..8).map(|time| episode.answer(time)).collect();
        assert_eq!(answers[..7], [None; 7]);
        assert_eq!(answers[7], shown[0]);
    }

    #[test]
    fn whoever_stores_what_is_marked_is_always_right() {
        let mut kept = 0;
        let right = share_right(episode, |_, frame| {
            if frame[4] == 1.0 {
                kept = symbol(frame).unwrap();
            }
            kept
        });
        assert_eq!(right, 1.0);
    }

    #[test]
    fn neither_a_constant_nor_the_latest_nor_the_most_frequent_symbol_beats_chance() {
        let mut latest = 0;
        let mut counts = [0; 4];
        let players: [(&str, f64); 3] = [
            ("constant", share_right(episode, |_, _| 2)),
            (
                "latest",
                share_right(episode, |_, frame| {
                    latest = symbol(frame).unwrap_or(latest);
                    latest
                }),
            ),
            (
                "most frequent distractor",
                share_right(episode, |time, frame| {
                    match (time, symbol(frame)) {
                        (0, _) => counts = [0; 4],
                        (_, Some(symbol)) => counts[symbol] += 1,
                        (_, None) => {}
                    }
                    (0..4).max_by_key(|&symbol| counts[symbol]).unwrap()
                }),
            ),
        ];
        // Three standard errors of a mean over 2000 coins.
        let tolerance = 3.0 * (0.25f64 * 0.75 / 2_000.0).sqrt();
        for (player, right) in players {
            assert!((right - 0.25).abs() < tolerance, "{player}: {right}");
        }
    }
}
