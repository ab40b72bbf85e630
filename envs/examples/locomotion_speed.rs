//! Measures environment steps per second of processor time of every robot, resets included (Linux):
//! `cargo run --release -p engram-envs --example locomotion_speed`. The same of PyBullet:
//! `envs/tests/locomotion.py speed`.

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::fs;
use std::time::Duration;

use engram_envs::{EnvConfig, VectorEnv};
use engram_mdp::{Actions, Seed};
use rand::RngExt;

const DURATION: Duration = Duration::from_secs(2);

fn main() {
    for robot in ["hopper", "walker2d", "half-cheetah", "ant"] {
        for rows in [1, 16] {
            println!("{robot:<14} {rows:>3} in a group {:>9.0} steps/s", speed(robot, rows));
        }
    }
}

/// Steps per second of a group under random actions.
fn speed(robot: &str, rows: u32) -> f64 {
    let text = format!(
        "name = '{robot}'\nmax_steps = 1000\nreset_noise = 0.1\nobserve = 'full'\n\
         gravity = {{ name = 'fixed', strength = 9.8 }}"
    );
    let config = EnvConfig::from_table(text.parse().expect("TOML")).expect("valid parameters");
    let mut group = VectorEnv::new(&config, 0..rows, Seed::new(1));
    let numbers = group.spec().action.width() * rows as usize;
    let mut generator = Seed::new(2).generator();
    let mut draw =
        || Actions::Continuous((0..numbers).map(|_| generator.random_range(-1.0..1.0)).collect());
    let actions: Vec<Actions> = (0..256).map(|_| draw()).collect();
    let (begin, mut steps) = (cpu_time(), 0);
    while cpu_time() - begin < DURATION {
        actions.iter().for_each(|actions| {
            group.step(actions);
        });
        steps += actions.len() * rows as usize;
    }
    steps as f64 / (cpu_time() - begin).as_secs_f64()
}

/// Time that this thread has spent on a core: other work on the machine does not count.
fn cpu_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    let nanoseconds = text.split_whitespace().next().expect("a first number");
    Duration::from_nanos(nanoseconds.parse().expect("a number"))
}
