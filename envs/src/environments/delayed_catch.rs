//! Catch in several runs with one payment: catches are counted, and paid when the last run is over
//! (Raposo et al. 2021, <https://arxiv.org/abs/2102.12425>; with the numbers of Ni et al. 2022).
//!
//! A run is a game of [`catch`](super::catch): the ball starts in a random column of the top row,
//! and falls by one row per step; the paddle moves by at most one column. When a ball has landed,
//! the next decision begins the next run, whatever it is. So `runs` of them on a board of 7 × 7 take
//! `7 (runs - 1) + 6` decisions. The observation is the board, row by row: -1 is the ball, 1 the
//! paddle. The reward is zero until the last decision, which is paid 1 for every ball caught.

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use rand::RngExt;
use serde::Deserialize;

use crate::canvas::{ACTOR, Area, Canvas, FAINT, GOAL, INK};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};

/// The parameters of delayed Catch.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelayedCatchConfig {
    /// Balls in an episode; 1 to 40 in the original.
    pub runs: u32,
    /// Rows and columns of the board; 7 in the original.
    pub size: usize,
}

impl DelayedCatchConfig {
    /// Decisions in an episode.
    fn length(&self) -> u32 {
        self.size as u32 * self.runs - 1
    }
}

impl EnvironmentParameters for DelayedCatchConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("runs", self.runs, 1..=10_000)?;
        within("size", self.size, 5..=256)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: "delayed-catch".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![self.size * self.size] },
            action: ActionSpec::Discrete { count: 3 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(DelayedCatch::new(self, seed))
    }

    fn optimum(&self) -> Option<f32> {
        Some(self.runs as f32)
    }
}

struct DelayedCatch {
    config: DelayedCatchConfig,
    spec: EnvSpec,
    generator: Generator,
    /// Row and column.
    ball: (usize, usize),
    /// Column.
    paddle: usize,
    caught: u32,
    time: u32,
}

impl DelayedCatch {
    fn new(config: &DelayedCatchConfig, seed: Seed) -> Self {
        DelayedCatch {
            config: config.clone(),
            spec: config.spec(),
            generator: seed.generator(),
            ball: (0, 0),
            paddle: 0,
            caught: 0,
            time: 0,
        }
    }

    /// Starts a run. The original never starts a ball in the last column, nor a paddle in the outer
    /// ones or in the last but one.
    fn begin_run(&mut self) {
        let size = self.config.size;
        self.ball = (0, self.generator.random_range(0..size - 1));
        self.paddle = self.generator.random_range(1..size - 2);
    }

    fn landed(&self) -> bool {
        self.ball.0 == self.config.size - 1
    }

    fn draw(&self, observation: ObservationMut<'_>) {
        let size = self.config.size;
        let board = observation.floats();
        board.fill(0.0);
        board[self.ball.0 * size + self.ball.1] = -1.0;
        board[(size - 1) * size + self.paddle] = 1.0;
    }
}

impl Environment for DelayedCatch {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.begin_run();
        (self.caught, self.time) = (0, 0);
        self.draw(observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.time += 1;
        if self.landed() {
            self.begin_run();
        } else {
            // Actions 0, 1 and 2 move left, stay, and move right.
            let moved = (self.paddle + action.index()).saturating_sub(1);
            self.paddle = moved.min(self.config.size - 1);
            self.ball.0 += 1;
            self.caught += u32::from(self.landed() && self.paddle == self.ball.1);
        }
        self.draw(observation);
        if self.time < self.config.length() {
            return Outcome::goes_on(0.0);
        }
        Outcome::terminated(self.caught as f32)
    }

    fn success(&self) -> Option<bool> {
        Some(self.caught == self.config.runs)
    }

    fn render(&self, canvas: &mut Canvas) {
        let size = self.config.size as i32;
        let run = self.time / self.config.size as u32;
        canvas.set_caption(format!("{} caught in {run} runs; paid at the end", self.caught));
        let Area { width, .. } = canvas.area();
        let grid = canvas.grid(self.config.size, self.config.size);
        for row in 0..size {
            for column in 0..size {
                grid.fill(canvas, row, column, FAINT);
            }
        }
        let paddle = if self.landed() && self.paddle == self.ball.1 { GOAL } else { ACTOR };
        grid.fill(canvas, size - 1, self.paddle as i32, paddle);
        let ball = grid.center(self.ball.0 as i32, self.ball.1 as i32);
        canvas.disc(ball, 0.36 * grid.side, INK);
        // The catches of this episode, one mark each, at the left edge.
        let marks = (self.caught as f32).min(width);
        canvas.rectangle([4.0, 4.0], [marks, 4.0], GOAL);
        let mut parts = vec![self.config.size as u32; self.config.runs as usize];
        parts[self.config.runs as usize - 1] -= 1;
        canvas.timeline(&parts, self.time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays an episode: its rewards. The policy is shown ball and paddle columns.
    fn play(runs: u32, seed: u64, policy: impl Fn(usize, usize) -> usize) -> Vec<f32> {
        let mut catch = DelayedCatch::new(&DelayedCatchConfig { runs, size: 7 }, Seed::new(seed));
        let mut board = [0.0; 49];
        catch.reset(ObservationMut::F32(&mut board));
        let mut rewards = Vec::new();
        loop {
            let action = Action::Discrete(policy(catch.ball.1, catch.paddle));
            let outcome = catch.step(action, ObservationMut::F32(&mut board));
            assert_eq!(board[42 + catch.paddle], 1.0);
            rewards.push(outcome.reward);
            if outcome.ending.is_some() {
                return rewards;
            }
        }
    }

    fn follow(ball: usize, paddle: usize) -> usize {
        (ball + 1).saturating_sub(paddle).min(2)
    }

    #[test]
    fn k_runs_take_seven_times_k_minus_one_plus_six_decisions_and_the_last_one_pays_for_all() {
        for (runs, length) in [(1, 6), (2, 13), (5, 34), (10, 69), (20, 139), (40, 279)] {
            let rewards = play(runs, 3, follow);
            assert_eq!(rewards.len(), length);
            assert!(rewards[..length - 1].iter().all(|&reward| reward == 0.0));
            assert_eq!(rewards[length - 1], runs as f32);
        }
    }

    #[test]
    fn a_paddle_that_stays_catches_one_ball_in_six() {
        // Of 6 columns for a ball and 4 for a paddle, the same one.
        let sum: f32 = (0..50).map(|seed| play(40, seed, |_, _| 1)[278]).sum();
        assert!((sum / 2000.0 - 1.0 / 6.0).abs() < 0.03, "{sum} of 2000");
    }

    #[test]
    fn the_board_shows_the_ball_as_minus_one_falling_by_a_row_per_decision() {
        let mut catch = DelayedCatch::new(&DelayedCatchConfig { runs: 2, size: 7 }, Seed::new(1));
        let mut board = [0.0; 49];
        catch.reset(ObservationMut::F32(&mut board));
        let row = |board: &[f32; 49]| board.iter().position(|&x| x == -1.0).map(|at| at / 7);
        let mut rows = vec![row(&board)];
        for _ in 0..8 {
            catch.step(Action::Discrete(follow(0, 6)), ObservationMut::F32(&mut board));
            rows.push(row(&board));
        }
        let falling = [0, 1, 2, 3, 4, 5].map(Some);
        assert_eq!((&rows[..6], rows[7], rows[8]), (&falling[..], Some(0), Some(1)));
    }
}
