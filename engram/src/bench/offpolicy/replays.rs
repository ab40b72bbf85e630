//! Cost of a replay of whole episodes, by the size of an observation.

use anyhow::Result;
use engram_learner::config::flags::ByteSize;
use engram_learner::config::replay::ReplayConfig;
use engram_learner::replay::{Replay, TrajectoryShape};
use engram_learner::rpc::queue::Arrival;
use engram_mdp::{EnvSpec, Seed};
use engram_policy::Batch;
use tch::Device;

use super::episodes;
use crate::bench::timing::medians;
use crate::experiment::Experiment;

/// Episodes that are inserted in one turn.
const EPISODES: usize = 64;

/// The replay forgets for every episode that comes, soon.
const MAX_BYTES: ByteSize = ByteSize(256 << 20);

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(experiment: &Experiment, seconds: f64) -> Result<()> {
    let rl = experiment.replay_settings()?.shared();
    let config = ReplayConfig { max_bytes: MAX_BYTES, ..rl.replay };
    let small = episodes::random(experiment, EPISODES)?;
    let spec = experiment.env.spec();
    let wide = (episodes::showing_images(&spec), episodes::with_images(&small));
    let decisions = experiment.run.unroll_length - 1;
    println!(
        "\nA replay of episodes of {decisions} decisions, at most {MAX_BYTES}; {} episodes to a \
         batch\n",
        rl.batch_size
    );
    println!(
        "{:<14}{:<28}{:>12}{:>14}{:>10}",
        "observation", "", "episodes/s", "env steps/s", "MB/s"
    );
    for (spec, arrivals) in [(spec, small), wide] {
        let bytes = spec.observation.bytes();
        let rates = measure(&config, &spec, arrivals, rl.batch_size, seconds)?;
        let name = |i| if i == 0 { format!("{bytes} bytes") } else { String::new() };
        for (i, (what, episodes)) in rates.into_iter().enumerate() {
            println!(
                "{:<14}{what:<28}{episodes:>12.0}{:>14.0}{:>10.0}",
                name(i),
                episodes * decisions as f64,
                episodes * ((decisions + 1) * bytes) as f64 / 1e6
            );
        }
    }
    println!("MB/s are those of observations alone, each counted once");
    Ok(())
}

/// Episodes per second that are inserted, drawn, and made tensors.
fn measure(
    config: &ReplayConfig,
    spec: &EnvSpec,
    mut arrivals: Vec<Arrival>,
    batch_size: usize,
    seconds: f64,
) -> Result<[(&'static str, f64); 3]> {
    let shape = TrajectoryShape { spec: spec.clone(), state_width: 0 };
    let mut replay = Replay::new(config.clone(), shape, None)?;
    let mut failed = None;
    let [inserting] = medians(
        seconds,
        [&mut || {
            for arrival in &mut arrivals {
                failed =
                    replay.insert(arrival.generation, &arrival.trajectory).err().or(failed.take());
                arrival.trajectory.sequence += 1;
            }
        }],
    );
    if let Some(error) = failed {
        return Err(error.into());
    }
    let mut generator = Seed::new(1).derive("bench", 3).generator();
    let rows = replay.sample(batch_size, &mut generator)?.rows;
    let mut sample = || drop(replay.sample(batch_size, &mut generator));
    let mut assemble = || drop(Batch::from_trajectories(&rows, spec, Device::Cpu));
    let [sampling, assembling] = medians(seconds, [&mut sample, &mut assemble]);
    Ok([
        ("inserting", arrivals.len() as f64 / inserting),
        ("sampling", batch_size as f64 / sampling),
        ("assembling as tensors", batch_size as f64 / assembling),
    ])
}
