//! The environments as a Python package: the native half of `engram_envs`.
//!
//! | file | is |
//! |---|---|
//! | `settings` | an environment by name, with settings from Python |
//! | `column` | memory of a group that numpy reads, or writes, in place |
//! | `group` | a group of environments, stepped without Python's lock |
//!
//! The other half is `python/engram_envs`: it gives a group the shape that Gymnasium asks for.

mod settings;

mod column;

mod group;

use pyo3::prelude::*;

/// The native half of `engram_envs`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<column::Column>()?;
    module.add_class::<group::Group>()?;
    module.add_function(wrap_pyfunction!(names, module)?)?;
    module.add_function(wrap_pyfunction!(settings_of, module)?)
}

/// Names of the environments whose settings are in `configs/env`.
#[pyfunction]
fn names() -> Vec<&'static str> {
    settings::presets().map(|(name, _)| name).collect()
}

/// Every setting of an environment in `configs/env`.
#[pyfunction]
#[pyo3(name = "settings")]
fn settings_of<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let mut table = settings::preset(name)?;
    table.remove(settings::NAME);
    settings::to_python(py, &toml::Value::Table(table))
}
