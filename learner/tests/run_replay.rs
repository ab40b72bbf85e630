//! Whole runs of an algorithm that learns from a replay, with fake actors.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

#[allow(unreachable_pub)]
mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use engram_learner::algorithms::RlConfig;
use engram_learner::replay::SegmentState;
use engram_learner::storage::checkpoint::CheckpointStore;
use engram_learner::{Ended, LearnerArgs};
use engram_policy::Policy;
use fixtures::*;
use harness::{Run, run_folder};

const SETTINGS: [&str; 5] = [
    "rl.batch_size=2",
    "rl.rate_limiter.updates_per_env_step=0.5",
    "rl.rate_limiter.learning_starts={episodes=1}",
    "rl.rate_limiter.slack_env_steps=100",
    "rl.replay.max_env_steps=1000",
];

fn start(folder: Option<PathBuf>, changes: &[&str]) -> Run {
    let dqn = include_str!("../../configs/rl/dqn.toml");
    let changes: Vec<&str> = SETTINGS.iter().chain(changes).copied().collect();
    Run::start_resolved(LearnerArgs::default(), folder, resolved_with(dqn, &changes))
}

/// Replay of the newest checkpoint: its segments, and the number of the next episode.
fn replay_of(folder: &Path) -> (Vec<PathBuf>, u64) {
    let store = CheckpointStore::new(folder.join("checkpoints"), 9);
    let saved = store.newest().unwrap().unwrap().1.state.replay.unwrap();
    let path = |segment: &SegmentState| folder.join("replay").join(&segment.name);
    (saved.segments.iter().map(path).collect(), saved.next.0)
}

#[tokio::test]
async fn a_replay_goes_on_with_its_run_and_a_file_that_is_lost_costs_what_was_in_it() {
    let (_runs, folder) = run_folder();
    let pair = |sequence| [episode(0, sequence), episode(1, sequence)];
    let mut run = start(Some(folder.clone()), &[]);
    let actor = Actor::register(&run.channel).await;
    for sequence in 0..4 {
        actor.send(push(&pair(sequence))).await;
    }
    // 24 env steps, of which the first episode is the warm-up: (24 - 3) / 2 updates, and no more.
    run.updates(10).await;
    let stopped = run.stop().await;
    assert_eq!((stopped.env_steps, stopped.updates), (24, 10));
    let (segments, next) = replay_of(&folder);
    assert!(next == 8 && segments.iter().all(|path| path.exists()), "{segments:?}");

    let mut run = start(Some(folder.clone()), &[]);
    let actor = Actor::register(&run.channel).await;
    for sequence in 4..6 {
        actor.send(push(&pair(sequence))).await;
    }
    run.updates(16).await;
    let stopped = run.stop().await;
    assert_eq!((stopped.env_steps, stopped.updates), (36, 16), "the ratio goes on");
    let (segments, next) = replay_of(&folder);
    assert!(next == 12 && segments.len() > 1, "{segments:?}");

    fs::remove_file(&segments[0]).unwrap();
    fs::write(&segments[1], b"torn").unwrap();
    let mut run = start(Some(folder.clone()), &[]);
    let actor = Actor::register(&run.channel).await;
    for sequence in 6..9 {
        actor.send(push(&pair(sequence))).await;
    }
    run.updates(17).await;
    let stopped = run.stop().await;
    assert!(stopped.updates >= 17 && stopped.ended == Ended::Stopped, "{stopped:?}");
}

/// A warm-up was once lost with its process, for it has no updates.
#[tokio::test]
async fn a_warm_up_goes_on_where_it_was_and_its_env_steps_count() {
    let (_runs, folder) = run_folder();
    let slowly = ["rl.rate_limiter.learning_starts={episodes=4}", "run.queue_trajectories=1"];
    let run = start(Some(folder.clone()), &slowly);
    let mut actor = Actor::register(&run.channel).await;
    for trajectory in [episode(0, 0), episode(1, 0), episode(0, 1)] {
        actor.send(push(&[trajectory])).await;
    }
    // The third has found its place when the second was taken, after the first was inserted.
    while actor.hear().await.unwrap().unwrap() != acknowledged(3) {}
    let stopped = run.stop().await;
    assert_eq!((stopped.updates, stopped.env_steps), (0, 0));
    assert_eq!(stopped.checkpoint, Some(folder.join("checkpoints/000000000000")));
    let (_, episodes) = replay_of(&folder);
    assert!((1..=3).contains(&episodes), "{episodes}");

    let mut run = start(Some(folder.clone()), &slowly);
    let actor = Actor::register(&run.channel).await;
    for sequence in 2..7 {
        actor.send(push(&[episode(0, sequence)])).await;
    }
    run.updates(1).await;
    let stopped = run.stop().await;
    // Four episodes of three env steps, and one more for the first update.
    assert!(stopped.env_steps >= 15, "{stopped:?}");
}

/// A run once ended with the first update after its last env step, whatever was owed by then.
#[tokio::test]
async fn the_last_env_steps_have_their_updates_before_a_run_ends() {
    let (_runs, folder) = run_folder();
    let run = start(Some(folder.clone()), &["run.env_steps=24"]);
    let actor = Actor::register(&run.channel).await;
    for sequence in 0..6 {
        actor.send(push(&[episode(0, sequence), episode(1, sequence)])).await;
    }
    let ended = run.learner.await.unwrap().unwrap();
    // Of 24 env steps the first episode's 3 are the warm-up; what came after them is left alone.
    assert_eq!((ended.env_steps, ended.updates, ended.ended), (24, 10, Ended::Finished));
    assert_eq!(replay_of(&folder).1, 8, "episodes");
}

/// Killed among its last updates, a run once began anew as if it had had them.
#[tokio::test]
async fn the_last_updates_are_made_after_a_restart_too() {
    let (_runs, folder) = run_folder();
    let many = "rl.rate_limiter.updates_per_env_step=40.0";
    let mut run = start(Some(folder.clone()), &[many]);
    let actor = Actor::register(&run.channel).await;
    for sequence in 0..4 {
        actor.send(push(&[episode(0, sequence), episode(1, sequence)])).await;
    }
    run.progress.wait_for(|line| line.env_steps == 24).await.unwrap();
    // Long before all updates are made, if this machine is not too busy.
    let stopped = run.stop().await;
    assert_eq!((stopped.env_steps, stopped.ended), (24, Ended::Stopped), "{stopped:?}");
    let finish = start(Some(folder), &[many, "run.env_steps=24"]);
    let ended = finish.learner.await.unwrap().unwrap();
    assert_eq!((ended.updates, ended.ended), (21 * 40, Ended::Finished));
}

const TURNS: &str = "rl.rate_limiter={ updates_per_env_step = 0.5, \
                     learning_starts = { episodes = 4 }, turns = \"episodes\" }";

#[tokio::test]
async fn in_turns_an_unroll_begins_once_the_episodes_before_it_have_their_updates() {
    let run = start(None, &[TURNS, "rl.publish_updates=1", "run.env_steps=18"]);
    let mut actor = Actor::register(&run.channel).await;
    run.weights().await.message().await.unwrap().expect("the weights to begin with");
    let mut play = async |sequence, weights| {
        actor.send(begin_unroll(0, 2)).await;
        assert_eq!(actor.hear().await.unwrap(), Some(granted(0, weights)), "{sequence}");
        actor.send(push(&[episode(0, sequence), episode(1, sequence)])).await;
        assert_eq!(actor.hear().await.unwrap(), Some(acknowledged(sequence + 1)));
    };
    // The warm-up is four episodes, and nobody waits for updates meanwhile.
    play(0, 1).await;
    play(1, 1).await;
    // It owes 12 / 2 updates, which end in weights of one version.
    play(2, 2).await;
    // Each episode from then on owes 3 / 2, rounded up, and its own version; then the run ends.
    let ended = run.learner.await.unwrap().unwrap();
    let found = (ended.env_steps, ended.updates, ended.policy_version, ended.ended);
    assert_eq!(found, (18, 6 + 2 + 2, 4, Ended::Finished));
}

#[tokio::test]
async fn what_a_replay_cannot_do_is_said_before_anything_starts() {
    let refused = async |change| {
        let run = start(None, &[change]);
        run.learner.await.unwrap().unwrap_err().to_string()
    };
    let small = refused("rl.replay.max_env_steps=1").await;
    assert!(small.contains("a batch of 2 sequences has 2"), "{small}");
    let slack = refused("rl.rate_limiter.slack_env_steps=5").await;
    assert!(slack.contains("rate_limiter.slack_env_steps") && slack.contains("6"), "{slack}");
    let settings = resolved_with(
        include_str!("../../configs/rl/dqn.toml"),
        &["rl.rate_limiter.turns=\"episodes\""],
    );
    let both = settings.section::<RlConfig>("rl").unwrap_err().to_string();
    assert!(both.contains("slack_env_steps is 4000 beside turns"), "{both}");
    let rtrl =
        "seq.memory={ name = \"elstm\", hidden = 16, forget_bias = 1.0, gradient = \"rtrl\" }";
    let gradient = refused(rtrl).await;
    assert!(gradient.contains("`memory.gradient`") && gradient.contains("\"rtrl\""), "{gradient}");
    assert!(gradient.contains("it must be \"tbptt\""), "{gradient}");
}

#[tokio::test]
async fn weights_say_how_to_explore_as_learning_goes_on() {
    let mut run = start(
        None,
        &["rl.exploration.env_steps=21", "rl.publish_updates=1", "rl.exploration.last_epsilon=0.1"],
    );
    let actor = Actor::register(&run.channel).await;
    let mut weights = run.weights().await;
    let first = weights.message().await.unwrap().unwrap();
    let epsilon = |bytes: &[u8]| {
        let policy = Policy::from_weights(bytes, tch::Device::Cpu).unwrap();
        policy.exploration().epsilon
    };
    assert_eq!(epsilon(&first.data), 1.0, "at random until learning starts");
    for sequence in 0..4 {
        actor.send(push(&[episode(0, sequence), episode(1, sequence)])).await;
    }
    run.updates(10).await;
    let newest = run.weights().await.message().await.unwrap().unwrap();
    assert!((epsilon(&newest.data) - 0.1).abs() < 0.05, "{}", epsilon(&newest.data));
}
