//! Pendulum: swing a pendulum up and hold it, with the dynamics of Gymnasium's Pendulum-v1.
//!
//! The state is the cosine and sine of the angle (zero is upright), the angular velocity, the
//! length, and the last torque in newton meters (zero at first). The action in `[-1, 1]` is a
//! torque of up to 2. The reward is minus the cost of angle, speed and torque. Nothing ends an
//! episode but time: `max_steps` (200 in v1).
//!
//! There are two: `pendulum` is one meter long; `pendulum-variable-length` has one of several
//! lengths, drawn anew for every episode (Yang & Nguyen 2021, <https://arxiv.org/abs/2110.12628>;
//! 0.2 or 1 there, and the angle there follows the speed before it is held within its limit, as in
//! older Gyms).

use std::f64::consts::PI;

use engram_mdp::{Action, ActionSpec, EnvSpec, Generator, ObservationMut, Seed};
use rand::RngExt;
use serde::Deserialize;

use super::{PendulumDrawing, check_lengths};
use crate::canvas::Canvas;
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::{Part, Parts, StateLayout, View};

const GRAVITY: f64 = 10.0;
const MASS: f64 = 1.0;
/// The length of Gymnasium's pendulum.
pub(crate) const LENGTH: f64 = 1.0;
pub(crate) const MAX_TORQUE: f64 = 2.0;
const MAX_SPEED: f64 = 8.0;
/// Seconds between two decisions.
const TIME_STEP: f64 = 0.05;

const POSITIONS: Part = Part { letter: 'p', name: "positions", indices: &[0, 1] };
const VELOCITIES: Part = Part { letter: 'v', name: "velocities", indices: &[2] };
const LENGTHS: Part = Part { letter: 'l', name: "length", indices: &[3] };
const LAST_ACTION: Part = Part { letter: 'a', name: "last action", indices: &[4] };

const LAYOUT: StateLayout =
    StateLayout { parts: &[POSITIONS, VELOCITIES, LAST_ACTION], full: "pv" };
const VARIABLE_LAYOUT: StateLayout =
    StateLayout { parts: &[POSITIONS, VELOCITIES, LENGTHS, LAST_ACTION], full: "pvl" };

/// The parameters of Pendulum.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PendulumConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Observed parts of the state: letters of `pva`, or `full`, which is `pv`.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

/// The parameters of Pendulum with a length of its own in every episode.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariablePendulumConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Lengths in meters; every episode draws one.
    pub lengths: Vec<f64>,
    /// Observed parts of the state: letters of `pvla`, or `full`, which is `pvl`.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

impl EnvironmentParameters for PendulumConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        LAYOUT.check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let view = LAYOUT.view(&self.observe, self.concat);
        view.spec("pendulum", ActionSpec::Continuous { dimensions: 1 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let view = LAYOUT.view(&self.observe, self.concat);
        Box::new(Pendulum::new(self.spec(), view, self.max_steps, vec![LENGTH], seed))
    }
}

impl EnvironmentParameters for VariablePendulumConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        check_lengths(&self.lengths)?;
        VARIABLE_LAYOUT.check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let view = VARIABLE_LAYOUT.view(&self.observe, self.concat);
        view.spec("pendulum-variable-length", ActionSpec::Continuous { dimensions: 1 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let view = VARIABLE_LAYOUT.view(&self.observe, self.concat);
        let lengths = self.lengths.clone();
        Box::new(Pendulum::new(self.spec(), view, self.max_steps, lengths, seed))
    }
}

struct Pendulum {
    spec: EnvSpec,
    view: View,
    max_steps: u32,
    /// Lengths of which every episode draws one.
    lengths: Vec<f64>,
    generator: Generator,
    angle: f64,
    speed: f64,
    length: f64,
    torque: f64,
    time: u32,
}

impl Pendulum {
    fn new(spec: EnvSpec, view: View, max_steps: u32, lengths: Vec<f64>, seed: Seed) -> Self {
        Pendulum {
            spec,
            view,
            max_steps,
            length: lengths[0],
            lengths,
            generator: seed.generator(),
            angle: 0.0,
            speed: 0.0,
            torque: 0.0,
            time: 0,
        }
    }

    fn state(&self) -> [f32; 5] {
        let (sin, cos) = self.angle.sin_cos();
        [cos, sin, self.speed, self.length, self.torque].map(|x| x as f32)
    }
}

impl Environment for Pendulum {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.angle = self.generator.random_range(-PI..PI);
        self.speed = self.generator.random_range(-1.0..1.0);
        if self.lengths.len() > 1 {
            self.length = self.lengths[self.generator.random_range(0..self.lengths.len())];
        }
        self.torque = 0.0;
        self.time = 0;
        self.view.begin(&self.state(), observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.torque = MAX_TORQUE * f64::from(action.vector()[0].clamp(-1.0, 1.0));
        let reward = -cost(self.angle, self.speed, self.torque) as f32;
        [self.angle, self.speed] = advance([self.angle, self.speed], self.torque, self.length);
        self.time += 1;
        self.view.show(&self.state(), observation);
        Outcome::until(self.max_steps, self.time, reward)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("swing the pendulum up and hold it there");
        let longest = self.lengths.iter().copied().fold(0.0, f64::max);
        draw(canvas, self.angle, self.torque, self.length / longest);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

/// Draws a pendulum; `length` is a share of the longest.
pub(crate) fn draw(canvas: &mut Canvas, angle: f64, torque: f64, length: f64) {
    let drawing = PendulumDrawing {
        angle: angle as f32,
        length: length as f32,
        torque: (torque / MAX_TORQUE) as f32,
    };
    drawing.draw(canvas);
}

/// Angle and speed after a decision.
pub(crate) fn advance([angle, speed]: [f64; 2], torque: f64, length: f64) -> [f64; 2] {
    let acceleration =
        3.0 * GRAVITY / (2.0 * length) * angle.sin() + 3.0 / (MASS * length.powi(2)) * torque;
    let speed = (speed + acceleration * TIME_STEP).clamp(-MAX_SPEED, MAX_SPEED);
    [angle + speed * TIME_STEP, speed]
}

/// Cost of a decision in the state in which it is taken.
pub(crate) fn cost(angle: f64, speed: f64, torque: f64) -> f64 {
    let from_upright = (angle + PI).rem_euclid(2.0 * PI) - PI;
    from_upright.powi(2) + 0.1 * speed.powi(2) + 0.001 * torque.powi(2)
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;

    use super::*;
    use crate::goldens::{self, assert_close};

    fn pendulum(layout: StateLayout, observe: &str, lengths: &[f64], seed: u64) -> Pendulum {
        let view = layout.view(&observe.into(), None);
        let spec = view.spec("pendulum", ActionSpec::Continuous { dimensions: 1 });
        Pendulum::new(spec, view, 200, lengths.to_vec(), Seed::new(seed))
    }

    fn step(environment: &mut Pendulum, action: f32, row: &mut [f32]) -> Outcome {
        environment.step(Action::Continuous(&[action]), ObservationMut::F32(row))
    }

    /// Plays what Gymnasium recorded with a pendulum of some length.
    fn replay(name: &str, length: f64) {
        for episode in goldens::episodes(name) {
            let mut environment = pendulum(LAYOUT, "full", &[length], 0);
            let start = goldens::numbers(&episode, "start");
            (environment.angle, environment.speed) = (start[0], start[1]);
            let actions = goldens::numbers(&episode, "actions");
            let rewards = goldens::numbers(&episode, "rewards");
            let observations = goldens::rows(&episode, "observations");
            for (t, &action) in actions.iter().enumerate() {
                let mut row = [0.0; 3];
                let outcome = step(&mut environment, action as f32, &mut row);
                assert_close(&row, &observations[t], 2e-6, t);
                assert_close(&[outcome.reward], &rewards[t..=t], 2e-6, t);
                let ending = (t == 199).then_some(Ending::Truncated);
                assert_eq!(outcome.ending, ending, "at step {t}");
            }
        }
    }

    #[test]
    fn the_dynamics_are_gymnasiums() {
        replay("pendulum", LENGTH);
    }

    #[test]
    fn the_dynamics_of_a_short_pendulum_are_gymnasiums_with_its_length_set() {
        replay("pendulum_short", 0.2);
    }

    #[test]
    fn the_last_action_is_shown_in_newton_meters_and_is_zero_at_first() {
        let mut environment = pendulum(LAYOUT, "va", &[LENGTH], 1);
        let mut row = [9.0; 2];
        environment.reset(ObservationMut::F32(&mut row));
        assert_eq!(row[1], 0.0);
        step(&mut environment, -0.25, &mut row);
        assert_eq!(row[1], -0.5);
        step(&mut environment, 3.0, &mut row);
        assert_eq!(row[1], 2.0, "it is clipped");
    }

    #[test]
    fn every_episode_has_one_of_the_lengths_and_both_are_as_frequent() {
        let mut environment = pendulum(VARIABLE_LAYOUT, "full", &[0.2, 1.0], 5);
        let mut row = [0.0; 4];
        let mut short = 0;
        for _ in 0..1000 {
            environment.reset(ObservationMut::F32(&mut row));
            let length = row[3];
            assert!(length == 0.2 || length == 1.0);
            short += u32::from(length == 0.2);
            step(&mut environment, 0.3, &mut row);
            assert_eq!(row[3], length);
        }
        assert!((450..550).contains(&short), "{short} of 1000");
    }

    #[test]
    fn the_same_torque_turns_a_pendulum_of_a_fifth_of_the_length_25_times_as_fast() {
        let speed = |length: f64| {
            let mut environment = pendulum(VARIABLE_LAYOUT, "pvla", &[length], 0);
            (environment.angle, environment.speed) = (0.0, 0.0);
            let mut row = [0.0; 5];
            step(&mut environment, 0.1, &mut row);
            row[2]
        };
        // 3 u / (m l²) dt, with u = 0.2 newton meters: 0.03 and 0.75 radians per second.
        assert!((speed(1.0) - 0.03).abs() < 1e-6 && (speed(0.2) - 0.75).abs() < 1e-6);
    }
}
