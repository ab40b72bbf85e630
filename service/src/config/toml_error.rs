//! Errors of tables: serde's messages as [`ConfigError`]s.
//!
//! serde says "unknown field `x`, expected one of …"; a person wants the section, the whole key
//! and the nearest one. Where serde has lost the path (inside tagged enums it does), the value or
//! key that it complains of is sought in the section.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::ConfigError;
use super::table::{kind_of, nearest, values};

/// Reads a table as its reader's type; errors name keys as keys of `section`.
pub fn read_table<T: DeserializeOwned>(section: &str, table: &Table) -> Result<T, ConfigError> {
    table.clone().try_into().map_err(|error| config_error(section, table, &error))
}

fn config_error(section: &str, table: &Table, error: &toml::de::Error) -> ConfigError {
    let message = error.message().trim();
    let path = path_of(error);
    unknown_name(section, table, message, path.as_deref())
        .or_else(|| missing_key(section, message, path.as_deref()))
        .or_else(|| bad_value(section, table, message, path.as_deref()))
        .unwrap_or_else(|| ConfigError::Section {
            section: section.into(),
            message: match path {
                Some(path) => format!("{message} (at `{section}.{path}`)"),
                None => message.into(),
            },
        })
}

/// The path that toml's error knows, which it only prints.
fn path_of(error: &toml::de::Error) -> Option<String> {
    let printed = error.to_string();
    let path = printed.trim_end().rsplit_once("\nin `")?.1.strip_suffix('`')?;
    Some(path.into())
}

/// "unknown field `x`, expected one of `a`, `b`" and "unknown variant …".
fn unknown_name(
    section: &str,
    table: &Table,
    message: &str,
    path: Option<&str>,
) -> Option<ConfigError> {
    let (is_field, rest) = match message.strip_prefix("unknown field ") {
        Some(rest) => (true, rest),
        None => (false, message.strip_prefix("unknown variant ")?),
    };
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let name = quoted.next()?;
    let known: Vec<String> = quoted.map(Into::into).collect();
    let nearest = nearest(name, known.iter().map(String::as_str)).map(String::from);
    if is_field {
        let inner = sought(table, path, name, |key, _| key == name);
        return Some(ConfigError::UnknownKey {
            key: format!("{section}.{inner}"),
            place: format!("[{section}]"),
            nearest,
            known,
        });
    }
    let inner = sought(table, path, "", |_, value| value.as_str() == Some(name));
    let guess = nearest.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"));
    Some(ConfigError::BadValue {
        key: join(section, &inner),
        value: format!("`{name}`"),
        expected: format!("one of {}{guess}", known.join(", ")),
    })
}

/// "missing field `x`".
fn missing_key(section: &str, message: &str, path: Option<&str>) -> Option<ConfigError> {
    let name = message.strip_prefix("missing field `")?.strip_suffix('`')?;
    let key = match path {
        Some(path) => format!("{section}.{path}.{name}"),
        None => format!("{section}.{name}"),
    };
    Some(ConfigError::MissingKey { key, place: format!("[{section}]") })
}

/// "invalid type: string "x", expected f64" and "invalid value: …".
fn bad_value(
    section: &str,
    table: &Table,
    message: &str,
    path: Option<&str>,
) -> Option<ConfigError> {
    let rest = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let inner = sought(table, path, "", |_, value| unexpected(value) == found);
    Some(ConfigError::BadValue {
        key: join(section, &inner),
        value: found.into(),
        expected: in_words(expected).into(),
    })
}

/// The path inside the section: what toml knew, else where `matches` holds, else `unknown`.
fn sought(
    table: &Table,
    path: Option<&str>,
    unknown: &str,
    matches: impl Fn(&str, &Value) -> bool,
) -> String {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let found = values(table).into_iter().find(|(path, value)| matches(&last(path), value));
    match (path, found.map(|(path, _)| path)) {
        (Some(path), Some(found)) if found.starts_with(path) => found,
        (Some(path), _) if unknown.is_empty() || path.ends_with(unknown) => path.into(),
        (Some(path), _) => format!("{path}.{unknown}"),
        (None, Some(found)) => found,
        (None, None) => unknown.into(),
    }
}

/// Words of serde for a value that it did not expect.
fn unexpected(value: &Value) -> String {
    match value {
        Value::String(text) => format!("string {text:?}"),
        Value::Integer(number) => format!("integer `{number}`"),
        Value::Float(number) => serde::de::Unexpected::Float(*number).to_string(),
        Value::Boolean(truth) => format!("boolean `{truth}`"),
        Value::Array(_) => "sequence".into(),
        Value::Table(_) => "map".into(),
        Value::Datetime(_) => kind_of(value).into(),
    }
}

fn in_words(expected: &str) -> &str {
    match expected {
        "f32" | "f64" => "a number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, zero or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "a boolean" => "true or false",
        other => other,
    }
}

fn join(section: &str, inner: &str) -> String {
    if inner.is_empty() { section.into() } else { format!("{section}.{inner}") }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde")]
    struct Model {
        learning_rate: f64,
        memory: Memory,
    }

    #[derive(Debug, Deserialize)]
    #[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
    #[expect(dead_code, reason = "only read by serde")]
    enum Memory {
        Lstm { hidden_size: usize, gradient: Gradient },
        None,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Gradient {
        Tbptt,
        Rtrl,
    }

    fn refuse(from: &str, to: &str) -> String {
        let good = "learning_rate = 0.1\n\
                    memory = { kind = \"lstm\", hidden_size = 64, gradient = \"rtrl\" }";
        let table: Table = toml::from_str(&good.replace(from, to)).unwrap();
        read_table::<Model>("seq", &table).unwrap_err().to_string()
    }

    #[test]
    fn an_unknown_key_names_its_place_and_the_nearest() {
        assert_eq!(
            refuse("learning_rate", "lerning_rate"),
            "unknown key `seq.lerning_rate` in [seq]; did you mean `learning_rate`? \
             Known: learning_rate, memory"
        );
        let inside = refuse("hidden_size", "hidden");
        assert!(inside.contains("`seq.memory.hidden`"), "{inside}");
        assert!(inside.contains("did you mean `hidden_size`?"), "{inside}");
    }

    #[test]
    fn a_wrong_type_names_key_value_and_type_even_inside_of_enums() {
        assert_eq!(
            refuse("0.1", "\"fast\""),
            "`seq.learning_rate` is string \"fast\"; expected a number"
        );
        assert_eq!(
            refuse("64", "-64"),
            "`seq.memory.hidden_size` is integer `-64`; expected a whole number, zero or more"
        );
        assert_eq!(
            refuse("64", "6.5"),
            "`seq.memory.hidden_size` is floating point `6.5`; \
             expected a whole number, zero or more"
        );
    }

    #[test]
    fn an_unknown_variant_lists_the_known_ones() {
        assert_eq!(
            refuse("rtrl", "rtlr"),
            "`seq.memory.gradient` is `rtlr`; expected one of tbptt, rtrl (did you mean `rtrl`?)"
        );
        assert_eq!(
            refuse("lstm", "lsmt"),
            "`seq.memory.kind` is `lsmt`; expected one of lstm, none (did you mean `lstm`?)"
        );
    }

    #[test]
    fn a_missing_key_names_its_section() {
        let message = refuse("learning_rate = 0.1\n", "");
        assert!(message.starts_with("`seq.learning_rate` is missing in [seq]"), "{message}");
    }
}
