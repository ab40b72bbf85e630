//! Everything goes well: what a learner holds is what the environments showed.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use engram_actor::{ActorConfig, ActorMode, ExitReason, run};
use engram_mdp::{Ending, Finish, StreamId};
use engram_service::Shutdown;
use engram_service::config::ActionChoice;
use support::checks::{check_stream, numbers};
use support::inference::{FakeInference, Fault};
use support::learner::{FakeLearner, Mood};
use support::{config, counting};
use tokio::time::Instant;

const UNROLL_LENGTH: usize = 5;

#[tokio::test(start_paused = true)]
async fn trajectories_overlap_by_one_frame_and_no_frame_is_lost_or_doubled() {
    let policy = FakeInference::new(1, Fault::None);
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    let config = config(&counting(3), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    learner.until(|held| held.count() >= 4 * 50).await;
    learner.mood(Mood::Finished);
    let summary = actor.await.unwrap().unwrap();
    assert_eq!(summary.reason, ExitReason::Finished);
    assert_eq!(summary.run_id.as_deref(), Some(support::RUN));
    assert_eq!(summary.interruptions, 0);

    let held = learner.held();
    assert_eq!((held.gaps, held.repeats, held.registrations.len()), (0, 0, 1));
    let streams: Vec<_> = held.trajectories.keys().copied().collect();
    assert_eq!(streams, [0, 1, 2, 3].map(|env_index| StreamId { actor: 0, env_index }));
    let mut env_steps = 0;
    for trajectories in held.trajectories.values() {
        assert_eq!(check_stream(trajectories), 0);
        assert_eq!(numbers(&trajectories[0])[0], 0.0);
        env_steps += trajectories.iter().map(|t| t.env_steps() as u64).sum::<u64>();
    }
    // What the environments did beyond that is the unrolls in progress and those under way.
    assert!((env_steps..=env_steps + 4 * 8 * UNROLL_LENGTH as u64).contains(&summary.env_steps));
}

#[tokio::test(start_paused = true)]
async fn two_groups_share_the_environments_and_one_message_speaks_for_a_group() {
    let policy = FakeInference::new(1, Fault::None);
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    let config = config(&counting(3), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let shutdown = Shutdown::new();
    let actor = tokio::spawn(run(ActorConfig { envs: 5, ..config }, shutdown.clone()));
    learner.until(|held| held.messages >= 10).await;
    shutdown.trigger();
    assert_eq!(actor.await.unwrap().unwrap().reason, ExitReason::Shutdown);
    let mut registered: Vec<_> =
        policy.seen.borrow().registrations.iter().map(|r| r.env_indices.clone()).collect();
    registered.sort_by_key(|range| range.start);
    assert_eq!(registered, [0..3, 3..5]);
    let held = learner.held();
    assert_eq!(held.registrations[0].env_indices, 0..5);
    // Messages alternate between groups of three and of two.
    let expected = held.messages * 5 / 2;
    assert!(expected.abs_diff(held.count() as u64) <= 2, "{} of {expected}", held.count());
}

#[tokio::test(start_paused = true)]
async fn every_episode_is_reported_once() {
    let policy = FakeInference::new(1, Fault::None);
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    let config = config(&counting(3), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    learner.until(|held| held.count() >= 4 * 20).await;
    learner.mood(Mood::Finished);
    let summary = actor.await.unwrap().unwrap();

    let held = learner.held();
    assert_eq!(held.episodes.len() as u64, summary.episodes_ended);
    for env_index in 0..4 {
        let mut first = 0.0;
        for episode in held.episodes.iter().filter(|e| e.env_index == env_index) {
            // Frame n brings reward n, and an episode has frames first..=first + 3.
            assert_eq!(episode.episode_return, 3.0 * first + 6.0);
            assert_eq!(episode.env_steps, 3);
            assert_eq!(episode.finish, Finish::Ended(Ending::Truncated));
            first += 4.0;
        }
        assert!(first > 0.0);
    }
}

/// A run that was over before the first report once had no episodes.
#[tokio::test(start_paused = true)]
async fn the_first_episodes_are_reported_long_before_the_interval_of_reports_is_over() {
    let policy = FakeInference::new(1, Fault::None);
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    // Two unrolls of each group: then nothing happens any more but that time goes on.
    learner.grants.send_replace(Some(4));
    let mut config = config(&counting(3), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    config.timeouts.report = Duration::from_secs(3600);
    let start = Instant::now();
    let actor = tokio::spawn(run(config, Shutdown::new()));
    learner.until(|held| !held.episodes.is_empty()).await;
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    learner.mood(Mood::Finished);
    let summary = actor.await.unwrap().unwrap();
    assert_eq!(learner.held().episodes.len() as u64, summary.episodes_ended);
}

#[tokio::test(start_paused = true)]
async fn an_evaluation_counts_the_same_number_of_episodes_in_every_environment() {
    let policy = FakeInference::new(1, Fault::None);
    let nobody = policy.spawn();
    let config = config(&counting(3), vec![nobody.clone()], nobody, UNROLL_LENGTH);
    let mode = ActorMode::Evaluate { episodes: 10, actions: ActionChoice::Greedy };
    let summary = run(ActorConfig { mode, ..config }, Shutdown::new()).await.unwrap();
    assert_eq!(summary.reason, ExitReason::Evaluated);
    let played: Vec<u32> = summary.episodes.iter().map(|e| e.env_index).collect();
    assert_eq!(played, [0, 0, 0, 1, 1, 1, 2, 2, 3, 3]);
    let returns: Vec<f32> = summary.episodes.iter().map(|e| e.episode_return).collect();
    assert_eq!(returns, [6.0, 18.0, 30.0, 6.0, 18.0, 30.0, 6.0, 18.0, 6.0, 18.0]);
    let greedy = |r: &engram_proto::Registration| r.purpose == engram_proto::Purpose::Evaluate;
    assert!(policy.seen.borrow().registrations.iter().all(greedy));
}

#[tokio::test(start_paused = true)]
async fn an_evaluation_of_one_episode_needs_one_environment() {
    let policy = FakeInference::new(1, Fault::None);
    let nobody = policy.spawn();
    let config = config(&counting(3), vec![nobody.clone()], nobody, UNROLL_LENGTH);
    let mode = ActorMode::Evaluate { episodes: 1, actions: ActionChoice::Greedy };
    let summary = run(ActorConfig { mode, ..config }, Shutdown::new()).await.unwrap();
    assert_eq!(summary.episodes.len(), 1);
    assert_eq!(policy.seen.borrow().registrations[0].env_indices, 0..1);
    assert_eq!(policy.seen.borrow().registrations.len(), 1);
}
