//! Pendulum: swing a pendulum up and hold it, with the dynamics of Gymnasium's Pendulum-v1.
//!
//! The observation is the cosine and sine of the angle (zero is upright) and the angular velocity.
//! The action in `[-1, 1]` is a torque of up to 2. The reward is minus the cost of angle, speed and
//! torque. Nothing ends an episode but time: `max_steps` (200 in v1).

use std::f64::consts::PI;

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use rand::RngExt;
use serde::Deserialize;

use crate::canvas::{ACTOR, Canvas, FAINT, GOAL, INK, PAPER};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::{ObservationLayout, Observe, show};

const GRAVITY: f64 = 10.0;
const MASS: f64 = 1.0;
const LENGTH: f64 = 1.0;
const MAX_TORQUE: f64 = 2.0;
const MAX_SPEED: f64 = 8.0;
/// Seconds between two decisions.
const TIME_STEP: f64 = 0.05;

const LAYOUT: ObservationLayout =
    ObservationLayout { full: &[0, 1, 2], positions: &[0, 1], velocities: &[2] };

/// The parameters of Pendulum.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PendulumConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Observed part of the state.
    pub observe: Observe,
}

impl EnvironmentParameters for PendulumConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: format!("pendulum(observe={})", self.observe),
            observation: ObservationSpec {
                dtype: Dtype::F32,
                shape: vec![LAYOUT.shown(self.observe).len()],
            },
            action: ActionSpec::Continuous { dimensions: 1 },
            action_repeat: 1,
        }
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(Pendulum::new(self, seed))
    }
}

struct Pendulum {
    spec: EnvSpec,
    shown: &'static [usize],
    max_steps: u32,
    generator: Generator,
    angle: f64,
    speed: f64,
    time: u32,
}

impl Pendulum {
    fn new(config: &PendulumConfig, seed: Seed) -> Self {
        Pendulum {
            spec: config.spec(),
            shown: LAYOUT.shown(config.observe),
            max_steps: config.max_steps,
            generator: seed.generator(),
            angle: 0.0,
            speed: 0.0,
            time: 0,
        }
    }

    fn observe(&self, observation: ObservationMut<'_>) {
        let full = [self.angle.cos(), self.angle.sin(), self.speed].map(|x| x as f32);
        show(&full, self.shown, observation.floats());
    }
}

impl Environment for Pendulum {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.angle = self.generator.random_range(-PI..PI);
        self.speed = self.generator.random_range(-1.0..1.0);
        self.time = 0;
        self.observe(observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        let torque = MAX_TORQUE * f64::from(action.vector()[0].clamp(-1.0, 1.0));
        let reward = -cost(self.angle, self.speed, torque) as f32;

        let acceleration = 3.0 * GRAVITY / (2.0 * LENGTH) * self.angle.sin()
            + 3.0 / (MASS * LENGTH.powi(2)) * torque;
        self.speed = (self.speed + acceleration * TIME_STEP).clamp(-MAX_SPEED, MAX_SPEED);
        self.angle += self.speed * TIME_STEP;
        self.time += 1;
        self.observe(observation);
        if self.time < self.max_steps {
            return Outcome::goes_on(reward);
        }
        Outcome::truncated(reward)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("swing the pendulum up and hold it there");
        let area = canvas.area();
        let hinge = [area.width / 2.0, area.height / 2.0];
        let radius = 0.42 * area.height;
        canvas.disc(hinge, radius + 2.0, FAINT);
        canvas.disc(hinge, radius, PAPER);
        canvas.line(
            [hinge[0], hinge[1] - radius - 6.0],
            [hinge[0], hinge[1] - radius + 6.0],
            3.0,
            GOAL,
        );
        let (sin, cos) = (self.angle as f32).sin_cos();
        let tip = [hinge[0] - radius * sin, hinge[1] - radius * cos];
        canvas.line(hinge, tip, 12.0, ACTOR);
        canvas.disc(hinge, 4.0, INK);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

fn cost(angle: f64, speed: f64, torque: f64) -> f64 {
    let from_upright = (angle + PI).rem_euclid(2.0 * PI) - PI;
    from_upright.powi(2) + 0.1 * speed.powi(2) + 0.001 * torque.powi(2)
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;

    use super::*;
    use crate::goldens::{self, assert_close};

    #[test]
    fn the_dynamics_are_gymnasiums() {
        let config = PendulumConfig { max_steps: 200, observe: Observe::Full };
        for episode in goldens::episodes("pendulum") {
            let mut environment = Pendulum::new(&config, Seed::new(0));
            let start = goldens::numbers(&episode, "start");
            (environment.angle, environment.speed) = (start[0], start[1]);
            let actions = goldens::numbers(&episode, "actions");
            let rewards = goldens::numbers(&episode, "rewards");
            let observations = goldens::rows(&episode, "observations");
            for (t, &action) in actions.iter().enumerate() {
                let mut row = [0.0; 3];
                let action = [action as f32];
                let action = Action::Continuous(&action);
                let outcome = environment.step(action, ObservationMut::F32(&mut row));
                assert_close(&row, &observations[t], 2e-6, t);
                assert_close(&[outcome.reward], &rewards[t..=t], 2e-6, t);
                let ending = (t == 199).then_some(Ending::Truncated);
                assert_eq!(outcome.ending, ending, "at step {t}");
            }
        }
    }
}
