//! Columns of numbers: in memory while they grow, in memory or in a mapped file afterwards.

use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytemuck::Pod;
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
