//! CartPole: balance a pole on a cart (Barto, Sutton & Anderson 1983), with the dynamics of
//! Gymnasium's CartPole-v1.
//!
//! The state is cart position, cart velocity, pole angle, pole angular velocity. The reward is 1
//! for every decision. The episode ends when the cart leaves ±2.4 or the pole leans more than 12
//! degrees, and is cut off after `max_steps`.
//!
//! There are two: `cartpole` is pushed left or right by 10 newtons (500 steps in v1);
//! `cartpole-continuous` is pushed by 30 newtons times the action (1000 steps, or 200, in Yang &
//! Nguyen 2021, <https://arxiv.org/abs/2110.12628>).

use std::f64::consts::PI;

use engram_mdp::{Action, ActionSpec, EnvSpec, Generator, ObservationMut, Seed};
use rand::RngExt;
use serde::Deserialize;

use super::CartDrawing;
use crate::canvas::Canvas;
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::{Part, Parts, StateLayout, View};

const GRAVITY: f64 = 9.8;
const POLE_MASS: f64 = 0.1;
const TOTAL_MASS: f64 = 1.0 + POLE_MASS;
/// Half the pole's length.
const LENGTH: f64 = 0.5;
const POLE_MASS_LENGTH: f64 = POLE_MASS * LENGTH;
/// The push of a discrete action, and the strongest push of a continuous one, in newtons.
pub(crate) const DISCRETE_FORCE: f64 = 10.0;
const CONTINUOUS_FORCE: f64 = 30.0;
/// Seconds between two decisions.
const TIME_STEP: f64 = 0.02;
pub(crate) const POSITION_LIMIT: f64 = 2.4;
pub(crate) const ANGLE_LIMIT: f64 = 12.0 * 2.0 * PI / 360.0;

const LAYOUT: StateLayout = StateLayout {
    parts: &[
        Part { letter: 'p', name: "positions", indices: &[0, 2] },
        Part { letter: 'v', name: "velocities", indices: &[1, 3] },
    ],
    full: "pv",
};

/// The parameters of CartPole with two actions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CartPoleConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Observed parts of the state: `p`, `v`, or `full`.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

/// The parameters of CartPole with a continuous action.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContinuousCartPoleConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Observed parts of the state: `p`, `v`, or `full`.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

impl EnvironmentParameters for CartPoleConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        LAYOUT.check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let view = LAYOUT.view(&self.observe, self.concat);
        view.spec("cartpole", ActionSpec::Discrete { count: 2 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let view = LAYOUT.view(&self.observe, self.concat);
        Box::new(CartPole::new(self.spec(), view, self.max_steps, seed))
    }

    fn optimum(&self) -> Option<f32> {
        Some(self.max_steps as f32)
    }
}

impl EnvironmentParameters for ContinuousCartPoleConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        LAYOUT.check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let view = LAYOUT.view(&self.observe, self.concat);
        view.spec("cartpole-continuous", ActionSpec::Continuous { dimensions: 1 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let view = LAYOUT.view(&self.observe, self.concat);
        Box::new(CartPole::new(self.spec(), view, self.max_steps, seed))
    }

    fn optimum(&self) -> Option<f32> {
        Some(self.max_steps as f32)
    }
}

struct CartPole {
    spec: EnvSpec,
    view: View,
    max_steps: u32,
    generator: Generator,
    /// Cart position and velocity, pole angle and angular velocity.
    state: [f64; 4],
    /// The last push, in newtons.
    force: f64,
    time: u32,
}

impl CartPole {
    fn new(spec: EnvSpec, view: View, max_steps: u32, seed: Seed) -> Self {
        let generator = seed.generator();
        CartPole { spec, view, max_steps, generator, state: [0.0; 4], force: 0.0, time: 0 }
    }
}

impl Environment for CartPole {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.state = std::array::from_fn(|_| self.generator.random_range(-0.05..0.05));
        self.force = 0.0;
        self.time = 0;
        self.view.begin(&self.state.map(|x| x as f32), observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.force = match action {
            Action::Discrete(0) => -DISCRETE_FORCE,
            Action::Discrete(_) => DISCRETE_FORCE,
            Action::Continuous(push) => CONTINUOUS_FORCE * f64::from(push[0].clamp(-1.0, 1.0)),
        };
        self.state = advance(self.state, self.force);
        self.time += 1;
        self.view.show(&self.state.map(|x| x as f32), observation);
        if falls(self.state) {
            Outcome::terminated(1.0)
        } else {
            Outcome::until(self.max_steps, self.time, 1.0)
        }
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("push the cart so that the pole stays upright");
        draw(canvas, self.state, (self.force / CONTINUOUS_FORCE) as f32);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

/// Draws the cart and its pole; `push` is a share of the strongest.
pub(crate) fn draw(canvas: &mut Canvas, state: [f64; 4], push: f32) {
    let [position, _, angle, _] = state.map(|x| x as f32);
    // The pole is drawn twice as long as it is.
    let pole = 4.0 * LENGTH as f32;
    let cart = CartDrawing {
        position,
        limit: POSITION_LIMIT as f32,
        track: 0.8,
        poles: &[[pole * angle.sin(), pole * angle.cos()]],
        push,
    };
    cart.draw(canvas);
}

/// True if the cart has left its track or the pole leans too far.
pub(crate) fn falls([position, _, angle, _]: [f64; 4]) -> bool {
    position.abs() > POSITION_LIMIT || angle.abs() > ANGLE_LIMIT
}

/// One explicit Euler step (Florian 2007, <https://coneural.org/florian/papers/05_cart_pole.pdf>).
pub(crate) fn advance([x, x_dot, theta, theta_dot]: [f64; 4], force: f64) -> [f64; 4] {
    let (sin, cos) = theta.sin_cos();
    let push = (force + POLE_MASS_LENGTH * theta_dot.powi(2) * sin) / TOTAL_MASS;
    let theta_acc = (GRAVITY * sin - cos * push)
        / (LENGTH * (4.0 / 3.0 - POLE_MASS * cos.powi(2) / TOTAL_MASS));
    let x_acc = push - POLE_MASS_LENGTH * theta_acc * cos / TOTAL_MASS;
    [
        x + TIME_STEP * x_dot,
        x_dot + TIME_STEP * x_acc,
        theta + TIME_STEP * theta_dot,
        theta_dot + TIME_STEP * theta_acc,
    ]
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;

    use super::*;
    use crate::goldens::{self, assert_close};

    fn discrete(max_steps: u32) -> CartPole {
        let config = CartPoleConfig { max_steps, observe: "full".into(), concat: None };
        CartPole::new(config.spec(), LAYOUT.view(&config.observe, None), max_steps, Seed::new(0))
    }

    fn continuous(max_steps: u32, observe: &str, seed: u64) -> CartPole {
        let config = ContinuousCartPoleConfig { max_steps, observe: observe.into(), concat: None };
        let view = LAYOUT.view(&config.observe, None);
        CartPole::new(config.spec(), view, max_steps, Seed::new(seed))
    }

    /// Plays what Gymnasium recorded; episodes of `max_steps` are cut off, the others fall.
    fn replay(mut environment: CartPole, name: &str, max_steps: usize) {
        for episode in goldens::episodes(name) {
            environment.state = goldens::numbers(&episode, "start").try_into().unwrap();
            environment.time = 0;
            let actions = goldens::numbers(&episode, "actions");
            let observations = goldens::rows(&episode, "observations");
            let last = actions.len() - 1;
            for (t, (&action, expected)) in actions.iter().zip(&observations).enumerate() {
                let mut row = [0.0; 4];
                let push = [action as f32];
                let action = match environment.spec.action {
                    ActionSpec::Discrete { .. } => Action::Discrete(action as usize),
                    ActionSpec::Continuous { .. } => Action::Continuous(&push),
                };
                let outcome = environment.step(action, ObservationMut::F32(&mut row));
                assert_close(&row, expected, 1e-6, t);
                assert_eq!(outcome.reward, 1.0);
                let cut_off = t == max_steps - 1;
                let ending = if cut_off { Ending::Truncated } else { Ending::Terminated };
                assert_eq!(outcome.ending, (t == last).then_some(ending), "at step {t}");
            }
        }
    }

    #[test]
    fn the_dynamics_are_gymnasiums() {
        replay(discrete(500), "cartpole", 500);
    }

    #[test]
    fn the_dynamics_under_a_continuous_push_are_gymnasiums_with_its_force_set_at_every_step() {
        replay(continuous(300, "full", 0), "cartpole_continuous", 300);
    }

    /// Steps that a linear controller of the observation lasts.
    fn lasts(observe: &str, gains: &[f32], seed: u64) -> u32 {
        let mut environment = continuous(1000, observe, seed);
        let mut row = vec![0.0; gains.len()];
        environment.reset(ObservationMut::F32(&mut row));
        loop {
            let push: f32 = row.iter().zip(gains).map(|(x, gain)| x * gain).sum();
            let action = Action::Continuous(&[push]);
            if environment.step(action, ObservationMut::F32(&mut row)).ending.is_some() {
                return environment.time;
            }
        }
    }

    #[test]
    fn a_linear_controller_of_all_four_numbers_balances_for_a_thousand_steps() {
        let gains = [0.1, 0.15, 1.2, 0.3];
        assert!((0..20).all(|seed| lasts("full", &gains, seed) == 1000));
        let positions = [gains[0], gains[2]];
        assert!((0..20).all(|seed| lasts("p", &positions, seed) < 600), "nothing damps it");
        let velocities = [gains[1], gains[3]];
        assert!((0..20).all(|seed| lasts("v", &velocities, seed) < 200), "nothing centers it");
    }

    #[test]
    fn pushes_beyond_the_range_are_the_strongest_ones() {
        let after = |push: f32| {
            let mut environment = continuous(1000, "full", 4);
            let mut row = [0.0; 4];
            environment.reset(ObservationMut::F32(&mut row));
            environment.step(Action::Continuous(&[push]), ObservationMut::F32(&mut row));
            row
        };
        assert_eq!(after(7.0), after(1.0));
        assert_ne!(after(1.0), after(0.5));
    }
}
