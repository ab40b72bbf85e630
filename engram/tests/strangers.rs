//! Strangers who announce large messages and send none, to a real learner.

#![cfg(target_os = "linux")]

mod support;

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engram_proto::limits::MAX_MESSAGE_BYTES;
use engram_service::health;
use hyper::body::Frame;
use support::{PATIENCE, Program, address, memory};
use tonic::codegen::{Body, Service, http};
use tonic::transport::Endpoint;

/// Memory that the announcements of one connection may take: 2.4 MB each was measured, of 64.
const MEMORY: u64 = 256 << 20;

/// Streams that a server's settings allow on one connection: RFC 9113, sections 3.4, 4.1 and 6.5.
fn allowed_streams(at: &str) -> u64 {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let mut connection = TcpStream::connect(at).expect("a connection");
    let no_settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    connection.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("the server reads");
    connection.write_all(&no_settings).expect("the server reads");
    let mut header = [0; 9];
    connection.read_exact(&mut header).expect("a frame");
    assert_eq!(header[3], 4, "the first frame holds settings");
    let mut settings = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
    connection.read_exact(&mut settings).expect("settings");
    let limit = settings.chunks_exact(6).find_map(|setting| {
        let (key, value) = setting.split_at(2);
        let value = u32::from_be_bytes(value.try_into().expect("four bytes"));
        (key == MAX_CONCURRENT_STREAMS.to_be_bytes()).then_some(value)
    });
    limit.expect("a limit").into()
}

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
/// addresses; a page of memory, a huge one, is taken when a byte of it comes. One connection once had
/// 1,024 streams, and took 2.4 GB.
#[tokio::test(flavor = "multi_thread")]
async fn announced_messages_take_addresses_and_of_memory_little_for_each_connection() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().display().to_string();
    let own = ["--runs", &runs, "--listen", "127.0.0.1:0"];
    let mut learner = Program::of("main", &[], "learner", &own);
    let at = address(&learner.line("serving"));
    let uri = format!("http://{at}");
    let channel = Endpoint::from_shared(uri.clone()).expect("an address").connect().await;
    let mut channel = channel.expect("a connection");
    // Whoever has an answer has heard of the settings.
    let check = http::Request::post(format!("{uri}/grpc.health.v1.Health/Check"));
    let check = check.body(tonic::body::Body::empty()).expect("a request");
    std::future::poll_fn(|context| channel.poll_ready(context)).await.expect("a connection");
    channel.call(check).await.expect("an answer");

    let begin = (memory(learner.id(), "VmSize"), memory(learner.id(), "VmRSS"));
    let streams = allowed_streams(&at);
    assert!(streams <= 64, "{streams} streams, each with room for a message");
    // The others wait.
    let calls: Vec<_> = (0..4 * streams)
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
    let announced = streams * MAX_MESSAGE_BYTES as u64;
    let end = Instant::now() + PATIENCE;
    while memory(learner.id(), "VmSize") < begin.0 + announced {
        assert!(Instant::now() < end, "tonic makes no room any more: this test can go");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let taken = memory(learner.id(), "VmRSS").saturating_sub(begin.1);
    assert!(taken < MEMORY, "{announced} bytes were announced, and took {taken}");
    health::check(&at.parse().expect("an address")).await.expect("others are served");
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}
