//! Strangers who announce large messages and send none, to a real learner.

#![cfg(target_os = "linux")]

mod support;

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engram_proto::limits::MAX_MESSAGE_BYTES;
use hyper::body::Frame;
use support::{PATIENCE, Program, address, memory};
use tonic::codegen::{Body, Service, http};
use tonic::transport::Endpoint;

/// Streams that one connection may have, or nearly.
const STREAMS: u64 = 100;

/// The header of a message as large as may be, and nothing more.
struct Announcement(Option<Bytes>);

impl Announcement {
    fn new() -> Self {
        let len = MAX_MESSAGE_BYTES as u32;
        Announcement(Some([&[0][..], &len.to_be_bytes()].concat().into()))
    }
}

impl Body for Announcement {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(header) => Poll::Ready(Some(Ok(Frame::data(header)))),
            // Nobody wakes it: the stranger says nothing more.
            None => Poll::Pending,
        }
    }
}

/// tonic makes room for a message when its header has come: 64 MiB for five bytes. That room is
/// addresses; a page of memory is taken when a byte of it comes.
#[tokio::test(flavor = "multi_thread")]
async fn an_announced_message_takes_addresses_and_no_memory() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().display().to_string();
    let own = ["--runs", &runs, "--listen", "127.0.0.1:0"];
    let mut learner = Program::of("main", &[], "learner", &own);
    let at = address(&learner.line("serving"));
    let uri = format!("http://{at}");
    let channel = Endpoint::from_shared(uri.clone()).expect("an address").connect().await;
    let channel = channel.expect("a connection");

    let begin = (memory(learner.id(), "VmSize"), memory(learner.id(), "VmRSS"));
    let calls: Vec<_> = (0..STREAMS)
        .map(|_| {
            let request = http::Request::post(format!("{uri}/engram.v1.Experience/Push"))
                .header("content-type", "application/grpc")
                .body(tonic::body::Body::new(Announcement::new()))
                .expect("a request");
            let mut channel = channel.clone();
            tokio::spawn(async move {
                std::future::poll_fn(|context| channel.poll_ready(context)).await?;
                channel.call(request).await
            })
        })
        .collect();
    let announced = STREAMS * MAX_MESSAGE_BYTES as u64;
    let end = Instant::now() + PATIENCE;
    while memory(learner.id(), "VmSize") < begin.0 + announced {
        assert!(Instant::now() < end, "tonic makes no room any more: this test can go");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let taken = memory(learner.id(), "VmRSS").saturating_sub(begin.1);
    assert!(taken < announced / 16, "{announced} bytes were announced, and took {taken}");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}
