//! Reads a tagged enum out of a TOML table, and keeps what serde knows about a fault.
//!
//! serde hands the list of known names to the error type, but TOML's own error keeps only a
//! sentence. [`Fault`] keeps the list, so that messages can name the nearest known key and no
//! second list of names has to be written down.

use std::fmt;

use serde::Deserialize;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use crate::error::{EnvError, suggestion};

/// The key that holds the environment's name.
const NAME: &str = "name";

/// Reads the environment named in a table.
pub(crate) fn from_table<T: for<'de> Deserialize<'de>>(table: toml::Table) -> Result<T, EnvError> {
    let known = variants::<T>();
    let environment = match table.get(NAME) {
        Some(toml::Value::String(name)) => name.clone(),
        _ => return Err(EnvError::Nameless { known }),
    };
    if !known.contains(&environment.as_str()) {
        return Err(EnvError::UnknownName { found: environment, known });
    }
    read(&table).map_err(|fault| match fault {
        Fault::Key { found, known } => EnvError::UnknownKey { environment, found, known },
        Fault::Missing { key } => EnvError::MissingKey { environment, key: key.into() },
        Fault::Choice { .. } | Fault::Other(_) => {
            EnvError::Value { environment, key: culprit::<T>(&table), reason: fault.to_string() }
        }
    })
}

/// The names of an enum's variants, as serde knows them.
pub(crate) fn variants<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let nameless = toml::Table::from_iter([(NAME.to_owned(), toml::Value::String(String::new()))]);
    match read::<T>(&nameless) {
        Err(Fault::Choice { known, .. }) => known,
        _ => unreachable!("no variant has an empty name"),
    }
}

/// The key whose value cannot be read: the one that is merely missing once it is taken away.
fn culprit<T: for<'de> Deserialize<'de>>(table: &toml::Table) -> String {
    let without = |key: &str| table.clone().into_iter().filter(|(k, _)| k != key).collect();
    let at_fault = |key: &str| {
        matches!(
            read::<T>(&without(key)), Err(Fault::Missing { key: missing }) if missing == key
        )
    };
    let mut keys = table.keys().filter(|key| *key != NAME);
    keys.find(|key| at_fault(key)).cloned().unwrap_or_else(|| "a value".into())
}

fn read<T: for<'de> Deserialize<'de>>(table: &toml::Table) -> Result<T, Fault> {
    T::deserialize(Node(toml::Value::Table(table.clone())))
}

/// Reason why a table cannot be read.
#[derive(Debug)]
enum Fault {
    Choice { found: String, known: &'static [&'static str] },
    Key { found: String, known: &'static [&'static str] },
    Missing { key: &'static str },
    Other(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Choice { found, known } => {
                write!(f, "unknown choice `{found}`{}", suggestion(found, known))
            }
            Fault::Key { found, known } => {
                write!(f, "unknown key `{found}`{}", suggestion(found, known))
            }
            Fault::Missing { key } => write!(f, "the key `{key}` is missing"),
            Fault::Other(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::Other(message.to_string())
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Fault::Choice { found: found.into(), known }
    }

    fn unknown_field(found: &str, known: &'static [&'static str]) -> Self {
        Fault::Key { found: found.into(), known }
    }

    fn missing_field(key: &'static str) -> Self {
        Fault::Missing { key }
    }
}

/// A TOML value whose errors are [`Fault`]s.
struct Node(toml::Value);

impl<'de> Deserializer<'de> for Node {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            toml::Value::String(text) => visitor.visit_string(text),
            toml::Value::Integer(number) => visitor.visit_i64(number),
            toml::Value::Float(number) => visitor.visit_f64(number),
            toml::Value::Boolean(flag) => visitor.visit_bool(flag),
            toml::Value::Datetime(time) => visitor.visit_string(time.to_string()),
            toml::Value::Array(values) => {
                visitor.visit_seq(SeqDeserializer::new(values.into_iter().map(Node)))
            }
            toml::Value::Table(table) => visitor.visit_map(MapDeserializer::new(
                table.into_iter().map(|(key, value)| (key, Node(value))),
            )),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl IntoDeserializer<'_, Fault> for Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
