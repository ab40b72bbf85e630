//! The evaluation service against fake evaluators. No learner is there: what is evaluated, and
//! when, is in the hands of the tests. Time is paused.

use std::time::Duration;

use engram_proto::v1::evaluate_request::Body as Request;
use engram_proto::v1::evaluate_response::Body as Response;
use engram_proto::{PROTOCOL_VERSION, v1};
use tokio::time::timeout;
use tonic::Code;

use super::service_tests::LearnerFixture;
use crate::fixtures::*;
use crate::rpc::context::Stage;
use crate::rpc::evaluation_queue::{Evaluation, Occasion};
use crate::rpc::publisher::Weights;

/// An evaluation of three episodes.
fn evaluation(env_steps: u64) -> Evaluation {
    let weights = Weights { policy_version: env_steps + 1, bytes: vec![7; 100].into() };
    let occasion = Occasion::Training;
    Evaluation { occasion, weights, env_steps, updates: 5, episodes: 3, seed: 6 }
}

#[tokio::test(start_paused = true)]
async fn an_evaluation_comes_with_its_weights_and_its_score_is_handed_on() {
    let mut fixture = LearnerFixture::start();
    let mut evaluator = Evaluator::register(&fixture.channel).await;
    for env_steps in [40, 80] {
        fixture.channels.evaluations.offer(evaluation(env_steps));
    }
    for env_steps in [40, 80] {
        let (header, weights) = evaluator.evaluation().await;
        let policy_version = env_steps + 1;
        let (episodes, seed) = (3, 6);
        assert_eq!(header, v1::Evaluation { episodes, seed, policy_version, env_steps });
        assert_eq!(weights.data, evaluation(env_steps).weights.bytes);
        // The next one comes when this one is told.
        let early = timeout(Duration::from_secs(3600), evaluator.hear()).await;
        assert!(early.is_err(), "{early:?}");
        evaluator.tell(3, 0.5).await;
        let played = fixture.channels.played.recv().await.unwrap();
        assert_eq!(*played.playing.evaluation(), evaluation(env_steps));
        assert_eq!((played.score.mean_return, played.score.success), (0.5, Some(0.25)));
        played.playing.recorded();
        played.kept.send(()).unwrap();
    }
    fixture.channels.evaluations.settled().await;
}

#[tokio::test(start_paused = true)]
async fn an_evaluation_whose_evaluator_is_lost_is_given_to_the_next() {
    let fixture = LearnerFixture::start();
    let mut evaluator = Evaluator::register(&fixture.channel).await;
    fixture.channels.evaluations.offer(evaluation(40));
    let lost = evaluator.evaluation().await;
    let mut next = Evaluator::register(&fixture.channel).await;
    drop(evaluator);
    assert_eq!(next.evaluation().await, lost);
}

#[tokio::test(start_paused = true)]
async fn who_is_no_evaluator_of_this_run_is_refused_with_the_reason() {
    let fixture = LearnerFixture::start();
    let refusal = async |first| {
        let status = Evaluator::connect(&fixture.channel, first).await.hear().await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let registering = async |change: fn(&mut v1::Registration)| {
        let mut registration = evaluator_registration();
        change(&mut registration);
        refusal(Request::Registration(registration)).await
    };
    let (code, message) = registering(|r| r.set_purpose(v1::Purpose::Train)).await;
    assert!(code == Code::FailedPrecondition && message.contains("has no scores"), "{message}");
    let (code, message) = registering(|r| r.run_id = "other".into()).await;
    assert!(code == Code::FailedPrecondition && message.contains("`other`"), "{message}");
    let (code, message) = registering(|r| r.spec.as_mut().unwrap().name = "maze".into()).await;
    assert!(code == Code::FailedPrecondition && message.contains("maze"), "{message}");
    let (code, message) = registering(|r| r.protocol_version = PROTOCOL_VERSION + 1).await;
    assert!(code == Code::FailedPrecondition && message.contains("protocol"), "{message}");
    let (code, message) = refusal(Request::Score(score(3, 1.0))).await;
    assert!(code == Code::InvalidArgument && message.contains("registration"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_score_that_nobody_asked_for_is_refused_and_its_evaluation_played_again() {
    let fixture = LearnerFixture::start();
    let mut evaluator = Evaluator::register(&fixture.channel).await;
    evaluator.tell(3, 1.0).await;
    let status = evaluator.hear().await.unwrap_err();
    assert!(status.message().contains("before an evaluation"), "{status:?}");
    for (wrong, why) in [
        (score(2, 1.0), "a score of 2 episodes came; 3 were to be played"),
        (score(3, f64::NAN), "`episode_return` holds a number that is not finite"),
    ] {
        let mut evaluator = Evaluator::register(&fixture.channel).await;
        if why.contains("of 2") {
            fixture.channels.evaluations.offer(evaluation(40));
        }
        evaluator.evaluation().await;
        evaluator.send(Request::Score(wrong)).await;
        let status = evaluator.hear().await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(why), "{status:?}");
    }
    let mut evaluator = Evaluator::register(&fixture.channel).await;
    assert_eq!(evaluator.evaluation().await.0.env_steps, 40);
}

#[tokio::test(start_paused = true)]
async fn while_a_run_is_evaluated_at_its_end_evaluators_and_subscribers_stay_and_actors_leave() {
    let fixture = LearnerFixture::start();
    let mut evaluator = Evaluator::register(&fixture.channel).await;
    let mut actor = Actor::register(&fixture.channel).await;
    fixture.stage.send_replace(Stage::Evaluating);
    let finished = v1::push_response::Body::Finished(v1::Finished {});
    assert_eq!(actor.hear().await.unwrap(), Some(finished));
    fixture.channels.evaluations.offer(evaluation(40));
    evaluator.evaluation().await;
    fixture.stage.send_replace(Stage::Finished);
    let finished = Response::Finished(v1::Finished {});
    assert_eq!(evaluator.hear().await.unwrap(), Some(finished));
    assert_eq!(evaluator.hear().await.unwrap(), None);

    let fixture = LearnerFixture::start();
    let mut evaluator = Evaluator::register(&fixture.channel).await;
    fixture.stage.send_replace(Stage::Closing);
    assert_eq!(evaluator.hear().await.unwrap_err().code(), Code::Unavailable);
}
