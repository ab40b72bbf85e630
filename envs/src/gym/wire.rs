//! The protocol's messages. Their layout is described in `envs/python/engram_gym/wire.py` and in
//! `docs/reference/gym-protocol.md`; all numbers are little-endian.

use std::io::{self, Read, Write};

use engram_mdp::{ActionSpec, Actions, Dtype, ObservationSpec, Observations};
use serde_json::{Map, Value, json};

use super::config::{GymConfig, Part};

/// Version of the protocol.
pub(super) const PROTOCOL: u32 = 1;

/// Bytes of a header: the payload's length, the kind, three zeros.
const HEADER: usize = 8;
/// No honest message is longer.
const MAX_PAYLOAD: usize = 1 << 30;

pub(super) const MAKE: u8 = 1;
pub(super) const ATTACHED: u8 = 2;
pub(super) const STEP: u8 = 3;
pub(super) const RENDER: u8 = 4;
pub(super) const SPEC: u8 = 129;
pub(super) const FRAMES: u8 = 130;
pub(super) const PICTURE: u8 = 131;
pub(super) const ERROR: u8 = 255;

/// Sends one message.
pub(super) fn send(to: &mut impl Write, kind: u8, payload: &[u8]) -> io::Result<()> {
    let mut message = Vec::with_capacity(HEADER + payload.len());
    begin(&mut message, kind);
    message.extend_from_slice(payload);
    finish(&mut message);
    to.write_all(&message)
}

/// Receives one message into `payload`; returns its kind.
pub(super) fn receive(from: &mut impl Read, payload: &mut Vec<u8>) -> io::Result<u8> {
    let mut header = [0; HEADER];
    from.read_exact(&mut header)?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    if length > MAX_PAYLOAD {
        let text = format!("a message of {length} bytes was announced; the limit is {MAX_PAYLOAD}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    payload.resize(length, 0);
    from.read_exact(payload)?;
    Ok(header[4])
}

fn begin(message: &mut Vec<u8>, kind: u8) {
    message.clear();
    message.extend_from_slice(&[0, 0, 0, 0, kind, 0, 0, 0]);
}

fn finish(message: &mut [u8]) {
    let length = u32::try_from(message.len() - HEADER).expect("a message below 4 GiB");
    message[..4].copy_from_slice(&length.to_le_bytes());
}

/// A row's part in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It takes its action.
    Step,
    /// It begins an episode.
    Reset,
    /// Nothing is asked of it.
    Skip,
}

/// Writes a STEP into `message`: the orders of some rows, and of all `actions`, each of `len`
/// numbers, those of the rows `rows`.
pub(super) fn step(
    message: &mut Vec<u8>,
    orders: &[Order],
    actions: &Actions,
    rows: std::ops::Range<usize>,
    len: usize,
) {
    begin(message, STEP);
    message.extend(orders.iter().map(|&order| order as u8));
    message.resize(message.len().next_multiple_of(4), 0);
    match actions {
        Actions::Discrete(indices) => {
            message.extend(indices[rows].iter().flat_map(|index| index.to_le_bytes()));
        }
        Actions::Continuous(numbers) => {
            let rows = rows.start * len..rows.end * len;
            message.extend(numbers[rows].iter().flat_map(|number| number.to_le_bytes()));
        }
    }
    finish(message);
}

/// The JSON of MAKE.
pub(super) fn make(config: &GymConfig, seeds: &[u32], shared: bool) -> Vec<u8> {
    let mut keys = Map::new();
    let mut set = |key: &str, value: Value| keys.insert(key.into(), value);
    set("protocol", json!(PROTOCOL));
    set("id", json!(config.id));
    set("rows", json!(seeds.len()));
    set("seeds", json!(seeds));
    set("shared", json!(shared));
    let part = |part: &Part| match part {
        Part::Index(index) => json!(index),
        Part::Name(name) => json!(name),
    };
    let observe = config.observe.as_ref();
    let kwargs = config.kwargs.as_ref().and_then(|table| serde_json::to_value(table).ok());
    let optional = [
        ("module", config.module.as_ref().map(|module| json!(module))),
        ("kwargs", kwargs),
        ("frame_skip", config.frame_skip.map(|n| json!(n))),
        ("frame_stack", config.frame_stack.map(|n| json!(n))),
        ("grayscale", config.grayscale.map(|on| json!(on))),
        ("resize", config.resize.map(|size| json!(size))),
        ("clip_reward", config.clip_reward.map(|bound| json!(bound))),
        ("sticky_actions", config.sticky_actions.map(|p| json!(p))),
        ("max_steps", config.max_steps.map(|n| json!(n))),
        ("observe", observe.map(|parts| parts.iter().map(part).collect())),
        ("action_bound", config.action_bound.map(|bound| json!(bound))),
        ("pictures", config.pictures.then_some(json!(true))),
    ];
    for (key, value) in optional {
        if let Some(value) = value {
            set(key, value);
        }
    }
    Value::Object(keys).to_string().into_bytes()
}

/// The contents of SPEC.
#[derive(Debug, PartialEq)]
pub(super) struct Announcement {
    pub(super) observation: ObservationSpec,
    pub(super) action: ActionSpec,
    pub(super) action_repeat: u32,
    /// The file that holds the observations, if frames do not.
    pub(super) shared: Option<String>,
}

/// Reads the JSON of SPEC; the error says what is wrong with it.
pub(super) fn announcement(payload: &[u8]) -> Result<Announcement, String> {
    let value: Value = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let whole = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    let protocol = &value["protocol"];
    if protocol.as_u64() != Some(PROTOCOL.into()) {
        return Err(format!(
            "it speaks protocol {protocol}, and this program {PROTOCOL}; install engram-gym from \
             the checkout that this program was built from"
        ));
    }
    let dtype = match value["observation"]["dtype"].as_str() {
        Some("u8") => Dtype::U8,
        Some("f32") => Dtype::F32,
        _ => return Err(format!("observations of type {}", value["observation"]["dtype"])),
    };
    let shape = value["observation"]["shape"].as_array();
    let shape: Option<Vec<usize>> = shape.and_then(|sides| sides.iter().map(whole).collect());
    let action = match (whole(&value["action"]["discrete"]), whole(&value["action"]["continuous"]))
    {
        (Some(count), None) => ActionSpec::Discrete { count },
        (None, Some(dimensions)) => ActionSpec::Continuous { dimensions },
        _ => return Err(format!("actions {}", value["action"])),
    };
    let action_repeat = whole(&value["action_repeat"]).and_then(|n| u32::try_from(n).ok());
    Ok(Announcement {
        observation: ObservationSpec { dtype, shape: shape.ok_or("no shape of observations")? },
        action,
        action_repeat: action_repeat.ok_or("no action_repeat")?,
        shared: value["shared"].as_str().map(Into::into),
    })
}

/// The columns of FRAMES.
pub(super) struct Columns<'a> {
    pub(super) rewards: &'a [u8],
    /// Empty if they lie in the shared file.
    pub(super) observations: &'a [u8],
    pub(super) codes: &'a [u8],
    pub(super) successes: &'a [u8],
}

impl<'a> Columns<'a> {
    /// Splits the payload of FRAMES; `None` where its length is another.
    pub(super) fn split(payload: &'a [u8], rows: usize, observations: usize) -> Option<Self> {
        if payload.len() != 4 * rows + observations + 2 * rows {
            return None;
        }
        let (rewards, rest) = payload.split_at(4 * rows);
        let (observations, rest) = rest.split_at(observations);
        let (codes, successes) = rest.split_at(rows);
        Some(Columns { rewards, observations, codes, successes })
    }

    pub(super) fn reward(&self, row: usize) -> f32 {
        number(&self.rewards[4 * row..4 * row + 4])
    }
}

/// Copies raw memory of one observation into row `row`, whose numbers are `len`.
pub(super) fn copy(from: &[u8], to: &mut Observations, row: usize, len: usize) {
    match to {
        Observations::U8(bytes) => bytes[row * len..(row + 1) * len].copy_from_slice(from),
        Observations::F32(numbers) => {
            let row = &mut numbers[row * len..(row + 1) * len];
            row.iter_mut().zip(from.chunks_exact(4)).for_each(|(to, from)| *to = number(from));
        }
    }
}

fn number(bytes: &[u8]) -> f32 {
    f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
