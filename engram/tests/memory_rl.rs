//! Memory-RL's presets, on short episodes: each has the original's updates, in its order, and a run
//! ends when all of them are made.

#[allow(unreachable_pub)]
mod support;

use std::process::{Command, Stdio};

use support::configs;

/// Decisions of an episode.
const LENGTH: u64 = 5;

/// Episodes after the ten of the warm-up.
const EPISODES: u64 = 3;

const MAZE: &str = "env.corridor_length=4";
const ACTIVE_MAZE: &str = "env.corridor_length=2";
const ROOMS: &str = "env.explore_frames=2;env.delay=1;env.reward_frames=2";

/// Last words of a run of an experiment.
fn trained(experiment: &str, seq: Option<&str>, env: &str) -> String {
    let runs = tempfile::tempdir().expect("a folder");
    let unroll_length = format!("run.unroll_length={}", LENGTH + 1);
    let env_steps = format!("run.env_steps={}", (10 + EPISODES) * LENGTH);
    let small = "rl.batch_size=4;run.eval_episodes=1";
    let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
    command.arg("train").arg(experiment).args(["--configs", &configs(), "--runs"]).arg(runs.path());
    command.args([env, &unroll_length, &env_steps, small].iter().flat_map(|set| ["--set", set]));
    command.args(seq.iter().flat_map(|seq| ["--seq", seq]));
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{experiment} {seq:?}\n{said}\n{complained}");
    said
}

#[test]
fn every_episode_has_a_quarter_of_its_length_in_updates_and_so_has_the_last_one() {
    // A quarter of the warm-up's env steps, rounded down, and of every episode's, rounded up.
    let updates = 10 * LENGTH / 4 + EPISODES * LENGTH.div_ceil(4);
    let end = format!("{} env steps, {updates} updates", (10 + EPISODES) * LENGTH);
    for (experiment, seq, env) in [
        ("memory-rl/tmaze-passive", None, MAZE),
        ("memory-rl/tmaze-passive", Some("memory-rl/gpt"), MAZE),
        ("memory-rl/tmaze-active", Some("memory-rl/gpt-2-layers"), ACTIVE_MAZE),
        ("memory-rl/visual-match", None, ROOMS),
        ("memory-rl/key-to-door", Some("memory-rl/cnn-gpt-2-layers"), ROOMS),
    ] {
        let said = trained(experiment, seq, env);
        assert!(said.contains(&end), "{experiment} {seq:?} did not end with {end}:\n{said}");
    }
}
