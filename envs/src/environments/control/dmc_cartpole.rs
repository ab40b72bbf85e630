//! CartPole of the DeepMind Control Suite, balance and swing-up (Tassa et al. 2018,
//! <https://arxiv.org/abs/1801.00690>), with the dynamics of its MuJoCo model: a cart of 1 kg on a
//! rail of ±1.8 meters with soft ends, a pole of 1 meter and 0.1 kg, a push of up to 10 newtons.
//!
//! The state is cart position, cosine and sine of the pole's angle (zero is upright), cart velocity,
//! angular velocity, and the last action. A decision lasts 5 steps of 0.01 seconds. Its reward is the
//! mean of the suite's over them: in [0, 1], 1 for an upright pole above the middle, at rest, without a
//! push. Nothing ends an episode but time: `max_steps` (200 decisions are the suite's 10 seconds).
//!
//! `balance` starts near upright, `swingup` with a hanging pole.

use std::f64::consts::PI;

use engram_mdp::{Action, ActionSpec, EnvSpec, Generator, ObservationMut, Seed};
use rand::RngExt;
use serde::Deserialize;

use super::{CartDrawing, normal};
use crate::canvas::Canvas;
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::{Part, Parts, StateLayout, View};

const GRAVITY: f64 = 9.81;
const CART_MASS: f64 = 1.0;
const POLE_MASS: f64 = 0.1;
/// Distance of the pole's center of mass from the hinge, and its inertia around it: a capsule of
/// radius 0.045.
const CENTER: f64 = 0.5;
const INERTIA: f64 = 0.009_424_592_767;
const RAIL_DAMPING: f64 = 5e-4;
const HINGE_DAMPING: f64 = 2e-6;
const FORCE: f64 = 10.0;
/// Seconds of a step, and steps of a decision.
const TIME_STEP: f64 = 0.01;
const STEPS: u32 = 5;

const LAYOUT: StateLayout = StateLayout {
    parts: &[
        Part { letter: 'p', name: "positions", indices: &[0, 1, 2] },
        Part { letter: 'v', name: "velocities", indices: &[3, 4] },
        Part { letter: 'a', name: "last action", indices: &[5] },
    ],
    full: "pv",
};

/// The parameters of the suite's CartPole.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DmcCartPoleConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// First state of an episode.
    pub task: DmcCartPoleTask,
    /// Observed parts of the state: letters of `pva`, or `full`, which is `pv`.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

/// First state of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DmcCartPoleTask {
    /// Near the middle, the pole nearly upright.
    Balance,
    /// In the middle, the pole hanging.
    SwingUp,
}

impl EnvironmentParameters for DmcCartPoleConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        LAYOUT.check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let view = LAYOUT.view(&self.observe, self.concat);
        view.spec("dmc-cartpole", ActionSpec::Continuous { dimensions: 1 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(DmcCartPole::new(self, seed))
    }
}

struct DmcCartPole {
    spec: EnvSpec,
    view: View,
    max_steps: u32,
    task: DmcCartPoleTask,
    generator: Generator,
    /// Cart position, pole angle, cart velocity, angular velocity.
    state: [f64; 4],
    action: f64,
    time: u32,
}

impl DmcCartPole {
    fn new(config: &DmcCartPoleConfig, seed: Seed) -> Self {
        DmcCartPole {
            spec: config.spec(),
            view: LAYOUT.view(&config.observe, config.concat),
            max_steps: config.max_steps,
            task: config.task,
            generator: seed.generator(),
            state: [0.0; 4],
            action: 0.0,
            time: 0,
        }
    }

    fn full(&self) -> [f32; 6] {
        let [x, theta, x_dot, theta_dot] = self.state;
        let (sin, cos) = theta.sin_cos();
        [x, cos, sin, x_dot, theta_dot, self.action].map(|x| x as f32)
    }
}

impl Environment for DmcCartPole {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        let generator = &mut self.generator;
        let [x, theta] = match self.task {
            DmcCartPoleTask::Balance => {
                [generator.random_range(-0.1..0.1), generator.random_range(-0.034..0.034)]
            }
            DmcCartPoleTask::SwingUp => [0.01 * normal(generator), PI + 0.01 * normal(generator)],
        };
        self.state = [x, theta, 0.01 * normal(generator), 0.01 * normal(generator)];
        self.action = 0.0;
        self.time = 0;
        self.view.begin(&self.full(), observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.action = f64::from(action.vector()[0].clamp(-1.0, 1.0));
        let mut sum = 0.0;
        for _ in 0..STEPS {
            self.state = advance(self.state, FORCE * self.action);
            sum += reward(self.state, self.action);
        }
        self.time += 1;
        self.view.show(&self.full(), observation);
        let mean = (sum / f64::from(STEPS)) as f32;
        Outcome::until(self.max_steps, self.time, mean)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(match self.task {
            DmcCartPoleTask::Balance => "keep the pole upright above the middle",
            DmcCartPoleTask::SwingUp => "swing the pole up and hold it above the middle",
        });
        let [x, theta, ..] = self.state;
        let (sin, cos) = theta.sin_cos();
        let cart = CartDrawing {
            position: x as f32,
            limit: RAIL as f32,
            track: 0.6,
            tip: [sin, cos].map(|x| 2.0 * (CENTER * x) as f32),
            push: self.action as f32,
        };
        cart.draw(canvas);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

/// The suite's smooth reward: an upright pole, a cart in the middle, a small push, a slow pole.
fn reward([x, theta, _, theta_dot]: [f64; 4], action: f64) -> f64 {
    // One at zero, a tenth at the margin.
    let near_zero = |x: f64, margin: f64| 0.1_f64.powf((x / margin).powi(2));
    let upright = (theta.cos() + 1.0) / 2.0;
    let centered = (1.0 + near_zero(x, 2.0)) / 2.0;
    let small_control = (4.0 + (1.0 - action.powi(2)).max(0.0)) / 5.0;
    let small_velocity = (1.0 + near_zero(theta_dot, 5.0)) / 2.0;
    upright * centered * small_control * small_velocity
}

/// A step of the classic Runge-Kutta method of the fourth order.
fn advance(state: [f64; 4], force: f64) -> [f64; 4] {
    let moved = |slope: [f64; 4], time: f64| [0, 1, 2, 3].map(|i| state[i] + time * slope[i]);
    let first = slope(state, force);
    let second = slope(moved(first, TIME_STEP / 2.0), force);
    let third = slope(moved(second, TIME_STEP / 2.0), force);
    let fourth = slope(moved(third, TIME_STEP), force);
    let mean = |i: usize| (first[i] + 2.0 * second[i] + 2.0 * third[i] + fourth[i]) / 6.0;
    moved([0, 1, 2, 3].map(mean), TIME_STEP)
}

/// Time derivative of the state: M q̈ = forces, where M is the mass matrix of cart and pole.
fn slope([x, theta, x_dot, theta_dot]: [f64; 4], force: f64) -> [f64; 4] {
    let (sin, cos) = theta.sin_cos();
    let (cart, coupling) = (CART_MASS + POLE_MASS, POLE_MASS * CENTER * cos);
    let pole = INERTIA + POLE_MASS * CENTER.powi(2);
    let determinant = cart * pole - coupling.powi(2);
    let along = force - RAIL_DAMPING * x_dot + POLE_MASS * CENTER * sin * theta_dot.powi(2);
    let around = POLE_MASS * GRAVITY * CENTER * sin - HINGE_DAMPING * theta_dot;
    let free = (pole * along - coupling * around) / determinant;
    // The end of the rail acts upon the cart like one more force.
    let along = along + rail_end(x, x_dot, free, pole / determinant);
    [
        x_dot,
        theta_dot,
        (pole * along - coupling * around) / determinant,
        (cart * around - coupling * along) / determinant,
    ]
}

/// Half the length of the rail.
const RAIL: f64 = 1.8;

/// The force of the end of the rail upon a cart beyond it: MuJoCo's soft constraint
/// (<https://mujoco.readthedocs.io/en/stable/modeling.html#solver-parameters>) with `solref` 0.08, 1
/// and `solimp` 0.9, 0.95, 0.001. `free` is the cart's acceleration without it, `mobility` that per
/// newton.
fn rail_end(x: f64, x_dot: f64, free: f64, mobility: f64) -> f64 {
    const TIME: f64 = 0.08;
    const STIFFEST: f64 = 0.95;
    /// Mobility of the cart while the pole is upright.
    const REST_MOBILITY: f64 = {
        let (cart, coupling) = (CART_MASS + POLE_MASS, POLE_MASS * CENTER);
        let pole = INERTIA + POLE_MASS * CENTER * CENTER;
        pole / (cart * pole - coupling * coupling)
    };
    let inwards = -x.signum();
    let beyond = x.abs() - RAIL;
    if beyond <= 0.0 {
        return 0.0;
    }
    let depth = (beyond / 0.001).min(1.0);
    let curve = if depth < 0.5 { 2.0 * depth.powi(2) } else { 1.0 - 2.0 * (1.0 - depth).powi(2) };
    let impedance = 0.9 + (STIFFEST - 0.9) * curve;
    let stiffness = 1.0 / (STIFFEST * TIME).powi(2);
    let damping = 2.0 / (STIFFEST * TIME);
    let wanted = -damping * inwards * x_dot + stiffness * impedance * beyond;
    let softness = (1.0 - impedance) / impedance * REST_MOBILITY;
    inwards * ((wanted - inwards * free) / (mobility + softness)).max(0.0)
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;

    use super::*;
    use crate::goldens::{self, assert_close};

    fn cartpole(task: DmcCartPoleTask, observe: &str, seed: u64) -> DmcCartPole {
        let (observe, concat) = (observe.into(), None);
        DmcCartPole::new(
            &DmcCartPoleConfig { max_steps: 200, task, observe, concat },
            Seed::new(seed),
        )
    }

    #[test]
    fn dynamics_and_rewards_are_the_suites_even_at_the_ends_of_the_rail() {
        let (mut furthest, mut episodes) = (0.0_f64, 0);
        for episode in goldens::episodes("dmc_cartpole") {
            let mut environment = cartpole(DmcCartPoleTask::SwingUp, "full", 0);
            environment.state = goldens::numbers(&episode, "start").try_into().unwrap();
            let actions = goldens::numbers(&episode, "actions");
            let rewards = goldens::numbers(&episode, "rewards");
            let observations = goldens::rows(&episode, "observations");
            for (t, &action) in actions.iter().enumerate() {
                let mut row = [0.0; 5];
                let action = [action as f32];
                let action = Action::Continuous(&action);
                let outcome = environment.step(action, ObservationMut::F32(&mut row));
                assert_close(&row, &observations[t], 1e-5, t);
                assert_close(&[outcome.reward], &rewards[t..=t], 1e-5, t);
                assert_eq!(outcome.ending, (t == 199).then_some(Ending::Truncated));
                furthest = furthest.max(environment.state[0].abs());
            }
            episodes += 1;
        }
        assert!(furthest > RAIL && episodes == 3, "{furthest} in {episodes}");
    }

    #[test]
    fn a_pole_at_rest_above_the_middle_is_paid_one_and_a_hanging_one_nothing() {
        assert_eq!(reward([0.0; 4], 0.0), 1.0);
        assert!(reward([0.0, PI, 0.0, 0.0], 0.0) < 1e-9);
        // Two meters away, five radians per second, full push: (1.1 / 2) (1.1 / 2) (4 / 5).
        assert!((reward([2.0, 0.0, 0.0, 5.0], 1.0) - 0.242).abs() < 1e-12);
    }

    #[test]
    fn a_linear_controller_balances_and_earns_nearly_the_most() {
        for seed in 0..10 {
            let mut environment = cartpole(DmcCartPoleTask::Balance, "full", seed);
            let mut row = [0.0; 5];
            environment.reset(ObservationMut::F32(&mut row));
            let mut sum = 0.0;
            for _ in 0..200 {
                let [x, _, sin, x_dot, theta_dot] = row;
                let push = [0.1 * x + 0.2 * x_dot + 2.5 * sin + 0.6 * theta_dot];
                let action = Action::Continuous(&push);
                sum += environment.step(action, ObservationMut::F32(&mut row)).reward;
            }
            assert!(sum > 190.0, "{sum}");
        }
    }

    #[test]
    fn a_swing_up_begins_with_a_hanging_pole_and_earns_little_without_a_push() {
        let mut environment = cartpole(DmcCartPoleTask::SwingUp, "va", 5);
        let mut row = [1.0; 3];
        environment.reset(ObservationMut::F32(&mut row));
        assert!((environment.state[1] - PI).abs() < 0.06 && row[2] == 0.0);
        let outcome = environment.step(Action::Continuous(&[-0.5]), ObservationMut::F32(&mut row));
        assert!(outcome.reward < 0.01 && row[2] == -0.5 && row[0] < 0.0);
    }
}
