//! Columns of numbers: in memory while they grow, in memory or in a mapped file afterwards.

use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytemuck::Pod;
use engram_mdp::{ActionSpec, Actions, Dtype, Observations};
use memmap2::Mmap;

/// Numbers one after another.
#[derive(Debug)]
pub(super) enum Column<T> {
    /// In memory.
    Owned(Vec<T>),
    /// In a file that is mapped into memory: this range of its bytes.
    Mapped(Arc<Mmap>, Range<usize>, PhantomData<T>),
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Column::Owned(Vec::new())
    }
}

impl<T: Pod> Column<T> {
    /// Appends numbers. A mapped column never grows.
    pub(super) fn extend(&mut self, numbers: &[T]) {
        match self {
            Column::Owned(vector) => vector.extend_from_slice(numbers),
            Column::Mapped(..) => panic!("a sealed segment was written to"),
        }
    }

    /// Numbers that lie at `range` of a file's bytes: copied, or where `map` maps the file, left
    /// there. `None` where so many bytes are no such numbers, or lie askew.
    pub(super) fn read(file: &[u8], range: Range<usize>, map: Option<&Arc<Mmap>>) -> Option<Self> {
        let bytes = file.get(range.clone())?;
        let numbers: &[T] = bytemuck::try_cast_slice(bytes).ok()?;
        Some(match map {
            Some(map) => Column::Mapped(map.clone(), range, PhantomData),
            None => Column::Owned(numbers.to_vec()),
        })
    }

    /// Gives back memory that is reserved and not used.
    pub(super) fn shrink(&mut self) {
        if let Column::Owned(vector) = self {
            vector.shrink_to_fit();
        }
    }

    /// Bytes of its numbers.
    pub(super) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(self)
    }
}

impl<T: Pod> Deref for Column<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Column::Owned(vector) => vector,
            Column::Mapped(map, range, _) => bytemuck::cast_slice(&map[range.clone()]),
        }
    }
}

/// Column of observations or of actions.
#[derive(Debug)]
pub(super) enum Numbers {
    /// Bytes of images.
    U8(Column<u8>),
    /// Numbers of discrete actions.
    I32(Column<i32>),
    /// Floats.
    F32(Column<f32>),
}

impl Numbers {
    /// Empty column of observations.
    pub(super) fn observations(dtype: Dtype) -> Self {
        match dtype {
            Dtype::U8 => Numbers::U8(Column::default()),
            Dtype::F32 => Numbers::F32(Column::default()),
        }
    }

    /// Empty column of actions.
    pub(super) fn actions(spec: ActionSpec) -> Self {
        match spec {
            ActionSpec::Discrete { .. } => Numbers::I32(Column::default()),
            ActionSpec::Continuous { .. } => Numbers::F32(Column::default()),
        }
    }

    /// Appends observations.
    pub(super) fn extend_observations(&mut self, from: &Observations) {
        match (self, from) {
            (Numbers::U8(to), Observations::U8(from)) => to.extend(from),
            (Numbers::F32(to), Observations::F32(from)) => to.extend(from),
            (_, from) => panic!("{:?} observations in a replay of others", from.dtype()),
        }
    }

    /// Appends actions.
    pub(super) fn extend_actions(&mut self, from: &Actions) {
        match (self, from) {
            (Numbers::I32(to), Actions::Discrete(from)) => to.extend(from),
            (Numbers::F32(to), Actions::Continuous(from)) => to.extend(from),
            _ => panic!("discrete and continuous actions were mixed"),
        }
    }

    /// Copies numbers `range` behind those of `to`.
    pub(super) fn copy_observations(&self, range: Range<usize>, to: &mut Observations) {
        match (self, to) {
            (Numbers::U8(from), Observations::U8(to)) => to.extend_from_slice(&from[range]),
            (Numbers::F32(from), Observations::F32(to)) => to.extend_from_slice(&from[range]),
            (_, to) => panic!("{:?} observations asked of a replay of others", to.dtype()),
        }
    }

    /// Copies numbers `range` behind those of `to`.
    pub(super) fn copy_actions(&self, range: Range<usize>, to: &mut Actions) {
        match (self, to) {
            (Numbers::I32(from), Actions::Discrete(to)) => to.extend_from_slice(&from[range]),
            (Numbers::F32(from), Actions::Continuous(to)) => to.extend_from_slice(&from[range]),
            _ => panic!("discrete and continuous actions were mixed"),
        }
    }

    /// Type of its numbers in a file.
    pub(super) fn dtype(&self) -> safetensors::Dtype {
        match self {
            Numbers::U8(_) => safetensors::Dtype::U8,
            Numbers::I32(_) => safetensors::Dtype::I32,
            Numbers::F32(_) => safetensors::Dtype::F32,
        }
    }

    /// Gives back memory that is reserved and not used.
    pub(super) fn shrink(&mut self) {
        match self {
            Numbers::U8(column) => column.shrink(),
            Numbers::I32(column) => column.shrink(),
            Numbers::F32(column) => column.shrink(),
        }
    }

    /// Bytes of its numbers.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Numbers::U8(column) => column.bytes(),
            Numbers::I32(column) => column.bytes(),
            Numbers::F32(column) => column.bytes(),
        }
    }
}
