//! Whole runs with fake actors: from the first registration to the last checkpoint.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

use std::fs;
use std::path::{Path, PathBuf};

use engram_learner::config::flags::ByteSize;
use engram_learner::replay::SegmentState;
use engram_learner::storage::checkpoint::CheckpointStore;
use engram_learner::{Ended, LearnerArgs, LearnerConfig, LearnerError, Summary};
use engram_mdp::Trajectory;
use engram_policy::Policy;
use engram_proto::{PROTOCOL_VERSION, v1};
use engram_service::progress::ProgressLine;
use engram_service::{Channel, Listener, Resolved, Shutdown, net};
use fixtures::*;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::{Code, Streaming};

/// A learner, as others see it.
struct Run {
    channel: Channel,
    shutdown: Shutdown,
    progress: watch::Receiver<ProgressLine>,
    learner: JoinHandle<Result<Summary, LearnerError>>,
}

impl Run {
    fn start(folder: Option<PathBuf>, changes: &[&str]) -> Self {
        Run::start_with(LearnerArgs::default(), folder, changes)
    }

    fn start_with(flags: LearnerArgs, folder: Option<PathBuf>, changes: &[&str]) -> Self {
        Run::start_resolved(flags, folder, resolved(changes))
    }

    fn start_resolved(flags: LearnerArgs, folder: Option<PathBuf>, resolved: Resolved) -> Self {
        let config = LearnerConfig::new(resolved, RUN.into(), folder, tch::Device::Cpu, 1).unwrap();
        let config = LearnerConfig { flags, ..config };
        let listener = Listener::memory();
        let channel = net::connect(listener.address(), "learner");
        let shutdown = Shutdown::new();
        let (sender, progress) = watch::channel(ProgressLine::default());
        let run = engram_learner::run(config, listener, sender, shutdown.clone());
        Run { channel, shutdown, progress, learner: tokio::spawn(run) }
    }

    /// Waits until so many updates were made.
    async fn updates(&mut self, updates: u64) {
        self.progress.wait_for(|line| line.updates >= updates).await.unwrap();
    }

    async fn stop(self) -> Summary {
        self.shutdown.trigger();
        self.learner.await.unwrap().unwrap()
    }

    async fn weights(&self) -> Streaming<v1::WeightsChunk> {
        let mut client = v1::weights_client::WeightsClient::new(self.channel.clone());
        let protocol_version = PROTOCOL_VERSION;
        let request = v1::SubscribeRequest { protocol_version, run_id: String::new() };
        client.subscribe(request).await.unwrap().into_inner()
    }
}

/// A trajectory of each of the actor's environments: a batch.
fn pair(sequence: u64) -> [Trajectory; 2] {
    [trajectory(0, sequence), trajectory(1, sequence)]
}

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
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().join(RUN);
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
    assert_eq!(checkpoint, folder.join("checkpoints/000000000016"));
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
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().join(RUN);
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
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().join(RUN);
    let mut run = Run::start(Some(folder.clone()), &[]);
    let actor = Actor::register(&run.channel).await;
    actor.send(push(&pair(0))).await;
    run.updates(1).await;
    let stopped = run.stop().await;
    assert_eq!(stopped.policy_version, 2);
    // As if it had gone on to version 9 and been killed before the next checkpoint.
    fs::write(folder.join("policy_version"), format!("{:020}\n", 9)).unwrap();
    let run = Run::start(Some(folder), &[]);
    let first = run.weights().await.message().await.unwrap().unwrap();
    assert_eq!(first.policy_version, 10);
    run.stop().await;
}

#[tokio::test]
async fn a_resumed_run_refuses_actors_of_another_world() {
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().join(RUN);
    let mut run = Run::start(Some(folder.clone()), &[]);
    let actor = Actor::register(&run.channel).await;
    actor.send(push(&pair(0))).await;
    run.updates(1).await;
    run.stop().await;

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

/// The second of two worlds, offered while the learner looked at the first, was once never
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
async fn a_world_that_the_policy_cannot_see_is_refused_and_the_next_one_taken() {
    let run = Run::start(
        None,
        &["seq.torso={ name = \"cnn\", features = 8, convolutions = \
                                 [{ channels = 4, kernel = 3, stride = 2 }] }"],
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
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().join(RUN);
    let mut run = Run::start(Some(folder.clone()), &[]);
    let actor = Actor::register(&run.channel).await;
    actor.send(push(&pair(0))).await;
    run.updates(1).await;
    run.stop().await;
    let other = Run::start(Some(folder), &["rl.discount=0.5"]);
    let message = other.learner.await.unwrap().unwrap_err().to_string();
    assert!(message.contains("rl.discount was 0.99, and is 0.5 now"), "{message}");
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().join(RUN);
    let run = Run::start(Some(folder.clone()), &[]);
    Actor::register(&run.channel).await;
    let second = Run::start(Some(folder), &[]).learner.await.unwrap().unwrap_err();
    assert!(matches!(second, LearnerError::RunFolder(_)), "{second}");
    run.stop().await;
}

#[tokio::test]
async fn a_disk_that_refuses_checkpoints_does_not_stop_the_run() {
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().join(RUN);
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
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().join(RUN);
    let mut run = Run::start(Some(folder.clone()), &[]);
    let actor = Actor::register(&run.channel).await;
    actor.send(push(&pair(0))).await;
    run.updates(1).await;
    let good = run.stop().await.checkpoint.unwrap();

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
    let mut run = Run::start(None, &["run.max_policy_lag=0"]);
    let actor = Actor::register(&run.channel).await;
    actor.send(push(&pair(0))).await;
    run.updates(1).await;
    // Version 2 is out; these were made by version 1.
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
    let mut run = Run::start(Some(first.clone()), &[]);
    let actor = Actor::register(&run.channel).await;
    actor.send(push(&pair(0))).await;
    run.updates(1).await;
    run.stop().await;

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

    let mut run = Run::start_with(from(&first, "memory"), Some(second.clone()), &[]);
    let actor = Actor::register(&run.channel).await;
    actor.send(push(&pair(0))).await;
    run.updates(1).await;
    run.stop().await;
    fs::remove_dir_all(&first).unwrap();
    let again = Run::start_with(from(&first, "memory"), Some(second), &[]);
    Actor::register(&again.channel).await;
    assert_eq!(again.stop().await.updates, 1, "it went on from its own checkpoint");
}

const OFF_POLICY: [&str; 5] = [
    "rl.batch_size=2",
    "rl.rate_limiter.updates_per_env_step=0.5",
    "rl.rate_limiter.learning_starts={episodes=1}",
    "rl.rate_limiter.slack_env_steps=100",
    "rl.replay.max_env_steps=1000",
];

impl Run {
    /// A run of an algorithm that learns from a replay.
    fn start_off_policy(folder: Option<PathBuf>, changes: &[&str]) -> Self {
        let dqn = include_str!("../../configs/rl/dqn.toml");
        let changes: Vec<&str> = OFF_POLICY.iter().chain(changes).copied().collect();
        Run::start_resolved(LearnerArgs::default(), folder, resolved_with(dqn, &changes))
    }
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
    let runs = tempfile::tempdir().unwrap();
    let folder = runs.path().join(RUN);
    let pair = |sequence| [episode(0, sequence), episode(1, sequence)];
    let mut run = Run::start_off_policy(Some(folder.clone()), &[]);
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

    let mut run = Run::start_off_policy(Some(folder.clone()), &[]);
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
    let mut run = Run::start_off_policy(Some(folder.clone()), &[]);
    let actor = Actor::register(&run.channel).await;
    for sequence in 6..9 {
        actor.send(push(&pair(sequence))).await;
    }
    run.updates(17).await;
    let stopped = run.stop().await;
    assert!(stopped.updates >= 17 && stopped.ended == Ended::Stopped, "{stopped:?}");
}

#[tokio::test]
async fn what_a_replay_cannot_do_is_said_before_anything_starts() {
    let refused = async |change| {
        let run = Run::start_off_policy(None, &[change]);
        run.learner.await.unwrap().unwrap_err().to_string()
    };
    let small = refused("rl.replay.max_env_steps=1").await;
    assert!(small.contains("a batch of 2 sequences has 2"), "{small}");
    let slack = refused("rl.rate_limiter.slack_env_steps=5").await;
    assert!(slack.contains("rate_limiter.slack_env_steps") && slack.contains("6"), "{slack}");
}

#[tokio::test]
async fn weights_say_how_to_explore_as_learning_goes_on() {
    let mut run = Run::start_off_policy(
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
