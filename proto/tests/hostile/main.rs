//! Hostile bytes: whatever a peer sends is a message or an error, without a panic, and costs
//! little more memory than it has on the wire.

#[path = "../support/allocation.rs"]
mod allocation;
#[path = "../support/damage.rs"]
mod damage;
mod messages;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use allocation::peak;
use bytes::Bytes;
use damage::{cases, damaged, varint};
use engram_proto::codec::{LimitedCodec, decode};
use engram_proto::convert::{
    actions_from_wire, episode_from_wire, frames_from_wire, score_from_wire, trajectory_from_wire,
};
use engram_proto::element_limits::{Limited, check};
use engram_proto::limits::MAX_MESSAGE_BYTES;
use engram_proto::v1::{act_request, evaluate_request, push_request};
use engram_proto::{Registration, WireError, v1};
use hyper::body::{Body, Frame};
use messages::{
    UNROLL_LENGTH, acts, answers, evaluations, push, pushes, registration, report, spec,
    trajectories, trajectory,
};
use proptest::prelude::*;
use prost::Message;
use tonic::codec::{Codec, Streaming};
use tonic::{Code, Status};

/// The most memory that a message may take while it is decoded and checked: a few times its
/// bytes, and what the largest number of empty trajectories takes.
fn budget(message: usize) -> usize {
    (8 << 20) + 8 * message
}

/// Decodes as the service of `M` does, reads what there is, and keeps to the budget.
fn within_budget<M: Limited>(bytes: Vec<u8>, read: impl FnOnce(M)) -> Result<(), TestCaseError> {
    let len = bytes.len();
    let message = Bytes::from(bytes);
    let ((), peak) = peak(|| {
        if let Ok(message) = decode::<M>(message) {
            read(message);
        }
    });
    prop_assert!(peak <= budget(len), "{len} bytes on the wire took {peak}");
    Ok(())
}

fn read_push(message: v1::PushRequest) {
    match message.body {
        Some(push_request::Body::Registration(message)) => drop(Registration::try_from(message)),
        Some(push_request::Body::Trajectories(message)) => {
            for trajectory in message.trajectories {
                let _ = trajectory_from_wire(trajectory, 3, &spec(), UNROLL_LENGTH);
            }
        }
        Some(push_request::Body::BeginUnroll(_)) | None => {}
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn pushes_do_no_harm(bytes in damaged(pushes())) {
        within_budget(bytes, read_push)?;
    }

    #[test]
    fn acts_do_no_harm(bytes in damaged(acts())) {
        within_budget(bytes, |message: v1::ActRequest| match message.body {
            Some(act_request::Body::Registration(message)) => {
                drop(Registration::try_from(message));
            }
            Some(act_request::Body::Observe(v1::Observe { frames: Some(frames), .. })) => {
                drop(frames_from_wire(frames, &spec(), 8));
            }
            _ => {}
        })?;
    }

    #[test]
    fn reports_do_no_harm(bytes in damaged(vec![report(4).encode_to_vec()])) {
        within_budget(bytes, |message: v1::ReportRequest| {
            message.episodes.iter().for_each(|episode| drop(episode_from_wire(episode)));
        })?;
    }

    #[test]
    fn evaluators_do_no_harm(bytes in damaged(evaluations())) {
        within_budget(bytes, |message: v1::EvaluateRequest| match message.body {
            Some(evaluate_request::Body::Registration(message)) => {
                drop(Registration::try_from(message));
            }
            Some(evaluate_request::Body::Score(score)) => drop(score_from_wire(&score, 8)),
            None => {}
        })?;
    }

    #[test]
    fn answers_do_no_harm(bytes in damaged(answers())) {
        within_budget(bytes.clone(), |_: v1::WeightsChunk| {})?;
        within_budget(bytes.clone(), |_: v1::PushResponse| {})?;
        within_budget(bytes.clone(), |_: v1::EvaluateResponse| {})?;
        within_budget(bytes.clone(), |_: v1::ResolveResponse| {})?;
        within_budget(bytes, |message: v1::ActResponse| {
            if let Some(v1::act_response::Body::Act(act)) = message.body {
                let _ = actions_from_wire(&act.actions, spec().action, 8);
            }
        })?;
    }

    /// The walk refuses nothing that a peer of ours sends.
    #[test]
    fn what_was_encoded_is_decoded(count in 0_u32..40, episodes in 0_usize..40) {
        let sent = trajectories(count);
        prop_assert_eq!(decode(sent.encode_to_vec().into()), Ok(sent));
        let sent = report(episodes);
        prop_assert_eq!(decode(sent.encode_to_vec().into()), Ok(sent));
        let sent = push(push_request::Body::Registration(registration()));
        prop_assert_eq!(decode(sent.encode_to_vec().into()), Ok(sent));
    }
}

#[test]
fn the_good_messages_are_good() {
    for bytes in pushes() {
        let message: v1::PushRequest = decode(bytes.into()).expect("a good message");
        match message.body.expect("a body") {
            push_request::Body::Registration(message) => {
                Registration::try_from(message).expect("a good registration");
            }
            push_request::Body::Trajectories(message) => {
                for trajectory in message.trajectories {
                    trajectory_from_wire(trajectory, 3, &spec(), UNROLL_LENGTH).expect("good");
                }
            }
            push_request::Body::BeginUnroll(_) => {}
        }
    }
}

/// A field's tag and length, and so many bytes.
fn field(number: u64, inside: Vec<u8>) -> Vec<u8> {
    [varint(number << 3 | 2), varint(inside.len() as u64), inside].concat()
}

/// Bytes of elements of field `number` that are empty: two bytes each.
fn empties(number: u64, bytes: usize) -> Vec<u8> {
    field(number, Vec::new()).repeat(bytes / 2)
}

/// Body of a request, which comes in pieces.
struct Pieces(Bytes);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.0.len().min(64 << 10);
        let piece = self.0.split_to(piece);
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }
}

/// Sends one message as a peer would, and returns what the service of `M` gets, and the peak of
/// memory meanwhile.
fn received<M: Limited + Send + 'static>(message: Vec<u8>) -> (Result<Option<M>, Status>, usize) {
    let frame = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let body = Pieces(Bytes::from(frame));
    let decoder = LimitedCodec::<(), M>::default().decoder();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    peak(|| {
        let mut stream = Streaming::new_request(decoder, body, None, Some(MAX_MESSAGE_BYTES));
        runtime.block_on(stream.message())
    })
}

/// The story: a trajectory takes two bytes on the wire when it is empty, and 240 in memory, so a
/// message of the largest size took 8 GB.
#[test]
fn a_message_of_empty_trajectories_takes_no_more_memory_than_its_bytes() {
    let message = field(2, empties(1, MAX_MESSAGE_BYTES - 16));
    let len = message.len();
    let (refused, peak) = received::<v1::PushRequest>(message);
    let status = refused.expect_err("too many");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "a message of 67108853 bytes holds more than 16384 trajectories; send them in several \
         messages"
    );
    assert!(peak < 2 * len, "{len} bytes took {peak}");
}

#[test]
fn a_report_of_empty_episodes_takes_no_more_memory_than_its_bytes() {
    let message = empties(5, 4 << 20);
    let len = message.len();
    let (refused, peak) = received::<v1::ReportRequest>(message);
    let status = refused.expect_err("too many");
    assert_eq!(
        status.message(),
        "a message of 4194304 bytes holds more than 65536 episodes; send them in several reports"
    );
    assert!(peak < 2 * len, "{len} bytes took {peak}");
}

#[test]
fn a_field_in_several_parts_is_counted_as_one() {
    let part = field(2, empties(1, 2 * 10_000));
    let refused = decode::<v1::PushRequest>([part.clone(), part].concat().into());
    assert!(matches!(refused, Err(WireError::Excess { what: "trajectories", .. })), "{refused:?}");
}

#[test]
fn an_observation_of_many_sides_is_refused_packed_or_not() {
    let packed = field(3, vec![1; 9]);
    let single = [varint(3 << 3), vec![1]].concat().repeat(9);
    for shape in [packed, single] {
        let message = field(1, field(7, shape));
        for refused in [
            decode::<v1::PushRequest>(message.clone().into()).map(drop),
            decode::<v1::ActRequest>(message.clone().into()).map(drop),
            decode::<v1::EvaluateRequest>(message.into()).map(drop),
        ] {
            let why = refused.expect_err("refused").to_string();
            assert!(why.contains("more than 8 sides of an observation"), "{why}");
        }
    }
}

#[test]
fn a_large_registration_is_refused() {
    let mut large = registration();
    large.run_id = "x".repeat(70_000);
    let found = large.encoded_len();
    let message = push(push_request::Body::Registration(large)).encode_to_vec();
    let limit = 64 << 10;
    assert_eq!(
        decode::<v1::PushRequest>(message.into()),
        Err(WireError::TooMany { what: "bytes in a registration", limit, found })
    );
    let request = v1::ResolveRequest { protocol_version: 2, run_id: "x".repeat(70_000) };
    let refused = decode::<v1::ResolveRequest>(request.encode_to_vec().into());
    assert!(matches!(refused, Err(WireError::TooMany { limit: 65_536, .. })), "{refused:?}");
}

/// By hand: the share of the walk in decoding a message of the usual size.
#[test]
#[ignore = "a measurement: cargo test --test hostile -- --ignored --nocapture"]
#[allow(clippy::print_stderr, reason = "its result")]
fn the_walk_costs_little() {
    let mut large = trajectory(0);
    large.frames.as_mut().expect("frames").observations = vec![0; 32 << 10].into();
    let trajectories = vec![large; 32];
    let body = push_request::Body::Trajectories(v1::Trajectories { trajectories });
    let message = Bytes::from(push(body).encode_to_vec());
    // The fastest of many: the machine does other things, too.
    let nanoseconds = |work: &dyn Fn()| {
        let batch = |_| {
            let start = Instant::now();
            (0..100).for_each(|_| work());
            start.elapsed().as_nanos() / 100
        };
        (0..200).map(batch).min().expect("batches")
    };
    let without = nanoseconds(&|| drop(v1::PushRequest::decode(message.clone())));
    let with = nanoseconds(&|| drop(decode::<v1::PushRequest>(message.clone())));
    let walk = nanoseconds(&|| check::<v1::PushRequest>(&message).expect("good"));
    let bytes = message.len();
    eprintln!("{bytes} bytes: {with} ns, of which the walk takes {walk}; without it {without} ns");
    eprintln!("an empty trajectory takes {} bytes", size_of::<v1::Trajectory>());
}

/// A new repeated field needs a limit: this is the list of those that have one.
#[test]
fn every_repeated_field_has_a_limit() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("engram/v1");
    let mut repeated = Vec::new();
    for file in std::fs::read_dir(folder).expect("the protocol") {
        let text = std::fs::read_to_string(file.expect("a file").path()).expect("text");
        let fields = text.lines().filter_map(|line| line.trim().strip_prefix("repeated "));
        repeated.extend(fields.map(|field| field.trim_end_matches(';').to_owned()));
        assert!(!text.contains("map<"), "a map is a repeated field, and needs a limit");
    }
    repeated.sort();
    assert_eq!(
        repeated,
        ["Episode episodes = 5", "Trajectory trajectories = 1", "uint32 observation_shape = 3"]
    );
}
