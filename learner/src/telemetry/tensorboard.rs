//! TensorBoard event files, written by hand: a scalar is three small protobuf messages in a
//! record framed by two checksums.
//!
//! The framing is TensorFlow's (`tensorflow/core/lib/io/record_writer.h`): length, masked CRC-32C
//! of the length, data, masked CRC-32C of the data. The messages are the few fields of
//! `tensorflow/core/util/event.proto` and `summary.proto` that scalars need.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;

/// Scalars over env steps, in one event file.
#[derive(Debug)]
pub struct EventFile {
    path: PathBuf,
    file: File,
}

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "EventContent", tags = "3, 5, 7")]
    content: Option<EventContent>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum EventContent {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    Session(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, tag = "2")]
    simple_value: f32,
}

/// Says that the run goes on from here: TensorBoard hides what earlier files hold beyond it.
#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SESSION_START: i32 = 1;

impl EventFile {
    /// New event file in `folder` for a run that starts, or goes on, at `env_steps`.
    pub fn create(folder: &Path, env_steps: u64, now: SystemTime) -> io::Result<Self> {
        let seconds = since_1970(now).as_secs();
        let millis = since_1970(now).subsec_millis();
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.{millis:03}.engram"));
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let mut events = EventFile { path, file };
        let version = EventContent::FileVersion("brain.Event:2".into());
        let session = EventContent::Session(SessionLog { status: SESSION_START });
        events.write(0, now, version)?;
        events.write(env_steps, now, session)?;
        Ok(events)
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds one point to the curve of every scalar.
    pub fn scalars<'a>(
        &mut self,
        env_steps: u64,
        now: SystemTime,
        scalars: impl Iterator<Item = (&'a str, f64)>,
    ) -> io::Result<()> {
        let value = scalars
            .map(|(tag, value)| Value { tag: tag.into(), simple_value: value as f32 })
            .collect();
        self.write(env_steps, now, EventContent::Summary(Summary { value }))
    }

    fn write(&mut self, env_steps: u64, now: SystemTime, content: EventContent) -> io::Result<()> {
        let event = Event {
            wall_time: since_1970(now).as_secs_f64(),
            step: env_steps as i64,
            content: Some(content),
        };
        self.file.write_all(&record(&event.encode_to_vec()))
    }
}

fn since_1970(now: SystemTime) -> Duration {
    now.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Record with its frame.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(data.len() + 16);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked_crc(&length).to_le_bytes());
    record.extend_from_slice(data);
    record.extend_from_slice(&masked_crc(data).to_le_bytes());
    record
}

/// The checksum, rotated and shifted so that a checksum of data that holds checksums stays sound.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4: the CRC-32C of 32 zero bytes.
    #[test]
    fn the_checksum_is_the_standard_one() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    }

    /// Every event file of TensorFlow's begins with these twelve bytes: its first record holds 24.
    #[test]
    fn a_file_begins_like_one_of_tensorflow() {
        let first = record(&[0; 24]);
        let golden = [0x18, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22];
        assert_eq!(first[..12], golden);
        assert_eq!(first[12..36], [0; 24]);
        assert_eq!(first[36..], masked_crc(&[0; 24]).to_le_bytes());
    }

    fn read(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let data = &bytes[12..12 + length];
            let checksum = u32::from_le_bytes(bytes[12 + length..16 + length].try_into().unwrap());
            assert_eq!(checksum, masked_crc(data));
            events.push(Event::decode(data).unwrap());
            bytes = &bytes[16 + length..];
        }
        events
    }

    #[test]
    fn a_file_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let now = UNIX_EPOCH + Duration::from_millis(1_500);
        let mut file = EventFile::create(folder.path(), 40, now).unwrap();
        let scalars = [("episode_return", 0.5), ("loss", -2.0)];
        file.scalars(64, now, scalars.into_iter()).unwrap();
        let events = read(&std::fs::read(file.path()).unwrap());
        assert_eq!(events.len(), 3);
        assert_eq!(events[0].content, Some(EventContent::FileVersion("brain.Event:2".into())));
        assert_eq!(events[1].step, 40);
        assert_eq!((events[2].step, events[2].wall_time), (64, 1.5));
        let Some(EventContent::Summary(summary)) = &events[2].content else {
            panic!("no summary in {:?}", events[2]);
        };
        assert_eq!(summary.value[1].tag, "loss");
        assert_eq!(summary.value[1].simple_value, -2.0);
    }
}
