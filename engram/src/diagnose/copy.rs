//! Bits are shown one after another, a gap passes, and they must be said in their order.
//!
//! ```text
//! frames     s           G              1         s                then, up to L bits, blank
//! bit        b_1 … b_s   random ones    –         –
//! store      1           0              0         0
//! marker     0           0              1         0
//!                                                 ▲ say b_1 … b_s
//! ```
//!
//! Every bit is kept for s + G + 1 frames, and every bit counts: in the loss, in the accuracy, and
//! in whether a sequence was right. Chance is one half for a bit, and 2^−s for a sequence. The gap
//! shows random bits, which only the store flag tells from those to be kept.
//!
//! With `--positions` the input also says, one-hot, the number of the bit that is shown, and later
//! of the bit that is asked for. That is an easier task, and another one: memory then has to hold
//! the bits, but not to count, nor to keep them apart by when they came. A recurrence without
//! connections between cells has no shift register, and finds the difference large.

use anyhow::{Result, bail};
use clap::Args;
use engram_mdp::Generator;
use rand::RngExt;

use super::episode::TaskEpisode;
use super::task::Task;

/// The channels of the two bits come first.
const STORE: usize = 2;
const MARKER: usize = 3;
const POSITIONS: usize = 4;

/// The difficulty of copying.
#[derive(Args, Clone, Debug)]
#[group(skip)]
pub(crate) struct CopyTask {
    /// L: how many bits there are
    #[arg(long, value_name = "L", default_value_t = 5)]
    pub(crate) length: usize,
    /// G: frames between the last bit and the marker, each of which shows a distractor
    #[arg(long, value_name = "G", default_value_t = 50)]
    pub(crate) gap: usize,
    /// Show between 1 and L bits, not always L
    #[arg(long)]
    pub(crate) varied: bool,
    /// Tell the number of each bit where it is shown and where it is asked for
    #[arg(long)]
    pub(crate) positions: bool,
}

impl Task for CopyTask {
    fn validate(&self) -> Result<()> {
        if !(1..=10_000).contains(&self.length) {
            bail!("--length is {}; it must be between 1 and 10000", self.length);
        }
        Ok(())
    }

    fn name(&self) -> String {
        let varied = if self.varied { "-varied" } else { "" };
        let positions = if self.positions { "-positions" } else { "" };
        format!("copy-length{}-gap{}{varied}{positions}", self.length, self.gap)
    }

    fn episode_frames(&self) -> usize {
        self.gap.saturating_add(2 * self.length + 1)
    }

    fn dependency(&self) -> usize {
        self.gap + 1 + if self.varied { 1 } else { self.length }
    }

    fn width(&self) -> usize {
        POSITIONS + if self.positions { self.length } else { 0 }
    }

    fn classes(&self) -> usize {
        2
    }

    fn episode(&self, generator: &mut Generator) -> TaskEpisode {
        let mut episode = TaskEpisode::blank(self.episode_frames(), self.width());
        let shown = match self.varied {
            true => generator.random_range(1..=self.length),
            false => self.length,
        };
        let marker = shown + self.gap;
        episode.show(marker, MARKER);
        for time in 0..marker {
            let bit = usize::from(generator.random::<bool>());
            episode.show(time, bit);
            if time < shown {
                let asked = marker + 1 + time;
                episode.show(time, STORE);
                episode.ask(asked, bit);
                if self.positions {
                    episode.show(time, POSITIONS + time);
                    episode.show(asked, POSITIONS + time);
                }
            }
        }
        episode
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use engram_mdp::Seed;

    use super::super::episode::share_right;
    use super::*;

    fn copy(length: usize, varied: bool, positions: bool) -> CopyTask {
        CopyTask { length, gap: 4, varied, positions }
    }

    fn bit(frame: &[f32]) -> Option<usize> {
        frame[..2].iter().position(|&x| x == 1.0)
    }

    #[test]
    fn every_bit_is_asked_for_in_order_after_gap_and_marker() {
        let copy = copy(3, false, false);
        let episode = copy.episode(&mut Seed::new(1).generator());
        assert_eq!(copy.episode_frames(), 11);
        let frames: Vec<&[f32]> = (0..11).map(|time| episode.observation(time)).collect();
        let column = |channel: usize| -> Vec<f32> { frames.iter().map(|f| f[channel]).collect() };
        assert_eq!(column(STORE), [1., 1., 1., 0., 0., 0., 0., 0., 0., 0., 0.]);
        assert_eq!(column(MARKER), [0., 0., 0., 0., 0., 0., 0., 1., 0., 0., 0.]);
        let shown: Vec<_> = frames.iter().map(|frame| bit(frame)).collect();
        assert!(shown[..7].iter().all(Option::is_some), "distractors fill the gap");
        assert!(shown[7..].iter().all(Option::is_none));
        let answers: Vec<_> = (0..11).map(|time| episode.answer(time)).collect();
        assert_eq!(answers[..8], [None; 8]);
        assert_eq!(answers[8..], shown[..3]);
    }

    #[test]
    fn both_bits_are_asked_for_equally_often() {
        let task = copy(6, true, false);
        // Three standard errors of a mean over about 7000 coins.
        let zeros = share_right(|generator| task.episode(generator), |_, _| 0);
        assert!((zeros - 0.5).abs() < 0.018, "{zeros}");
    }

    #[test]
    fn a_queue_of_what_was_marked_is_always_right() {
        for varied in [false, true] {
            let mut queue = VecDeque::new();
            let task = copy(6, varied, false);
            let right = share_right(
                |generator| task.episode(generator),
                |time, frame| {
                    if time == 0 {
                        queue.clear();
                    }
                    if frame[STORE] == 1.0 {
                        queue.push_back(bit(frame).unwrap());
                    }
                    let answering = bit(frame).is_none() && frame[MARKER] == 0.0;
                    if answering { queue.pop_front().unwrap_or(0) } else { 0 }
                },
            );
            assert_eq!(right, 1.0, "varied: {varied}");
        }
    }

    #[test]
    fn repeating_what_was_shown_last_is_no_better_than_chance() {
        let task = copy(6, false, false);
        let mut latest = 0;
        let right = share_right(
            |generator| task.episode(generator),
            |_, frame| {
                latest = bit(frame).unwrap_or(latest);
                latest
            },
        );
        assert!((right - 0.5).abs() < 0.014, "{right}");
    }

    #[test]
    fn lengths_vary_within_episodes_of_equal_length() {
        let copy = copy(4, true, false);
        let mut generator = Seed::new(3).generator();
        let mut seen = [0; 5];
        for _ in 0..200 {
            let episode = copy.episode(&mut generator);
            let asked = |time: &usize| episode.answer(*time).is_some();
            seen[(0..copy.episode_frames()).filter(asked).count()] += 1;
        }
        assert_eq!(seen[0], 0);
        assert!(seen[1..].iter().all(|&count| count > 25), "{seen:?}");
    }

    #[test]
    fn positions_are_told_where_a_bit_is_shown_and_where_it_is_asked_for() {
        let copy = copy(3, false, true);
        let episode = copy.episode(&mut Seed::new(1).generator());
        for time in 0..copy.episode_frames() {
            let told = &episode.observation(time)[POSITIONS..];
            let number = match time {
                0..3 => Some(time),
                8..11 => Some(time - 8),
                _ => None,
            };
            assert_eq!(told.iter().position(|&x| x == 1.0), number, "frame {time}");
            assert_eq!(told.iter().sum::<f32>(), f32::from(u8::from(number.is_some())));
        }
    }
}
