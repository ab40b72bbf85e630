//! Properties of every environment in `configs/env` that runs in this process: it is what its spec says, it is deterministic,
//! and a group of it shows frames in order.

use std::fs;
use std::path::{Path, PathBuf};

use engram_envs::{EnvConfig, VectorEnv};
use engram_mdp::{
    ActionSpec, Actions, Ending, Episode, Finish, Frames, Generator, Observations, Seed, StepType,
};
use proptest::prelude::*;
use rand::RngExt;

/// Files of a folder and of those in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Every file in `configs/env`, by name; one in a folder has the folder's name in front.
fn configs() -> Vec<(String, EnvConfig)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/env");
    let files = files(&directory).into_iter().map(|path| {
        let text = fs::read_to_string(&path).expect("text");
        assert!(text.starts_with("# "), "{} does not start with what it is", path.display());
        let config = EnvConfig::from_table(text.parse().expect("TOML"));
        let name = path.strip_prefix(&directory).expect("a file of the folder").with_extension("");
        let name = name.to_string_lossy().into_owned();
        (name, config.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    });
    let mut configs: Vec<(String, EnvConfig)> = files.collect();
    configs.sort_by(|(a, _), (b, _)| a.cmp(b));
    configs
}

/// Those that run in this process, where their library is here. `tests/gym` plays the others.
fn rust_configs() -> Vec<(String, EnvConfig)> {
    let here = |config: &EnvConfig| !config.is_served() && config.ready().is_ok();
    configs().into_iter().filter(|(_, config)| here(config)).collect()
}

fn config(name: &str) -> EnvConfig {
    let found = configs().into_iter().find(|(found, _)| found == name);
    found.unwrap_or_else(|| panic!("configs/env/{name}.toml")).1
}

/// Random actions; continuous ones reach beyond the range, and are clamped.
fn random_actions(spec: ActionSpec, rows: usize, generator: &mut Generator) -> Actions {
    match spec {
        ActionSpec::Discrete { count } => {
            let draw = |_| generator.random_range(0..count) as i32;
            Actions::Discrete((0..rows).map(draw).collect())
        }
        ActionSpec::Continuous { dimensions } => {
            let draw = |_| generator.random_range(-1.5..1.5);
            Actions::Continuous((0..rows * dimensions).map(draw).collect())
        }
    }
}

/// The frames of `steps` random steps, one after another.
fn frames(
    config: &EnvConfig,
    indices: std::ops::Range<u32>,
    seed: u64,
    steps: usize,
) -> Vec<Frames> {
    let mut group = VectorEnv::new(config, indices, Seed::new(seed));
    let mut generator = Seed::new(seed).derive("test", 0).generator();
    let rows = group.frames().rows();
    let mut all = vec![group.frames().clone()];
    for _ in 0..steps {
        group.step(&random_actions(group.spec().action, rows, &mut generator));
        all.push(group.frames().clone());
    }
    all
}

#[test]
fn every_environment_shows_what_its_spec_says() {
    for (name, config) in rust_configs() {
        let spec = config.spec();
        assert_eq!(config.make(Seed::new(0)).spec(), &spec, "{name}");
        for (step, frames) in frames(&config, 0..3, 7, 300).iter().enumerate() {
            let checked = frames.check(&spec, 3);
            assert_eq!(checked, Ok(()), "{name} at step {step}");
        }
    }
}

#[test]
fn every_environment_has_a_configuration() {
    let configs = configs();
    for name in EnvConfig::names() {
        let named = configs.iter().any(|(_, c)| c.table()["name"].as_str() == Some(name));
        assert!(named, "no file in configs/env makes `{name}`");
    }
}

#[test]
fn the_same_seed_gives_the_same_episodes() {
    for (name, config) in rust_configs() {
        let [once, again] = [0, 1].map(|_| frames(&config, 0..2, 3, 100));
        assert!(once == again, "{name} is not deterministic");
    }
}

#[test]
fn an_environment_depends_on_its_index_and_not_on_its_group() {
    for (name, config) in rust_configs() {
        let first = |indices| frames(&config, indices, 3, 0).remove(0);
        let (spec, together) = (config.spec(), first(0..4));
        let mut apart = Frames::with_capacity(&spec, 4);
        for row in 0..4 {
            apart.extend_rows(&first(row..row + 1), 0..1, &spec);
        }
        assert!(together == apart, "{name}: an environment changed with its group");
        // Others always begin alike, or have few beginnings.
        let differ = ["cartpole", "pendulum", "visual-match", "hopper", "walker2d", "half-cheetah"];
        if differ.contains(&&*name) || name == "ant" || name.starts_with("rooms-") {
            let mut other = Frames::with_capacity(&spec, 4);
            (0..4).for_each(|_| other.extend_rows(&together, 0..1, &spec));
            assert!(together != other, "{name}: environments 0 to 3 are all alike");
        }
    }
}

#[test]
fn an_interrupted_episode_is_reported_once_and_never_one_that_had_not_begun() {
    let config = config("counting");
    let mut group = VectorEnv::new(&config, 4..6, Seed::new(0));
    assert!(group.interrupt().is_empty(), "no decision was taken");
    let actions = Actions::Discrete(vec![1, 2]);
    group.step(&actions);
    group.step(&actions);
    let episodes = group.interrupt().to_vec();
    assert_eq!(episodes.iter().map(|episode| episode.env_index).collect::<Vec<_>>(), [4, 5]);
    assert!(episodes.iter().all(|e| e.env_steps == 2 && e.finish == Finish::Interrupted));
    assert!(group.frames().step_types.iter().all(|step_type| step_type.is_first()));
    for _ in 0..7 {
        group.step(&actions);
    }
    assert!(group.frames().step_types.iter().all(|step_type| step_type.is_last()));
    assert!(group.interrupt().is_empty(), "the episodes had ended");
}

#[test]
fn worlds_that_begin_at_random_begin_otherwise_in_every_environment_of_a_group() {
    let begins = [
        "cartpole",
        "pendulum",
        "reacher",
        "car-heaven-hell",
        "water-maze",
        "bump",
        "dmc-cartpole-t",
        "popgym/noisy",
        "popgym/position",
        "popgym/velocity",
    ];
    let mut checked = 0;
    for (name, config) in rust_configs() {
        // The simple maze begins in the middle; its platform is not seen.
        let alike = ["water-maze-simple", "water-maze-simple-concat10"].contains(&&*name);
        if alike || !begins.iter().any(|begin| name.starts_with(begin)) {
            continue;
        }
        checked += 1;
        let Observations::F32(numbers) =
            VectorEnv::new(&config, 0..4, Seed::new(3)).frames().observations.clone()
        else {
            unreachable!("{name} shows numbers")
        };
        let rows: Vec<_> = numbers.chunks(numbers.len() / 4).collect();
        assert!((1..4).all(|row| rows[0] != rows[row]), "{name}: {rows:?}");
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn an_action_that_is_not_a_number_truncates_its_episode_and_spares_the_others() {
    for (name, config) in rust_configs() {
        let spec = config.spec();
        let ActionSpec::Continuous { dimensions } = spec.action else { continue };
        let mut group = VectorEnv::new(&config, 0..3, Seed::new(5));
        let mut actions = vec![0.3; 3 * dimensions];
        group.step(&Actions::Continuous(actions.clone()));
        actions[2 * dimensions - 1] = f32::NAN;
        let finishes: Vec<_> = group.step(&Actions::Continuous(actions)).to_vec();
        let ended = finishes.iter().map(|episode| (episode.env_index, episode.finish));
        let cut_off = (1, Finish::Ended(Ending::Truncated));
        assert!(ended.clone().any(|found| found == cut_off), "{name}: {finishes:?}");
        assert_eq!(ended.filter(|&(index, _)| index == 1).count(), 1, "{name}");
        let frames = group.frames();
        assert_eq!(frames.check(&spec, 3), Ok(()), "{name}: frames are finite");
        assert!(frames.step_types[1].is_last() && !frames.step_types[0].is_first(), "{name}");
        group.step(&Actions::Continuous(vec![0.3; 3 * dimensions]));
        assert!(group.frames().step_types[1].is_first(), "{name}");
    }
}

#[test]
fn staggered_environments_are_out_of_step_from_their_second_episode_on() {
    let config = config("counting");
    let actions = Actions::Discrete(vec![1; 32]);
    let group = || VectorEnv::new(&config, 0..32, Seed::new(0));
    let mut in_step = group().staggered(0, Seed::new(3));
    let mut staggered = group().staggered(6, Seed::new(3));
    let mut cut = 0;
    for _ in 0..60 {
        in_step.step(&actions);
        let interrupted = |episode: &&Episode| episode.finish == Finish::Interrupted;
        let ended = staggered.step(&actions).to_vec();
        cut += ended.iter().filter(interrupted).count();
        assert!(ended.iter().filter(interrupted).all(|episode| episode.env_steps <= 6));
    }
    assert!(cut > 20, "most of 32 first episodes are cut off");
    assert!(matches!(firsts(&in_step), 0 | 32), "all do the same");
    assert!(out_of_step(&mut staggered, &actions));
    // A policy that was lost resets all of them at once.
    staggered.interrupt();
    assert_eq!(firsts(&staggered), 32);
    for _ in 0..60 {
        staggered.step(&actions);
    }
    assert!(out_of_step(&mut staggered, &actions), "again");
}

/// Episodes of a group that begin now.
fn firsts(group: &VectorEnv) -> usize {
    group.frames().step_types.iter().filter(|step_type| step_type.is_first()).count()
}

fn out_of_step(group: &mut VectorEnv, actions: &Actions) -> bool {
    let mut phases = std::collections::HashSet::new();
    for _ in 0..10 {
        group.step(actions);
        phases.insert(firsts(group));
    }
    !phases.contains(&32) && phases.len() > 1
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn frames_come_in_order_and_episodes_add_up(
        name in prop::sample::select(rust_configs().into_iter().map(|(name, _)| name).collect::<Vec<_>>()),
        rows in 1_u32..4,
        seed in any::<u64>(),
        steps in 1_usize..250,
    ) {
        let config = config(&name);
        let mut group = VectorEnv::new(&config, 0..rows, Seed::new(seed));
        let mut generator = Seed::new(seed).generator();
        let mut sums = vec![(0.0_f64, 0_u32); rows as usize];
        let mut before = group.frames().step_types.clone();
        prop_assert!(before.iter().all(|step_type| step_type.is_first()));
        for _ in 0..steps {
            let actions = random_actions(group.spec().action, rows as usize, &mut generator);
            let episodes = group.step(&actions).to_vec();
            let frames = group.frames();
            let mut ended = Vec::new();
            for row in 0..rows as usize {
                let now = frames.step_types[row];
                prop_assert_eq!(before[row].is_last(), now.is_first(), "First follows Last only");
                if now.is_first() {
                    prop_assert_eq!(frames.previous_rewards[row], 0.0);
                    sums[row] = (0.0, 0);
                } else {
                    sums[row].0 += f64::from(frames.previous_rewards[row]);
                    sums[row].1 += 1;
                }
                if let StepType::Last(ending) = now {
                    let finish = Finish::Ended(ending);
                    ended.push((row as u32, sums[row].1, sums[row].0 as f32, finish));
                }
            }
            let told: Vec<_> = episodes
                .iter()
                .map(|e| (e.env_index, e.env_steps, e.episode_return, e.finish))
                .collect();
            prop_assert_eq!(told, ended);
            before.clone_from(&frames.step_types);
        }
    }
}
