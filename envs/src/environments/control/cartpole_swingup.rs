//! CartPole swing-up with a pole of unknown length: the pole hangs down, and must be swung up and
//! held above the middle of the track (Yang & Nguyen 2021, <https://arxiv.org/abs/2110.12628>; the
//! dynamics are those of PILCO, Deisenroth & Rasmussen 2011: the pole is a uniform rod).
//!
//! The state is cart position, cart velocity, cosine and sine of the pole's angle (zero is upright,
//! counterclockwise is positive), its angular velocity, its length, and the last action. Every
//! episode draws a length. The action pushes the cart by up to 10 newtons. At ±2.4 the cart
//! bounces back. The reward is minus a tenth of the cost of angle, speed and position. Nothing
//! ends an episode but time: `max_steps` (500 in the original).

use std::f64::consts::PI;

use engram_mdp::{Action, ActionSpec, EnvSpec, Generator, ObservationMut, Seed};
use rand::RngExt;
use serde::Deserialize;

use super::{CartDrawing, check_lengths};
use crate::canvas::Canvas;
use crate::chance::normal;
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::{Part, Parts, StateLayout, View};

const GRAVITY: f64 = 9.82;
const CART_MASS: f64 = 0.5;
const POLE_MASS: f64 = 0.5;
/// Of the cart with the track, in newtons per meter per second.
const FRICTION: f64 = 0.1;
const FORCE: f64 = 10.0;
/// Seconds between two decisions.
const TIME_STEP: f64 = 0.01;
const POSITION_LIMIT: f64 = 2.4;
/// Standard deviation of every number of the first state.
const START_NOISE: f64 = 0.2;

const LAYOUT: StateLayout = StateLayout {
    parts: &[
        Part { letter: 'p', name: "positions", indices: &[0, 2, 3] },
        Part { letter: 'v', name: "velocities", indices: &[1, 4] },
        Part { letter: 'l', name: "length", indices: &[5] },
        Part { letter: 'a', name: "last action", indices: &[6] },
    ],
    full: "pvl",
};

/// The parameters of the swing-up.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CartPoleSwingUpConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Lengths of the pole in meters; every episode draws one. 0.1 and 0.6 in the original.
    pub lengths: Vec<f64>,
    /// Observed parts of the state: letters of `pvla`, or `full`, which is `pvl`.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

impl EnvironmentParameters for CartPoleSwingUpConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        check_lengths(&self.lengths)?;
        LAYOUT.check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let view = LAYOUT.view(&self.observe, self.concat);
        view.spec("cartpole-swingup-variable-length", ActionSpec::Continuous { dimensions: 1 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(CartPoleSwingUp::new(self, seed))
    }
}

struct CartPoleSwingUp {
    spec: EnvSpec,
    view: View,
    max_steps: u32,
    lengths: Vec<f64>,
    generator: Generator,
    /// Cart position and velocity, pole angle and angular velocity.
    state: [f64; 4],
    length: f64,
    action: f64,
    time: u32,
}

impl CartPoleSwingUp {
    fn new(config: &CartPoleSwingUpConfig, seed: Seed) -> Self {
        CartPoleSwingUp {
            spec: config.spec(),
            view: LAYOUT.view(&config.observe, config.concat),
            max_steps: config.max_steps,
            lengths: config.lengths.clone(),
            generator: seed.generator(),
            state: [0.0; 4],
            length: config.lengths[0],
            action: 0.0,
            time: 0,
        }
    }

    fn full(&self) -> [f32; 7] {
        let [x, x_dot, theta, theta_dot] = self.state;
        let (sin, cos) = theta.sin_cos();
        [x, x_dot, cos, sin, theta_dot, self.length, self.action].map(|x| x as f32)
    }
}

impl Environment for CartPoleSwingUp {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        let hanging = [0.0, 0.0, PI, 0.0];
        self.state = hanging.map(|mean| mean + START_NOISE * normal(&mut self.generator));
        self.length = self.lengths[self.generator.random_range(0..self.lengths.len())];
        self.action = 0.0;
        self.time = 0;
        self.view.begin(&self.full(), observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.action = f64::from(action.vector()[0].clamp(-1.0, 1.0));
        self.state = advance(self.state, FORCE * self.action, self.length);
        self.time += 1;
        self.view.show(&self.full(), observation);
        let [x, _, theta, theta_dot] = self.state;
        let from_upright = (theta + PI).rem_euclid(2.0 * PI) - PI;
        let cost = from_upright.powi(2) + 0.01 * theta_dot.powi(2) + x.powi(2);
        let reward = -0.1 * cost as f32;
        Outcome::until(self.max_steps, self.time, reward)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("swing the pole up and hold it above the middle");
        let [x, _, theta, _] = self.state;
        let (sin, cos) = theta.sin_cos();
        let cart = CartDrawing {
            position: x as f32,
            limit: POSITION_LIMIT as f32,
            track: 0.6,
            poles: &[[-self.length * sin, self.length * cos].map(|x| 2.0 * x as f32)],
            push: self.action as f32,
        };
        cart.draw(canvas);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

/// One explicit Euler step, and the bounce at the end of the track.
fn advance(state: [f64; 4], force: f64, length: f64) -> [f64; 4] {
    let [x, x_dot, theta, theta_dot] = state;
    let (x_acc, theta_acc) = accelerations(state, force, length);
    let next = x + TIME_STEP * x_dot;
    let x_dot = x_dot + TIME_STEP * x_acc;
    let (x, x_dot) = if next.abs() > POSITION_LIMIT { (x, -x_dot) } else { (next, x_dot) };
    [x, x_dot, theta + TIME_STEP * theta_dot, theta_dot + TIME_STEP * theta_acc]
}

/// Accelerations of a cart and of the rod on it (Deisenroth 2010, appendix C.2).
fn accelerations([_, x_dot, theta, theta_dot]: [f64; 4], force: f64, length: f64) -> (f64, f64) {
    let (sin, cos) = theta.sin_cos();
    let mass = CART_MASS + POLE_MASS;
    let push = force - FRICTION * x_dot;
    let spin = POLE_MASS * length * theta_dot.powi(2) * sin;
    let inertia = 4.0 * mass - 3.0 * POLE_MASS * cos.powi(2);
    let x_acc = (4.0 * push - 2.0 * spin + 3.0 * POLE_MASS * GRAVITY * sin * cos) / inertia;
    let theta_acc =
        (6.0 * mass * GRAVITY * sin + 6.0 * push * cos - 3.0 * spin * cos) / (length * inertia);
    (x_acc, theta_acc)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swing_up(observe: &str, seed: u64) -> CartPoleSwingUp {
        let lengths = vec![0.1, 0.6];
        let config = CartPoleSwingUpConfig {
            max_steps: 500,
            lengths,
            observe: observe.into(),
            concat: None,
        };
        CartPoleSwingUp::new(&config, Seed::new(seed))
    }

    /// Energy of cart and rod: each part's speed, the rod's rotation and its height.
    fn energy([_, x_dot, theta, theta_dot]: [f64; 4], length: f64) -> f64 {
        let (sin, cos) = theta.sin_cos();
        let middle = [x_dot - length / 2.0 * theta_dot * cos, -length / 2.0 * theta_dot * sin];
        let speed_squared = middle[0].powi(2) + middle[1].powi(2);
        let rotation = POLE_MASS * length.powi(2) / 12.0 * theta_dot.powi(2);
        0.5 * (CART_MASS * x_dot.powi(2) + POLE_MASS * speed_squared + rotation)
            + POLE_MASS * GRAVITY * length / 2.0 * cos
    }

    #[test]
    fn energy_changes_by_the_work_of_the_push_and_of_friction_and_by_nothing_else() {
        for length in [0.1, 0.6] {
            for force in [0.0, 7.0] {
                let state = [0.3, 0.8, 2.2, -1.5];
                let [x, x_dot, theta, theta_dot] = state;
                let (x_acc, theta_acc) = accelerations(state, force, length);
                let moment = 1e-6;
                let after = [
                    x + moment * x_dot,
                    x_dot + moment * x_acc,
                    theta + moment * theta_dot,
                    theta_dot + moment * theta_acc,
                ];
                let change = (energy(after, length) - energy(state, length)) / moment;
                let power = (force - FRICTION * x_dot) * x_dot;
                assert!((change - power).abs() < 1e-3, "{change} is not {power}");
            }
        }
    }

    #[test]
    fn the_cart_bounces_at_the_end_of_the_track() {
        let [x, x_dot, ..] = advance([2.399, 1.0, PI, 0.0], 0.0, 0.6);
        assert!(x == 2.399 && x_dot < -0.99, "{x} {x_dot}");
    }

    #[test]
    fn episodes_begin_near_hanging_with_a_standard_deviation_of_a_fifth() {
        let mut environment = swing_up("full", 3);
        let mut row = [0.0; 6];
        let (mut sum, mut squares, mut short) = (0.0, 0.0, 0);
        for _ in 0..2000 {
            environment.reset(ObservationMut::F32(&mut row));
            let angle = environment.state[2] - PI;
            (sum, squares) = (sum + angle, squares + angle * angle);
            short += u32::from(environment.length == 0.1);
        }
        let (mean, deviation) = (sum / 2000.0, (squares / 2000.0_f64).sqrt());
        assert!(mean.abs() < 0.02 && (deviation - 0.2).abs() < 0.01, "{mean} {deviation}");
        assert!((900..1100).contains(&short), "{short} of 2000");
    }

    #[test]
    fn the_forms_show_what_their_letters_say() {
        let row = |observe: &str, len: usize| {
            let mut environment = swing_up(observe, 9);
            let mut row = vec![0.0; len];
            environment.reset(ObservationMut::F32(&mut row));
            environment.step(Action::Continuous(&[0.5]), ObservationMut::F32(&mut row));
            row
        };
        let all = row("pvla", 7);
        assert_eq!(all[6], 0.5);
        assert_eq!(row("full", 6), all[..6]);
        assert_eq!(row("pv", 5), all[..5]);
        assert_eq!(row("pa", 4), [all[0], all[2], all[3], all[6]]);
    }

    /// Pumps energy while the pole is low, and balances it by a linear controller when it is high.
    fn controller(length: f64, state: [f64; 4]) -> f64 {
        let [x, x_dot, theta, theta_dot] = state;
        let from_upright = (theta + PI).rem_euclid(2.0 * PI) - PI;
        let cos = theta.cos();
        if cos > 0.85 {
            let turn = from_upright + theta_dot * (length / (1.5 * GRAVITY)).sqrt();
            return -2.2 * turn + 0.12 * x + 0.22 * x_dot;
        }
        let missing = POLE_MASS * GRAVITY * length / 2.0 * (1.0 - cos)
            - POLE_MASS * length.powi(2) / 6.0 * theta_dot.powi(2);
        let pump = missing.signum() * (theta_dot * cos).signum();
        0.6 * pump - 0.2 * x - 0.1 * x_dot
    }

    #[test]
    fn a_controller_that_pumps_energy_swings_up_and_holds_poles_of_both_lengths() {
        let mut held = 0;
        for seed in 0..40 {
            let mut environment = swing_up("full", seed);
            let mut row = [0.0; 6];
            environment.reset(ObservationMut::F32(&mut row));
            let mut rewards = Vec::new();
            while environment.time < 500 {
                let action = [controller(environment.length, environment.state) as f32];
                let action = Action::Continuous(&action);
                rewards.push(environment.step(action, ObservationMut::F32(&mut row)).reward);
            }
            held += u32::from(rewards[450..].iter().all(|&reward| reward > -0.15));
        }
        assert_eq!(held, 40, "poles that stand at the end");
    }
}
