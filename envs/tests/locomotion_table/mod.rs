//! Robots measured beside PyBullet's, as recorded in `locomotion.toml`. Shared by the test that
//! bounds the differences and the example that prints them.

use std::fmt;

use engram_envs::locomotion::anatomy;
use engram_envs::{EnvConfig, Environment, Outcome};
use engram_mdp::{Action, Ending, ObservationMut, Seed};
use rand::RngExt;
use toml::{Table, Value};

const GOLDENS: &str = include_str!("../locomotion.toml");

/// The robots, and their heights at rest.
pub(crate) const ROBOTS: [(&str, f32); 4] =
    [("hopper", 1.25), ("walker2d", 1.25), ("half-cheetah", 0.7), ("ant", 0.75)];

/// Numbers of interest in the full observation.
const HEIGHT: usize = 0;
const PITCH: usize = 7;
const JOINTS: usize = 8;

/// One number, here and there.
pub(crate) struct Line {
    /// The robot, and what was measured.
    pub(crate) what: String,
    pub(crate) ours: f32,
    pub(crate) theirs: f32,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let difference = self.ours - self.theirs;
        write!(f, "{:<58} {:>10.4} {:>10.4} {difference:>+10.4}", self.what, self.ours, self.theirs)
    }
}

/// Everything that was measured of one robot; statistics over this many episodes.
pub(crate) fn measure(robot: &str, episodes: usize) -> Vec<Line> {
    let goldens: Table = GOLDENS.parse().expect("locomotion.py writes TOML");
    let mut lines = Vec::new();
    compare_links(&goldens, robot, &mut lines);
    for episode in of(&goldens, "episodes", robot) {
        compare_episode(&Recorded::play(episode, robot), &mut lines);
    }
    for statistics in of(&goldens, "statistics", robot) {
        compare_statistics(robot, statistics, episodes, &mut lines);
    }
    lines.iter_mut().for_each(|line| line.what = format!("{robot}: {}", line.what));
    lines
}

fn of<'a>(goldens: &'a Table, kind: &str, robot: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = goldens[kind].as_array().expect("a list").iter();
    all.filter(move |entry| entry["robot"].as_str() == Some(robot))
}

/// Masses and inertias. The links that are welded to the ant's torso have no name here.
fn compare_links(goldens: &Table, robot: &str, lines: &mut Vec<Line>) {
    let links = anatomy(robot).expect("a robot");
    for theirs in of(goldens, "links", robot) {
        let name = theirs["name"].as_str().expect("a name");
        let Some(ours) = links.iter().find(|link| link.name == name) else {
            assert!(robot == "ant" && name.ends_with("_leg"), "{name} is missing");
            continue;
        };
        lines.push(Line {
            what: format!("mass of {name}"),
            ours: ours.mass,
            theirs: number(&theirs["mass"]),
        });
        for (axis, theirs) in list(&theirs["inertia"]).into_iter().enumerate() {
            let what = format!("inertia of {name} around {}", ["x", "y", "z"][axis]);
            lines.push(Line { what, ours: ours.inertia[axis], theirs });
        }
    }
}

fn compare_episode(episode: &Recorded, lines: &mut Vec<Line>) {
    let name = &episode.name;
    let last = episode.ours.len().min(episode.theirs.len()) - 1;
    let mut push = |what: String, ours, theirs| {
        lines.push(Line { what: format!("{name}, {what}"), ours, theirs });
    };
    for step in [1, 5, 10, 20, 40, last] {
        if step <= last && (step != last || ![1, 5, 10, 20, 40].contains(&last)) {
            for (what, index) in [("height", HEIGHT), ("pitch", PITCH)] {
                let rest = if index == HEIGHT { episode.rest } else { 0.0 };
                let (ours, theirs) = (episode.ours[step][index], episode.theirs[step][index]);
                push(format!("step {step}: {what}"), ours + rest, theirs + rest);
            }
        }
    }
    if name != "drop" {
        for joint in 0..episode.joints {
            for step in [1, 5].into_iter().filter(|step| *step <= last) {
                let speed = |rows: &[Vec<f32>]| 10.0 * rows[step][JOINTS + 1 + 2 * joint];
                let what = format!("step {step}: speed of joint {joint}");
                push(what, speed(&episode.ours), speed(&episode.theirs));
            }
        }
    }
    let rewards = [&episode.our_rewards, &episode.their_rewards];
    let [ours, theirs] = rewards.map(|rewards| rewards[..last].iter().sum());
    push(format!("return over {last} steps"), ours, theirs);
    let [ours, theirs] = rewards.map(|rewards| rewards.len() as f32);
    push("length".into(), ours, theirs);
}

/// Many episodes with noise.
fn compare_statistics(robot: &str, recorded: &Value, episodes: usize, lines: &mut Vec<Line>) {
    let policy = recorded["policy"].as_str().expect("a name");
    let played = play(robot, policy, episodes);
    let mut push = |what: &str, ours, theirs| {
        lines.push(Line { what: format!("{policy} actions: {what}"), ours, theirs });
    };
    push("mean return", played.mean_return, number(&recorded["mean_return"]));
    push("deviation of returns", played.deviation, number(&recorded["standard_deviation"]));
    push("mean length", played.mean_length, number(&recorded["mean_length"]));
    let theirs = list(&recorded["mean_terms"]);
    for (i, term) in ["alive", "progress", "electricity", "limits"].into_iter().enumerate() {
        push(&format!("{term} per step"), played.mean_terms[i], theirs[i]);
    }
}

/// One recorded episode, played again.
struct Recorded {
    name: String,
    rest: f32,
    joints: usize,
    /// Our observations, the first one included.
    ours: Vec<Vec<f32>>,
    /// PyBullet's.
    theirs: Vec<Vec<f32>>,
    our_rewards: Vec<f32>,
    their_rewards: Vec<f32>,
}

impl Recorded {
    /// Plays the recorded actions, and goes on without torque, until our episode ends.
    fn play(recorded: &Value, robot: &str) -> Self {
        let actions = rows(&recorded["actions"]);
        let joints = actions[0].len();
        let mut environment = environment(robot, 0.0, 0);
        let mut observation = vec![0.0; environment.spec().observation.len()];
        environment.reset(ObservationMut::F32(&mut observation));
        let mut ours = vec![observation.clone()];
        let mut our_rewards = Vec::new();
        let zero = vec![0.0; joints];
        for t in 0..45 {
            let action = Action::Continuous(actions.get(t).unwrap_or(&zero));
            let outcome = environment.step(action, ObservationMut::F32(&mut observation));
            ours.push(observation.clone());
            our_rewards.push(outcome.reward);
            if outcome.ending.is_some() {
                break;
            }
        }
        Recorded {
            name: recorded["scenario"].as_str().expect("a name").into(),
            rest: ROBOTS.iter().find(|(name, _)| *name == robot).expect("a robot").1,
            joints,
            ours,
            theirs: rows(&recorded["observations"]),
            our_rewards,
            their_rewards: list(&recorded["rewards"]),
        }
    }
}

/// Result of many episodes of a policy.
struct Played {
    mean_return: f32,
    deviation: f32,
    mean_length: f32,
    /// Alive, progress, electricity and limits, per step.
    mean_terms: [f32; 4],
}

fn play(robot: &str, policy: &str, episodes: usize) -> Played {
    let mut generator = Seed::new(2).generator();
    let mut environment = environment(robot, 0.1, 1);
    let mut observation = vec![0.0; environment.spec().observation.len()];
    let joints = environment.spec().action.width();
    let mut action = vec![0.0; joints];
    let (mut total, mut returns, mut steps) = ([0.0; 4], Vec::new(), 0.0);
    for _ in 0..episodes {
        environment.reset(ObservationMut::F32(&mut observation));
        let mut episode_return = 0.0;
        loop {
            if policy == "random" {
                action.fill_with(|| generator.random_range(-1.0..=1.0));
            }
            let outcome = environment
                .step(Action::Continuous(&action), ObservationMut::F32(&mut observation));
            let terms = terms(outcome, &action, &observation);
            (0..4).for_each(|i| total[i] += terms[i]);
            episode_return += outcome.reward;
            steps += 1.0;
            if outcome.ending.is_some() {
                break;
            }
        }
        returns.push(episode_return);
    }
    let mean_return = returns.iter().sum::<f32>() / episodes as f32;
    let squares: f32 = returns.iter().map(|r| (r - mean_return).powi(2)).sum();
    Played {
        mean_return,
        deviation: (squares / episodes as f32).sqrt(),
        mean_length: steps / episodes as f32,
        mean_terms: total.map(|term| term / steps),
    }
}

/// The terms of a reward: progress is what the others leave. The cheetah, whose episodes do not
/// end with its standing, has 6 feet; it stands on the first and on the fourth.
fn terms(outcome: Outcome, action: &[f32], observation: &[f32]) -> [f32; 4] {
    let joints = action.len();
    let numbers = |first: usize| observation[first..JOINTS + 2 * joints].iter().step_by(2);
    let power: f32 = action.iter().zip(numbers(JOINTS + 1)).map(|(a, v)| (a * v).abs()).sum();
    let squares: f32 = action.iter().map(|a| a * a).sum();
    let electricity = -(2.0 * power + 0.1 * squares) / joints as f32;
    let limits = -0.1 * numbers(JOINTS).filter(|position| position.abs() > 0.99).count() as f32;
    let rest = outcome.reward - electricity - limits;
    let feet = &observation[JOINTS + 2 * joints..];
    let kneels = feet.len() == 6 && [1, 2, 4, 5].iter().any(|&foot| feet[foot] != 0.0);
    let lies = feet.len() == 6 && observation[PITCH].abs() >= 1.0;
    let fell = outcome.ending == Some(Ending::Terminated) || kneels || lies;
    let alive = if fell { -1.0 } else { 1.0 };
    [alive, rest - alive, electricity, limits]
}

fn environment(robot: &str, reset_noise: f32, seed: u64) -> Box<dyn Environment> {
    let text = format!(
        "name = '{robot}'\nmax_steps = 1000\nreset_noise = {reset_noise:?}\nobserve = 'full'\n\
         gravity = {{ name = 'fixed', strength = 9.8 }}"
    );
    let config = EnvConfig::from_table(text.parse().expect("TOML")).expect("valid parameters");
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
