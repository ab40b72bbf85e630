//! An actor whose environments are served by processes that die.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use engram_actor::{ExitReason, run};
use engram_mdp::{Ending, Finish, StepType};
use engram_service::Shutdown;
use support::config;
use support::inference::{FakeInference, Fault};
use support::learner::{FakeLearner, Held, Mood};

const UNROLL_LENGTH: usize = 5;

/// Environments that count, whose process dies after a number of steps.
fn mortal(python: &str, exit_at: u32) -> String {
    served(python, &format!("exit_at = {exit_at}"))
}

/// Environments that count, with a fault.
fn served(python: &str, fault: &str) -> String {
    let python = format!("{}/../envs/tests/gym/{python}", env!("CARGO_MANIFEST_DIR"));
    format!(
        "name = 'gym'\nid = 'Counting'\npython = '{python}'\n\
         kwargs = {{ length = 6, {fault} }}"
    )
}

#[tokio::test]
async fn processes_that_die_interrupt_their_episodes_and_nothing_else() {
    let policy = FakeInference::new(1, Fault::None);
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    let environment = mortal("pythons/counting", 40);
    let config = config(&environment, vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    let each = |held: &Held| {
        let streams = &held.trajectories;
        streams.len() == 4 && streams.values().all(|stream| stream.len() >= 12)
    };
    learner.until(each).await;
    learner.mood(Mood::Finished);
    let summary = actor.await.unwrap().unwrap();
    assert_eq!(summary.reason, ExitReason::Finished);
    assert_eq!(summary.interruptions, 0, "the policy was not lost");

    let held = learner.held();
    assert_eq!((held.gaps, held.repeats), (0, 0));
    let interrupted = held.episodes.iter().filter(|e| e.finish == Finish::Interrupted);
    let interrupted = interrupted.count();
    assert!(interrupted >= 4, "two processes died, each with two episodes: {interrupted}");
    let whole = held.episodes.iter().filter(|e| e.finish != Finish::Interrupted);
    assert!(whole.clone().all(|e| e.env_steps == 6 && e.episode_return == 15.0));
    assert!(whole.count() > interrupted);
    // To the learner they are truncated: their last frames keep their value.
    for trajectories in held.trajectories.values() {
        let mut before = StepType::Last(Ending::Truncated);
        for (number, trajectory) in trajectories.iter().enumerate() {
            // The last frame is shared with the next trajectory.
            let shared = usize::from(number > 0);
            for &step_type in &trajectory.frames.step_types[shared..] {
                assert_eq!(before.is_last(), step_type.is_first(), "First follows Last only");
                before = step_type;
            }
        }
    }
}

/// While it stepped, the actor was silent once: its lease ended, and its episodes were cut off.
#[tokio::test]
async fn a_step_that_takes_longer_than_the_lease_costs_nothing_but_time() {
    let mut policy = FakeInference::new(1, Fault::None);
    policy.lease = Duration::from_millis(300);
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    let environment = served("pythons/counting", "slow_at = 8");
    let config = config(&environment, vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    learner.until(|held| held.count() >= 4 * 12).await;
    learner.mood(Mood::Finished);
    let summary = actor.await.unwrap().unwrap();
    assert_eq!(summary.interruptions, 0);
    assert!(summary.stepping >= Duration::from_secs(1));
}

#[tokio::test]
async fn an_actor_without_a_server_leaves_with_the_remedy() {
    let policy = FakeInference::new(1, Fault::None);
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    let environment = mortal("no-such-python", 1);
    let config = config(&environment, vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let error = run(config, Shutdown::new()).await.unwrap_err().to_string();
    assert!(error.contains("no-such-python` cannot be started"), "{error}");
    assert!(error.contains("ENGRAM_PYTHON"), "{error}");
}

#[tokio::test]
async fn an_actor_whose_servers_all_die_leaves_with_their_words() {
    let policy = FakeInference::new(1, Fault::None);
    let learner = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
    let environment = mortal("pythons/counting", 1);
    let config = config(&environment, vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let error = run(config, Shutdown::new()).await.unwrap_err().to_string();
    assert!(error.contains("3 servers in a row were lost"), "{error}");
    assert!(error.contains("exit status: 5"), "{error}");
}
