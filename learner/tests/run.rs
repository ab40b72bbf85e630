//! Whole runs with fake actors: from the first registration to the last checkpoint.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

#[allow(unreachable_pub)]
mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use engram_learner::config::flags::ByteSize;
use engram_learner::{Ended, LearnerArgs, LearnerError};
use engram_proto::v1;
use fixtures::*;
use harness::{Run, pair, run_folder};
use tonic::Code;

fn finished() -> v1::push_response::Body {
    v1::push_response::Body::Finished(v1::Finished {})
}

/// The first column of the learning curves.
fn env_steps_told(folder: &Path) -> Vec<u64> {
    let text = fs::read_to_string(folder.join("progress.csv")).unwrap();
    let first = |line: &str| line.split(',').next().unwrap().parse().unwrap();
    text.lines().skip(1).map(first).collect()
}

#[tokio::test]
async fn a_run_ends_at_its_budget_and_tells_everybody() {
    let (_runs, folder) = run_folder();
    let run = Run::start(Some(folder.clone()), &["run.env_steps=16"]);
    let mut actor = Actor::register(&run.channel).await;
    let mut weights = run.weights().await;
    for sequence in 0..2 {
        actor.send(push(&pair(sequence))).await;
    }
    let mut heard = Vec::new();
    while let Some(body) = actor.hear().await.unwrap() {
        heard.push(body);
    }
    assert_eq!(heard.last(), Some(&finished()));
    let mut version = 0;
    while let Some(chunk) = weights.message().await.unwrap() {
        assert!(chunk.policy_version > version, "a version was sent twice");
        version = chunk.policy_version;
    }
    assert_eq!(version, 3, "the last weights reach whoever reads on");

    let summary = run.learner.await.unwrap().unwrap();
    assert_eq!((summary.ended, summary.env_steps, summary.updates), (Ended::Finished, 16, 2));
    let checkpoint = summary.checkpoint.unwrap();
    assert_eq!(checkpoint, folder.join("checkpoints/000000000002"));
    for file in ["config.toml", "meta.json", "plots", "progress.csv"] {
        assert!(folder.join(file).exists(), "{file}");
    }
    assert_eq!(env_steps_told(&folder).last(), Some(&16));
    let again = Run::start(Some(folder), &["run.env_steps=16"]).learner.await.unwrap().unwrap();
    assert_eq!((again.ended, again.updates), (Ended::Finished, 2), "there is nothing left to do");
    assert_eq!(again.checkpoint, Some(checkpoint));
}

#[tokio::test]
async fn a_stopped_run_goes_on_where_it_was() {
    let (_runs, folder) = run_folder();
    let mut run = Run::start(Some(folder.clone()), &[]);
    let mut actor = Actor::register(&run.channel).await;
    actor.send(push(&pair(0))).await;
    run.updates(1).await;
    let stopped = run.stop().await;
    assert_eq!((stopped.ended, stopped.env_steps), (Ended::Stopped, 8));
    assert_eq!(actor.hear().await.unwrap(), Some(acknowledged(1)));
    assert_eq!(actor.hear().await.unwrap_err().code(), Code::Unavailable);

    let mut run = Run::start(Some(folder.clone()), &[]);
    let first = run.weights().await.message().await.unwrap().unwrap();
    assert_eq!(first.policy_version, stopped.policy_version, "the checkpoint's own weights");
    let actor = Actor::register(&run.channel).await;
    actor.send(push(&pair(0))).await;
    actor.send(push(&pair(1))).await;
    run.updates(2).await;
    let summary = run.stop().await;
    assert_eq!((summary.env_steps, summary.updates), (16, 2), "a repeat was learned from");
    assert_eq!(summary.policy_version, 3);
    assert_eq!(env_steps_told(&folder), [8, 16]);
}

#[tokio::test]
async fn versions_that_a_killed_learner_has_used_are_not_used_again() {
    let (_runs, folder) = run_folder();
    let stopped = Run::start(Some(folder.clone()), &[]).learn_once().await;
    assert_eq!(stopped.policy_version, 2);
    // As if it had gone on to version 9 and been killed before the next checkpoint.
    fs::write(folder.join("policy_version"), format!("{:020}\n", 9)).unwrap();
    let run = Run::start(Some(folder), &[]);
    let first = run.weights().await.message().await.unwrap().unwrap();
    assert_eq!(first.policy_version, 10);
    run.stop().await;
}

#[tokio::test]
async fn a_resumed_run_refuses_actors_of_another_environment() {
    let (_runs, folder) = run_folder();
    Run::start(Some(folder.clone()), &[]).learn_once().await;

    let run = Run::start(Some(folder), &[]);
    let mut stranger = Actor::connect(&run.channel).await;
    let mut registration = registration();
    registration.spec.as_mut().unwrap().observation_shape = vec![5];
    stranger.send(register(registration)).await;
    let status = stranger.hear().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let message = status.message();
    assert!(message.contains("f32[3]") && message.contains("f32[5]"), "{message}");
    run.stop().await;
}

/// The second of two environments, offered while the learner looked at the first, was once never
/// answered: nobody listened any more, and nobody had hung up.
#[tokio::test]
async fn actors_that_come_in_the_same_instant_are_all_admitted() {
    let run = Run::start(None, &[]);
    let actors = tokio::join!(
        Actor::register(&run.channel),
        Actor::register(&run.channel),
        Actor::register(&run.channel)
    );
    run.stop().await;
    drop(actors);
}

#[tokio::test]
async fn an_environment_that_the_policy_cannot_see_is_refused_and_the_next_one_taken() {
    let run = Run::start(
        None,
        &[
            "seq.torso={ name = \"cnn\", features = 8, init = { name = \"fan_in\" }, convolutions = \
                                 [{ channels = 4, kernel = 3, stride = 2 }] }",
        ],
    );
    let mut blind = Actor::connect(&run.channel).await;
    blind.send(register(registration())).await;
    let status = blind.hear().await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    let mut seeing = Actor::connect(&run.channel).await;
    let mut image = registration();
    image.spec.as_mut().unwrap().observation_shape = vec![1, 9, 9];
    seeing.send(register(image)).await;
    assert_eq!(seeing.hear().await.unwrap(), Some(registered()));
    run.stop().await;
}

#[tokio::test]
async fn another_experiment_under_the_same_name_is_refused() {
    let (_runs, folder) = run_folder();
    Run::start(Some(folder.clone()), &[]).learn_once().await;
    let other = Run::start(Some(folder), &["rl.discount=0.5"]);
    let message = other.learner.await.unwrap().unwrap_err().to_string();
    assert!(message.contains("rl.discount was 0.99, and is 0.5 now"), "{message}");
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let (_runs, folder) = run_folder();
    let run = Run::start(Some(folder.clone()), &[]);
    Actor::register(&run.channel).await;
    let second = Run::start(Some(folder), &[]).learner.await.unwrap().unwrap_err();
    assert!(matches!(second, LearnerError::RunFolder(_)), "{second}");
    run.stop().await;
}

#[tokio::test]
async fn a_disk_that_refuses_checkpoints_does_not_stop_the_run() {
    let (_runs, folder) = run_folder();
    let mut run = Run::start(Some(folder.clone()), &["run.checkpoint_seconds=1.0"]);
    let actor = Actor::register(&run.channel).await;
    fs::remove_dir(folder.join("checkpoints")).unwrap();
    fs::write(folder.join("checkpoints"), b"no directory").unwrap();
    for sequence in 0..3 {
        actor.send(push(&pair(sequence))).await;
    }
    run.updates(3).await;
    let summary = run.stop().await;
    assert_eq!((summary.updates, summary.checkpoint), (3, None));
}

#[tokio::test]
async fn weights_that_diverge_stop_the_run_and_spare_the_last_checkpoint() {
    let (_runs, folder) = run_folder();
    let good = Run::start(Some(folder.clone()), &[]).learn_once().await.checkpoint.unwrap();

    let run = Run::start(Some(folder.clone()), &[]);
    let actor = Actor::register(&run.channel).await;
    for sequence in 1..4 {
        let mut bad = pair(sequence);
        // Finite, as actors must send them; their squares are not.
        bad.iter_mut().for_each(|t| t.frames.previous_rewards.fill(1e30));
        actor.send(push(&bad)).await;
    }
    let error = run.learner.await.unwrap().unwrap_err();
    assert!(matches!(error, LearnerError::NonFinite { in_a_row: 2, .. }), "{error}");
    let checkpoints = fs::read_dir(folder.join("checkpoints")).unwrap();
    let left: Vec<PathBuf> = checkpoints.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [good]);
}

#[tokio::test]
async fn a_stale_trajectory_is_not_learned_from() {
    let mut run = Run::start(None, &["run.policy_lag=0", "run.max_policy_lag=0"]);
    let actor = Actor::register(&run.channel).await;
    let mut weights = run.weights().await;
    actor.send(push(&pair(0))).await;
    // An update is told of before its weights are out.
    while weights.message().await.unwrap().unwrap().policy_version < 2 {}
    // These were made by version 1.
    actor.send(push(&pair(1))).await;
    let mut fresh = pair(2);
    fresh.iter_mut().for_each(|t| t.policy_versions.fill(2));
    actor.send(push(&fresh)).await;
    run.updates(2).await;
    let summary = run.stop().await;
    assert_eq!((summary.env_steps, summary.stale_trajectories), (16, 2));
}

#[tokio::test]
async fn health_is_serving_once_actors_may_come() {
    let run = Run::start(None, &[]);
    // A registration is answered only by a learner that is open.
    Actor::register(&run.channel).await;
    let mut client = tonic_health::pb::health_client::HealthClient::new(run.channel.clone());
    let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let status = client.check(request).await.unwrap().into_inner().status();
    assert_eq!(status, tonic_health::pb::health_check_response::ServingStatus::Serving);
    run.stop().await;
}

/// Memory that carries something from unroll to unroll.
const CARRYING: &str = "seq.memory={ name = \"elstm\", hidden = 16, forget_bias = 1.0, \
                        gradient = \"rtrl\" }";

#[tokio::test]
async fn streams_that_do_not_find_room_end_the_run_with_the_numbers() {
    let flags = LearnerArgs { stream_memory: ByteSize(2000), ..LearnerArgs::default() };
    let run = Run::start_with(flags, None, &[CARRYING]);
    let actor = Actor::connect(&run.channel).await;
    actor.send(register(registration())).await;
    let error = run.learner.await.unwrap().unwrap_err();
    assert!(matches!(error, LearnerError::StreamMemory(_)), "{error}");
}

#[tokio::test]
async fn a_single_stream_of_a_carrying_policy_makes_smaller_batches_and_no_deadlock() {
    let mut run = Run::start(None, &[CARRYING, "run.queue_trajectories=1"]);
    let actor = Actor::register(&run.channel).await;
    for sequence in 0..9 {
        actor.send(push(&[trajectory(0, sequence)])).await;
    }
    run.updates(5).await;
    let summary = run.stop().await;
    assert_eq!((summary.env_steps, summary.updates), (20, 5), "one trajectory in each");
}

#[tokio::test]
async fn a_run_begins_with_another_runs_weights_once_and_a_wrong_path_is_named() {
    let runs = tempfile::tempdir().unwrap();
    let (first, second) = (runs.path().join("first"), runs.path().join("second"));
    Run::start(Some(first.clone()), &[]).learn_once().await;

    let from = |path: &Path, part: &str| LearnerArgs {
        init_from: Some(path.into()),
        init_parts: vec![part.into()],
        ..LearnerArgs::default()
    };
    let nowhere = runs.path().join("nowhere");
    let lost = Run::start_with(from(&nowhere, "memory"), None, &[]).learner.await.unwrap();
    let message = lost.unwrap_err().to_string();
    assert!(message.contains("nowhere") && message.contains("no run"), "{message}");

    let run = Run::start_with(from(&first, "memory"), None, &["seq.memory.hidden=9"]);
    let actor = Actor::connect(&run.channel).await;
    actor.send(register(registration())).await;
    let message = run.learner.await.unwrap().unwrap_err().to_string();
    assert!(message.contains("first") && message.contains("memory.weight"), "{message}");

    let run = Run::start_with(from(&first, "memory"), Some(second.clone()), &[]);
    run.learn_once().await;
    fs::remove_dir_all(&first).unwrap();
    let again = Run::start_with(from(&first, "memory"), Some(second), &[]);
    Actor::register(&again.channel).await;
    assert_eq!(again.stop().await.updates, 1, "it went on from its own checkpoint");
}
