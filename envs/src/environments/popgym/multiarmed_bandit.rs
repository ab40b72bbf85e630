//! Multiarmed Bandit: every arm pays with a probability of its own, which is drawn anew for every
//! episode. A decision is worth 1 / decisions where the arm pays, and costs as much where it does
//! not. The observation is `[nothing, paid]`.

use engram_mdp::{Action, ActionSpec};

use super::{Level, World, one_hot};
use crate::canvas::{ACTOR, Canvas, FAINT, SIGHT};
use crate::chance::Chance;
use crate::environment::Outcome;

/// Multiarmed Bandit.
#[derive(Debug)]
pub struct MultiarmedBandit {
    max_steps: u32,
    /// Probability of each arm to pay.
    arms: Vec<f32>,
    last: Option<usize>,
    time: u32,
}

impl World for MultiarmedBandit {
    const NAME: &'static str = "popgym-multiarmed-bandit";

    fn at(level: Level) -> Self {
        let (arms, max_steps) = level.of([(10, 200), (20, 400), (30, 600)]);
        MultiarmedBandit { max_steps, arms: vec![0.0; arms], last: None, time: 0 }
    }

    fn width(&self) -> usize {
        2
    }

    fn action(&self) -> ActionSpec {
        ActionSpec::Discrete { count: self.arms.len() }
    }

    fn begin(&mut self, chance: &mut impl Chance, row: &mut [f32]) {
        self.arms.iter_mut().for_each(|arm| *arm = chance.unit() as f32);
        (self.last, self.time) = (None, 0);
        one_hot(row, 0);
    }

    fn step(&mut self, action: Action<'_>, chance: &mut impl Chance, row: &mut [f32]) -> Outcome {
        let arm = action.index();
        let pays = (chance.unit() as f32) < self.arms[arm];
        self.last = Some(arm);
        self.time += 1;
        one_hot(row, usize::from(pays));
        let scale = 1.0 / f64::from(self.max_steps);
        Outcome::until(self.max_steps, self.time, if pays { scale } else { -scale } as f32)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("bars show how often each arm pays");
        let area = canvas.area();
        let width = area.width / self.arms.len() as f32;
        for (arm, &share) in self.arms.iter().enumerate() {
            let left = arm as f32 * width + 2.0;
            let height = share * (area.height - 4.0);
            let color = if self.last == Some(arm) { ACTOR } else { SIGHT };
            canvas.rectangle([left, 0.0], [width - 4.0, area.height], FAINT);
            canvas.rectangle([left, area.height - height], [width - 4.0, height], color);
        }
        canvas.timeline(&[self.max_steps], self.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environments::popgym::goldens::{self, Player};

    impl Player for MultiarmedBandit {
        fn best(&self, _memory: &mut usize) -> usize {
            let better = |best: usize, arm: usize| {
                if self.arms[arm] > self.arms[best] { arm } else { best }
            };
            (0..self.arms.len()).reduce(better).unwrap()
        }
    }

    #[test]
    fn episodes_are_the_packages() {
        goldens::replay::<MultiarmedBandit>();
    }
}
