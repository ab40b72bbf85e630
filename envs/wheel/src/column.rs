//! Columns: memory of a group that numpy reads, or writes, in place.
//!
//! `numpy.asarray(column)` copies nothing: it reads `__array_interface__`
//! (<https://numpy.org/doc/stable/reference/arrays.interface.html>), and the array keeps the column
//! alive, which keeps its group. The group never moves the memory.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Permission to write a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is what the environments say.
    Read,
    /// It is what the agent says.
    Write,
}

/// Place, shape and type of a column's numbers.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The address of the first number.
    pub(crate) address: usize,
    /// Rows first.
    pub(crate) shape: Vec<usize>,
    /// The type as numpy writes it, as in `<f4`.
    pub(crate) dtype: &'static str,
    /// The side that writes it.
    pub(crate) access: Access,
}

/// Memory of a group, for numpy.
#[pyclass(frozen)]
pub(crate) struct Column {
    layout: Layout,
    /// Owner of the memory, which lives as long as the column.
    _owner: Py<PyAny>,
}

impl Column {
    pub(crate) fn new(layout: Layout, owner: Py<PyAny>) -> Self {
        Column { layout, _owner: owner }
    }
}

#[pymethods]
impl Column {
    /// Place, shape and type, as numpy asks for them.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("typestr", self.layout.dtype)?;
        interface.set_item("shape", PyTuple::new(py, &self.layout.shape)?)?;
        interface.set_item("data", (self.layout.address, self.layout.access == Access::Read))?;
        Ok(interface)
    }
}
