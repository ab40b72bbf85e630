//! Ten thousand decisions as ale-py has them, under the wrappers of Baselines and of Gymnasium:
//! `tests/replays/atari.toml`, made by `tests/replays/atari_goldens.py`.

use engram_mdp::{Action, Ending, EnvSpec, ObservationMut};
use sha2::{Digest, Sha256};
use toml::Table;

use super::play::Atari;
use super::settings::AtariConfig;
use crate::chance::Chance;
use crate::environment::{Environment, EnvironmentParameters};
use crate::goldens::{SharedChance, strings};

const TEXT: &str = include_str!("../../../tests/replays/atari.toml");
const PART: usize = 1000;

/// The pictures that an agent sees, the newest last.
struct Stack {
    pictures: Vec<u8>,
    /// Pixels of one.
    pixels: usize,
}

impl Stack {
    fn new(spec: &EnvSpec) -> Self {
        let pixels = spec.observation.len();
        Stack { pictures: vec![0; pixels * spec.frame_stack as usize], pixels }
    }

    fn newest(&mut self) -> ObservationMut<'_> {
        let start = self.pictures.len() - self.pixels;
        ObservationMut::U8(&mut self.pictures[start..])
    }

    /// All of them, which at the start are the first one.
    fn begin(&mut self) -> &[u8] {
        let first = self.pictures.split_off(self.pictures.len() - self.pixels);
        self.pictures = first.repeat(self.pictures.len() / self.pixels + 1);
        &self.pictures
    }
}

fn replay(index: usize) {
    let all: Table = TEXT.parse().unwrap();
    let record = all["atari"].as_array().unwrap()[index].as_table().unwrap();
    let mut keys = record["env"].as_table().unwrap().clone();
    keys.remove("name");
    let config: AtariConfig = keys.try_into().unwrap();
    config.validate().unwrap();
    let seed = index as u64 + 1;
    let (chance, mut actor) = (SharedChance(2 * seed), SharedChance(2 * seed + 1));
    let spec = config.spec();
    let mut stack = Stack::new(&spec);
    let mut world = Atari::new(&config, spec.clone(), chance);
    let (mut digest, mut ends, mut rewards) = (Sha256::new(), [0; 3], 0.0);
    world.reset(stack.newest());
    digest.update(stack.begin());
    let mut end = 0;
    for (part, expected) in strings(record, "digests").iter().enumerate() {
        for _ in 0..PART {
            if end != 0 {
                world.reset(stack.newest());
                digest.update(stack.begin());
            }
            let action = Action::Discrete(actor.below(spec.action.width()));
            stack.pictures.rotate_left(stack.pixels);
            let outcome = world.step(action, stack.newest());
            end = match outcome.ending {
                None => 0,
                Some(Ending::Terminated) => 1,
                Some(Ending::Truncated) => 2,
            };
            ends[usize::from(end)] += 1;
            rewards += f64::from(outcome.reward);
            // Gymnasium's wrapper leaves out a game's last screen if it ended at one of the last
            // two frames.
            if end == 0 || record["by"].as_str() != Some("preprocessed") {
                digest.update(&stack.pictures);
            }
            digest.update(outcome.reward.to_le_bytes());
            digest.update([end]);
        }
        let found = digest.clone().finalize();
        let found: String = found[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let name = config.game.name();
        assert_eq!(
            &found,
            expected,
            "{name}, case {index}: within {PART} steps from {}",
            part * PART
        );
    }
    let expected = ["terminated", "truncated", "rewards"].map(|key| record[key].as_integer());
    assert_eq!([ends[1], ends[2], rewards as i64].map(Some), expected);
}

#[test]
fn pong_is_that_of_baselines() {
    replay(0);
}

#[test]
fn breakout_is_that_of_baselines() {
    replay(1);
}

#[test]
fn sticky_actions_and_all_actions_are_those_of_baselines() {
    replay(2);
}

#[test]
fn other_sizes_and_skips_and_a_limit_of_time_are_those_of_baselines() {
    replay(3);
}

#[test]
fn pong_is_that_of_gymnasium() {
    replay(4);
}

#[test]
fn breakout_is_that_of_gymnasium() {
    replay(5);
}
