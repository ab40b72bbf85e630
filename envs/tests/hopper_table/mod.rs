//! Hopper measured beside PyBullet's, as recorded in `goldens.toml`. Shared by the test that
//! bounds the differences and the example that prints them.
//!
//! Tolerances are about twice the difference that was measured, so that a changed number of the
//! robot, a lost friction or a wrong limit shows. The drop without noise is compared until the foot
//! lands: flat on the floor our Hopper stands for a while, where Bullet's solver, which finds one
//! end of the foot first, tips it over at once.

use std::fmt;

use engram_envs::environments::hopper;
use engram_envs::{Environment, EnvironmentParameters, Observe, Outcome};
use engram_mdp::{Action, Ending, ObservationMut, Seed};
use rand::RngExt;
use toml::{Table, Value};

const GOLDENS: &str = include_str!("../goldens.toml");
const EPISODES: usize = 200;
const OBSERVATION: usize = 15;
const REST_HEIGHT: f32 = 1.25;

/// Index of a number of interest in the full observation.
const HEIGHT: usize = 0;
const PITCH: usize = 7;
const FOOT_VELOCITY: usize = 13;

/// Everything that was measured.
pub(crate) struct Comparison {
    /// One line per number.
    pub(crate) lines: Vec<Line>,
}

/// One number, here and there.
pub(crate) struct Line {
    what: String,
    ours: f32,
    theirs: f32,
    /// Tolerance, where the two are held to be alike.
    pub(crate) tolerance: Option<f32>,
}

impl Line {
    /// True if the two are within the tolerance.
    pub(crate) fn agrees(&self) -> bool {
        self.tolerance.is_none_or(|tolerance| (self.ours - self.theirs).abs() <= tolerance)
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<46} {:>9} {:>9}   allowed", "Hopper", "ours", "PyBullet")?;
        for line in &self.lines {
            write!(f, "{:<46} {:>9.4} {:>9.4}", line.what, line.ours, line.theirs)?;
            match line.tolerance {
                Some(tolerance) => write!(f, "   ± {tolerance}")?,
                None => write!(f, "   (not held alike)")?,
            }
            writeln!(f, "{}", if line.agrees() { "" } else { "   TOO FAR APART" })?;
        }
        Ok(())
    }
}

/// Measures everything.
pub(crate) fn measure() -> Comparison {
    let goldens: Table = GOLDENS.parse().expect("goldens.py writes TOML");
    let mut lines = Vec::new();
    compare_drop(&goldens, &mut lines);
    compare_torques(&goldens, &mut lines);
    compare_falls(&goldens, &mut lines);
    compare_statistics(&goldens, &mut lines);
    Comparison { lines }
}

/// No noise, no torque.
fn compare_drop(goldens: &Table, lines: &mut Vec<Line>) {
    let drop = Scenario::play(goldens, "drop");
    for (step, tolerance) in [(1, Some(2e-4)), (5, Some(2e-4)), (6, Some(5e-4)), (10, Some(6e-3))] {
        lines.push(drop.height(step, tolerance));
    }
    for step in [20, 40] {
        lines.push(drop.height(step, None));
        lines.push(drop.pitch(step, None));
    }
}

/// A constant torque, from rest and in the air.
fn compare_torques(goldens: &Table, lines: &mut Vec<Line>) {
    for (name, step, tolerance) in [
        ("half-torque", 1, 0.08),
        ("half-torque", 2, 0.05),
        ("half-torque", 5, 0.25),
        ("half-foot-torque", 1, 0.02),
        ("half-foot-torque", 2, 0.03),
        ("half-foot-torque", 5, 0.3),
    ] {
        let torque = Scenario::play(goldens, name);
        let what = format!("{name}: foot velocity after {step} steps");
        let velocity = |observations: &[Vec<f32>]| 10.0 * observations[step][FOOT_VELOCITY];
        let (ours, theirs) = (velocity(&torque.ours), velocity(&torque.theirs));
        lines.push(Line { what, ours, theirs, tolerance: Some(tolerance) });
    }
}

/// Torques that make it fall, on the floor and into it.
fn compare_falls(goldens: &Table, lines: &mut Vec<Line>) {
    for name in ["lean-back", "lean-forward", "crouch", "wave"] {
        let fall = Scenario::play(goldens, name);
        let last = fall.ours.len().min(fall.theirs.len()) - 1;
        lines.push(fall.height(5, Some(0.015)));
        lines.push(fall.pitch(5, Some(0.006)));
        lines.push(fall.height(last, Some(0.04)));
        lines.push(fall.pitch(last, Some(0.03)));
        lines.push(Line {
            what: format!("{name}: length"),
            ours: fall.our_rewards.len() as f32,
            theirs: fall.their_rewards.len() as f32,
            tolerance: Some(0.0),
        });
        lines.push(Line {
            what: format!("{name}: return"),
            ours: fall.our_rewards.iter().sum(),
            theirs: fall.their_rewards.iter().sum(),
            tolerance: Some(1.5),
        });
    }
}

/// Many episodes with noise.
fn compare_statistics(goldens: &Table, lines: &mut Vec<Line>) {
    for statistics in goldens["hopper_statistics"].as_array().expect("a list") {
        let policy = statistics["policy"].as_str().expect("a name");
        let played = play(policy);
        let mut push = |what: &str, ours, theirs, tolerance| {
            let what = format!("{policy} actions: mean {what}");
            lines.push(Line { what, ours, theirs, tolerance: Some(tolerance) });
        };
        let [return_tolerance, length_tolerance] =
            if policy == "zero" { [3.0, 5.0] } else { [2.0, 2.0] };
        push("return", played.mean_return, number(&statistics["mean_return"]), return_tolerance);
        push("length", played.mean_length, number(&statistics["mean_length"]), length_tolerance);
        let theirs = list(&statistics["mean_terms"]);
        let terms = [("alive", 0.03), ("progress", 0.3), ("electricity", 0.04), ("limits", 0.03)];
        for (i, (term, tolerance)) in terms.into_iter().enumerate() {
            push(&format!("{term} per step"), played.mean_terms[i], theirs[i], tolerance);
        }
    }
}

/// One recorded episode, played again.
struct Scenario {
    name: &'static str,
    /// Our observations, the first one included.
    ours: Vec<Vec<f32>>,
    /// PyBullet's.
    theirs: Vec<Vec<f32>>,
    our_rewards: Vec<f32>,
    their_rewards: Vec<f32>,
}

impl Scenario {
    /// Plays the recorded actions, and goes on without torque, until our episode ends.
    fn play(goldens: &Table, name: &'static str) -> Self {
        let mut recorded = goldens["hopper"].as_array().expect("a list").iter();
        let recorded = recorded.find(|episode| episode["scenario"].as_str() == Some(name));
        let recorded = recorded.expect("a recorded scenario");
        let actions = rows(&recorded["actions"]);
        let their_rewards = list(&recorded["rewards"]);
        let mut environment = hopper(0.0, 0);
        let mut observation = vec![0.0; OBSERVATION];
        environment.reset(ObservationMut::F32(&mut observation));
        let mut ours = vec![observation.clone()];
        let mut our_rewards = Vec::new();
        for t in 0..60 {
            let action = Action::Continuous(actions.get(t).map_or(&[0.0; 3], Vec::as_slice));
            let outcome = environment.step(action, ObservationMut::F32(&mut observation));
            ours.push(observation.clone());
            our_rewards.push(outcome.reward);
            if outcome.ending.is_some() {
                break;
            }
        }
        let theirs = rows(&recorded["observations"]);
        Scenario { name, ours, theirs, our_rewards, their_rewards }
    }

    fn height(&self, step: usize, tolerance: Option<f32>) -> Line {
        let mut line = self.line("height", HEIGHT, step, tolerance);
        line.ours += REST_HEIGHT;
        line.theirs += REST_HEIGHT;
        line
    }

    fn pitch(&self, step: usize, tolerance: Option<f32>) -> Line {
        self.line("pitch", PITCH, step, tolerance)
    }

    fn line(&self, number: &str, index: usize, step: usize, tolerance: Option<f32>) -> Line {
        Line {
            what: format!("{}: {number} after {step} steps", self.name),
            ours: self.ours[step][index],
            theirs: self.theirs[step][index],
            tolerance,
        }
    }
}

/// Result of many episodes of a policy.
struct Played {
    mean_return: f32,
    mean_length: f32,
    /// Alive, progress, electricity and limits, per step.
    mean_terms: [f32; 4],
}

fn play(policy: &str) -> Played {
    let mut generator = Seed::new(2).generator();
    let mut environment = hopper(0.1, 1);
    let mut observation = vec![0.0; OBSERVATION];
    let mut total = [0.0; 4];
    let mut steps = 0.0;
    for _ in 0..EPISODES {
        environment.reset(ObservationMut::F32(&mut observation));
        loop {
            let mut action = [0.0; 3];
            if policy == "random" {
                action.fill_with(|| generator.random_range(-1.0..=1.0));
            }
            let outcome = environment
                .step(Action::Continuous(&action), ObservationMut::F32(&mut observation));
            let terms = terms(outcome, &action, &observation);
            (0..4).for_each(|i| total[i] += terms[i]);
            steps += 1.0;
            if outcome.ending.is_some() {
                break;
            }
        }
    }
    Played {
        mean_return: total.iter().sum::<f32>() / EPISODES as f32,
        mean_length: steps / EPISODES as f32,
        mean_terms: total.map(|term| term / steps),
    }
}

/// The terms of a reward: progress is what the others leave.
fn terms(outcome: Outcome, action: &[f32], observation: &[f32]) -> [f32; 4] {
    let alive = if outcome.ending == Some(Ending::Terminated) { -1.0 } else { 1.0 };
    let joints = |first: usize| observation[first..14].iter().step_by(2);
    let power: f32 = action.iter().zip(joints(9)).map(|(a, v)| (a * v).abs()).sum();
    let squares: f32 = action.iter().map(|a| a * a).sum();
    let electricity = -(2.0 * power + 0.1 * squares) / 3.0;
    let limits = -0.1 * joints(8).filter(|position| position.abs() > 0.99).count() as f32;
    [alive, outcome.reward - alive - electricity - limits, electricity, limits]
}

fn hopper(reset_noise: f32, seed: u64) -> Box<dyn Environment> {
    let config = hopper::HopperConfig { max_steps: 1000, reset_noise, observe: Observe::Full };
    config.make(Seed::new(seed))
}

fn rows(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().expect("a list").iter().map(list).collect()
}

fn list(value: &Value) -> Vec<f32> {
    value.as_array().expect("a list").iter().map(number).collect()
}

fn number(value: &Value) -> f32 {
    match value {
        Value::Integer(number) => *number as f32,
        Value::Float(number) => *number as f32,
        other => panic!("{other} is not a number"),
    }
}
