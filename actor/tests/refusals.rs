//! Refusals: an actor that cannot work leaves with a message that says what to do.

#![allow(clippy::unwrap_used)]

mod support;

use engram_actor::{ActorConfig, ActorError, ActorMode, run};
use engram_mdp::EnvSpec;
use engram_proto::WireError;
use engram_service::config::ActionChoice;
use engram_service::{Address, Shutdown};
use support::inference::{FakeInference, Fault};
use support::learner::{FakeLearner, Mood};
use support::{config, counting};
use tonic::{Code, Status};

const UNROLL_LENGTH: usize = 5;

/// Runs an actor that cannot live, and returns its message.
async fn message(
    policy: FakeInference,
    learner: FakeLearner,
    change: impl FnOnce(&mut ActorConfig),
) -> String {
    let mut config = config(&counting(3), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    change(&mut config);
    run(config, Shutdown::new()).await.unwrap_err().to_string()
}

fn good() -> (FakeInference, FakeLearner) {
    (FakeInference::new(1, Fault::None), FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager))
}

#[tokio::test(start_paused = true)]
async fn an_actor_of_another_environment_is_told_both() {
    let (mut policy, learner) = good();
    policy.spec = Some(EnvSpec { name: "recall".into(), ..spec() });
    let message = message(policy, learner, |_| {}).await;
    assert!(message.contains("the inference server at memory:"), "{message}");
    assert!(message.contains("[recall: f32[3]"), "{message}");
    assert!(message.contains("the actor brings [counting: f32[3]"), "{message}");
}

fn spec() -> EnvSpec {
    let nobody = Address::loopback(0);
    config(&counting(3), vec![nobody.clone()], nobody, 1).env.spec()
}

#[tokio::test(start_paused = true)]
async fn an_actor_of_another_run_is_refused_by_either_peer() {
    let (policy, learner) = good();
    let other = |config: &mut ActorConfig| config.run_id = Some("other".into());
    let message = message(policy, learner, other).await;
    assert!(message.contains("belongs to run `other`, but run `test-run` is served"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn peers_of_two_runs_are_noticed() {
    let (policy, mut learner) = good();
    learner.run = "other".into();
    let message = message(policy, learner, |_| {}).await;
    let both = message.contains("`test-run`") && message.contains("`other`");
    assert!(both, "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_of_another_release_is_named() {
    let (_, learner) = good();
    let refusal = Status::from(WireError::Protocol { found: 7 });
    let policy = FakeInference::new(1, Fault::Refuse(refusal));
    let message = message(policy, learner, |_| {}).await;
    assert!(message.contains("run the same release on both sides"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_learner_with_another_unroll_length_is_named_with_both() {
    let (policy, _) = good();
    let learner = FakeLearner::new(20, Mood::Eager);
    let message = message(policy, learner, |_| {}).await;
    assert!(message.contains("the learner at memory:"), "{message}");
    assert!(message.contains("unroll_length of 20"), "{message}");
    assert!(message.contains("started with 5"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_by_the_learner_is_final_at_any_time() {
    let (policy, learner) = good();
    let config = config(&counting(3), vec![policy.spawn()], learner.spawn(), UNROLL_LENGTH);
    let actor = tokio::spawn(run(config, Shutdown::new()));
    learner.until(|held| held.count() >= 4 * 4).await;
    learner.mood(Mood::Refuse(Code::InvalidArgument.into(), "the last message was bad"));
    let error = actor.await.unwrap().unwrap_err();
    assert!(matches!(error, ActorError::Refused(_)), "{error:?}");
    assert!(error.to_string().contains("the last message was bad"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn bad_settings_are_named_with_what_would_be_right() {
    let refuse = async |change: fn(&mut ActorConfig)| {
        let (policy, learner) = good();
        message(policy, learner, change).await
    };
    let envs = refuse(|config| config.envs = 0).await;
    assert_eq!(envs, "envs is 0; it must be 1 to 16384");
    let inference = refuse(|config| config.inference.clear()).await;
    assert!(inference.contains("at least one inference server"), "{inference}");
    let episodes = refuse(|config| {
        config.mode = ActorMode::Evaluate { episodes: 0, actions: ActionChoice::Greedy }
    })
    .await;
    assert!(episodes.starts_with("episodes is 0"), "{episodes}");
}
