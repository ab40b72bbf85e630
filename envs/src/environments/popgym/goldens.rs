//! Episodes of the package, `tests/replays/popgym.toml`, made by `tests/replays/popgym_goldens.py`: both
//! programs draw from the same generator, so every deck, board and maze is the same.

use engram_mdp::{Action, ActionSpec, Ending};
use toml::{Table, Value};

use super::{Level, World};
use crate::chance::Chance;
use crate::environment::Outcome;
use crate::goldens::{Digest, SharedChance, assert_close, numbers, rows, strings};

const TEXT: &str = include_str!("../../../tests/replays/popgym.toml");
const EPISODES: usize = 340;
/// Share of the decisions that are the best ones, in episodes that follow one another.
const SKILLS: [f64; 4] = [0.0, 0.5, 1.0, 0.9375];

/// A world with a player who sees the whole state.
pub(super) trait Player: World {
    /// The best action. The memory is the last action of this player, 2 at first.
    fn best(&self, memory: &mut usize) -> usize;
}

/// A world whose state may be set.
pub(super) trait Physical: World {
    /// Draws every number of the state within a limit; in even episodes it is far from any end.
    fn set_state(&mut self, draw: impl FnMut(f64) -> f64, even: bool);
}

/// The record of a world at each level, with what tells its generators apart.
fn records<W: World>() -> Vec<(Level, u64, Table)> {
    let all: Table = TEXT.parse().unwrap();
    let name = W::NAME.strip_prefix("popgym-").unwrap();
    let levels = [Level::Easy, Level::Medium, Level::Hard];
    let records = all[name].as_array().unwrap();
    assert_eq!(records.len(), levels.len());
    let record = |((level, seed), record): ((Level, u64), &Value)| {
        assert_eq!(record["level"].as_str().unwrap(), format!("{level:?}").to_lowercase());
        (level, seed, record.as_table().unwrap().clone())
    };
    levels.into_iter().zip(0..).zip(records).map(record).collect()
}

/// The classes that one-hot vectors of these lengths stand for.
fn classes(row: &[f32], counts: &[usize]) -> Vec<u8> {
    assert_eq!(row.len(), counts.iter().sum::<usize>());
    let mut rest = row;
    let class = |&count: &usize| {
        let (block, after) = rest.split_at(count);
        rest = after;
        assert!(block.iter().filter(|&&x| x == 1.0).count() == 1);
        assert!(block.iter().filter(|&&x| x == 0.0).count() == count - 1);
        block.iter().position(|&x| x == 1.0).unwrap() as u8
    };
    counts.iter().map(class).collect()
}

fn text(classes: &[u8]) -> String {
    classes.iter().map(|&class| char::from_digit(u32::from(class), 36).unwrap()).collect()
}

fn ending(outcome: Outcome) -> u8 {
    match outcome.ending {
        None => 0,
        Some(Ending::Terminated) => 1,
        Some(Ending::Truncated) => 2,
    }
}

/// Plays a world of cards or boards, and compares every frame with the package's.
pub(super) fn replay<W: Player>() {
    for (level, seed, record) in records::<W>() {
        let (mut chance, mut actor) = (SharedChance(2 * seed), SharedChance(2 * seed + 1));
        let mut world = W::at(level);
        let counts: Vec<usize> = numbers(&record, "classes").iter().map(|&n| n as usize).collect();
        let actions = record["actions"].as_integer().unwrap() as usize;
        assert_eq!(world.action(), ActionSpec::Discrete { count: actions });
        let mut row = vec![f32::NAN; world.width()];
        let mut digest = Digest::default();
        let (mut steps, mut ends, mut total) = (0_i64, [0_i64; 3], 0.0);
        let first = strings(&record, "first");
        let mut digests = strings(&record, "digests").into_iter();
        for episode in 0..EPISODES {
            world.begin(&mut chance, &mut row);
            digest.add(&classes(&row, &counts));
            if episode == 0 {
                assert_eq!(text(&classes(&row, &counts)), first[0], "{level:?}: first frame");
            }
            let (mut memory, mut end, mut step) = (2, 0, 0);
            while end == 0 {
                let action = match actor.unit() < SKILLS[episode % SKILLS.len()] {
                    true => world.best(&mut memory),
                    false => actor.below(actions),
                };
                row.fill(f32::NAN);
                let outcome = world.step(Action::Discrete(action), &mut chance, &mut row);
                end = ending(outcome);
                let seen = classes(&row, &counts);
                digest.add(&seen);
                digest.add(&outcome.reward.to_le_bytes());
                digest.add(&[end]);
                total += f64::from(outcome.reward);
                step += 1;
                if let Some(expected) = first.get(step).filter(|_| episode == 0) {
                    assert_frame(&seen, outcome, expected, step);
                }
            }
            steps += step as i64;
            ends[usize::from(end)] += 1;
            if episode & (episode + 1) == 0 || episode == EPISODES - 1 {
                let expected = digests.next().unwrap();
                assert_eq!(digest.text(), expected, "{level:?}: episode {episode}");
            }
        }
        let expected = ["steps", "terminated", "truncated"].map(|key| record[key].as_integer());
        assert_eq!([steps, ends[1], ends[2]].map(Some), expected);
        let expected = record["mean_return"].as_float().unwrap();
        assert!((total / EPISODES as f64 - expected).abs() < 1e-6);
    }
}

/// Compares a frame with `classes reward ending`.
fn assert_frame(seen: &[u8], outcome: Outcome, expected: &str, step: usize) {
    let parts: Vec<&str> = expected.split(' ').collect();
    let found = (text(seen), outcome.reward, ending(outcome));
    let reward = parts[1].parse::<f32>().unwrap();
    assert_eq!(found, (parts[0].into(), reward, parts[2].parse().unwrap()), "step {step}");
}

/// Plays a world of physics, whose state is drawn before every decision, and compares sums.
pub(super) fn replay_physics<W: Physical>() {
    for (level, seed, record) in records::<W>() {
        let (mut chance, mut actor) = (SharedChance(2 * seed), SharedChance(2 * seed + 1));
        let mut world = W::at(level);
        let max_steps = record["max_steps"].as_integer().unwrap();
        let first = rows(&record, "first");
        let (mut steps, mut ends, mut sums) = (0, [0_i64; 3], [0.0; 3]);
        for episode in 0..EPISODES / 4 {
            let mut row = [f32::NAN; 2];
            world.begin(&mut chance, &mut row);
            (sums[0], sums[1]) = (sums[0] + f64::from(row[0]), sums[1] + f64::from(row[1]));
            if episode == 0 {
                assert_close(&row, &first[0][..2], 1e-6, 0);
            }
            let (mut end, mut step) = (0, 0);
            while end == 0 {
                world.set_state(|limit| actor.within(limit), episode % 2 == 0);
                let outcome = match world.action() {
                    ActionSpec::Discrete { count } => {
                        let action = Action::Discrete(actor.below(count));
                        world.step(action, &mut chance, &mut row)
                    }
                    ActionSpec::Continuous { .. } => {
                        let torque = [actor.within(1.0) as f32];
                        world.step(Action::Continuous(&torque), &mut chance, &mut row)
                    }
                };
                end = ending(outcome);
                step += 1;
                let frame = [row[0], row[1], outcome.reward * max_steps as f32];
                let weight = actor.within(1.0);
                sums.iter_mut().zip(frame).for_each(|(sum, x)| *sum += weight * f64::from(x));
                if let Some(expected) = first.get(step).filter(|_| episode == 0) {
                    assert_close(&frame, expected, 1e-6, step);
                }
            }
            steps += step as i64;
            ends[usize::from(end)] += 1;
        }
        let expected = ["steps", "terminated", "truncated"].map(|key| record[key].as_integer());
        assert_eq!([steps, ends[1], ends[2]].map(Some), expected, "{level:?}");
        let exact = numbers(&record, "sums");
        let near = sums.iter().zip(&exact).all(|(sum, exact)| (sum - exact).abs() < 1e-4);
        assert!(near, "{level:?}: {sums:?} is not {exact:?}");
    }
}
