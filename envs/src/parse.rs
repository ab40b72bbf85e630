//! Reads an environment's parameters out of a TOML table, and keeps what serde knows about a fault.
//!
//! serde hands the list of known names to the error type, but TOML's own error keeps only a
//! sentence. [`Fault`] keeps the list, so that messages can name the nearest known key and no
//! second list of names has to be written down.

use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use toml::Table;

use crate::environment::EnvironmentParameters;
use crate::error::{EnvError, suggestion};

/// Reads and checks the parameters of the environment called `name`.
pub(crate) fn parameters<T>(
    name: &str,
    table: &Table,
) -> Result<Arc<dyn EnvironmentParameters>, EnvError>
where
    T: for<'de> Deserialize<'de> + EnvironmentParameters + 'static,
{
    let parameters = read::<T>(table).map_err(|fault| match fault {
        Fault::Key { found, known } => {
            EnvError::UnknownKey { environment: name.into(), found, known }
        }
        Fault::Missing { key } => {
            EnvError::MissingKey { environment: name.into(), key: key.into() }
        }
        Fault::Choice { .. } | Fault::Other(_) => {
            let key = culprit::<T>(table);
            EnvError::Value { environment: name.into(), key, reason: fault.to_string() }
        }
    })?;
    parameters.validate().map_err(|error| EnvError::Range { environment: name.into(), error })?;
    Ok(Arc::new(parameters))
}

/// The key whose value cannot be read: the one that is merely missing once it is taken away.
fn culprit<T: for<'de> Deserialize<'de>>(table: &Table) -> String {
    let without = |key: &str| table.clone().into_iter().filter(|(k, _)| k != key).collect();
    let at_fault = |key: &str| {
        matches!(
            read::<T>(&without(key)), Err(Fault::Missing { key: missing }) if missing == key
        )
    };
    table.keys().find(|key| at_fault(key)).cloned().unwrap_or_else(|| "a value".into())
}

fn read<T: for<'de> Deserialize<'de>>(table: &Table) -> Result<T, Fault> {
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

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _choices: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.0 {
            toml::Value::String(choice) => visitor.visit_enum(choice.into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Fault> for Node {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}
