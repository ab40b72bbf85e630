//! Observations and actions of many rows, one after another in one block of memory, as they cross
//! the wire and enter tensors.

use crate::spec::{ActionSpec, Dtype};

/// Observations of many rows, one after another.
#[derive(Clone, Debug, PartialEq)]
pub enum Observations {
    /// Rows of bytes.
    U8(Vec<u8>),
    /// Rows of floats.
    F32(Vec<f32>),
}

/// Row into which an environment writes one observation.
#[derive(Debug)]
pub enum ObservationMut<'a> {
    /// A row of bytes.
    U8(&'a mut [u8]),
    /// A row of floats.
    F32(&'a mut [f32]),
}

impl<'a> ObservationMut<'a> {
    /// The row as floats. Panics where the spec says bytes: that is a bug of the environment.
    pub fn floats(self) -> &'a mut [f32] {
        match self {
            ObservationMut::F32(row) => row,
            ObservationMut::U8(_) => panic!("an environment of u8 observations asked for floats"),
        }
    }

    /// The row as bytes. Panics where the spec says floats: that is a bug of the environment.
    pub fn bytes(self) -> &'a mut [u8] {
        match self {
            ObservationMut::U8(row) => row,
            ObservationMut::F32(_) => panic!("an environment of f32 observations asked for bytes"),
        }
    }
}

impl Observations {
    /// No rows yet, with room for `numbers` numbers.
    pub fn with_capacity(dtype: Dtype, numbers: usize) -> Self {
        match dtype {
            Dtype::U8 => Observations::U8(Vec::with_capacity(numbers)),
            Dtype::F32 => Observations::F32(Vec::with_capacity(numbers)),
        }
    }

    /// Zeros.
    pub fn zeros(dtype: Dtype, numbers: usize) -> Self {
        match dtype {
            Dtype::U8 => Observations::U8(vec![0; numbers]),
            Dtype::F32 => Observations::F32(vec![0.0; numbers]),
        }
    }

    /// The type of the numbers.
    pub fn dtype(&self) -> Dtype {
        match self {
            Observations::U8(_) => Dtype::U8,
            Observations::F32(_) => Dtype::F32,
        }
    }

    /// Numbers held, over all rows.
    pub fn len(&self) -> usize {
        match self {
            Observations::U8(v) => v.len(),
            Observations::F32(v) => v.len(),
        }
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The raw memory, little-endian on every machine that Engram builds for.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Observations::U8(v) => v,
            Observations::F32(v) => bytemuck::cast_slice(v),
        }
    }

    /// Reads raw little-endian memory; `None` where the length is no multiple of a number's size.
    pub fn from_bytes(dtype: Dtype, bytes: &[u8]) -> Option<Self> {
        match dtype {
            Dtype::U8 => Some(Observations::U8(bytes.to_vec())),
            Dtype::F32 if bytes.len().is_multiple_of(4) => {
                Some(Observations::F32(bytemuck::pod_collect_to_vec(bytes)))
            }
            Dtype::F32 => None,
        }
    }

    /// Appends raw little-endian memory of the same type.
    pub fn extend_from_bytes(&mut self, bytes: &[u8]) {
        match self {
            Observations::U8(v) => v.extend_from_slice(bytes),
            Observations::F32(v) => {
                v.extend(bytes.chunks_exact(4).map(bytemuck::pod_read_unaligned::<f32>))
            }
        }
    }

    /// Row `row` of rows of `len` numbers, to write into.
    pub fn row_mut(&mut self, row: usize, len: usize) -> ObservationMut<'_> {
        let range = row * len..(row + 1) * len;
        match self {
            Observations::U8(v) => ObservationMut::U8(&mut v[range]),
            Observations::F32(v) => ObservationMut::F32(&mut v[range]),
        }
    }

    /// Appends rows `rows` of `other`, which has the same type and rows of `len` numbers.
    pub fn extend_rows(&mut self, other: &Self, rows: std::ops::Range<usize>, len: usize) {
        let range = rows.start * len..rows.end * len;
        match (self, other) {
            (Observations::U8(to), Observations::U8(from)) => to.extend_from_slice(&from[range]),
            (Observations::F32(to), Observations::F32(from)) => to.extend_from_slice(&from[range]),
            (to, from) => panic!("rows of {:?} appended to {:?}", from.dtype(), to.dtype()),
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Observations::U8(v) => v.clear(),
            Observations::F32(v) => v.clear(),
        }
    }
}

/// Actions of many rows, one after another.
#[derive(Clone, Debug, PartialEq)]
pub enum Actions {
    /// One number per row.
    Discrete(Vec<i32>),
    /// `dimensions` numbers in `[-1, 1]` per row.
    Continuous(Vec<f32>),
}

/// One action, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action<'a> {
    /// The number of a discrete action.
    Discrete(usize),
    /// A vector in `[-1, 1]^dimensions`.
    Continuous(&'a [f32]),
}

impl Action<'_> {
    /// The number of a discrete action. Panics on a continuous one: a bug of the environment.
    pub fn index(self) -> usize {
        match self {
            Action::Discrete(index) => index,
            Action::Continuous(_) => panic!("a discrete environment was given a continuous action"),
        }
    }
}

impl<'a> Action<'a> {
    /// The vector of a continuous action. Panics on a discrete one: a bug of the environment.
    pub fn vector(self) -> &'a [f32] {
        match self {
            Action::Continuous(vector) => vector,
            Action::Discrete(_) => panic!("a continuous environment was given a discrete action"),
        }
    }
}

impl Actions {
    /// No rows yet, with room for `rows`.
    pub fn with_capacity(spec: ActionSpec, rows: usize) -> Self {
        match spec {
            ActionSpec::Discrete { .. } => Actions::Discrete(Vec::with_capacity(rows)),
            ActionSpec::Continuous { dimensions } => {
                Actions::Continuous(Vec::with_capacity(rows * dimensions))
            }
        }
    }

    /// Rows of zeros: what precedes a First frame.
    pub fn zeros(spec: ActionSpec, rows: usize) -> Self {
        match spec {
            ActionSpec::Discrete { .. } => Actions::Discrete(vec![0; rows]),
            ActionSpec::Continuous { dimensions } => {
                Actions::Continuous(vec![0.0; rows * dimensions])
            }
        }
    }

    /// Numbers held, over all rows.
    pub fn len(&self) -> usize {
        match self {
            Actions::Discrete(v) => v.len(),
            Actions::Continuous(v) => v.len(),
        }
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The raw memory: i32 or f32, little-endian on every machine that Engram builds for.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Actions::Discrete(v) => bytemuck::cast_slice(v),
            Actions::Continuous(v) => bytemuck::cast_slice(v),
        }
    }

    /// Reads raw little-endian memory; `None` where the length is no multiple of a number's size.
    pub fn from_bytes(spec: ActionSpec, bytes: &[u8]) -> Option<Self> {
        if !bytes.len().is_multiple_of(4) {
            return None;
        }
        Some(match spec {
            ActionSpec::Discrete { .. } => Actions::Discrete(bytemuck::pod_collect_to_vec(bytes)),
            ActionSpec::Continuous { .. } => {
                Actions::Continuous(bytemuck::pod_collect_to_vec(bytes))
            }
        })
    }

    /// Appends raw little-endian memory of the same type.
    pub fn extend_from_bytes(&mut self, bytes: &[u8]) {
        let numbers = bytes.chunks_exact(4);
        match self {
            Actions::Discrete(v) => v.extend(numbers.map(bytemuck::pod_read_unaligned::<i32>)),
            Actions::Continuous(v) => v.extend(numbers.map(bytemuck::pod_read_unaligned::<f32>)),
        }
    }

    /// The action in row `row`, of rows of `len` numbers.
    pub fn row(&self, row: usize, len: usize) -> Action<'_> {
        match self {
            Actions::Discrete(v) => Action::Discrete(v[row] as usize),
            Actions::Continuous(v) => Action::Continuous(&v[row * len..(row + 1) * len]),
        }
    }

    /// Overwrites row `row` with row `from_row` of `from`, or with zeros.
    pub fn set_row(&mut self, row: usize, from: Option<(&Self, usize)>, len: usize) {
        let range = row * len..(row + 1) * len;
        match (self, from) {
            (Actions::Discrete(to), Some((Actions::Discrete(from), r))) => to[row] = from[r],
            (Actions::Continuous(to), Some((Actions::Continuous(from), r))) => {
                to[range].copy_from_slice(&from[r * len..(r + 1) * len]);
            }
            (Actions::Discrete(to), None) => to[row] = 0,
            (Actions::Continuous(to), None) => to[range].fill(0.0),
            _ => panic!("discrete and continuous actions were mixed"),
        }
    }

    /// Appends rows `rows` of `other`, which has the same type and rows of `len` numbers.
    pub fn extend_rows(&mut self, other: &Self, rows: std::ops::Range<usize>, len: usize) {
        let range = rows.start * len..rows.end * len;
        match (self, other) {
            (Actions::Discrete(to), Actions::Discrete(from)) => to.extend_from_slice(&from[range]),
            (Actions::Continuous(to), Actions::Continuous(from)) => {
                to.extend_from_slice(&from[range]);
            }
            _ => panic!("discrete and continuous actions were mixed"),
        }
    }

    /// The first row that the spec does not allow: a number out of range, or not finite.
    pub fn first_invalid_row(&self, spec: ActionSpec) -> Option<usize> {
        match (self, spec) {
            (Actions::Discrete(v), ActionSpec::Discrete { count }) => {
                v.iter().position(|&a| usize::try_from(a).map_or(true, |a| a >= count))
            }
            (Actions::Continuous(v), ActionSpec::Continuous { dimensions }) => {
                v.iter().position(|a| !(-1.0..=1.0).contains(a)).map(|i| i / dimensions)
            }
            _ => Some(0),
        }
    }

    pub(crate) fn clear(&mut self) {
        match self {
            Actions::Discrete(v) => v.clear(),
            Actions::Continuous(v) => v.clear(),
        }
    }
}
