//! Prints how many steps per second one core takes in each environment of `configs/env`, or in those
//! that are named: `cargo run --release -p engram-envs --example step_speed -- pendulum popgym`. A
//! folder stands for all of its files. `--set=key=value` changes a key.
//!
//! Those that are served by other processes are left out: `gym_speed` measures them. Atari needs
//! `--features atari`.
//!
//! Eight environments of a kind are stepped in a group with random actions, resets among them, for
//! half a second of CPU time.

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::error::Error;
use std::fs;
use std::path::Path;

use engram_envs::{EnvConfig, VectorEnv};
use engram_mdp::{ActionSpec, Actions, Generator, Seed};
use rand::RngExt;

const ROWS: usize = 8;
const SECONDS: f64 = 0.5;

fn main() -> Result<(), Box<dyn Error>> {
    let (changes, wanted): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|argument| argument.starts_with("--set="));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/env");
    let mut names = names(&folder, "")?;
    names.sort();
    names.retain(|name| wanted.is_empty() || wanted.iter().any(|wanted| is_named(name, wanted)));
    println!("{:44} {:>14}", "environment", "env steps/s");
    for name in names {
        let text = fs::read_to_string(folder.join(format!("{name}.toml")))?;
        let mut table: toml::Table = text.parse()?;
        for change in &changes {
            table.extend(change.trim_start_matches("--set=").parse::<toml::Table>()?);
        }
        let config = EnvConfig::from_table(table)?;
        // The time of one that is served passes in another process; a library may not be here.
        if config.is_served() || config.ready().is_err() {
            continue;
        }
        println!("{name:44} {:14.0}", steps_per_second(&config)?);
    }
    Ok(())
}

/// Names of the files of a folder and of those in it, with the folder's name in front.
fn names(folder: &Path, prefix: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = format!("{prefix}{stem}");
        if path.is_dir() {
            found.append(&mut names(&path, &format!("{name}/"))?);
        } else {
            found.push(name);
        }
    }
    Ok(found)
}

/// True if a name was asked for, alone or with all of its folder.
fn is_named(name: &str, wanted: &str) -> bool {
    name == wanted || name.starts_with(&format!("{wanted}/"))
}

fn steps_per_second(config: &EnvConfig) -> Result<f64, Box<dyn Error>> {
    let mut group = VectorEnv::new(config, 0..ROWS as u32, Seed::new(1));
    let mut generator = Seed::new(2).generator();
    let spec = group.spec().action;
    // Drawn beforehand: their cost is not the environment's.
    let actions: Vec<Actions> = (0..512).map(|_| random_actions(spec, &mut generator)).collect();
    let (start, mut calls) = (cpu_seconds()?, 0_u32);
    for batch in actions.chunks(64).cycle() {
        batch.iter().for_each(|actions| _ = group.step(actions));
        calls += 64;
        if cpu_seconds()? - start > SECONDS {
            break;
        }
    }
    Ok(f64::from(calls) * ROWS as f64 / (cpu_seconds()? - start))
}

/// CPU time of this thread: what others do on the machine does not count.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(1e-9 * nanoseconds)
}

fn random_actions(spec: ActionSpec, generator: &mut Generator) -> Actions {
    match spec {
        ActionSpec::Discrete { count } => {
            let draw = |_| generator.random_range(0..count) as i32;
            Actions::Discrete((0..ROWS).map(draw).collect())
        }
        ActionSpec::Continuous { dimensions } => {
            let draw = |_| generator.random_range(-1.0..1.0);
            Actions::Continuous((0..ROWS * dimensions).map(draw).collect())
        }
    }
}
