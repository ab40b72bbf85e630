//! An actor without an experiment of its own takes the learner's.

#![allow(clippy::unwrap_used)]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use engram_actor::{Timeouts, learner_experiment};
use engram_service::config::resolve;
use engram_service::{Address, ExperimentSelection, Exposure, Listener, Shutdown};
use support::inference::{FakeInference, Fault};
use support::learner::{FakeLearner, Mood};
use support::{RUN, checks};
use tonic::Code;

/// The counting environment, as an experiment's parts and settings resolve to it.
fn experiment() -> String {
    let selection = ExperimentSelection {
        experiment: "main".into(),
        env: Some("counting".into()),
        rl: None,
        seq: None,
        set: vec!["run.unroll_length=5".into(), "run.envs_per_actor=4".into()],
        configs: concat!(env!("CARGO_MANIFEST_DIR"), "/../configs").into(),
    };
    resolve(&selection).unwrap().to_toml()
}

fn learner(mood: Mood) -> FakeLearner {
    let mut learner = FakeLearner::new(5, mood);
    learner.experiment = experiment();
    learner
}

#[tokio::test(start_paused = true)]
async fn a_learner_that_is_away_is_waited_for() {
    let learner = learner(Mood::Starting);
    let address = learner.spawn();
    let asking = tokio::spawn(async move {
        learner_experiment(&address, Some(RUN), 1, Timeouts::STANDARD).await.unwrap()
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!asking.is_finished());
    learner.mood(Mood::Eager);
    assert_eq!(asking.await.unwrap().to_toml(), experiment());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_final() {
    let refusing = learner(Mood::Refuse(Code::FailedPrecondition as i32, "another run"));
    let refused = learner_experiment(&refusing.spawn(), None, 1, Timeouts::STANDARD).await;
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("another run"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn an_experiment_that_is_none_is_refused() {
    let mut learner = learner(Mood::Eager);
    learner.experiment = "no experiment".into();
    let refused = learner_experiment(&learner.spawn(), None, 1, Timeouts::STANDARD).await;
    let message = refused.unwrap_err().to_string();
    assert!(message.starts_with("the learner's experiment cannot be read"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_needs_no_more_than_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let listener = async |name| {
        let address = Address::Unix(folder.path().join(name));
        Listener::bind(&address, Exposure::Local).await.unwrap()
    };
    let (learner_at, inference_at) = (listener("learner").await, listener("inference").await);
    let mut actor = Command::new(env!("CARGO_BIN_EXE_engram-actor"))
        .args(["--learner", &learner_at.address().to_string()])
        .args(["--inference", &inference_at.address().to_string()])
        .current_dir(&folder)
        .env_remove("RUST_LOG")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let learner = learner(Mood::Eager);
    let shutdown = Shutdown::new();
    let policy = FakeInference::new(1, Fault::None);
    tokio::spawn(policy.serve(inference_at, shutdown.clone()));
    tokio::spawn(learner.clone().serve(learner_at, shutdown.clone()));

    learner.until(|held| held.count() >= 4 * 10).await;
    learner.mood(Mood::Finished);
    let left = tokio::task::spawn_blocking(move || actor.wait().unwrap());
    assert!(left.await.unwrap().success());
    let held = learner.held();
    assert_eq!(held.trajectories.len(), 4, "run.envs_per_actor");
    for trajectories in held.trajectories.values() {
        assert_eq!(checks::check_stream(trajectories), 0);
        assert!(trajectories.iter().all(|trajectory| trajectory.unroll_length() == 5));
    }
    shutdown.trigger();
}

#[test]
fn changes_without_an_experiment_are_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_engram-actor"))
        .args(["--learner", "unix:/nowhere/learner", "--inference", "unix:/nowhere/inference"])
        .args(["--set", "env.delay=3"])
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("without an EXPERIMENT the learner's is taken as it is"), "{message}");
}
