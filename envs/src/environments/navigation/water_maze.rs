//! Water maze: a point swims in a disc of radius 1 in search of a hidden platform (Morris 1981; Yang
//! & Nguyen 2021, <https://arxiv.org/abs/2110.12628>). It is rewarded while it is on the platform,
//! and put elsewhere after every fifth step there: who remembers the place returns at once.
//!
//! The state is the point's position, a flag that it is on the platform, and the platform's center,
//! which the agent may see (`full`) or must find (`p`). A move out of the disc is not made. Nothing
//! ends an episode but time: `max_steps` (200 in the original).
//!
//! | variant | action | reward | platform | start, and place after five steps |
//! |---|---|---|---|---|
//! | `plain` | a step of up to 0.04 along each axis | 1 on the platform | radius 0.3, anywhere | anywhere but there |
//! | `dense` | the same | minus the distance to its center | radius 0.2, anywhere | anywhere but there |
//! | `simple` | an acceleration of up to 0.03; speed up to 0.1, lost at the wall | 1 on the platform | radius 0.3, 0.7 from the middle | the middle |
//!
//! The flag tells the truth in all of them; the original's `dense` never sets it.

use std::f64::consts::TAU;

use engram_mdp::{Action, ActionSpec, EnvSpec, Generator, ObservationMut, Seed};
use rand::RngExt;
use serde::Deserialize;

use crate::canvas::{ACTOR, Canvas, FAINT, GOAL, INK, PAPER, SIGHT, mix};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::{Part, Parts, StateLayout, View};

const WORLD_RADIUS: f64 = 1.0;
/// The longest step along an axis: the original scales an action of 0.2 by 0.2 once more.
const STEP: f64 = 0.04;
const ACCELERATION: f64 = 0.03;
const MAX_SPEED: f64 = 0.1;
/// Distance of the platform from the middle in the simple variant.
const SIMPLE_DISTANCE: f64 = 0.7;
/// Steps on the platform after which the point is put elsewhere.
const STAY: u32 = 5;

const LAYOUT: StateLayout = StateLayout {
    parts: &[
        Part { letter: 'p', name: "positions", indices: &[0, 1, 2] },
        Part { letter: 'g', name: "goal", indices: &[3, 4] },
    ],
    full: "pg",
};

/// The parameters of the water maze.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaterMazeConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Moves, reward, platform and starts.
    pub variant: WaterMazeVariant,
    /// Observed parts of the state: `p` (position and flag), or `full`, the platform too.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

/// Moves, reward, platform and starts of a water maze.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaterMazeVariant {
    /// Steps; a reward on the platform only.
    Plain,
    /// Steps; the distance is the cost.
    Dense,
    /// Accelerations, from the middle of the disc.
    Simple,
}

impl EnvironmentParameters for WaterMazeConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        LAYOUT.check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let view = LAYOUT.view(&self.observe, self.concat);
        view.spec("water-maze", ActionSpec::Continuous { dimensions: 2 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(WaterMaze::new(self, seed))
    }
}

type Point = [f64; 2];

struct WaterMaze {
    spec: EnvSpec,
    view: View,
    max_steps: u32,
    variant: WaterMazeVariant,
    generator: Generator,
    position: Point,
    velocity: Point,
    platform: Point,
    /// True if the last step ended on the platform.
    inside: bool,
    /// Steps on the platform since the point was last put somewhere.
    stayed: u32,
    time: u32,
}

impl WaterMaze {
    fn new(config: &WaterMazeConfig, seed: Seed) -> Self {
        WaterMaze {
            spec: config.spec(),
            view: LAYOUT.view(&config.observe, config.concat),
            max_steps: config.max_steps,
            variant: config.variant,
            generator: seed.generator(),
            position: [0.0; 2],
            velocity: [0.0; 2],
            platform: [0.0; 2],
            inside: false,
            stayed: 0,
            time: 0,
        }
    }

    fn platform_radius(&self) -> f64 {
        match self.variant {
            WaterMazeVariant::Plain | WaterMazeVariant::Simple => 0.3,
            WaterMazeVariant::Dense => 0.2,
        }
    }

    fn state(&self) -> [f32; 5] {
        let ([x, y], [platform_x, platform_y]) = (self.position, self.platform);
        let inside = f64::from(u8::from(self.inside));
        [x, y, inside, platform_x, platform_y].map(|x| x as f32)
    }

    /// Puts the point to its start, or anywhere but on the platform.
    fn place(&mut self) {
        self.velocity = [0.0; 2];
        self.stayed = 0;
        self.position = match self.variant {
            WaterMazeVariant::Simple => [0.0; 2],
            _ => loop {
                let point = somewhere(&mut self.generator);
                if distance(point, self.platform) >= self.platform_radius() {
                    break point;
                }
            },
        };
    }

    fn swim(&mut self, action: &[f32]) {
        let action = [0, 1].map(|axis| f64::from(action[axis].clamp(-1.0, 1.0)));
        self.velocity = match self.variant {
            WaterMazeVariant::Simple => [0, 1].map(|axis| {
                let velocity = self.velocity[axis] + ACCELERATION * action[axis];
                velocity.clamp(-MAX_SPEED, MAX_SPEED)
            }),
            _ => action.map(|share| STEP * share),
        };
        let next = [0, 1].map(|axis| self.position[axis] + self.velocity[axis]);
        if distance(next, [0.0; 2]) < WORLD_RADIUS {
            self.position = next;
        } else {
            self.velocity = [0.0; 2];
        }
    }
}

impl Environment for WaterMaze {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.platform = match self.variant {
            WaterMazeVariant::Simple => {
                let (sin, cos) = self.generator.random_range(0.0..TAU).sin_cos();
                [SIMPLE_DISTANCE * cos, SIMPLE_DISTANCE * sin]
            }
            _ => loop {
                let point = somewhere(&mut self.generator);
                if distance(point, [0.0; 2]) + self.platform_radius() < WORLD_RADIUS {
                    break point;
                }
            },
        };
        self.place();
        self.inside = false;
        self.time = 0;
        self.view.begin(&self.state(), observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.swim(action.vector());
        let away = distance(self.position, self.platform);
        self.inside = away < self.platform_radius();
        self.stayed += u32::from(self.inside);
        let reward = match self.variant {
            WaterMazeVariant::Dense => -away as f32,
            _ => f32::from(u8::from(self.inside)),
        };
        if self.stayed == STAY {
            self.place();
        }
        self.time += 1;
        self.view.show(&self.state(), observation);
        Outcome::until(self.max_steps, self.time, reward)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("find the platform, and find it again");
        let area = canvas.area();
        let (middle, scale) = ([area.width / 2.0, area.height / 2.0], 0.47 * area.height);
        let place = |[x, y]: Point| [middle[0] + x as f32 * scale, middle[1] - y as f32 * scale];
        canvas.disc(middle, scale + 3.0, FAINT);
        canvas.disc(middle, scale, mix(PAPER, SIGHT, 0.12));
        let platform = mix(PAPER, GOAL, if self.inside { 0.9 } else { 0.5 });
        canvas.disc(place(self.platform), self.platform_radius() as f32 * scale, platform);
        canvas.disc(place(self.position), 7.0, ACTOR);
        canvas.disc(place(self.position), 2.0, INK);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

/// A point of the disc: its angle and its distance from the middle are drawn uniformly.
fn somewhere(generator: &mut Generator) -> Point {
    let (sin, cos) = generator.random_range(0.0..TAU).sin_cos();
    let radius = generator.random_range(0.0..WORLD_RADIUS);
    [radius * cos, radius * sin]
}

fn distance(from: Point, to: Point) -> f64 {
    (from[0] - to[0]).hypot(from[1] - to[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maze(variant: WaterMazeVariant, observe: &str, seed: u64) -> WaterMaze {
        let (observe, concat) = (observe.into(), None);
        WaterMaze::new(
            &WaterMazeConfig { max_steps: 200, variant, observe, concat },
            Seed::new(seed),
        )
    }

    /// Plays an episode, and returns its return.
    fn play(
        variant: WaterMazeVariant,
        observe: &str,
        seed: u64,
        mut policy: impl FnMut(&[f32]) -> [f32; 2],
    ) -> f32 {
        let mut maze = maze(variant, observe, seed);
        let mut row = vec![0.0; maze.spec.observation.len()];
        maze.reset(ObservationMut::F32(&mut row));
        let mut sum = 0.0;
        loop {
            let action = policy(&row);
            let outcome = maze.step(Action::Continuous(&action), ObservationMut::F32(&mut row));
            sum += outcome.reward;
            if outcome.ending.is_some() {
                return sum;
            }
        }
    }

    fn towards(row: &[f32], target: [f32; 2], gain: f32) -> [f32; 2] {
        [0, 1].map(|axis| gain * (target[axis] - row[axis]))
    }

    fn mean(play: impl Fn(u64) -> f32) -> f32 {
        (0..40).map(play).sum::<f32>() / 40.0
    }

    #[test]
    fn swimming_to_a_platform_that_is_seen_takes_at_most_the_way_over_the_step() {
        for seed in 0..40 {
            let mut maze = maze(WaterMazeVariant::Plain, "full", seed);
            let mut row = [0.0; 5];
            maze.reset(ObservationMut::F32(&mut row));
            // The step is as long as 0.04 along the longer axis, so at least 0.04 in all.
            let away = distance(maze.position, maze.platform) - maze.platform_radius();
            let most = (away / STEP).ceil() as u32 + 1;
            let mut steps = 0;
            while !maze.inside {
                let action = towards(&row, [row[3], row[4]], 25.0);
                maze.step(Action::Continuous(&action), ObservationMut::F32(&mut row));
                steps += 1;
            }
            assert!(steps <= most, "{steps} steps for {away}");
        }
    }

    #[test]
    fn who_remembers_the_platform_finds_it_again_and_who_does_not_finds_it_less() {
        // Both swim around at the platforms' distance from the middle until they feel one.
        let circle = |row: &[f32]| {
            let angle = row[1].atan2(row[0]) + 0.5;
            towards(row, [0.72 * angle.cos(), 0.72 * angle.sin()], 0.8)
        };
        let forgetful = mean(|seed| play(WaterMazeVariant::Simple, "p", seed, circle));
        let remembering = mean(|seed| {
            let mut known = None;
            play(WaterMazeVariant::Simple, "p", seed, |row| {
                if row[2] == 1.0 && row[0].hypot(row[1]) > 0.3 {
                    known = known.or(Some([row[0], row[1]]));
                }
                known.map_or_else(|| circle(row), |known| towards(row, known, 3.0))
            })
        });
        assert!(remembering > 1.5 * forgetful, "{remembering} against {forgetful}");
    }

    #[test]
    fn every_fifth_step_on_the_platform_ends_in_the_middle_and_all_five_are_paid() {
        let mut maze = maze(WaterMazeVariant::Simple, "full", 4);
        let mut row = [0.0; 5];
        maze.reset(ObservationMut::F32(&mut row));
        assert_eq!(row[..3], [0.0, 0.0, 0.0]);
        assert!((row[3].hypot(row[4]) - 0.7).abs() < 1e-6);
        let mut paid = 0;
        while paid < 10 {
            let action = towards(&row, [row[3], row[4]], 1.0);
            let outcome = maze.step(Action::Continuous(&action), ObservationMut::F32(&mut row));
            assert_eq!(outcome.reward, row[2], "the flag tells of the reward");
            paid += u32::from(outcome.reward == 1.0);
            let put_back = row[..2] == [0.0, 0.0];
            assert_eq!(put_back, outcome.reward == 1.0 && paid % 5 == 0, "after {paid}");
        }
    }

    #[test]
    fn a_move_through_the_wall_is_not_made_and_costs_the_speed() {
        let mut maze = maze(WaterMazeVariant::Simple, "full", 0);
        maze.reset(ObservationMut::F32(&mut [0.0; 5]));
        (maze.position, maze.velocity, maze.platform) = ([0.95, 0.0], [0.1, 0.0], [-0.7, 0.0]);
        maze.step(Action::Continuous(&[1.0, 0.0]), ObservationMut::F32(&mut [0.0; 5]));
        assert_eq!((maze.position, maze.velocity), ([0.95, 0.0], [0.0, 0.0]));
    }

    #[test]
    fn the_dense_cost_is_the_distance() {
        let mut maze = maze(WaterMazeVariant::Dense, "full", 0);
        maze.reset(ObservationMut::F32(&mut [0.0; 5]));
        (maze.position, maze.platform) = ([0.0, 0.0], [0.34, 0.4]);
        let action = Action::Continuous(&[1.0, 0.0]);
        let outcome = maze.step(action, ObservationMut::F32(&mut [0.0; 5]));
        assert!((outcome.reward + 0.5).abs() < 1e-6, "(0.04, 0) is 0.5 away");
        let still = mean(|seed| play(WaterMazeVariant::Dense, "full", seed, |_| [0.0; 2]));
        let swim = |row: &[f32]| towards(row, [row[3], row[4]], 25.0);
        assert!(mean(|seed| play(WaterMazeVariant::Dense, "full", seed, swim)) > 0.6 * still);
    }

    #[test]
    fn platforms_lie_within_the_disc_and_starts_off_the_platform() {
        for variant in [WaterMazeVariant::Plain, WaterMazeVariant::Dense] {
            let mut maze = maze(variant, "full", 8);
            for _ in 0..500 {
                maze.reset(ObservationMut::F32(&mut [0.0; 5]));
                let radius = maze.platform_radius();
                assert!(distance(maze.platform, [0.0; 2]) + radius < 1.0);
                assert!(distance(maze.platform, maze.position) >= radius);
            }
        }
    }
}
