//! Reader of an environment's parameters out of a TOML table.
//!
//! serde names what is wrong in a sentence, with every name in backticks: the one found, then those
//! that there are.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Table;

use crate::environment::EnvironmentParameters;
use crate::error::{EnvError, suggestion};

/// Reads and checks the parameters of the environment called `name`.
pub(crate) fn parameters<T>(
    name: &str,
    table: &Table,
) -> Result<Arc<dyn EnvironmentParameters>, EnvError>
where
    T: DeserializeOwned + EnvironmentParameters + 'static,
{
    checked(name, read::<T>(name, table)?)
}

/// Reads what a table says about the environment called `name`.
pub(crate) fn read<T: DeserializeOwned>(name: &str, table: &Table) -> Result<T, EnvError> {
    table.clone().try_into().map_err(|error| in_words(name, &error))
}

/// Checks the parameters of the environment called `name`.
pub(crate) fn checked(
    name: &str,
    parameters: impl EnvironmentParameters + 'static,
) -> Result<Arc<dyn EnvironmentParameters>, EnvError> {
    parameters.validate().map_err(|error| EnvError::Range { environment: name.into(), error })?;
    Ok(Arc::new(parameters))
}

fn in_words(name: &str, error: &toml::de::Error) -> EnvError {
    let (environment, message) = (name.into(), error.message().trim());
    let mut names = message.split('`').skip(1).step_by(2).map(String::from);
    let found = names.next().unwrap_or_default();
    let known: Vec<String> = names.collect();
    if message.starts_with("unknown field") {
        return EnvError::UnknownKey { environment, found, known };
    }
    if message.starts_with("missing field") {
        return EnvError::MissingKey { environment, key: found };
    }
    let reason = match message.starts_with("unknown variant") {
        true => format!("unknown choice `{found}`{}", suggestion(&found, &known)),
        false => message.into(),
    };
    // The error prints its key, and has no other way to tell it.
    let printed = error.to_string();
    let key = printed.rsplit_once("\nin `").map_or("a value", |(_, key)| key);
    let key = key.trim_end().trim_end_matches('`').into();
    EnvError::Value { environment, key, reason }
}
