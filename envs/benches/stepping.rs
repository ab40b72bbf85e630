//! Env steps per second of a group of 64 environments, single-threaded:
//! `cargo bench -p engram-envs`. Items are env steps.

use divan::Bencher;
use divan::counter::ItemsCount;
use engram_envs::{EnvConfig, VectorEnv};
use engram_mdp::{ActionSpec, Actions, Seed};

/// Environments in the group.
const GROUP: u32 = 64;
/// Steps per sample.
const STEPS: usize = 100;

fn main() {
    divan::main();
}

fn step(bencher: Bencher<'_, '_>, text: &str) {
    let config = EnvConfig::from_table(text.parse().expect("TOML")).expect("a known environment");
    let mut group = VectorEnv::new(&config, 0..GROUP, Seed::new(0));
    let actions: Vec<Actions> = (0..16).map(|t| actions(group.spec().action, t)).collect();
    bencher.counter(ItemsCount::new(STEPS * GROUP as usize)).bench_local(|| {
        for t in 0..STEPS {
            divan::black_box(group.step(&actions[t % actions.len()]));
        }
    });
}

/// Actions that look random and cost nothing to draw.
fn actions(spec: ActionSpec, t: usize) -> Actions {
    let mixed = (0..GROUP as usize * spec.len()).map(|i| (i * 7 + t * 13 + i * t) % 17);
    match spec {
        ActionSpec::Discrete { count } => {
            Actions::Discrete(mixed.map(|x| (x % count) as i32).collect())
        }
        ActionSpec::Continuous { .. } => {
            Actions::Continuous(mixed.map(|x| x as f32 / 8.0 - 1.0).collect())
        }
    }
}

#[divan::bench]
fn recall(bencher: Bencher<'_, '_>) {
    step(bencher, "name = 'recall'\ndelay = 20\nchoices = 4");
}

#[divan::bench]
fn tmaze(bencher: Bencher<'_, '_>) {
    let text = "name = 'tmaze'\ncorridor_length = 50\noracle = 'passive'\npenalty = 'behind'\n\
                distract_reward = 0.0";
    step(bencher, text);
}

#[divan::bench]
fn catch(bencher: Bencher<'_, '_>) {
    step(bencher, "name = 'catch'\nrows = 10\ncolumns = 5");
}

/// Keys that both environments with apples have.
const APPLES: &str = "delay = 60\nexplore_frames = 15\nreward_frames = 15\napple_reward = 1.0\n\
                      final_reward = 5.0";

#[divan::bench]
fn visual_match(bencher: Bencher<'_, '_>) {
    step(bencher, &format!("name = 'visual-match'\ncolors = 'per-episode'\n{APPLES}"));
}

#[divan::bench]
fn key_to_door(bencher: Bencher<'_, '_>) {
    step(bencher, &format!("name = 'key-to-door'\n{APPLES}"));
}

#[divan::bench]
fn cartpole(bencher: Bencher<'_, '_>) {
    step(bencher, "name = 'cartpole'\nmax_steps = 500\nobserve = 'full'");
}

#[divan::bench]
fn pendulum(bencher: Bencher<'_, '_>) {
    step(bencher, "name = 'pendulum'\nmax_steps = 200\nobserve = 'full'");
}

#[divan::bench(sample_count = 10)]
fn hopper(bencher: Bencher<'_, '_>) {
    step(bencher, "name = 'hopper'\nmax_steps = 1000\nreset_noise = 0.1\nobserve = 'full'");
}
