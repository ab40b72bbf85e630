//! CartPole of the DeepMind Control Suite, its four tasks (Tassa et al. 2018,
//! <https://arxiv.org/abs/1801.00690>): a cart on a rail carries one to three poles, one upon the
//! other. The dynamics are in `control/dmc_cart.rs`.
//!
//! | task | poles | start |
//! |---|---|---|
//! | `balance` | one | near the middle, nearly upright |
//! | `swingup` | one | in the middle, hanging |
//! | `two-poles`, `three-poles` | two, three | in the middle, hanging, a little bent |
//!
//! `dmc-cartpole` shows numbers: cart position, cosine and sine of every pole's angle (zero is
//! upright), cart velocity, angular velocity of every hinge, and the last action. A decision lasts 5
//! steps of 0.01 seconds.
//!
//! `dmc-cartpole-pixels` shows pictures, the three newest; see `control/film.rs`. A decision lasts
//! 2 steps.
//!
//! A decision's reward is the mean of the suite's over its steps: in [0, 1], 1 for upright poles above
//! the middle, at rest, without a push. Nothing ends an episode but time: `max_steps` (the suite's 10
//! seconds are 200 decisions, or 500 with pictures).

use engram_mdp::{
    Action, ActionSpec, Dtype, EnvSpec, Generator, ObservationMut, ObservationSpec, Seed,
};
use serde::Deserialize;

use super::CartDrawing;
use super::dmc_cart::{Cart, RAIL};
use super::film::{self, Film};
use crate::canvas::Canvas;
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::{Part, Parts, StateLayout, View};

/// Steps of a decision.
const STEPS: u32 = 5;
const PIXEL_STEPS: u32 = 2;
/// Numbers of the state with three poles.
const MOST_NUMBERS: usize = 12;

const ONE_POLE: StateLayout = StateLayout { parts: &parts(&[0, 1, 2], &[3, 4], &[5]), full: "pv" };
const TWO_POLES: StateLayout =
    StateLayout { parts: &parts(&[0, 1, 2, 3, 4], &[5, 6, 7], &[8]), full: "pv" };
const THREE_POLES: StateLayout =
    StateLayout { parts: &parts(&[0, 1, 2, 3, 4, 5, 6], &[7, 8, 9, 10], &[11]), full: "pv" };

/// The parameters of the suite's CartPole.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DmcCartPoleConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Number of poles, and first state of an episode.
    pub task: DmcCartPoleTask,
    /// Observed parts of the state: letters of `pva`, or `full`, which is `pv`.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

/// The parameters of the suite's CartPole, seen in pictures.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DmcCartPolePixelsConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Number of poles, and first state of an episode.
    pub task: DmcCartPoleTask,
}

/// Number of poles, and first state of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DmcCartPoleTask {
    /// Near the middle, the pole nearly upright.
    Balance,
    /// In the middle, the pole hanging.
    #[serde(rename = "swingup")]
    SwingUp,
    /// In the middle, two poles hanging.
    TwoPoles,
    /// In the middle, three poles hanging.
    ThreePoles,
}

impl DmcCartPoleTask {
    /// Name of the environments that look alike.
    fn name(self) -> &'static str {
        match self {
            DmcCartPoleTask::Balance | DmcCartPoleTask::SwingUp => "dmc-cartpole",
            DmcCartPoleTask::TwoPoles => "dmc-cartpole-two-poles",
            DmcCartPoleTask::ThreePoles => "dmc-cartpole-three-poles",
        }
    }

    fn layout(self) -> StateLayout {
        match self {
            DmcCartPoleTask::Balance | DmcCartPoleTask::SwingUp => ONE_POLE,
            DmcCartPoleTask::TwoPoles => TWO_POLES,
            DmcCartPoleTask::ThreePoles => THREE_POLES,
        }
    }

    fn make(self, spec: EnvSpec, sight: Sight, max_steps: u32, seed: Seed) -> Box<dyn Environment> {
        match self {
            DmcCartPoleTask::Balance | DmcCartPoleTask::SwingUp => {
                Box::new(DmcCartPole::<2>::new(self, spec, sight, max_steps, seed))
            }
            DmcCartPoleTask::TwoPoles => {
                Box::new(DmcCartPole::<3>::new(self, spec, sight, max_steps, seed))
            }
            DmcCartPoleTask::ThreePoles => {
                Box::new(DmcCartPole::<4>::new(self, spec, sight, max_steps, seed))
            }
        }
    }
}

impl EnvironmentParameters for DmcCartPoleConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        self.task.layout().check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let view = self.task.layout().view(&self.observe, self.concat);
        view.spec(self.task.name(), ActionSpec::Continuous { dimensions: 1 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        let view = self.task.layout().view(&self.observe, self.concat);
        self.task.make(self.spec(), Sight::Numbers(view), self.max_steps, seed)
    }
}

impl EnvironmentParameters for DmcCartPolePixelsConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)
    }

    fn spec(&self) -> EnvSpec {
        EnvSpec {
            name: format!("{}-pixels", self.task.name()),
            observation: ObservationSpec { dtype: Dtype::U8, shape: film::SHAPE.to_vec() },
            action: ActionSpec::Continuous { dimensions: 1 },
            frame_stack: 1,
            action_repeat: 1,
        }
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        self.task.make(self.spec(), Sight::Pictures(Film::new()), self.max_steps, seed)
    }
}

const fn parts(
    positions: &'static [usize],
    velocities: &'static [usize],
    last_action: &'static [usize],
) -> [Part; 3] {
    [
        Part { letter: 'p', name: "positions", indices: positions },
        Part { letter: 'v', name: "velocities", indices: velocities },
        Part { letter: 'a', name: "last action", indices: last_action },
    ]
}

/// View of the cart: what an agent sees.
enum Sight {
    Numbers(View),
    Pictures(Film),
}

struct DmcCartPole<const JOINTS: usize> {
    spec: EnvSpec,
    sight: Sight,
    max_steps: u32,
    task: DmcCartPoleTask,
    generator: Generator,
    cart: Cart<JOINTS>,
    action: f64,
    time: u32,
}

impl<const JOINTS: usize> DmcCartPole<JOINTS> {
    fn new(task: DmcCartPoleTask, spec: EnvSpec, sight: Sight, max_steps: u32, seed: Seed) -> Self {
        DmcCartPole {
            spec,
            sight,
            max_steps,
            task,
            generator: seed.generator(),
            cart: Cart::at_rest(),
            action: 0.0,
            time: 0,
        }
    }

    /// The state, and zeros for the poles that there are not.
    fn numbers(&self) -> [f32; MOST_NUMBERS] {
        let Cart { positions, velocities } = &self.cart;
        let angles = positions[1..].iter().flat_map(|angle| [angle.cos(), angle.sin()]);
        let speeds = std::iter::once(velocities[0]).chain(self.cart.hinge_speeds());
        let all = std::iter::once(positions[0]).chain(angles).chain(speeds);
        let mut numbers = [0.0; MOST_NUMBERS];
        for (to, number) in numbers.iter_mut().zip(all.chain([self.action])) {
            *to = number as f32;
        }
        numbers
    }
}

impl<const JOINTS: usize> Environment for DmcCartPole<JOINTS> {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        self.cart = match self.task {
            DmcCartPoleTask::Balance => Cart::upright(&mut self.generator),
            _ => Cart::hanging(&mut self.generator),
        };
        self.action = 0.0;
        self.time = 0;
        let numbers = self.numbers();
        match &mut self.sight {
            Sight::Numbers(view) => view.begin(&numbers, observation),
            Sight::Pictures(film) => film.begin(&self.cart, observation),
        }
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.action = f64::from(action.vector()[0].clamp(-1.0, 1.0));
        let steps = match self.sight {
            Sight::Numbers(_) => STEPS,
            Sight::Pictures(_) => PIXEL_STEPS,
        };
        let mut sum = 0.0;
        for _ in 0..steps {
            self.cart.advance(self.action);
            sum += self.cart.reward(self.action);
        }
        self.time += 1;
        let numbers = self.numbers();
        match &mut self.sight {
            Sight::Numbers(view) => view.show(&numbers, observation),
            Sight::Pictures(film) => film.show(&self.cart, observation),
        }
        Outcome::until(self.max_steps, self.time, (sum / f64::from(steps)) as f32)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(match self.task {
            DmcCartPoleTask::Balance => "keep the pole upright above the middle",
            DmcCartPoleTask::SwingUp => "swing the pole up and hold it above the middle",
            _ => "swing the poles up and hold them above the middle",
        });
        let poles: Vec<_> = self.cart.poles().map(|tip| tip.map(|x| x as f32)).collect();
        let cart = CartDrawing {
            position: self.cart.positions[0] as f32,
            limit: RAIL as f32,
            track: if JOINTS == 2 { 0.6 } else { 0.5 },
            poles: &poles,
            push: self.action as f32,
        };
        cart.draw(canvas);
        canvas.timeline(&[self.max_steps], self.time);
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use engram_mdp::Ending;

    use super::*;
    use crate::goldens::{self, assert_close};

    fn cartpole<const JOINTS: usize>(
        task: DmcCartPoleTask,
        observe: &str,
        seed: u64,
    ) -> DmcCartPole<JOINTS> {
        let (observe, concat) = (observe.into(), None);
        let config = DmcCartPoleConfig { max_steps: 200, task, observe, concat };
        let view = task.layout().view(&config.observe, None);
        DmcCartPole::new(task, config.spec(), Sight::Numbers(view), 200, Seed::new(seed))
    }

    fn pixels(seed: u64) -> DmcCartPole<2> {
        let task = DmcCartPoleTask::Balance;
        let spec = DmcCartPolePixelsConfig { max_steps: 500, task }.spec();
        DmcCartPole::new(task, spec, Sight::Pictures(Film::new()), 500, Seed::new(seed))
    }

    /// Plays what the suite recorded, and returns the furthest position of the cart.
    fn replay<const JOINTS: usize>(name: &str, task: DmcCartPoleTask) -> f64 {
        let mut furthest = 0.0_f64;
        for episode in goldens::episodes(name) {
            let mut environment = cartpole::<JOINTS>(task, "full", 0);
            let start = goldens::numbers(&episode, "start");
            environment.cart = Cart::from_joints(&start[..JOINTS], &start[JOINTS..]);
            let actions = goldens::numbers(&episode, "actions");
            let rewards = goldens::numbers(&episode, "rewards");
            let observations = goldens::rows(&episode, "observations");
            for (t, &action) in actions.iter().enumerate() {
                let mut row = vec![0.0; environment.spec.observation.len()];
                let action = [action as f32];
                let action = Action::Continuous(&action);
                let outcome = environment.step(action, ObservationMut::F32(&mut row));
                assert_close(&row, &observations[t], 1e-5, t);
                assert_close(&[outcome.reward], &rewards[t..=t], 1e-5, t);
                assert_eq!(outcome.ending, (t == 199).then_some(Ending::Truncated));
                furthest = furthest.max(environment.cart.positions[0].abs());
            }
        }
        furthest
    }

    #[test]
    fn dynamics_and_rewards_are_the_suites_even_at_the_ends_of_the_rail() {
        assert_eq!(goldens::episodes("dmc_cartpole").len(), 3);
        assert!(replay::<2>("dmc_cartpole", DmcCartPoleTask::SwingUp) > RAIL);
    }

    #[test]
    fn two_poles_and_three_move_as_in_the_suite() {
        assert!(replay::<3>("dmc_cartpole_two_poles", DmcCartPoleTask::TwoPoles) > RAIL);
        assert!(replay::<4>("dmc_cartpole_three_poles", DmcCartPoleTask::ThreePoles) > RAIL);
    }

    #[test]
    fn a_linear_controller_balances_and_earns_nearly_the_most() {
        for seed in 0..10 {
            let mut environment = cartpole::<2>(DmcCartPoleTask::Balance, "full", seed);
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
        let mut environment = cartpole::<2>(DmcCartPoleTask::SwingUp, "va", 5);
        let mut row = [1.0; 3];
        environment.reset(ObservationMut::F32(&mut row));
        assert!((environment.cart.positions[1] - PI).abs() < 0.06 && row[2] == 0.0);
        let outcome = environment.step(Action::Continuous(&[-0.5]), ObservationMut::F32(&mut row));
        assert!(outcome.reward < 0.01 && row[2] == -0.5 && row[0] < 0.0);
    }

    #[test]
    fn several_poles_begin_hanging_and_more_bent_than_the_first() {
        let mut environment = cartpole::<4>(DmcCartPoleTask::ThreePoles, "pva", 5);
        let mut row = [1.0; 12];
        let mut bent = 0.0_f32;
        for _ in 0..100 {
            environment.reset(ObservationMut::F32(&mut row));
            let [x, cos_1, sin_1, cos_2, _, cos_3, ..] = row;
            assert!(x.abs() < 0.06 && cos_1 < -0.99 && cos_2 < -0.85 && cos_3 < -0.8, "{row:?}");
            assert!(sin_1.abs() < 0.06 && row[11] == 0.0);
            bent = bent.max(1.0 + cos_2);
        }
        assert!(bent > 0.01, "{bent}");
    }

    /// Plays the policy, and returns what is earned.
    fn watch(seed: u64, mut policy: impl FnMut(&[u8]) -> f32) -> f32 {
        let mut environment = pixels(seed);
        let mut row = vec![0; environment.spec.observation.len()];
        environment.reset(ObservationMut::U8(&mut row));
        let mut sum = 0.0;
        for t in 1..=500 {
            let action = [policy(&row)];
            let outcome =
                environment.step(Action::Continuous(&action), ObservationMut::U8(&mut row));
            assert_eq!(outcome.ending, (t == 500).then_some(Ending::Truncated));
            sum += outcome.reward;
        }
        sum
    }

    #[test]
    fn a_controller_that_sees_pictures_alone_balances() {
        // From the newest picture and the one before: cart and pole, and how they move.
        for seed in 0..5 {
            let balancing = |row: &[u8]| {
                let [before, now] = [1, 2].map(|frame| film::positions(row, frame));
                let Some([x0, tip0]) = before else { return 0.0 };
                let [x, tip] = now.expect("the newest picture");
                let (sin, sin0) = (tip - x, tip0 - x0);
                let (x_dot, sin_dot) = ((x - x0) / 0.02, (sin - sin0) / 0.02);
                0.1 * x + 0.2 * x_dot + 2.5 * sin + 0.6 * sin_dot
            };
            let sum = watch(seed, balancing);
            assert!(sum > 450.0, "{sum} of 500");
        }
        assert!(watch(0, |_| 0.0) < 450.0);
    }
}
