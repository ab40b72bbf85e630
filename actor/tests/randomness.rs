//! Randomness: everything random follows from the seed that the learner gives, and nothing of it
//! comes twice.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;

use engram_actor::run;
use engram_mdp::{Frames, StreamId};
use engram_service::Shutdown;
use support::inference::{FakeInference, Fault};
use support::learner::{FakeLearner, Mood};
use support::{config, counting};

const UNROLL_LENGTH: usize = 5;

const CATCH: &str = "name = 'catch'\nrows = 10\ncolumns = 5";

/// First frames of every environment of an actor that was given `seed`, and its streams' seeds.
async fn played(seed: u64) -> (Vec<(StreamId, Frames)>, Vec<u64>) {
    let policy = FakeInference::new(1, Fault::None);
    let mut learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    learner.seed = seed;
    let config = config(CATCH, vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    learner
        .until(|held| {
            held.trajectories.len() == 4 && held.trajectories.values().all(|t| t.len() >= 10)
        })
        .await;
    learner.mood(Mood::Finished);
    actor.await.unwrap().unwrap();
    let mut frames = Vec::new();
    for (stream, trajectories) in learner.held().trajectories {
        frames.extend(trajectories.into_iter().take(10).map(|t| (stream, t.frames)));
    }
    let seeds: BTreeSet<u64> = policy.seen.borrow().registrations.iter().map(|r| r.seed).collect();
    (frames, seeds.into_iter().collect())
}

/// Environments once drew from the experiment's seed alone: whenever an actor came again, or the
/// run went on, the same layouts came again.
#[tokio::test(start_paused = true)]
async fn what_is_random_follows_from_the_seed_that_the_learner_gives() {
    let (first, again, other) = (played(1).await, played(1).await, played(2).await);
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
    assert!(first.1.iter().all(|seed| !other.1.contains(seed)));
}

#[tokio::test(start_paused = true)]
async fn every_request_tells_the_rank_that_the_learner_gave() {
    let policy = FakeInference::new(1, Fault::None);
    let mut learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    learner.rank = 3;
    let config = config(&counting(7), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    learner.until(|held| held.count() >= 4 * 10).await;
    learner.mood(Mood::Finished);
    actor.await.unwrap().unwrap();
    assert_eq!(policy.seen.borrow().ranks, BTreeSet::from([3]));
}

/// Inference servers once began each stream from the same draws.
#[tokio::test(start_paused = true)]
async fn no_two_streams_of_an_actor_draw_from_one_seed() {
    let servers = [1, 2].map(|server| FakeInference::new(server, Fault::DieAt(12)));
    let addresses = servers.iter().map(FakeInference::spawn).collect();
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    let config = config(&counting(7), addresses, learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    learner.until(|held| held.count() >= 4 * 20).await;
    learner.mood(Mood::Finished);
    actor.await.unwrap().unwrap();
    let seen = servers.map(|server| server.seen.borrow().registrations.clone()).concat();
    let seeds: BTreeSet<u64> = seen.iter().map(|registration| registration.seed).collect();
    assert!(seen.len() >= 8, "{} streams", seen.len());
    assert_eq!(seeds.len(), seen.len());
}
