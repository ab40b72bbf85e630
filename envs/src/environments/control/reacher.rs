//! Reacher: an arm of two links in a plane must bring its fingertip to a goal, with the dynamics of
//! Gymnasium's Reacher-v4 (a MuJoCo model): two hinges with torques of up to 200 newton meters, an
//! armature that weighs far more than the links, and damping.
//!
//! The state is the cosines and sines of both angles (the second is that between the links), the
//! goal, both angular velocities, the way from the goal to the fingertip, and the last action. A
//! decision lasts two steps of 0.01 seconds. Its reward is minus the distance to the goal before it,
//! minus the squared action. Nothing ends an episode but time: `max_steps` (50 in v4).
//!
//! `goal = "at-first"` shows the goal, and the way from it, in the first observation only; zeros stand
//! there from then on. It must be remembered (Yang & Nguyen 2021,
//! <https://arxiv.org/abs/2110.12628>, whose v0 sees all parts of the state, and whose v1 neither
//! velocities nor the last action). The originals hold one more number, the height of the fingertip
//! above the goal, which is always zero.

use std::f64::consts::PI;

use engram_mdp::{Action, ActionSpec, EnvSpec, Generator, ObservationMut, Seed};
use rand::RngExt;
use serde::Deserialize;

use super::draw_torque;
use super::soft_limit::{Joint, SoftLimit};
use crate::canvas::{ACTOR, Area, Canvas, FAINT, GOAL, INK, PAPER, mix};
use crate::environment::{Environment, EnvironmentParameters, Outcome};
use crate::error::{ParameterError, within};
use crate::observe::{Part, Parts, StateLayout, View};

/// Distance between the hinges, and of the fingertip from the second.
const LINK: f64 = 0.1;
const FINGER: f64 = 0.11;
/// A link: a capsule of radius 0.01 and density 1000; its center lies at half its length.
const RADIUS: f64 = 0.01;
const DENSITY: f64 = 1000.0;
const BALL_MASS: f64 = DENSITY * 4.0 / 3.0 * PI * RADIUS * RADIUS * RADIUS;
const LINK_MASS: f64 = DENSITY * PI * RADIUS * RADIUS * LINK + BALL_MASS;
/// Inertia of a link and of the fingertip, a ball, around their centers.
const LINK_INERTIA: f64 = 3.917_566_04e-5;
const BALL_INERTIA: f64 = 0.4 * BALL_MASS * RADIUS * RADIUS;
const ARMATURE: f64 = 1.0;
const DAMPING: f64 = 1.0;
const TORQUE: f64 = 200.0;
/// The angles that the second hinge can take, to either side.
const ELBOW: SoftLimit = SoftLimit { end: 3.0, seconds: 0.02 };
/// Seconds of a step, and steps of a decision.
const TIME_STEP: f64 = 0.01;
const STEPS: u32 = 2;
/// Goals are drawn within this of the shoulder, starts of angles and angular velocities from plus or
/// minus these.
const GOAL_REACH: f64 = 0.2;
const START_ANGLE: f64 = 0.1;
const START_SPEED: f64 = 0.005;

/// Indices of the state that tell where the goal is.
const GOAL_INDICES: [usize; 4] = [4, 5, 8, 9];

const LAYOUT: StateLayout = StateLayout {
    parts: &[
        Part { letter: 'p', name: "positions", indices: &[0, 1, 2, 3] },
        Part { letter: 'v', name: "velocities", indices: &[6, 7] },
        Part { letter: 'g', name: "goal", indices: &GOAL_INDICES },
        Part { letter: 'a', name: "last action", indices: &[10, 11] },
    ],
    full: "pvg",
};

/// The parameters of Reacher.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReacherConfig {
    /// Decisions after which an episode is cut off.
    pub max_steps: u32,
    /// Observations that show the goal.
    pub goal: ReacherGoal,
    /// Observed parts of the state: letters of `pvga`, or `full`, which is `pvg`.
    pub observe: Parts,
    /// Observations side by side; the present one alone if absent.
    pub concat: Option<usize>,
}

/// Observations that show the goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReacherGoal {
    /// All of an episode.
    Always,
    /// The first of an episode.
    AtFirst,
}

impl EnvironmentParameters for ReacherConfig {
    fn validate(&self) -> Result<(), ParameterError> {
        within("max_steps", self.max_steps, 1..=1_000_000)?;
        LAYOUT.check(&self.observe, self.concat)
    }

    fn spec(&self) -> EnvSpec {
        let name = match self.goal {
            ReacherGoal::Always => "reacher",
            ReacherGoal::AtFirst => "reacher-hidden",
        };
        let view = LAYOUT.view(&self.observe, self.concat);
        view.spec(name, ActionSpec::Continuous { dimensions: 2 })
    }

    fn make(&self, seed: Seed) -> Box<dyn Environment> {
        Box::new(Reacher::new(self, seed))
    }
}

struct Reacher {
    spec: EnvSpec,
    view: View,
    max_steps: u32,
    shown: ReacherGoal,
    generator: Generator,
    arm: Arm,
    goal: [f64; 2],
    action: [f64; 2],
    time: u32,
}

/// An arm: its angles, the second that between the links, and their velocities.
#[derive(Clone, Copy, Debug)]
struct Arm {
    angles: [f64; 2],
    speeds: [f64; 2],
}

impl Reacher {
    fn new(config: &ReacherConfig, seed: Seed) -> Self {
        Reacher {
            spec: config.spec(),
            view: LAYOUT.view(&config.observe, config.concat),
            max_steps: config.max_steps,
            shown: config.goal,
            generator: seed.generator(),
            arm: Arm { angles: [0.0; 2], speeds: [0.0; 2] },
            goal: [0.0; 2],
            action: [0.0; 2],
            time: 0,
        }
    }

    /// The way from the goal to the fingertip.
    fn beyond_goal(&self) -> [f64; 2] {
        let [_, tip] = self.arm.joints();
        [0, 1].map(|axis| tip[axis] - self.goal[axis])
    }

    fn state(&self) -> [f32; 12] {
        let ([a, b], [x, y], [u, v]) = (self.arm.angles, self.goal, self.arm.speeds);
        let ([dx, dy], [p, q]) = (self.beyond_goal(), self.action);
        let mut state =
            [a.cos(), b.cos(), a.sin(), b.sin(), x, y, u, v, dx, dy, p, q].map(|x| x as f32);
        if self.shown == ReacherGoal::AtFirst && self.time > 0 {
            GOAL_INDICES.iter().for_each(|&index| state[index] = 0.0);
        }
        state
    }
}

impl Environment for Reacher {
    fn spec(&self) -> &EnvSpec {
        &self.spec
    }

    fn reset(&mut self, observation: ObservationMut<'_>) {
        let mut around = |most: f64| [0, 1].map(|_| self.generator.random_range(-most..most));
        self.arm = Arm { angles: around(START_ANGLE), speeds: around(START_SPEED) };
        self.goal = loop {
            let [x, y] = around(GOAL_REACH);
            if x.hypot(y) < GOAL_REACH {
                break [x, y];
            }
        };
        self.action = [0.0; 2];
        self.time = 0;
        self.view.begin(&self.state(), observation);
    }

    fn step(&mut self, action: Action<'_>, observation: ObservationMut<'_>) -> Outcome {
        self.action = [0, 1].map(|i| f64::from(action.vector()[i].clamp(-1.0, 1.0)));
        let [dx, dy] = self.beyond_goal();
        let effort: f64 = self.action.iter().map(|a| a.powi(2)).sum();
        for _ in 0..STEPS {
            self.arm.advance(self.action.map(|a| TORQUE * a));
        }
        self.time += 1;
        self.view.show(&self.state(), observation);
        Outcome::until(self.max_steps, self.time, (-dx.hypot(dy) - effort) as f32)
    }

    fn render(&self, canvas: &mut Canvas) {
        canvas.set_caption(match self.shown {
            ReacherGoal::Always => "bring the fingertip to the goal",
            ReacherGoal::AtFirst => "bring the fingertip to a goal that was seen once",
        });
        let Area { width, height, .. } = canvas.area();
        let scale = 0.5 * height / (LINK + FINGER + 0.03) as f32;
        let place =
            |[x, y]: [f64; 2]| [0.5 * width + x as f32 * scale, 0.5 * height - y as f32 * scale];
        let shoulder = place([0.0; 2]);
        canvas.disc(shoulder, GOAL_REACH as f32 * scale + 2.0, FAINT);
        canvas.disc(shoulder, GOAL_REACH as f32 * scale, PAPER);
        let sight = if self.shown == ReacherGoal::Always || self.time == 0 { 1.0 } else { 0.4 };
        canvas.disc(place(self.goal), 9.0, mix(PAPER, GOAL, sight));
        let [elbow, tip] = self.arm.joints().map(place);
        canvas.line(shoulder, elbow, 12.0, ACTOR);
        canvas.line(elbow, tip, 12.0, ACTOR);
        canvas.disc(tip, 4.0, PAPER);
        for (hinge, share) in [shoulder, elbow].into_iter().zip(self.action) {
            canvas.disc(hinge, 4.0, INK);
            draw_torque(canvas, hinge, 0.08 * height, share as f32);
        }
        canvas.timeline(&[self.max_steps], self.time);
    }
}

impl Arm {
    /// Positions of elbow and fingertip; the shoulder is the origin.
    fn joints(&self) -> [[f64; 2]; 2] {
        let [first, second] = self.angles;
        let (sin, cos) = first.sin_cos();
        let elbow = [LINK * cos, LINK * sin];
        let (sin, cos) = (first + second).sin_cos();
        [elbow, [elbow[0] + FINGER * cos, elbow[1] + FINGER * sin]]
    }

    /// A step of the classic Runge-Kutta method of the fourth order.
    fn advance(&mut self, torques: [f64; 2]) {
        let start = *self;
        let first = start.slope(torques);
        let second = start.plus(&first, TIME_STEP / 2.0).slope(torques);
        let third = start.plus(&second, TIME_STEP / 2.0).slope(torques);
        let fourth = start.plus(&third, TIME_STEP).slope(torques);
        for (slope, share) in [(first, 1.0), (second, 2.0), (third, 2.0), (fourth, 1.0)] {
            *self = self.plus(&slope, share * TIME_STEP / 6.0);
        }
    }

    fn plus(&self, slope: &Arm, time: f64) -> Arm {
        let plus = |from: [f64; 2], slope: [f64; 2]| [0, 1].map(|i| from[i] + time * slope[i]);
        Arm { angles: plus(self.angles, slope.angles), speeds: plus(self.speeds, slope.speeds) }
    }

    /// Time derivative: the velocities, and the accelerations q̈ of M q̈ = torques, where M is the
    /// mass matrix.
    fn slope(&self, torques: [f64; 2]) -> Arm {
        let [u, v] = self.speeds;
        let turning = LINK * MOMENT * self.angles[1].sin();
        let torques = [
            torques[0] - DAMPING * u + turning * v * (2.0 * u + v),
            torques[1] - DAMPING * v - turning * u.powi(2),
        ];
        let inverse = inverse_mass(self.angles[1]);
        let row = |i: usize| inverse[i][0] * torques[0] + inverse[i][1] * torques[1];
        let mut accelerations = [row(0), row(1)];
        if ELBOW.is_passed(self.angles[1]) {
            let joint = Joint {
                position: self.angles[1],
                velocity: v,
                free: accelerations[1],
                mobility: inverse[1][1],
            };
            let torque = ELBOW.force(&joint, inverse_mass(0.0)[1][1]);
            accelerations = [0, 1].map(|i| accelerations[i] + torque * inverse[i][1]);
        }
        Arm { angles: self.speeds, speeds: accelerations }
    }
}

/// First moment of second link and fingertip around the second hinge, and their inertia around it.
const MOMENT: f64 = LINK_MASS * LINK / 2.0 + BALL_MASS * FINGER;
const SECOND_INERTIA: f64 = LINK_INERTIA
    + LINK_MASS * (LINK / 2.0) * (LINK / 2.0)
    + BALL_INERTIA
    + BALL_MASS * FINGER * FINGER;

/// Inverse of the mass matrix at an angle between the links.
fn inverse_mass(angle: f64) -> [[f64; 2]; 2] {
    const FIRST_INERTIA: f64 = LINK_INERTIA
        + LINK_MASS * (LINK / 2.0) * (LINK / 2.0)
        + (LINK_MASS + BALL_MASS) * LINK * LINK;
    let coupling = LINK * MOMENT * angle.cos();
    let first = FIRST_INERTIA + SECOND_INERTIA + 2.0 * coupling + ARMATURE;
    let both = SECOND_INERTIA + coupling;
    let second = SECOND_INERTIA + ARMATURE;
    let determinant = first * second - both.powi(2);
    [[second / determinant, -both / determinant], [-both / determinant, first / determinant]]
}

#[cfg(test)]
mod tests {
    use engram_mdp::Ending;

    use super::*;
    use crate::goldens::{self, assert_close};

    fn reacher(goal: ReacherGoal, observe: &str, seed: u64) -> Reacher {
        let (observe, concat) = (observe.into(), None);
        Reacher::new(&ReacherConfig { max_steps: 50, goal, observe, concat }, Seed::new(seed))
    }

    #[test]
    fn dynamics_and_rewards_are_gymnasiums_even_at_the_end_of_the_elbow() {
        let (mut furthest, mut episodes) = (0.0_f64, 0);
        for episode in goldens::episodes("reacher") {
            let mut environment = reacher(ReacherGoal::Always, "full", 0);
            let [a, b, x, y, u, v] = goldens::numbers(&episode, "start")[..] else { panic!() };
            environment.arm = Arm { angles: [a, b], speeds: [u, v] };
            environment.goal = [x, y];
            let actions = goldens::rows(&episode, "actions");
            let rewards = goldens::numbers(&episode, "rewards");
            let observations = goldens::rows(&episode, "observations");
            for (t, action) in actions.iter().enumerate() {
                let mut row = [0.0; 10];
                let action = [0, 1].map(|i| action[i] as f32);
                let action = Action::Continuous(&action);
                let outcome = environment.step(action, ObservationMut::F32(&mut row));
                assert_close(&row, &observations[t], 1e-5, t);
                assert_close(&[outcome.reward], &rewards[t..=t], 1e-5, t);
                assert_eq!(outcome.ending, (t == 49).then_some(Ending::Truncated));
                furthest = furthest.max(environment.arm.angles[1].abs());
            }
            episodes += 1;
        }
        assert!(furthest > ELBOW.end && episodes == 3, "{furthest} in {episodes}");
    }

    #[test]
    fn a_hidden_goal_is_seen_at_first_and_the_last_action_from_then_on() {
        let mut environment = reacher(ReacherGoal::AtFirst, "pvga", 3);
        let mut row = [9.0; 12];
        environment.reset(ObservationMut::F32(&mut row));
        assert!(GOAL_INDICES.iter().all(|&index| row[index] != 0.0), "{row:?}");
        assert_eq!(row[10..], [0.0; 2]);
        environment.step(Action::Continuous(&[0.25, -2.0]), ObservationMut::F32(&mut row));
        assert!(GOAL_INDICES.iter().all(|&index| row[index] == 0.0), "{row:?}");
        assert_eq!(row[10..], [0.25, -1.0]);
        let mut short = reacher(ReacherGoal::AtFirst, "pg", 3);
        let mut row = [9.0; 8];
        short.reset(ObservationMut::F32(&mut row));
        assert!(row[4..].iter().all(|&number| number != 0.0), "{row:?}");
    }

    #[test]
    fn episodes_begin_with_a_stretched_arm_and_a_goal_within_reach() {
        let mut environment = reacher(ReacherGoal::Always, "full", 4);
        let mut row = [0.0; 10];
        for _ in 0..500 {
            environment.reset(ObservationMut::F32(&mut row));
            let [_, _, sin_a, sin_b, x, y, u, v, dx, dy] = row;
            assert!(sin_a.abs().max(sin_b.abs()) <= 0.1 && u.abs().max(v.abs()) <= 0.005);
            let [_, tip] = environment.arm.joints().map(|at| at.map(|x| x as f32));
            assert!(x.hypot(y) < 0.2 && (x + dx - tip[0]).hypot(y + dy - tip[1]) < 1e-6);
        }
    }

    /// Moves the angles to those at which the fingertip is at the goal.
    fn reach(row: &[f32; 10], goal: [f32; 2]) -> [f32; 2] {
        let (link, finger) = (LINK as f32, FINGER as f32);
        let distance = goal[0].hypot(goal[1]).clamp(finger - link + 1e-3, finger + link - 1e-3);
        let cosine = (distance.powi(2) - link.powi(2) - finger.powi(2)) / (2.0 * link * finger);
        let elbow = cosine.clamp(-0.98, 1.0).acos();
        let inner = (finger * elbow.sin()).atan2(link + finger * elbow.cos());
        let shoulder = goal[1].atan2(goal[0]) - inner;
        let [cos_a, cos_b, sin_a, sin_b, _, _, u, v, ..] = *row;
        let pi = std::f32::consts::PI;
        let wrapped = |angle: f32| (angle + pi).rem_euclid(2.0 * pi) - pi;
        let error = [wrapped(shoulder - sin_a.atan2(cos_a)), wrapped(elbow - sin_b.atan2(cos_b))];
        [0.15 * error[0] - 0.04 * u, 0.15 * error[1] - 0.04 * v]
    }

    #[test]
    fn a_controller_that_knows_the_goal_reaches_it_and_one_that_does_not_fails() {
        let play = |knows: bool, seed: u64| {
            let mut environment = reacher(ReacherGoal::Always, "full", seed);
            let mut row = [0.0; 10];
            environment.reset(ObservationMut::F32(&mut row));
            let mut sum = 0.0;
            for _ in 0..50 {
                let goal = if knows { [row[4], row[5]] } else { [0.1, 0.0] };
                let action = reach(&row, goal);
                let action = Action::Continuous(&action);
                sum += environment.step(action, ObservationMut::F32(&mut row)).reward;
            }
            (sum, row[8].hypot(row[9]))
        };
        let mean = |knows: bool| {
            let played: Vec<_> = (0..20).map(|seed| play(knows, seed)).collect();
            let [sum, away] = played.iter().fold([0.0; 2], |a, b| [a[0] + b.0, a[1] + b.1]);
            [sum / 20.0, away / 20.0]
        };
        let ([knowing, near], [blind, far]) = (mean(true), mean(false));
        assert!(near < 0.01 && far > 0.05, "{near} m and {far} m");
        assert!(knowing > -6.0 && blind < knowing - 1.0, "{knowing} and {blind}");
    }
}
