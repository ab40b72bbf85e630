//! Registrations: who is refused, and what number, generation, seed and rank an actor is told.

use engram_proto::{PROTOCOL_VERSION, v1};
use tonic::Code;

use super::service_tests::{LearnerFixture, contract};
use crate::fixtures::*;
use crate::rpc::membership::{FIRST_ISSUED_NUMBER, Membership};
use crate::rpc::ranks::Ranks;

#[tokio::test(start_paused = true)]
async fn who_does_not_belong_here_is_refused_with_what_was_expected() {
    let fixture = LearnerFixture::start();
    let registering = async |change: fn(&mut v1::Registration)| {
        let mut message = registration();
        change(&mut message);
        let status = fixture.refusal(register(message), None).await;
        (status.code(), status.message().to_owned())
    };
    let precondition = Code::FailedPrecondition;
    let (code, message) = registering(|r| r.protocol_version = PROTOCOL_VERSION + 1).await;
    assert!(code == precondition && message.contains("speaks protocol version"), "{message}");
    let (code, message) = registering(|r| r.run_id = "other".into()).await;
    assert!(code == precondition && message.contains("`other`"), "{message}");
    assert!(message.contains("`test` is served"), "{message}");
    let (code, message) = registering(|r| r.spec.as_mut().unwrap().name = "maze".into()).await;
    assert!(code == precondition, "{message}");
    assert!(message.contains("[test: f32[3]") && message.contains("[maze: f32[3]"), "{message}");
    let (code, message) = registering(|r| r.set_purpose(v1::Purpose::Evaluate)).await;
    assert!(code == precondition && message.contains("only actors that train"), "{message}");
    let (code, message) = registering(|r| r.env_count = 0).await;
    assert!(code == Code::InvalidArgument && message.contains("environments"), "{message}");
    let newer = registered_as(7, 2, 0);
    let mut actor = Actor::connect(&fixture.channel).await;
    actor.send(register(v1::Registration { generation: 2, ..registration() })).await;
    assert_eq!(actor.hear().await.unwrap(), Some(newer));
    let (code, message) = registering(|_| {}).await;
    assert!(code == precondition && message.contains("its own number"), "{message}");
}

/// Environments and draws of actions once began from the same seeds whenever an actor came again,
/// or the run went on.
#[tokio::test(start_paused = true)]
async fn every_incarnation_of_an_actor_gets_a_seed_of_its_own_also_when_the_run_goes_on() {
    let hear = async |fixture: &LearnerFixture, actor, generation| {
        let mut client = Actor::connect(&fixture.channel).await;
        let registration = v1::Registration { actor, generation, ..registration() };
        client.send(register(registration)).await;
        client.hear().await.unwrap().unwrap()
    };
    let fixture = LearnerFixture::start();
    assert_eq!(hear(&fixture, 7, 100).await, registered_as(7, 100, 0));
    assert_eq!(hear(&fixture, 8, 100).await, registered_as(8, 100, 0));
    assert_eq!(hear(&fixture, 7, 200).await, registered_as(7, 200, 1));
    assert_eq!(hear(&fixture, 7, 200).await, registered_as(7, 200, 1), "the same one comes back");
    let saved = fixture.channels.stats.membership().save();
    // A run that begins agrees with any other, and one that goes on repeats nothing.
    let fixture = LearnerFixture::start();
    assert_eq!(hear(&fixture, 7, 300).await, registered_as(7, 300, 0));
    *fixture.channels.stats.membership() = Membership::default().resuming(saved);
    let came_back = hear(&fixture, 8, 100).await;
    assert_eq!(came_back, registered_as(8, 100, 0), "it has waited for the learner");
    let v1::push_response::Body::Registered(new) = hear(&fixture, 7, 0).await else { panic!() };
    let v1::push_response::Body::Registered(third) = registered_as(7, 0, 2) else { panic!() };
    assert_eq!((new.actor, new.seed), (7, third.seed));
}

/// Generations once came from the actors' clocks: a pod that was moved to a machine whose clock was
/// behind was refused until that caught up.
#[tokio::test(start_paused = true)]
async fn whoever_registers_later_is_newer_and_who_has_no_number_gets_a_free_one() {
    let fixture = LearnerFixture::start();
    let hear = async |change: fn(&mut v1::Registration)| {
        let mut message = v1::Registration { generation: 0, ..registration() };
        change(&mut message);
        let mut actor = Actor::connect(&fixture.channel).await;
        actor.send(register(message)).await;
        let answer = actor.hear().await.unwrap();
        let Some(v1::push_response::Body::Registered(registered)) = answer else {
            panic!("{answer:?}")
        };
        (actor, registered.actor, registered.generation)
    };
    let (mut older, number, first) = hear(|_| {}).await;
    assert_eq!(number, 7);
    let (mut newer, _, second) = hear(|_| {}).await;
    assert!(second > first);
    older.send(push(&[trajectory(0, 0)])).await;
    let refused = older.hear().await.unwrap_err();
    assert!(refused.message().contains("its own number"), "{refused}");
    newer.send(push(&[trajectory(0, 0)])).await;
    assert_eq!(newer.hear().await.unwrap(), Some(acknowledged(1)));
    let (_one, number, _) = hear(|r| r.any_number = true).await;
    let (_two, other, _) = hear(|r| r.any_number = true).await;
    assert_eq!((number, other), (FIRST_ISSUED_NUMBER, FIRST_ISSUED_NUMBER + 1));
}

#[tokio::test(start_paused = true)]
async fn actors_of_any_numbers_are_told_different_ranks() {
    let fixture = LearnerFixture::new(Ranks::new(3), &["run.queue_trajectories=4"]);
    fixture.channels.contract.send_replace(Some(contract()));
    let mut present = Vec::new();
    for (actor, expected) in [(1 << 31, 0), (1, 1), (4_000_000_000, 2), (77, 0)] {
        let mut client = Actor::connect(&fixture.channel).await;
        client.send(register(v1::Registration { actor, ..registration() })).await;
        let answer = client.hear().await.unwrap();
        let Some(v1::push_response::Body::Registered(registered)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(registered.rank, expected, "actor {actor}");
        present.push(client);
    }
}
