//! How many env steps per second a learner takes in: wire, checks, order, queue, acknowledgement.
//!
//! Every trajectory is stale on arrival, so the learner drops it where it would otherwise become
//! part of a batch: updates cost nothing here, and what is left is the intake.

#![allow(clippy::unwrap_used)]

#[path = "../tests/fixtures/mod.rs"]
#[allow(unreachable_pub)]
mod fixtures;

use divan::Bencher;
use divan::counter::ItemsCount;
use engram_learner::LearnerConfig;
use engram_proto::v1;
use engram_service::progress::ProgressLine;
use engram_service::{Address, Exposure, Listener, Shutdown, net};
use fixtures::{Actor, RUN, push, resolved, trajectory_of};
use tokio::sync::watch;

const UNROLL_LENGTH: usize = 20;
const TRAJECTORIES_PER_MESSAGE: usize = 32;
const MESSAGES: usize = 64;

fn main() {
    divan::main();
}

/// Server and actor share one thread, so the rate is env steps per CPU second of both sides.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn env_steps_over_a_unix_socket(bencher: Bencher<'_, '_>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    let (learner, mut actor) = runtime.block_on(async {
        let changes = ["run.unroll_length=20", "run.max_policy_lag=0", "run.queue_trajectories=64"];
        let config =
            LearnerConfig::new(resolved(&changes), RUN.into(), None, tch::Device::Cpu, 1).unwrap();
        let address = Address::Unix(folder.path().join("learner.sock"));
        let listener = Listener::bind(&address, Exposure::Local).await.unwrap();
        let (progress, _) = watch::channel(ProgressLine::default());
        let run = engram_learner::run(config, listener, progress, shutdown.clone());
        let learner = tokio::spawn(run);
        (learner, Actor::register(&net::connect(&address, "learner")).await)
    });
    let mut sequence = 0;
    let mut acknowledged = 0;
    bencher
        .counter(ItemsCount::new(MESSAGES * TRAJECTORIES_PER_MESSAGE * UNROLL_LENGTH))
        .with_inputs(|| {
            let messages: Vec<v1::PushRequest> =
                (0..MESSAGES).map(|_| message(&mut sequence)).collect();
            messages
        })
        .bench_local_values(|messages| {
            acknowledged += messages.len() as u64;
            let expected = fixtures::acknowledged(acknowledged);
            runtime.block_on(async {
                let mut messages = messages.into_iter();
                for message in messages.by_ref().take(8) {
                    actor.send(message).await;
                }
                loop {
                    let heard = actor.hear().await.unwrap().unwrap();
                    if heard == expected {
                        break;
                    }
                    if let Some(message) = messages.next() {
                        actor.send(message).await;
                    }
                }
            });
        });
    shutdown.trigger();
    runtime.block_on(learner).unwrap().unwrap();
}

/// The next trajectories, made by weights that are older than any.
fn message(sequence: &mut u64) -> v1::PushRequest {
    let trajectories: Vec<_> = (0..TRAJECTORIES_PER_MESSAGE)
        .map(|_| {
            let mut trajectory = trajectory_of(UNROLL_LENGTH, 0, *sequence);
            trajectory.policy_versions.fill(0);
            *sequence += 1;
            trajectory
        })
        .collect();
    push(&trajectories)
}
