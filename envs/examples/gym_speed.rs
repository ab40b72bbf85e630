//! Prints the time of a step of an environment of Gymnasium's: served to an actor, and in Python
//! alone, in a loop and in Gymnasium's vector environments.
//!
//! `cargo run --release -p engram-envs --example gym_speed -- CartPole-v1 16`: the id, the rows, and
//! then any number of numbers of workers (else 1). Python is that of `ENGRAM_PYTHON`.
//!
//! Five rounds, in each of which everything is measured for a second, in bursts of 64 calls. The
//! table holds the time of the burst that a tenth of all bursts beat: what others do on the machine
//! hardly counts. A reset counts as a step.

#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use engram_envs::{EnvConfig, VectorEnv};
use engram_mdp::{ActionSpec, Actions, Generator, Seed};
use rand::RngExt;

const ROUNDS: usize = 5;
const SECONDS: f64 = 1.0;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let id = words.next().unwrap_or_else(|| "CartPole-v1".into());
    let rows: usize = words.next().map_or(Ok(16), |rows| rows.parse())?;
    let mut workers = words.map(|workers| workers.parse()).collect::<Result<Vec<u32>, _>>()?;
    if workers.is_empty() {
        workers.push(1);
    }
    let mut times: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for line in alone(&id, rows)?.lines() {
            let (name, bursts) = line.split_once(' ').ok_or("a name and times")?;
            let bursts: Vec<f64> = bursts.split(' ').map(str::parse).collect::<Result<_, _>>()?;
            times.entry(name.into()).or_default().extend(bursts);
        }
        for &workers in &workers {
            let name = format!("engram-gym, {workers} processes");
            times.entry(name).or_default().extend(served(&id, rows, workers)?);
        }
    }
    let fast = times.into_iter().map(|(name, mut times)| {
        times.sort_by(f64::total_cmp);
        (name, times[times.len() / 10])
    });
    let fast: BTreeMap<_, _> = fast.collect();
    let bare = fast["bare"];
    println!("{id}, {rows} rows");
    println!("{:28} {:>12} {:>16} {:>8}", "", "us/env step", "beyond a loop", "ratio");
    for (name, time) in &fast {
        println!("{name:28} {time:12.1} {:16.1} {:8.2}", time - bare, time / bare);
    }
    Ok(())
}

/// Lines of `gym_speed.py`.
fn alone(id: &str, rows: usize) -> Result<String, Box<dyn Error>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/gym_speed.py");
    let python = std::env::var("ENGRAM_PYTHON").unwrap_or_else(|_| "python3".into());
    let words = [id.to_string(), rows.to_string(), SECONDS.to_string()];
    let output = Command::new(python).arg(script).args(words).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Microseconds per env step of a served group, for each burst.
fn served(id: &str, rows: usize, workers: u32) -> Result<Vec<f64>, Box<dyn Error>> {
    let text = format!("name = 'gym'\nid = '{id}'\nworkers = {workers}");
    let config = EnvConfig::from_table(text.parse()?)?;
    let mut group = VectorEnv::open(&config, 0..u32::try_from(rows)?, Seed::new(1))?;
    let (spec, mut generator) = (group.spec().action, Seed::new(2).generator());
    let actions: Vec<Actions> = (0..64).map(|_| random(spec, rows, &mut generator)).collect();
    actions.iter().for_each(|actions| _ = group.step(actions));
    let (begin, mut bursts) = (Instant::now(), Vec::new());
    while begin.elapsed().as_secs_f64() < SECONDS {
        let start = Instant::now();
        actions.iter().for_each(|actions| _ = group.step(actions));
        bursts.push(1e6 * start.elapsed().as_secs_f64() / 64.0 / rows as f64);
    }
    if let Some(error) = group.failure() {
        return Err(error.clone().into());
    }
    Ok(bursts)
}

fn random(spec: ActionSpec, rows: usize, generator: &mut Generator) -> Actions {
    match spec {
        ActionSpec::Discrete { count } => {
            let draw = |_| generator.random_range(0..count) as i32;
            Actions::Discrete((0..rows).map(draw).collect())
        }
        ActionSpec::Continuous { dimensions } => {
            let draw = |_| generator.random_range(-1.0..1.0);
            Actions::Continuous((0..rows * dimensions).map(draw).collect())
        }
    }
}
