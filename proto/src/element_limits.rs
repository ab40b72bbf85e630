//! Limits that hold before a message is decoded.
//!
//! An empty element of a repeated field takes two bytes on the wire, and a hundred times as many
//! once it is decoded. So a message's elements are counted first: a walk over tags and lengths
//! that allocates nothing, and does not look into an element without limits of its own. What the
//! walk cannot follow is refused: prost would decode it in another way, or not at all.

use prost::Message;

use crate::limits::{
    MAX_EPISODES_PER_REPORT, MAX_MESSAGE_BYTES, MAX_OBSERVATION_RANK, MAX_REGISTRATION_BYTES,
    MAX_REPORT_BYTES, MAX_REQUEST_BYTES, MAX_TRAJECTORIES_PER_MESSAGE,
};
use crate::{WireError, v1};

/// A message that calls receive.
pub trait Limited: Message + Default {
    /// Its fields that have limits, or lead to such.
    const FIELDS: Fields = &[];
    /// The most bytes of the whole.
    const MAX_BYTES: usize = MAX_MESSAGE_BYTES;
}

/// Fields, by number, and their rules.
pub type Fields = &'static [(u32, Rule)];

/// Rule for a field. All others are skipped.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// A message with limits inside.
    Message(Fields),
    /// A registration: few bytes, with limits inside.
    Registration,
    /// An element of a repeated field of messages.
    Element(Counted),
    /// Numbers of a repeated field, packed or one by one.
    Numbers(Counted),
}

/// Elements that are counted, over a whole message: a field may come in several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Trajectories of a message.
    Trajectories,
    /// Episodes of a report.
    Episodes,
    /// Sides of an observation.
    Sides,
}

impl Limited for v1::PushRequest {
    const FIELDS: Fields = &[
        (1, Rule::Registration),
        (2, Rule::Message(&[(1, Rule::Element(Counted::Trajectories))])),
    ];
}
impl Limited for v1::ReportRequest {
    const FIELDS: Fields = &[(5, Rule::Element(Counted::Episodes))];
    const MAX_BYTES: usize = MAX_REPORT_BYTES;
}
impl Limited for v1::ActRequest {
    const FIELDS: Fields = &[(1, Rule::Registration)];
}
impl Limited for v1::EvaluateRequest {
    const FIELDS: Fields = &[(1, Rule::Registration)];
    const MAX_BYTES: usize = MAX_REGISTRATION_BYTES;
}
impl Limited for v1::ResolveRequest {
    const MAX_BYTES: usize = MAX_REQUEST_BYTES;
}
impl Limited for v1::SubscribeRequest {
    const MAX_BYTES: usize = MAX_REQUEST_BYTES;
}
impl Limited for v1::PushResponse {}
impl Limited for v1::ReportResponse {}
impl Limited for v1::ActResponse {}
impl Limited for v1::EvaluateResponse {}
impl Limited for v1::ResolveResponse {}
impl Limited for v1::WeightsChunk {}

/// Refuses a message that is larger than its kind may be, or holds too many of something.
pub fn check<M: Limited>(message: &[u8]) -> Result<(), WireError> {
    if message.len() > M::MAX_BYTES {
        let (limit, found) = (M::MAX_BYTES, message.len());
        return Err(WireError::TooMany { what: "bytes in a message of this kind", limit, found });
    }
    Walk { bytes: message.len(), counts: [0; 3] }.fields(message, M::FIELDS)
}

/// `Registration`, whose `EnvSpec` has an `observation_shape`.
const REGISTRATION: Fields = &[(7, Rule::Message(&[(3, Rule::Numbers(Counted::Sides))]))];

impl Counted {
    /// Kind of elements, the most of them, and the remedy.
    fn limit(self) -> (&'static str, usize, &'static str) {
        match self {
            Counted::Trajectories => {
                ("trajectories", MAX_TRAJECTORIES_PER_MESSAGE, "send them in several messages")
            }
            Counted::Episodes => {
                ("episodes", MAX_EPISODES_PER_REPORT, "send them in several reports")
            }
            Counted::Sides => (
                "sides of an observation",
                MAX_OBSERVATION_RANK,
                "let the environment show fewer dimensions",
            ),
        }
    }
}

/// Counts of one message so far.
struct Walk {
    bytes: usize,
    counts: [usize; 3],
}

/// Value of a field on the wire.
enum Value<'a> {
    /// Bytes whose length is said.
    Delimited(&'a [u8]),
    /// A number of variable length.
    Varint,
    /// A number of four or eight bytes.
    Fixed,
}

impl Walk {
    fn fields(&mut self, mut rest: &[u8], fields: Fields) -> Result<(), WireError> {
        if fields.is_empty() {
            return Ok(());
        }
        while !rest.is_empty() {
            let (number, value) = field(&mut rest)?;
            let Some((_, rule)) = fields.iter().find(|(known, _)| *known == number) else {
                continue;
            };
            match (*rule, value) {
                (Rule::Message(fields), Value::Delimited(inside)) => self.fields(inside, fields)?,
                (Rule::Registration, Value::Delimited(inside)) => self.registration(inside)?,
                (Rule::Element(counted), Value::Delimited(_)) => self.count(counted, 1)?,
                (Rule::Numbers(counted), Value::Delimited(packed)) => {
                    let last_byte = |byte: &&u8| **byte < 0x80;
                    self.count(counted, packed.iter().filter(last_byte).count())?;
                }
                (Rule::Numbers(counted), Value::Varint) => self.count(counted, 1)?,
                // Not of the field's type: prost refuses it.
                _ => {}
            }
        }
        Ok(())
    }

    fn registration(&mut self, inside: &[u8]) -> Result<(), WireError> {
        let (limit, found) = (MAX_REGISTRATION_BYTES, inside.len());
        if found > limit {
            return Err(WireError::TooMany { what: "bytes in a registration", limit, found });
        }
        self.fields(inside, REGISTRATION)
    }

    fn count(&mut self, counted: Counted, more: usize) -> Result<(), WireError> {
        let count = &mut self.counts[counted as usize];
        *count += more;
        let (what, limit, remedy) = counted.limit();
        if *count > limit {
            return Err(WireError::Excess { bytes: self.bytes, what, limit, remedy });
        }
        Ok(())
    }
}

/// Takes the next field off the front.
fn field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Value<'a>), WireError> {
    let key = u32::try_from(varint(rest)?).map_err(|_| malformed("a tag is too large"))?;
    let value = match key & 7 {
        0 => {
            varint(rest)?;
            Value::Varint
        }
        1 => {
            bytes(rest, 8)?;
            Value::Fixed
        }
        2 => {
            let length = varint(rest)?;
            Value::Delimited(bytes(rest, length)?)
        }
        5 => {
            bytes(rest, 4)?;
            Value::Fixed
        }
        _ => return Err(malformed("a field has a wire type that this protocol does not use")),
    };
    match key >> 3 {
        0 => Err(malformed("a field has the number 0")),
        number => Ok((number, value)),
    }
}

fn varint(rest: &mut &[u8]) -> Result<u64, WireError> {
    let mut number = 0;
    for place in 0..10 {
        let byte = bytes(rest, 1)?[0];
        // The tenth byte has room for one bit.
        if place == 9 && byte > 1 {
            break;
        }
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(malformed("a number is longer than 64 bits"))
}

fn bytes<'a>(rest: &mut &'a [u8], length: u64) -> Result<&'a [u8], WireError> {
    let ends_early = || malformed("it ends in the middle of a field");
    let length = usize::try_from(length).map_err(|_| ends_early())?;
    let (taken, left) = rest.split_at_checked(length).ok_or_else(ends_early)?;
    *rest = left;
    Ok(taken)
}

fn malformed(why: &str) -> WireError {
    WireError::Malformed(why.into())
}
