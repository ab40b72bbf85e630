//! Bumps: push the right one of two bumps to the right, from its left side, and push nothing else.
//! Where they are must be felt by a soft finger, and remembered.
//!
//! The state is the finger's tip (meters) and angle (radians, positive to the right), and both
//! bumps' positions; the agent sees the finger (`f`). An action is a move of up to 5 cm, and a
//! stiffness from 0.007 (-1) to 0.047 newton meters (1). The reward is 1 when the right bump has
//! moved by 1 cm to the right and the tip is to its left, and `wrong_push_reward` when the left bump
//! has moved by 1 mm, or the right one to the left. Both end the episode, and so does a tip that
//! leaves the bench (0.38 from its middle); time cuts it off (50 steps in the original).
//!
//! | layout | bumps | finger |
//! |---|---|---|
//! | `normal` | within 0.28 of the middle, 0.12 to 0.32 apart | anywhere, 0.04 from the bumps |
//! | `three` | at -0.24 and -0.08, -0.08 and 0.08, or 0.08 and 0.24, each ±0.03 | the middle ±0.03 |
//! | `real` | within 0.35 of the middle, at least 0.06 apart | anywhere, 0.03 from the bumps |
//!
//! The original's `bumps-normal` pays 0 for a wrong push, its other tasks -1; its `-test`, the
//! paper's push-r-bump, has the layout `three`. A start that would touch a bump there is redrawn.
//! A few starts of `real` have no solution: between a bump at the end of the bench and that end.

use engram_mdp::{Action, ActionSpec, EnvSpec, Generator, ObservationMut, Seed};
use rand::RngExt;
use serde::Deserialize;

use super::bench::{BUMP_RADIUS, Bench, LIMIT, Scene};
use super::{HALF_BENCH, act, draw};
use crate::canvas::{Canvas, Color};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::{Part, Parts, StateLayout, View};

const STIFFEST: f32 = 0.047;
/// Move of the right bump that is a success, and move of a bump that is a failure.
const PUSHED: f32 = 0.01;
const TOUCHED: f32 = 0.001;
const RED: Color = [206, 84, 84];
const BLUE: Color = [84, 120, 206];

const LAYOUT: StateLayout = StateLayout {
    parts: &[
        Part { letter: 'f', name: "finger", indices: &[0, 1] },
        Part { letter: 'b', name: "bumps", indices: &[2, 3] },
    ],
    full: "fb",
};

/// The parameters of the two bumps.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BumpsConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Starts of bumps and finger.
    pub layout: BumpsLayout,
    /// Reward of moving the left bump, or the right one to the left.
    pub wrong_push_reward: f32,
    /// Observed parts of the state: `f` (the finger), or `full`, the bumps too.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

/// Starts of bumps and finger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BumpsLayout {
    /// Anywhere near the middle, not too far apart.
    Normal,
    /// One of three pairs of places.
    Three,
    /// Anywhere.
    Real,
}

impl EnvironmentParameters for BumpsConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        within("wrong_push_reward", self.wrong_push_reward, -10.0..=0.0)?;
        LAYOUT.check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let view = LAYOUT.view(&self.observe, self.concat);
        view.spec("bumps", ActionSpec::Continuous { dimensions: 2 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(Bumps::new(self, seed))
    }
}

impl BumpsLayout {
    /// Positions of finger, left bump and right bump.
    fn draw(self, generator: &mut Generator) -> [f32; 3] {
        match self {
            BumpsLayout::Normal => {
                let [left, right] = apart(generator);
                [beside(generator, left, right, 0.04, LIMIT), left, right]
            }
            BumpsLayout::Three => loop {
                let first = generator.random_range(1..=3_u8);
                let mut near = |at: f32| at + generator.random_range(-0.03..0.03);
                let place = |index: u8| 0.16 * f32::from(index) - HALF_BENCH;
                let [left, right] = [near(place(first)), near(place(first + 1))];
                let finger = near(0.0);
                let free = |bump: f32| (finger - bump).abs() > BUMP_RADIUS + 0.005;
                if free(left) && free(right) {
                    break [finger, left, right];
                }
            },
            BumpsLayout::Real => {
                let one = generator.random_range(-0.35..0.35);
                let other = draw(generator, &[[-0.35, one - 0.06], [one + 0.06, 0.35]]);
                let (left, right) = (one.min(other), one.max(other));
                [beside(generator, left, right, 0.03, HALF_BENCH), left, right]
            }
        }
    }
}

/// Two bumps within 0.28 of the middle, 0.12 to 0.32 apart; the left or the right one is drawn
/// first.
fn apart(generator: &mut Generator) -> [f32; 2] {
    const END: f32 = 0.28;
    const NEAR: f32 = 0.12;
    const FAR: f32 = 0.32;
    if generator.random() {
        let left = generator.random_range(-END..END - NEAR);
        return [left, generator.random_range(left + NEAR..(left + FAR).min(END))];
    }
    let right = generator.random_range(NEAR - END..END);
    [generator.random_range((right - FAR).max(-END)..right - NEAR), right]
}

/// A finger anywhere within `end` of the middle, some way from both bumps.
fn beside(generator: &mut Generator, left: f32, right: f32, way: f32, end: f32) -> f32 {
    draw(generator, &[[-end, left - way], [left + way, right - way], [right + way, end]])
}

struct Bumps {
    spec: EnvSpec,
    view: View,
    config: BumpsConfig,
    generator: Generator,
    bench: Bench,
    /// Positions of the bumps when the episode began.
    start: [f32; 2],
    succeeded: bool,
    time: u32,
}

impl Bumps {
    fn new(config: &BumpsConfig, seed: Seed) -> Self {
        Bumps {
            spec: config.spec(),
            view: LAYOUT.view(&config.observe, config.concat),
            config: config.clone(),
            generator: seed.generator(),
            bench: Bench::new(0.0, &[]),
            start: [0.0; 2],
            succeeded: false,
            time: 0,
        }
    }

    fn begin(&mut self, [finger, left, right]: [f32; 3], observation: ObservationMut<'_>) {
        self.start = [left, right];
        self.bench = Bench::new(finger, &self.start);
        (self.succeeded, self.time) = (false, 0);
        self.view.begin(&self.state(), observation);
    }

    fn state(&self) -> [f32; 4] {
        let bench = &self.bench;
        [bench.tip(), bench.angle(), bench.bump(0), bench.bump(1)]
    }
}

impl Environment for Bumps {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        let start = self.config.layout.draw(&mut self.generator);
        self.begin(start, observation);
    }

    fn step(&mut self, action: Action<'_>, mut observation: ObservationMut<'_>) -> Outcome {
        self.time += 1;
        if let Err(broken) = act(&mut self.bench, action, STIFFEST, &mut observation) {
            return broken;
        }
        self.view.show(&self.state(), observation);
        let tip = self.bench.tip();
        let [left, right] = [0, 1].map(|bump| self.bench.bump(bump) - self.start[bump]);
        if left.abs() > TOUCHED || right < -TOUCHED {
            return Outcome::terminated(self.config.wrong_push_reward);
        }
        self.succeeded = right > PUSHED && tip < self.bench.bump(1);
        if self.succeeded {
            Outcome::terminated(1.0)
        } else if tip.abs() >= LIMIT {
            Outcome::terminated(0.0)
        } else {
            Outcome::until(self.config.max_steps, self.time, 0.0)
        }
    }

    fn success(&self) -> Option<bool> {
        Some(self.succeeded)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption("feel the bumps, then push the blue one to the right");
        let scene = Scene { bumps: &[RED, BLUE], target: None, stiffest: STIFFEST };
        self.bench.draw(canvas, &scene);
        canvas.timeline(&[self.config.max_steps], self.time);
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;

    use super::*;

    const SOFT: f32 = -1.0;
    const STIFF: f32 = 1.0;

    fn bumps(layout: BumpsLayout, seed: u64) -> Bumps {
        let (observe, concat) = ("full".into(), None);
        let config =
            BumpsConfig { max_steps: 50, layout, wrong_push_reward: -1.0, observe, concat };
        Bumps::new(&config, Seed::new(seed))
    }

    /// Plays an episode: its only reward, and its ending.
    fn play(environment: &mut Bumps, policy: impl Fn([f32; 4]) -> [f32; 2]) -> (f32, Ending) {
        let mut row = environment.state();
        loop {
            let action = policy(row);
            let action = Action::Continuous(&action);
            let outcome = environment.step(action, ObservationMut::F32(&mut row));
            if let Some(ending) = outcome.ending {
                return (outcome.reward, ending);
            }
            assert_eq!(outcome.reward, 0.0);
        }
    }

    /// Goes softly to the left side of the right bump, and pushes from there.
    fn knowing([tip, angle, left, right]: [f32; 4]) -> [f32; 2] {
        let (over_left, before_right) = (left + 0.025, right - 0.03);
        match tip {
            _ if tip > before_right => [-1.0, SOFT],
            // Bent over the left bump: on, until it is passed; then back, until it hangs straight.
            _ if angle < -0.3 && tip < over_left => [1.0, SOFT],
            _ if angle < -0.3 => [-0.4, SOFT],
            _ if angle > 0.1 => [0.4, SOFT],
            _ if tip < right - 0.06 => [((right - 0.04 - tip) / 0.05).min(1.0), SOFT],
            _ => [1.0, STIFF],
        }
    }

    #[test]
    fn who_knows_the_bumps_goes_softly_and_pushes_the_right_one() {
        let mut solved = 0;
        for layout in [BumpsLayout::Normal, BumpsLayout::Three, BumpsLayout::Real] {
            for seed in 0..7 {
                let mut environment = bumps(layout, seed);
                environment.reset(ObservationMut::F32(&mut [0.0; 4]));
                let (reward, _) = play(&mut environment, knowing);
                solved += u32::from(reward == 1.0);
            }
        }
        // The finger cannot get past a bump at the end of the bench.
        assert!(solved >= 20, "{solved} of 21");
    }

    #[test]
    fn pushing_to_the_right_at_once_solves_the_layout_that_has_a_bump_on_either_side_only() {
        let stiff = |_| [1.0, STIFF];
        for (left, right, expected) in [(-0.24, -0.08, 0.0), (-0.08, 0.08, 1.0), (0.08, 0.24, -1.0)]
        {
            let mut environment = bumps(BumpsLayout::Three, 0);
            environment.begin([0.0, left, right], ObservationMut::F32(&mut [0.0; 4]));
            let (reward, ending) = play(&mut environment, stiff);
            assert_eq!((reward, ending), (expected, Ending::Terminated));
            assert_eq!(environment.success(), Some(expected == 1.0));
        }
    }

    #[test]
    fn moving_the_right_bump_to_the_left_is_a_wrong_push() {
        let mut environment = bumps(BumpsLayout::Three, 0);
        environment.begin([0.2, -0.1, 0.1], ObservationMut::F32(&mut [0.0; 4]));
        assert_eq!(play(&mut environment, |_| [-1.0, STIFF]).0, -1.0);
    }

    #[test]
    fn a_soft_finger_feels_both_bumps_and_moves_none() {
        let mut environment = bumps(BumpsLayout::Three, 0);
        environment.begin([-0.2, -0.08, 0.08], ObservationMut::F32(&mut [0.0; 4]));
        let mut row = [0.0; 4];
        let mut felt = Vec::new();
        while environment.bench.base() < 0.25 {
            let action = Action::Continuous(&[0.2, SOFT]);
            let outcome = environment.step(action, ObservationMut::F32(&mut row));
            assert_eq!(outcome.ending, None);
            if row[1] < -0.4 {
                felt.push(environment.bench.base());
            }
        }
        let near = |bump: f32| felt.iter().any(|at| (bump..bump + 0.15).contains(at));
        assert!(near(-0.08) && near(0.08) && !felt.iter().any(|&at| at < -0.09), "{felt:?}");
    }

    #[test]
    fn broken_physics_truncate_the_episode_and_show_numbers() {
        let mut environment = bumps(BumpsLayout::Real, 0);
        let mut row = [1.0; 4];
        environment.reset(ObservationMut::F32(&mut row));
        environment.bench.break_apart();
        let outcome =
            environment.step(Action::Continuous(&[0.0; 2]), ObservationMut::F32(&mut row));
        assert_eq!((outcome, row), (Outcome::broken(), [0.0; 4]));
        environment.render(&mut Canvas::new(90, 60));
        environment.reset(ObservationMut::F32(&mut row));
        assert!(row.iter().all(|number| number.is_finite()) && row[2] != 0.0);
    }

    #[test]
    fn layouts_keep_their_distances() {
        let mut generator = Seed::new(2).generator();
        for _ in 0..2000 {
            let [finger, left, right] = BumpsLayout::Normal.draw(&mut generator);
            assert!(left >= -0.28 && right <= 0.28 && (0.119..0.321).contains(&(right - left)));
            assert!(
                finger.abs() <= LIMIT && [left, right].iter().all(|b| (finger - b).abs() > 0.039)
            );
            let [finger, left, right] = BumpsLayout::Three.draw(&mut generator);
            assert!(finger.abs() <= 0.03 && (0.1..0.22).contains(&(right - left)));
            let [finger, left, right] = BumpsLayout::Real.draw(&mut generator);
            assert!(left >= -0.35 && right <= 0.35 && right - left >= 0.059);
            assert!(
                finger.abs() <= 0.4 && [left, right].iter().all(|b| (finger - b).abs() > 0.029)
            );
        }
    }
}
