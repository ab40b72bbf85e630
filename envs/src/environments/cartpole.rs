//! CartPole: balance a pole on a cart (Barto, Sutton & Anderson 1983), with the dynamics of
//! Gymnasium's CartPole-v1.
//!
//! The observation is cart position, cart velocity, pole angle, pole angular velocity. The reward
//! is 1 for every decision. The episode ends when the cart leaves ±2.4 or the pole leans more than
//! 12 degrees, and is cut off after `max_steps` (500 in v1).

use std::f64::consts::PI;

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use rand::RngExt;
use serde::Deserialize;

use crate::canvas::{ACTOR, Canvas, FAINT, INK, PAPER};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::{ObservationLayout, Observe, show};

const GRAVITY: f64 = 9.8;
const POLE_MASS: f64 = 0.1;
const TOTAL_MASS: f64 = 1.0 + POLE_MASS;
/// Half the pole's length.
const LENGTH: f64 = 0.5;
const POLE_MASS_LENGTH: f64 = POLE_MASS * LENGTH;
const FORCE: f64 = 10.0;
/// Seconds between two decisions.
const TIME_STEP: f64 = 0.02;
const POSITION_LIMIT: f64 = 2.4;
const ANGLE_LIMIT: f64 = 12.0 * 2.0 * PI / 360.0;

const LAYOUT: ObservationLayout =
    ObservationLayout { full: &[0, 1, 2, 3], positions: &[0, 2], velocities: &[1, 3] };

/// The parameters of CartPole.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CartPoleConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Observed part of the state.
    pub observe: Observe,
}

impl EnvironmentParameters for CartPoleConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: format!("cartpole(observe={})", self.observe),
            observation: ObservationSpec {
                dtype: Dtype::F32,
                shape: vec![LAYOUT.shown(self.observe).len()],
            },
            action: ActionSpec::Discrete { count: 2 },
            action_repeat: 1,
        }
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(CartPole::new(self, seed))
    }

    fn optimum(&self) -> Option<f32> {
        Some(self.max_steps as f32)
    }
}

struct CartPole {
    spec: EnvSpec,
    shown: &'static [usize],
    max_steps: u32,
    generator: Generator,
    /// Cart position and velocity, pole angle and angular velocity.
    state: [f64; 4],
    time: u32,
}

impl CartPole {
    fn new(config: &CartPoleConfig, seed: Seed) -> Self {
        CartPole {
            spec: config.spec(),
            shown: LAYOUT.shown(config.observe),
            max_steps: config.max_steps,
            generator: seed.generator(),
            state: [0.0; 4],
            time: 0,
        }
    }

    fn observe(&self, observation: ObservationMut<'_>) {
        show(&self.state.map(|x| x as f32), self.shown, observation.floats());
    }
}

impl Environment for CartPole {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.state = std::array::from_fn(|_| self.generator.random_range(-0.05..0.05));
        self.time = 0;
        self.observe(observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.state = advance(self.state, if action.index() == 1 { FORCE } else { -FORCE });
        self.time += 1;
        self.observe(observation);
        let [position, _, angle, _] = self.state;
        if position.abs() > POSITION_LIMIT || angle.abs() > ANGLE_LIMIT {
            Outcome::terminated(1.0)
        } else if self.time >= self.max_steps {
            Outcome::truncated(1.0)
        } else {
            Outcome::goes_on(1.0)
        }
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("push the cart so that the pole stays upright");
        let area = canvas.area();
        let scale = area.width / (2.0 * POSITION_LIMIT as f32 + 1.0);
        let [position, _, angle, _] = self.state.map(|x| x as f32);
        let floor = 0.8 * area.height;
        let x = area.width / 2.0 + position * scale;
        canvas.line([0.0, floor], [area.width, floor], 2.0, FAINT);
        for limit in [-POSITION_LIMIT, POSITION_LIMIT] {
            let x = area.width / 2.0 + limit as f32 * scale;
            canvas.line([x, floor - 8.0], [x, floor + 8.0], 2.0, INK);
        }
        canvas.rectangle([x - 24.0, floor - 26.0], [48.0, 20.0], INK);
        canvas.disc([x - 14.0, floor - 5.0], 5.0, INK);
        canvas.disc([x + 14.0, floor - 5.0], 5.0, INK);
        // The pole is drawn twice as long as it is.
        let pole = 4.0 * LENGTH as f32 * scale;
        let hinge = [x, floor - 26.0];
        let tip = [x + pole * angle.sin(), hinge[1] - pole * angle.cos()];
        canvas.line(hinge, tip, 8.0, ACTOR);
        canvas.disc(hinge, 3.0, PAPER);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

/// One explicit Euler step (Florian 2007, <https://coneural.org/florian/papers/05_cart_pole.pdf>).
fn advance([x, x_dot, theta, theta_dot]: [f64; 4], force: f64) -> [f64; 4] {
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

    #[test]
    fn the_dynamics_are_gymnasiums() {
        let config = CartPoleConfig { max_steps: 500, observe: Observe::Full };
        for episode in goldens::episodes("cartpole") {
            let mut environment = CartPole::new(&config, Seed::new(0));
            environment.state = goldens::numbers(&episode, "start").try_into().unwrap();
            let actions = goldens::numbers(&episode, "actions");
            let observations = goldens::rows(&episode, "observations");
            let last = actions.len() - 1;
            for (t, (&action, expected)) in actions.iter().zip(&observations).enumerate() {
                let mut row = [0.0; 4];
                let action = Action::Discrete(action as usize);
                let outcome = environment.step(action, ObservationMut::F32(&mut row));
                assert_close(&row, expected, 1e-6, t);
                assert_eq!(outcome.reward, 1.0);
                let ending = if t == 499 { Ending::Truncated } else { Ending::Terminated };
                assert_eq!(outcome.ending, (t == last).then_some(ending), "at step {t}");
            }
        }
    }

    #[test]
    fn positions_and_velocities_are_parts_of_the_full_observation() {
        let part = |observe| {
            let config = CartPoleConfig { max_steps: 500, observe };
            let mut environment = CartPole::new(&config, Seed::new(3));
            let mut row = vec![0.0; environment.spec.observation.len()];
            environment.reset(ObservationMut::F32(&mut row));
            row
        };
        let full = part(Observe::Full);
        assert_eq!(part(Observe::Positions), [full[0], full[2]]);
        assert_eq!(part(Observe::Velocities), [full[1], full[3]]);
    }
}
