//! Neighbors fail, and the actor goes on.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use engram_actor::{ActorConfig, ActorMode, ExitReason, run};
use engram_mdp::Finish;
use engram_service::Shutdown;
use engram_service::config::ActionChoice;
use support::checks::check_stream;
use support::inference::{FakeInference, Fault};
use support::learner::{FakeLearner, Held, Mood};
use support::{config, counting};
use tokio::time::{Instant, sleep};

const UNROLL_LENGTH: usize = 5;

/// Checks all streams, and returns how many interruptions they show together.
fn check(held: &Held) -> usize {
    assert_eq!(held.gaps, 0);
    assert_eq!(held.trajectories.len(), 4);
    held.trajectories.values().map(|trajectories| check_stream(trajectories)).sum()
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_dies_within_an_unroll_costs_that_unroll_and_no_other_frame() {
    let policy = FakeInference::new(1, Fault::DieAt(12));
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    let config = config(&counting(7), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    learner.until(|held| held.count() >= 4 * 20).await;
    learner.mood(Mood::Finished);
    let summary = actor.await.unwrap().unwrap();

    let held = learner.held();
    assert_eq!(held.repeats, 0);
    assert!(check(&held) >= 4 * 8);
    assert!(summary.interruptions >= 2 * 8);
    // Every stream holds two whole unrolls before it dies.
    let cut = held.episodes.iter().filter(|e| e.finish == Finish::Interrupted).count();
    assert!(cut >= 4 * 8, "{cut}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_left_for_another() {
    let silent = FakeInference::new(1, Fault::SilentAt(12));
    let deaf = FakeInference::new(2, Fault::Deaf);
    let good = FakeInference::new(3, Fault::None);
    // Time stands still while anybody works, so the group that finds the good server first must
    // come to rest.
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Full);
    let servers = vec![silent.spawn(), deaf.spawn(), good.spawn()];
    let config = config(&counting(7), servers, learner.spawn(), UNROLL_LENGTH);
    let patience = config.timeouts.answer;
    let start = Instant::now();
    let actor = tokio::spawn(run(config, Shutdown::new()));
    good.until(|seen| seen.registrations.len() == 2).await;
    // The first group met two servers that did not answer, the second one.
    assert!(start.elapsed() >= 2 * patience);
    assert!(start.elapsed() < 3 * patience);
    learner.mood(Mood::Eager);
    learner.until(|held| held.count() >= 4 * 20).await;
    learner.mood(Mood::Finished);
    assert_eq!(actor.await.unwrap().unwrap().interruptions, 1);
    check(&learner.held());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_acted_upon_is_not_acted_upon() {
    for fault in [Fault::ShortAt(12), Fault::BackAt(12)] {
        let policy = FakeInference::new(1, fault);
        let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
        let config = config(&counting(7), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
        let actor = tokio::spawn(run(config, Shutdown::new()));
        learner.until(|held| held.count() >= 4 * 4).await;
        policy.fault(Fault::None);
        learner.until(|held| held.count() >= 4 * 20).await;
        learner.mood(Mood::Finished);
        assert!(actor.await.unwrap().unwrap().interruptions >= 2);
        assert!(check(&learner.held()) >= 4);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_learner_did_not_acknowledge_is_sent_again_when_it_is_back() {
    let policy = FakeInference::new(1, Fault::None);
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::DieUnheardAt(3));
    let config = config(&counting(7), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    learner.until(|held| held.registrations.len() == 4).await;
    // It is gone for good, as it seems; and then it is back.
    learner.mood(Mood::Starting);
    sleep(Duration::from_secs(600)).await;
    let before = learner.held();
    assert!(before.repeats > 0 && before.count() < 4 * 20);
    learner.mood(Mood::Eager);
    learner.until(|held| held.count() >= 4 * 50).await;
    learner.mood(Mood::Finished);
    let summary = actor.await.unwrap().unwrap();
    // The environments waited, but nothing was interrupted.
    assert_eq!(summary.interruptions, 0);
    let held = learner.held();
    assert_eq!(check(&held), 0);
    assert_eq!(held.registrations.last().unwrap().run_id.as_deref(), Some(support::RUN));
}

#[tokio::test(start_paused = true)]
async fn environments_stop_while_the_learner_takes_nothing_and_go_on_when_it_does() {
    let policy = FakeInference::new(1, Fault::None);
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Full);
    let config = config(&counting(7), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    sleep(Duration::from_secs(600)).await;
    let stopped = policy.answers();
    sleep(Duration::from_secs(600)).await;
    assert_eq!(policy.answers(), stopped);
    // 4 messages are unacknowledged, and 1 waits in the inbox, so that no group can ask for more.
    assert_eq!(stopped, (4 + 1) * UNROLL_LENGTH as u64);
    learner.mood(Mood::Eager);
    learner.until(|held| held.count() >= 4 * 20).await;
    learner.mood(Mood::Finished);
    assert_eq!(actor.await.unwrap().unwrap().interruptions, 0);
    let held = learner.held();
    assert_eq!((check(&held), held.registrations.len()), (0, 1));
}

/// A group that waited for the learner's room was silent. After a minute its lease ended, its
/// episodes were cut off, and at the next unroll again.
#[tokio::test(start_paused = true)]
async fn a_slow_learner_interrupts_no_episode_however_short_the_lease() {
    let lease = Duration::from_secs(1);
    let mut policy = FakeInference::new(1, Fault::None);
    policy.lease = lease;
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Full);
    let config = config(&counting(7), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    for round in 1..=5 {
        sleep(600 * lease).await;
        learner.mood(Mood::Eager);
        learner.until(|held| held.count() >= round * 4 * 10).await;
        learner.mood(Mood::Full);
    }
    learner.mood(Mood::Finished);
    assert_eq!(actor.await.unwrap().unwrap().interruptions, 0);
    assert_eq!(check(&learner.held()), 0);
    assert_eq!(policy.seen.borrow().registrations.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unroll_begins_only_with_the_learners_grant_which_a_new_stream_asks_for_again() {
    let policy = FakeInference::new(7, Fault::None);
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    learner.grants.send_replace(Some(3));
    let config = config(&counting(7), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    // Two environments in each of two groups: three unrolls are three messages of two.
    learner.until(|held| held.count() == 6).await;
    sleep(Duration::from_secs(600)).await;
    assert_eq!((policy.answers(), learner.held().count()), (3 * UNROLL_LENGTH as u64, 6));
    learner.mood(Mood::Starting);
    sleep(Duration::from_secs(60)).await;
    learner.mood(Mood::Eager);
    learner.until(|held| held.registrations.len() >= 2).await;
    learner.grants.send_replace(Some(4));
    learner.until(|held| held.count() >= 10).await;
    learner.mood(Mood::Finished);
    assert_eq!(actor.await.unwrap().unwrap().interruptions, 0);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_nobody_acknowledged_is_sent_again_under_its_number() {
    let policy = FakeInference::new(1, Fault::None);
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    let config = config(&counting(7), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    learner.until(|held| held.count() >= 4 * 20).await;
    learner.mood(Mood::Starting);
    learner.until(|held| held.repeated_reports >= 2).await;
    learner.mood(Mood::Eager);
    learner.until(|held| held.count() >= 4 * 40).await;
    learner.mood(Mood::Finished);
    let summary = actor.await.unwrap().unwrap();
    assert_eq!(learner.held().episodes.len() as u64, summary.episodes_ended);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_an_actor_promptly_whatever_it_waits_for() {
    for (fault, mood) in [
        (Fault::None, Mood::Eager),
        (Fault::None, Mood::Full),
        (Fault::None, Mood::Starting),
        (Fault::SilentAt(3), Mood::Eager),
        (Fault::Deaf, Mood::Eager),
        (Fault::DieAt(0), Mood::Full),
    ] {
        let policy = FakeInference::new(1, fault.clone());
        let learner = FakeLearner::new(UNROLL_LENGTH as u32, mood.clone());
        let config = config(&counting(7), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
        let farewell = config.timeouts.farewell;
        let shutdown = Shutdown::new();
        let actor = tokio::spawn(run(config, shutdown.clone()));
        match mood {
            // Nobody plays before the learner has given the actor its seed.
            Mood::Starting => sleep(Duration::from_secs(1)).await,
            _ => policy.until(|seen| seen.registrations.len() >= 2).await,
        }
        let start = Instant::now();
        shutdown.trigger();
        let summary = actor.await.unwrap().unwrap();
        assert_eq!(summary.reason, ExitReason::Shutdown);
        assert!(start.elapsed() <= farewell, "{fault:?} {mood:?}: {:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_evaluation_survives_its_server_and_counts_no_interrupted_episode() {
    let policy = FakeInference::new(1, Fault::DieAt(9));
    let nobody = policy.spawn();
    let config = config(&counting(7), vec![nobody.clone()], nobody, UNROLL_LENGTH);
    let mode = ActorMode::Evaluate { episodes: 12, actions: ActionChoice::Greedy };
    let summary = run(ActorConfig { mode, ..config }, Shutdown::new()).await.unwrap();
    assert_eq!(summary.episodes.len(), 12);
    assert!(summary.episodes.iter().all(|e| e.env_steps == 7));
    assert!(summary.interruptions >= 4);
}
