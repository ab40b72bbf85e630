//! Refusals say why, and disturb nobody else.

use std::time::Duration;

use crate::support::*;
use engram_inference_server::{InferenceConfig, InferenceError, WeightsSource};
use engram_proto::v1::act_request::Body;
use engram_proto::{Registration, v1};
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::{Code, Status};

/// A bystander's stream goes on whatever happens to others.
async fn unharmed(bystander: &mut Client, moment: u32) {
    let act = bystander.ask(&frames(0..2, moment, &spec()), false).await.expect("undisturbed");
    assert_eq!(act.log_probs.len(), 8);
}

#[tokio::test]
async fn another_environment_run_or_protocol_is_refused_with_what_is_served_here() {
    let server = Server::start(config());
    let mut bystander = server.client(&registration(0, 0..2)).await.expect("registered");
    let (run_id, lease_milliseconds) = ("run".into(), 600_000);
    let registered = v1::Registered { run_id, lease_milliseconds, ..v1::Registered::default() };
    assert_eq!(bystander.registered, registered);
    let good = v1::Registration::from(&registration(1, 0..2));
    let spec = v1::EnvSpec { name: "other".into(), ..good.spec.clone().expect("a spec") };
    for (wrong, message) in [
        (v1::Registration { spec: Some(spec), ..good.clone() }, "other: f32[3] observations"),
        (v1::Registration { run_id: "theirs".into(), ..good.clone() }, "run `run` is served here"),
        (v1::Registration { protocol_version: 9, ..good.clone() }, "protocol version 9"),
    ] {
        let refused = Client::open(&server.address, Body::Registration(wrong)).await;
        let status = refused.expect_err("refused");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(status.message().contains(message), "{status}");
        unharmed(&mut bystander, 0).await;
    }
    let any_run = Registration { run_id: None, ..registration(1, 0..2) };
    assert_eq!(server.client(&any_run).await.expect("registered").registered.run_id, "run");
    server.stop().await;
}

#[tokio::test]
async fn malformed_frames_end_their_own_stream_only() {
    let server = Server::start(config());
    let mut bystander = server.client(&registration(0, 0..2)).await.expect("registered");
    let good = observe(&frames(0..2, 1, &spec()), false).frames.expect("frames");
    let nan: Vec<u8> = [f32::NAN; 6].iter().flat_map(|x| x.to_le_bytes()).collect();
    for (moment, (wrong, message)) in [
        (None, "no `frames`"),
        (Some(v1::Frames { observations: vec![0; 23].into(), ..good.clone() }), "`observations`"),
        (Some(v1::Frames { observations: nan.into(), ..good.clone() }), "not finite"),
        (Some(v1::Frames { step_types: vec![1, 4].into(), ..good.clone() }), "no step type"),
        (Some(v1::Frames { step_types: vec![1].into(), ..good.clone() }), "`step_types`"),
        (Some(v1::Frames { previous_actions: vec![3; 8].into(), ..good.clone() }), "outside of"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = server.client(&registration(1, 0..2)).await.expect("registered");
        stream.send(v1::Observe { frames: wrong, unroll_start: false, ..v1::Observe::default() });
        let status = stream.answer().await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(message), "{status}");
        unharmed(&mut bystander, moment as u32).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_breaks_the_protocol_is_refused() {
    let server = Server::start(config());
    let observation = Body::Observe(observe(&frames(0..2, 0, &spec()), false));
    let status = Client::open(&server.address, observation).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("begins with one registration"), "{status}");

    let mut twice = server.client(&registration(1, 0..2)).await.expect("registered");
    let body = Some(Body::Registration((&registration(1, 0..2)).into()));
    twice.requests.try_send(v1::ActRequest { body }).expect("room");
    let status = twice.answer().await.expect_err("refused");
    assert!(status.message().contains("a second registration"), "{status}");
    server.stop().await;
}

#[tokio::test]
async fn a_second_request_before_the_answer_is_refused() {
    // Another stream that could ask keeps the first request waiting.
    let mut patient = config();
    patient.batch.max_wait = Some(Duration::from_secs(600));
    let server = Server::start(patient);
    let _other = server.client(&registration(0, 0..2)).await.expect("registered");
    let mut stream = server.client(&registration(1, 0..2)).await.expect("registered");
    stream.send(observe(&frames(0..2, 0, &spec()), false));
    stream.send(observe(&frames(0..2, 1, &spec()), false));
    let status = stream.answer().await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("one at a time"), "{status}");
    server.stop().await;
}

#[tokio::test]
async fn garbage_and_oversized_messages_are_refused() {
    let server = Server::start(config());
    let mut bystander = server.client(&registration(0, 0..2)).await.expect("registered");
    let oversized = v1::Frames { observations: vec![0; 65 << 20].into(), ..Default::default() };
    let oversized =
        v1::Observe { frames: Some(oversized), unroll_start: false, ..v1::Observe::default() };
    let mut stream = server.client(&registration(1, 0..2)).await.expect("registered");
    stream.send(oversized);
    let status = stream.answer().await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("cannot be read"), "{status}");
    unharmed(&mut bystander, 0).await;

    let status = send_garbage(&server).await.expect_err("refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    unharmed(&mut bystander, 1).await;
    server.stop().await;
}

/// Sends a message of another service as the first one: field 15 instead of a registration.
async fn send_garbage(server: &Server) -> Result<(), Status> {
    let channel = engram_service::net::connect(&server.address, "inference server");
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.expect("a connection");
    let (sender, stream) = tokio::sync::mpsc::channel::<Vec<u8>>(1);
    sender.try_send(vec![0xff; 40]).expect("room");
    let path = "/engram.v1.Inference/Act".parse().expect("a path");
    let request = tonic::Request::new(ReceiverStream::new(stream));
    grpc.streaming(request, path, raw::Codec).await.map(|_| ())
}

/// Bytes as they are.
mod raw {
    use bytes::{Buf, BufMut};
    use tonic::Status;
    use tonic::codec::{DecodeBuf, Decoder, EncodeBuf, Encoder};

    pub(crate) struct Codec;

    impl tonic::codec::Codec for Codec {
        type Encode = Vec<u8>;
        type Decode = Vec<u8>;
        type Encoder = Codec;
        type Decoder = Codec;

        fn encoder(&mut self) -> Codec {
            Codec
        }

        fn decoder(&mut self) -> Codec {
            Codec
        }
    }

    impl Encoder for Codec {
        type Item = Vec<u8>;
        type Error = Status;

        fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
            buffer.put_slice(&item);
            Ok(())
        }
    }

    impl Decoder for Codec {
        type Item = Vec<u8>;
        type Error = Status;

        fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
            Ok(Some(buffer.copy_to_bytes(buffer.remaining()).to_vec()))
        }
    }
}

#[tokio::test]
async fn more_environments_than_slots_are_refused_until_some_are_free() {
    let server = Server::start(InferenceConfig { max_slots: 4, ..config() });
    let bystander = server.client(&registration(0, 0..3)).await.expect("registered");
    let status = server.client(&registration(1, 0..2)).await.err().expect("refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("only 1 of 4 slots"), "{status}");
    drop(bystander.requests);
    let mut responses = bystander.responses;
    assert!(responses.message().await.expect("a good end").is_none());
    server.client(&registration(1, 0..2)).await.expect("registered");
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_has_no_weights_says_what_is_missing() {
    let nobody = engram_service::Listener::memory().address().clone();
    let learner = WeightsSource::Learner(nobody);
    let weights_wait = Duration::from_millis(1);
    let server = Server::start(InferenceConfig { weights: learner, weights_wait, ..config() });
    let status = server.client(&registration(0, 0..2)).await.err().expect("refused");
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("there are no weights yet"), "{status}");
    assert!(!server.healthy().await);
    server.stop().await;
}

#[tokio::test]
async fn weights_that_are_none_and_settings_that_are_wrong_end_the_server_at_once() {
    let garbage = WeightsSource::Bytes(vec![7; 100].into());
    let ended = Server::start(InferenceConfig { weights: garbage, ..config() }).task.await;
    let error = ended.expect("no panic").expect_err("no weights").to_string();
    assert!(error.contains("cannot be used"), "{error}");

    let folder = tempfile::tempdir().expect("a folder");
    let missing = WeightsSource::File(folder.path().join("weights.safetensors"));
    let ended = Server::start(InferenceConfig { weights: missing, ..config() }).task.await;
    let error = ended.expect("no panic").expect_err("no file").to_string();
    assert!(error.contains("weights.safetensors"), "{error}");

    let ended = Server::start(InferenceConfig { threads: 0, ..config() }).task.await;
    let error = ended.expect("no panic").expect_err("no threads");
    assert!(matches!(error, InferenceError::Config { key: "threads", .. }), "{error}");
}
