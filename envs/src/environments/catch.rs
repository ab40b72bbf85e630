//! Catch: move a paddle under a falling ball (Mnih et al. 2014; bsuite, Osband et al. 2020,
//! <https://arxiv.org/abs/1908.03568>).
//!
//! The ball starts in a random column of the top row, the paddle in the middle of the bottom row.
//! Every step the paddle moves by at most one column and the ball falls by one row. When the ball
//! reaches the bottom row the episode ends: 1 if the paddle is under it, -1 if not. The board is an
//! image of bytes with one channel; ball and paddle are 255.

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use rand::RngExt;
use serde::Deserialize;

use crate::canvas::{ACTOR, Canvas, FAINT, INK};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};

/// The parameters of Catch; the standard board has 10 rows and 5 columns.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatchConfig {
    /// Rows of the board; an episode takes one decision less.
    pub rows: usize,
    /// Columns of the board.
    pub columns: usize,
}

impl EnvironmentParameters for CatchConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("rows", self.rows, 2..=1024)?;
        within("columns", self.columns, 1..=1024)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: "catch".into(),
            observation: ObservationSpec {
                dtype: Dtype::U8,
                shape: vec![1, self.rows, self.columns],
            },
            action: ActionSpec::Discrete { count: 3 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(Catch {
            config: self.clone(),
            spec: self.spec(),
            generator: seed.generator(),
            ball: (0, 0),
            paddle: 0,
        })
    }

    /// A ball in a corner can be caught only where there are rows enough to walk there.
    fn optimum(&self) -> Option<f32> {
        (self.columns / 2 < self.rows).then_some(1.0)
    }
}

struct Catch {
    config: CatchConfig,
    spec: EnvSpec,
    generator: Generator,
    /// Row and column.
    ball: (usize, usize),
    /// Column.
    paddle: usize,
}

impl Catch {
    fn draw(&self, observation: ObservationMut<'_>) {
        let (rows, columns) = (self.config.rows, self.config.columns);
        let board = observation.bytes();
        board.fill(0);
        board[self.ball.0 * columns + self.ball.1] = 255;
        board[(rows - 1) * columns + self.paddle] = 255;
    }

    fn caught(&self) -> bool {
        self.paddle == self.ball.1
    }
}

impl Environment for Catch {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.ball = (0, self.generator.random_range(0..self.config.columns));
        self.paddle = self.config.columns / 2;
        self.draw(observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        // Actions 0, 1 and 2 move left, stay, and move right.
        let moved = (self.paddle + action.index()).saturating_sub(1);
        self.paddle = moved.min(self.config.columns - 1);
        self.ball.0 += 1;
        self.draw(observation);
        if self.ball.0 < self.config.rows - 1 {
            return Outcome::goes_on(0.0);
        }
        Outcome::terminated(if self.caught() { 1.0 } else { -1.0 })
    }

    fn success(&self) -> Option<bool> {
        Some(self.caught())
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("move under the falling ball");
        let grid = canvas.grid(self.config.rows, self.config.columns);
        for row in 0..self.config.rows {
            for column in 0..self.config.columns {
                grid.fill(canvas, row as i32, column as i32, FAINT);
            }
        }
        let paddle = self.config.rows as i32 - 1;
        grid.fill(canvas, paddle, self.paddle as i32, ACTOR);
        let ball = grid.center(self.ball.0 as i32, self.ball.1 as i32);
        canvas.disc(ball, 0.36 * grid.side, INK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays one episode of the standard board; the policy is shown ball and paddle columns.
    fn play(seed: u64, policy: impl Fn(usize, usize) -> usize) -> (f32, u32) {
        let config = CatchConfig { rows: 10, columns: 5 };
        let mut catch = config.make(Seed::new(seed));
        let mut board = [0_u8; 50];
        catch.reset(ObservationMut::U8(&mut board));
        let mut steps = 0;
        loop {
            let ball = board[..45].iter().position(|&x| x == 255).unwrap() % 5;
            let paddle = board[45..].iter().position(|&x| x == 255).unwrap();
            let action = Action::Discrete(policy(ball, paddle));
            let outcome = catch.step(action, ObservationMut::U8(&mut board));
            steps += 1;
            if outcome.ending.is_some() {
                return (outcome.reward, steps);
            }
            assert_eq!(outcome.reward, 0.0);
        }
    }

    #[test]
    fn following_the_ball_catches_it_and_standing_still_misses_all_but_the_middle() {
        let follow = |ball: usize, paddle: usize| (ball + 1).saturating_sub(paddle).min(2);
        assert!((0..50).all(|seed| play(seed, follow) == (1.0, 9)));
        let still: f32 = (0..500).map(|seed| play(seed, |_, _| 1).0).sum::<f32>() / 500.0;
        assert!((still - -0.6).abs() < 0.12, "one column of five is caught, not {still}");
    }
}
