//! Receiver of weights that throws them away unread.
//!
//! The servers of a fleet receive on machines of their own. Here they share the learner's cores, so
//! a receiver must cost next to nothing: it speaks as much HTTP/2 as one call needs (RFC 9113, header
//! fields as in RFC 7541), and has the kernel drop the pieces instead of copying them.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use engram_proto::{PROTOCOL_VERSION, v1};
use engram_service::Address;
use prost::Message;
use socket2::SockRef;

use crate::bench::programs::stand_back;

/// Bytes that an inference server allows to be on their way: of one stream, and of a connection.
const STREAM_WINDOW: u32 = 16 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

/// The window that a connection begins with.
const FIRST_WINDOW: u32 = (1 << 16) - 1;

/// The largest frame that an inference server takes.
const FRAME: u32 = 1 << 20;

/// Bytes after which the sender is told that there is room again.
const CREDIT: u32 = 2 << 20;

/// Bytes that the kernel drops at once.
const DISCARDED: u32 = 256 << 10;

/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// Flags of frames; the first one of settings and pings is an acknowledgement.
const END_STREAM: u8 = 1;
const ACKNOWLEDGES: u8 = 1;
const END_HEADERS: u8 = 4;

/// The one stream.
const STREAM: u32 = 1;

/// Receivers, each a thread with a connection of its own.
#[derive(Debug)]
pub(super) struct Receivers {
    all: Vec<(TcpStream, JoinHandle<Result<()>>)>,
    received: Arc<AtomicU64>,
}

impl Receivers {
    /// Subscribes so many times at a TCP address, to take so many bytes per second each.
    pub(super) fn start(count: u32, learner: &Address, rate: f64) -> Result<Self> {
        let address = learner.to_string();
        let received = Arc::<AtomicU64>::default();
        let receiver = |_| {
            let stream = TcpStream::connect(&address).context("the learner")?;
            stream.set_nodelay(true)?;
            let mut subscription = Subscription { stream: stream.try_clone()?, credit: 0 };
            let received = received.clone();
            let thread = std::thread::spawn(move || subscription.receive(&received, rate));
            Ok((stream, thread))
        };
        let all = (0..count).map(receiver).collect::<Result<_>>()?;
        Ok(Receivers { all, received })
    }

    /// Bytes, of all.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// An error if one has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        match self.all.iter().position(|(_, thread)| thread.is_finished()) {
            Some(at) => self.all.swap_remove(at).1.join().expect("a receiver does not panic"),
            None => Ok(()),
        }
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        for (stream, thread) in self.all.drain(..) {
            // It may have been closed by the learner.
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

/// One call of `Weights.Subscribe`.
#[derive(Debug)]
struct Subscription {
    stream: TcpStream,
    /// Bytes that have come since the sender was last given room.
    credit: u32,
}

impl Subscription {
    fn receive(&mut self, received: &AtomicU64, rate: f64) -> Result<()> {
        stand_back(None)?;
        self.subscribe()?;
        let mut header = [0; 9];
        loop {
            self.stream.read_exact(&mut header)?;
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
            let (kind, flags) = (header[3], header[4]);
            match kind {
                DATA => {
                    self.discard(length)?;
                    self.give_room(length)?;
                    received.fetch_add(length.into(), Relaxed);
                    std::thread::sleep(Duration::from_secs_f64(f64::from(length) / rate));
                }
                PING if flags & ACKNOWLEDGES == 0 => {
                    let mut payload = [0; 8];
                    self.stream.read_exact(&mut payload)?;
                    self.send(PING, ACKNOWLEDGES, 0, &payload)?;
                }
                SETTINGS if flags & ACKNOWLEDGES == 0 => {
                    self.discard(length)?;
                    self.send(SETTINGS, ACKNOWLEDGES, 0, &[])?;
                }
                RESET | GO_AWAY => bail!("the learner closed a subscription"),
                HEADERS if flags & END_STREAM != 0 => bail!("the learner ended a subscription"),
                _ => self.discard(length)?,
            }
        }
    }

    fn subscribe(&mut self) -> Result<()> {
        self.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        let setting =
            |key: u16, value: u32| [&key.to_be_bytes()[..], &value.to_be_bytes()].concat();
        self.send(SETTINGS, 0, 0, &[setting(4, STREAM_WINDOW), setting(5, FRAME)].concat())?;
        let room = CONNECTION_WINDOW - FIRST_WINDOW;
        self.send(WINDOW_UPDATE, 0, 0, &room.to_be_bytes())?;
        self.send(HEADERS, END_HEADERS, STREAM, &headers())?;
        let request =
            v1::SubscribeRequest { protocol_version: PROTOCOL_VERSION, run_id: String::new() };
        let mut message = vec![0];
        message.extend((request.encoded_len() as u32).to_be_bytes());
        request.encode(&mut message).expect("a vector has room");
        Ok(self.send(DATA, END_STREAM, STREAM, &message)?)
    }

    fn give_room(&mut self, length: u32) -> io::Result<()> {
        self.credit += length;
        if self.credit >= CREDIT {
            let room = std::mem::take(&mut self.credit).to_be_bytes();
            self.send(WINDOW_UPDATE, 0, 0, &room)?;
            self.send(WINDOW_UPDATE, 0, STREAM, &room)?;
        }
        Ok(())
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = &(payload.len() as u32).to_be_bytes()[1..];
        let frame = [length, &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.stream.write_all(&frame)
    }

    /// Has the kernel drop the next bytes.
    fn discard(&self, mut length: u32) -> Result<()> {
        // Linux writes nothing into it.
        let mut nowhere = [MaybeUninit::uninit(); DISCARDED as usize];
        while length > 0 {
            let room = &mut nowhere[..length.min(DISCARDED) as usize];
            let count = SockRef::from(&self.stream).recv_with_flags(room, libc::MSG_TRUNC)?;
            ensure!(count > 0, "the learner closed a subscription");
            length -= count as u32;
        }
        Ok(())
    }
}

/// Header fields of the call. Those whose names or values are in HPACK's table go by their numbers.
fn headers() -> Vec<u8> {
    let (post, http) = (0x83, 0x86);
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let path = [vec![4], text("/engram.v1.Weights/Subscribe")].concat();
    let authority = [vec![1], text("learner")].concat();
    let content_type = [vec![15, 16], text("application/grpc")].concat();
    let te = [vec![0], text("te"), text("trailers")].concat();
    [vec![post, http], path, authority, content_type, te].concat()
}
