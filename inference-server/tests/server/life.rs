//! Weights come and go, streams are replaced or fall silent, the server ends.

use std::time::Duration;

use crate::support::*;
use bytes::Bytes;
use engram_inference_server::{BatchOverrides, InferenceConfig, WeightsSource};
use engram_proto::v1::inference_client::InferenceClient;
use engram_proto::{PROTOCOL_VERSION, Registration};
use engram_service::net;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

/// A server that follows a learner of ours.
fn following() -> (Server, Learner) {
    let learner = Learner::start();
    let weights = WeightsSource::Learner(learner.address.clone());
    (Server::start(InferenceConfig { weights, ..config() }), learner)
}

/// Asks until the answer is of `version`: weights are swapped between batches, not at once.
async fn ask_until(stream: &mut Client, version: u64) {
    loop {
        let act = stream.ask(&frames(0..2, 1, &spec()), false).await.expect("an answer");
        if act.policy_version == version {
            return;
        }
    }
}

#[tokio::test]
async fn a_registration_waits_for_the_first_weights_and_later_ones_are_swapped_in() {
    let (server, mut learner) = following();
    let subscription = learner.subscription().await;
    assert_eq!(subscription.request.protocol_version, PROTOCOL_VERSION);
    assert_eq!(subscription.request.run_id, "run");
    assert!(!server.healthy().await);
    let (actor, first) = (registration(0, 0..2), weights(1, 3));
    let (stream, ()) = tokio::join!(server.client(&actor), subscription.publish(&first, 3, 1000),);
    let mut stream = stream.expect("registered");
    let act = stream.ask(&frames(0..2, 0, &spec()), false).await.expect("an answer");
    assert_eq!(act.policy_version, 3);
    subscription.publish(&weights(2, 4), 4, 1 << 20).await;
    ask_until(&mut stream, 4).await;
    server.stop().await;
}

#[tokio::test]
async fn an_unroll_waits_for_the_weights_that_it_must_begin_with() {
    let (server, mut learner) = following();
    let subscription = learner.subscription().await;
    let (actor, first) = (registration(0, 0..2), weights(1, 3));
    let (stream, ()) = tokio::join!(server.client(&actor), subscription.publish(&first, 3, 1000));
    let mut stream = stream.expect("registered");
    let begin = observe(&frames(0..2, 0, &spec()), true);
    stream.send(engram_proto::v1::Observe { min_policy_version: 4, ..begin });
    let newer = weights(2, 4);
    let (act, ()) = tokio::join!(stream.answer(), subscription.publish(&newer, 4, 1000));
    assert_eq!(act.expect("an answer").policy_version, 4);
    server.stop().await;
}

#[tokio::test]
async fn a_server_is_healthy_once_it_has_weights() {
    let server = Server::start(config());
    server.client(&registration(0, 0..1)).await.expect("registered");
    // The registration was answered after the weights came; health is told by another task.
    while !server.healthy().await {}
    server.stop().await;
}

#[tokio::test]
async fn broken_weights_are_refused_and_those_in_use_stay() {
    let (server, mut learner) = following();
    let subscription = learner.subscription().await;
    subscription.publish(&weights(1, 3), 3, 1 << 20).await;
    let mut stream = server.client(&registration(0, 0..2)).await.expect("registered");
    let other_environment = policy(&continuous(), 1).save(4).into();
    let torn = weights(2, 5).slice(..1000);
    for broken in [Bytes::from_static(b"no weights at all"), other_environment, torn] {
        subscription.publish(&broken, 4, 1 << 20).await;
    }
    let act = stream.ask(&frames(0..2, 0, &spec()), false).await.expect("an answer");
    assert_eq!(act.policy_version, 3);
    subscription.publish(&weights(2, 6), 6, 1 << 20).await;
    ask_until(&mut stream, 6).await;
    server.stop().await;
}

#[tokio::test]
async fn a_subscription_that_breaks_is_opened_again() {
    let (server, mut learner) = following();
    let first = learner.subscription().await;
    let piece = |run_id: &str, offset| engram_proto::v1::WeightsChunk {
        run_id: run_id.into(),
        policy_version: 3,
        total_bytes: 100,
        offset,
        data: Bytes::from_static(b"some"),
    };
    // Closed; then pieces out of order; then another run; then all is well.
    drop(first);
    let second = learner.subscription().await;
    second.pieces.send(Ok(piece("run", 50))).await.expect("the server listens");
    let third = learner.subscription().await;
    third.pieces.send(Ok(piece("theirs", 0))).await.expect("the server listens");
    let fourth = learner.subscription().await;
    fourth.publish(&weights(1, 3), 3, 1 << 20).await;
    server.client(&registration(0, 0..2)).await.expect("registered");
    server.stop().await;
}

#[tokio::test]
async fn a_newer_generation_takes_over_and_the_older_one_is_told() {
    let server = Server::start(config());
    let mut older = server.client(&registration(0, 0..2)).await.expect("registered");
    older.ask(&frames(0..2, 0, &spec()), false).await.expect("an answer");
    let newer = Registration { generation: 2, ..registration(0, 0..2) };
    let mut newer = server.client(&newer).await.expect("registered");
    let status = older.answer().await.expect_err("evicted");
    assert_eq!(status.code(), Code::Aborted);
    assert!(status.message().contains("generation 2 of actor 0"), "{status}");
    let status = server.client(&registration(0, 0..2)).await.err().expect("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("generation 1"), "{status}");
    newer.ask(&frames(0..2, 0, &spec()), false).await.expect("an answer");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_is_evicted_while_its_request_waits() {
    let mut patient = config();
    patient.batch.max_wait = Some(Duration::from_secs(600));
    let server = Server::start(patient);
    let _keeps_waiting = server.client(&registration(9, 0..2)).await.expect("registered");
    let mut older = server.client(&registration(0, 0..2)).await.expect("registered");
    older.send(observe(&frames(0..2, 0, &spec()), false));
    let _newer = server.client(&registration(0, 0..2)).await.expect("registered");
    assert_eq!(older.answer().await.expect_err("evicted").code(), Code::Aborted);
    server.stop().await;
}

#[tokio::test]
async fn a_silent_stream_loses_its_slots() {
    let server = Server::start(InferenceConfig { max_slots: 2, ..config() });
    let mut silent = server.client(&registration(0, 0..2)).await.expect("registered");
    // From here on time jumps to the next deadline whenever everybody waits.
    tokio::time::pause();
    let status = silent.answer().await.expect_err("silent");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("silent for 600 s"), "{status}");
    server.client(&registration(1, 0..2)).await.expect("registered");
    server.stop().await;
}

/// It once had the time of a lease.
#[tokio::test]
async fn a_stream_that_says_nothing_is_not_waited_for_as_long_as_a_lease() {
    let server = Server::start(config());
    server.client(&registration(0, 0..2)).await.expect("the server is up");
    let (_requests, stream) = tokio::sync::mpsc::channel(1);
    let mut client = InferenceClient::new(net::connect(&server.address, "inference server"));
    tokio::time::pause();
    let silent = client.act(ReceiverStream::new(stream));
    let status = tokio::time::timeout(Duration::from_secs(31), silent).await.expect("a refusal");
    let status = status.expect_err("silent");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("no registration came within 30 s"), "{status}");
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_says_that_it_waits_keeps_its_slots() {
    let lease = Duration::from_secs(1);
    let server = Server::start(InferenceConfig { lease, ..config() });
    let mut waiting = server.client(&registration(0, 0..2)).await.expect("registered");
    assert_eq!(waiting.registered.lease_milliseconds, 1000);
    tokio::time::pause();
    for _ in 0..100 {
        waiting.wait();
        tokio::time::sleep(lease * 9 / 10).await;
    }
    tokio::time::resume();
    // A sign of life may cross its answer.
    waiting.send(observe(&frames(0..2, 0, &spec()), false));
    waiting.wait();
    waiting.answer().await.expect("an answer");
    server.stop().await;
}

#[tokio::test]
async fn shutdown_tells_every_stream_and_joins_everything() {
    let mut patient = config();
    patient.batch.max_wait = Some(Duration::from_secs(600));
    let server = Server::start(patient);
    let mut idle = server.client(&registration(0, 0..2)).await.expect("registered");
    let mut waiting = server.client(&registration(1, 0..2)).await.expect("registered");
    waiting.send(observe(&frames(0..2, 0, &spec()), false));
    let Server { shutdown, task, .. } = server;
    shutdown.trigger();
    for stream in [&mut idle, &mut waiting] {
        let status = stream.answer().await.expect_err("the server ends");
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("shutting down"), "{status}");
    }
    task.await.expect("no panic").expect("a good end");
}

#[tokio::test]
async fn weights_are_served_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("weights.safetensors");
    std::fs::write(&path, weights(1, 12)).expect("room on disk");
    let weights = WeightsSource::File(path);
    let server = Server::start(InferenceConfig { weights, run_id: None, ..config() });
    let mut stream = server.client(&registration(0, 0..2)).await.expect("registered");
    let act = stream.ask(&frames(0..2, 0, &spec()), false).await.expect("an answer");
    assert_eq!((act.policy_version, stream.registered.run_id.as_str()), (12, "run"));
    server.stop().await;
}

#[tokio::test]
async fn graphs_show_requests_batches_slots_and_the_version() {
    engram_service::metrics::install();
    let server = Server::start(config());
    let mut stream = server.client(&registration(0, 0..2)).await.expect("registered");
    stream.ask(&frames(0..2, 0, &spec()), false).await.expect("an answer");
    // Other tests of this process count too: values are theirs as well.
    let page = engram_service::metrics::snapshot();
    for metric in [
        "engram_inference_requests_total",
        "engram_inference_rows_total",
        "engram_inference_batch_size_bucket",
        "engram_inference_queue_seconds_bucket",
        "engram_inference_forward_seconds_bucket",
        "engram_inference_streams",
        "engram_inference_slots",
        "engram_inference_evictions_total",
        "engram_policy_version{role=\"inference\"}",
        "engram_weights_received_total",
    ] {
        assert!(page.lines().any(|line| line.starts_with(metric)), "{metric} in\n{page}");
    }
    server.stop().await;
}

/// A server that takes its batch limits from a learner, but for `batch`, and its first weights.
async fn limited_by(learner: &mut Learner, batch: BatchOverrides) -> (Server, Subscription) {
    let weights_source = WeightsSource::Learner(learner.address.clone());
    let server = Server::start(InferenceConfig { weights: weights_source, batch, ..config() });
    let subscription = learner.subscription().await;
    subscription.publish(&weights(1, 3), 3, 1 << 20).await;
    (server, subscription)
}

#[tokio::test]
async fn batch_limits_are_those_of_the_learners_experiment() {
    let mut learner = Learner::start();
    learner.experiment.send_replace(experiment(2, 10_000.0));
    let (server, _subscription) = limited_by(&mut learner, BatchOverrides::default()).await;
    let mut pair = server.client(&registration(0, 0..2)).await.expect("registered");
    let mut single = server.client(&registration(1, 0..1)).await.expect("registered");
    // Two rows fill a batch, although the other stream has not asked.
    pair.ask(&frames(0..2, 0, &spec()), false).await.expect("an answer");
    // One row waits for the other stream, much longer than this test does.
    single.send(observe(&frames(0..1, 0, &spec()), false));
    let early = tokio::time::timeout(Duration::from_millis(50), single.answer()).await;
    assert!(early.is_err(), "the batch closed before its time: {early:?}");
    server.stop().await;
}

#[tokio::test]
async fn overrides_hold_against_the_learners_experiment() {
    let mut learner = Learner::start();
    learner.experiment.send_replace(experiment(64, 10_000.0));
    let batch = BatchOverrides { max_wait: Some(Duration::ZERO), max_batch_size: None };
    let (server, _subscription) = limited_by(&mut learner, batch).await;
    let mut first = server.client(&registration(0, 0..2)).await.expect("registered");
    let _idle = server.client(&registration(1, 0..2)).await.expect("registered");
    first.ask(&frames(0..2, 0, &spec()), false).await.expect("an answer at once");
    server.stop().await;
}

#[tokio::test]
async fn a_restarted_learner_brings_its_own_batch_limits() {
    let mut learner = Learner::start();
    learner.experiment.send_replace(experiment(64, 10_000.0));
    let (server, subscription) = limited_by(&mut learner, BatchOverrides::default()).await;
    learner.experiment.send_replace(experiment(2, 10_000.0));
    drop(subscription);
    let _again = learner.subscription().await;
    let mut pair = server.client(&registration(0, 0..2)).await.expect("registered");
    let _idle = server.client(&registration(1, 0..2)).await.expect("registered");
    pair.ask(&frames(0..2, 0, &spec()), false).await.expect("two rows fill a batch");
    server.stop().await;
}
