//! Settings: an environment by the name of its file in `configs/env`, with changes from Python.

use engram_envs::{EnvConfig, EnvError};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use toml::{Table, Value};

/// The key that holds the environment's own name.
pub(crate) const NAME: &str = "name";

/// Environments of this name are Python's already.
const GYM: &str = "gym";

/// Every file of `configs/env`: its name, and its text.
const PRESETS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/presets.rs"));

/// The files whose environment is Engram's own, in order.
pub(crate) fn presets() -> impl Iterator<Item = (&'static str, Table)> {
    let all = PRESETS.iter().map(|&(name, text)| (name, parsed(text)));
    all.filter(|(_, table)| table[NAME].as_str() != Some(GYM))
}

/// The settings in a file of `configs/env`; for a name that is an environment's, and no file's, none
/// but that.
pub(crate) fn preset(name: &str) -> PyResult<Table> {
    if let Some((_, table)) = presets().find(|(known, _)| *known == name) {
        return Ok(table);
    }
    let environments = || EnvConfig::names().into_iter().filter(|known| *known != GYM);
    if environments().any(|known| known == name) {
        return Ok([(NAME.into(), name.into())].into_iter().collect());
    }
    let known = presets().map(|(name, _)| name).collect();
    Err(refused(&EnvError::UnknownName { found: name.into(), known }))
}

/// The environment called `name`, with `changes` to its settings.
pub(crate) fn config(name: &str, changes: &Bound<'_, PyDict>) -> PyResult<EnvConfig> {
    let mut table = preset(name)?;
    for (key, value) in changes {
        let key: String = key.extract()?;
        let value = from_python(&value)
            .map_err(|error| PyTypeError::new_err(format!("setting `{key}`: {error}")))?;
        table.insert(key, value);
    }
    EnvConfig::from_table(table).map_err(|error| refused(&error))
}

/// The error as Python knows it, in the same words.
pub(crate) fn refused(error: &EnvError) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// A setting as Python shows it.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    match value {
        Value::String(text) => text.into_bound_py_any(py),
        Value::Integer(number) => number.into_bound_py_any(py),
        Value::Float(number) => number.into_bound_py_any(py),
        Value::Boolean(truth) => truth.into_bound_py_any(py),
        Value::Datetime(time) => time.to_string().into_bound_py_any(py),
        Value::Array(values) => {
            let list = PyList::empty(py);
            for value in values {
                list.append(to_python(py, value)?)?;
            }
            Ok(list.into_any())
        }
        Value::Table(table) => {
            let dictionary = PyDict::new(py);
            for (key, value) in table {
                dictionary.set_item(key, to_python(py, value)?)?;
            }
            Ok(dictionary.into_any())
        }
    }
}

fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    if let Ok(truth) = value.extract::<bool>() {
        return Ok(Value::Boolean(truth));
    }
    if let Ok(number) = value.extract::<i64>() {
        return Ok(Value::Integer(number));
    }
    if let Ok(text) = value.extract::<String>() {
        return Ok(Value::String(text));
    }
    if let Ok(dictionary) = value.cast::<PyDict>() {
        let pairs = dictionary.iter();
        let pairs = pairs.map(|(key, value)| Ok((key.extract()?, from_python(&value)?)));
        return pairs.collect::<PyResult<Table>>().map(Value::Table);
    }
    if let Ok(values) = value.extract::<Vec<Bound<'_, PyAny>>>() {
        let values: PyResult<Vec<Value>> = values.iter().map(from_python).collect();
        return Ok(Value::Array(values?));
    }
    match value.extract::<f64>() {
        Ok(number) => Ok(Value::Float(number)),
        Err(_) => Err(PyTypeError::new_err(format!(
            "{} is no number, text, truth, list or dict",
            value.get_type().name()?
        ))),
    }
}

fn parsed(text: &str) -> Table {
    text.parse().expect("a test reads every file of configs/env")
}
