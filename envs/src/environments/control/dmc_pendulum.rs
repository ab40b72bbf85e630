//! Pendulum of the DeepMind Control Suite, swing-up (Tassa et al. 2018,
//! <https://arxiv.org/abs/1801.00690>), with the dynamics of its MuJoCo model: 1 kg half a meter from
//! a damped hinge, and a torque of up to 1 newton meter, which is too weak to lift it at once.
//!
//! The state is the cosine and sine of the angle (zero is upright), the angular velocity, and the last
//! action. A decision lasts 5 steps of 0.02 seconds. Its reward is the share of them that end within
//! 8 degrees of upright. Nothing ends an episode but time: `max_steps` (200 decisions are the suite's 20
//! seconds). Episodes start at any angle, at rest.

use std::f64::consts::PI;

use engram_mdp::{Action, ActionSpec, EnvSpec, Generator, ObservationMut, Seed};
use rand::RngExt;
use serde::Deserialize;

use super::PendulumDrawing;
use crate::canvas::Canvas;
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::{Part, Parts, StateLayout, View};

/// Torque of a horizontal pendulum's weight: 9.81 m/s², 1 kg, 0.5 m.
const WEIGHT: f64 = 9.81 * 0.5;
/// Around the hinge: a ball of 1 kg and radius 0.05 at half a meter.
const INERTIA: f64 = 0.251;
const DAMPING: f64 = 0.1;
/// Greatest angle that is rewarded.
const UPRIGHT: f64 = 8.0 * PI / 180.0;
/// Seconds of a step, and steps of a decision.
const TIME_STEP: f64 = 0.02;
const STEPS: u32 = 5;

const LAYOUT: StateLayout = StateLayout {
    parts: &[
        Part { letter: 'p', name: "positions", indices: &[0, 1] },
        Part { letter: 'v', name: "velocities", indices: &[2] },
        Part { letter: 'a', name: "last action", indices: &[3] },
    ],
    full: "pv",
};

/// The parameters of the suite's Pendulum.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DmcPendulumConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Observed parts of the state: letters of `pva`, or `full`, which is `pv`.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

impl EnvironmentParameters for DmcPendulumConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        LAYOUT.check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let view = LAYOUT.view(&self.observe, self.concat);
        view.spec("dmc-pendulum", ActionSpec::Continuous { dimensions: 1 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(DmcPendulum::new(self, seed))
    }
}

struct DmcPendulum {
    spec: EnvSpec,
    view: View,
    max_steps: u32,
    generator: Generator,
    angle: f64,
    speed: f64,
    action: f64,
    time: u32,
}

impl DmcPendulum {
    fn new(config: &DmcPendulumConfig, seed: Seed) -> Self {
        DmcPendulum {
            spec: config.spec(),
            view: LAYOUT.view(&config.observe, config.concat),
            max_steps: config.max_steps,
            generator: seed.generator(),
            angle: 0.0,
            speed: 0.0,
            action: 0.0,
            time: 0,
        }
    }

    fn state(&self) -> [f32; 4] {
        let (sin, cos) = self.angle.sin_cos();
        [cos, sin, self.speed, self.action].map(|x| x as f32)
    }
}

impl Environment for DmcPendulum {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.angle = self.generator.random_range(-PI..PI);
        (self.speed, self.action, self.time) = (0.0, 0.0, 0);
        self.view.begin(&self.state(), observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.action = f64::from(action.vector()[0].clamp(-1.0, 1.0));
        let mut upright = 0;
        for _ in 0..STEPS {
            // Semi-implicit Euler; the damping is that of the next speed, as MuJoCo has it.
            let torque = self.action + WEIGHT * self.angle.sin() - DAMPING * self.speed;
            self.speed += TIME_STEP * torque / (INERTIA + TIME_STEP * DAMPING);
            self.angle += TIME_STEP * self.speed;
            upright += u32::from(self.angle.cos() >= UPRIGHT.cos());
        }
        self.time += 1;
        self.view.show(&self.state(), observation);
        let reward = upright as f32 / STEPS as f32;
        Outcome::until(self.max_steps, self.time, reward)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("swing the pendulum up and hold it there");
        // Of the suite, clockwise is positive.
        let (angle, torque) = (-self.angle as f32, -self.action as f32);
        PendulumDrawing { angle, length: 1.0, torque }.draw(canvas);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;

    use super::*;
    use crate::goldens::{self, assert_close};

    fn pendulum(seed: u64) -> DmcPendulum {
        let config = DmcPendulumConfig { max_steps: 200, observe: "full".into(), concat: None };
        DmcPendulum::new(&config, Seed::new(seed))
    }

    #[test]
    fn dynamics_and_rewards_are_the_suites() {
        let mut rewarded = 0;
        for episode in goldens::episodes("dmc_pendulum") {
            let mut environment = pendulum(0);
            environment.angle = goldens::numbers(&episode, "start")[0];
            let actions = goldens::numbers(&episode, "actions");
            let rewards = goldens::numbers(&episode, "rewards");
            let observations = goldens::rows(&episode, "observations");
            for (t, &action) in actions.iter().enumerate() {
                let mut row = [0.0; 3];
                let action = [action as f32];
                let action = Action::Continuous(&action);
                let outcome = environment.step(action, ObservationMut::F32(&mut row));
                assert_close(&row, &observations[t], 1e-5, t);
                assert_close(&[outcome.reward], &rewards[t..=t], 1e-6, t);
                assert_eq!(outcome.ending, (t == 199).then_some(Ending::Truncated));
                rewarded += u32::from(outcome.reward > 0.0);
            }
        }
        assert!(rewarded > 5, "{rewarded}");
    }

    #[test]
    fn a_controller_that_pumps_energy_swings_up_and_a_constant_torque_does_not() {
        for seed in 0..10 {
            let mut environment = pendulum(seed);
            let mut row = [0.0; 3];
            environment.reset(ObservationMut::F32(&mut row));
            let mut last = Vec::new();
            for _ in 0..200 {
                let [cos, sin, speed] = row;
                let missing = 4.9 * (1.0 - cos) - 0.1255 * speed * speed;
                let torque = if cos > 0.98 && speed.abs() < 1.5 {
                    -12.0 * sin - 2.0 * speed
                } else {
                    missing.signum() * if speed == 0.0 { 1.0 } else { speed.signum() }
                };
                let action = Action::Continuous(&[torque]);
                last.push(environment.step(action, ObservationMut::F32(&mut row)).reward);
            }
            let held: f32 = last[100..].iter().sum();
            assert!(held > 70.0, "seed {seed}: {held} of 100");
        }
        let mut environment = pendulum(0);
        environment.reset(ObservationMut::F32(&mut [0.0; 3]));
        (environment.angle, environment.speed) = (PI, 0.0);
        for _ in 0..200 {
            let action = Action::Continuous(&[1.0]);
            environment.step(action, ObservationMut::F32(&mut [0.0; 3]));
            assert!(environment.angle.cos() < 0.0, "the weight is stronger");
        }
    }
}
