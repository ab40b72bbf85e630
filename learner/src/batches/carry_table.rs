//! Carry table: per-stream state between two unrolls.
//!
//! A policy may learn from more than an unroll shows: what it needs of the time before, its
//! carry, is taken out before an update and put back after it, a row of a table per stream. A
//! trajectory gets what its stream's last one has left only if it is its direct successor. Any
//! other begins anew with zeros: the first one of a generation, but also one behind a hole, be it
//! that trajectories never came, were stale, or that their update was not finite.
//!
//! The table is bounded. When it is full, the stream that was silent for longest is evicted. For a
//! policy that carries nothing there is no table at all.

use std::collections::{BTreeSet, HashMap};

use engram_mdp::StreamId;
use engram_policy::slots::{SlotIndex, StateTable};
use engram_policy::{Batched, Carry};
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};
use thiserror::Error;

use crate::batches::selector::TrajectoryKey;
use crate::config::flags::ByteSize;
use crate::rpc::membership::Forgotten;
use crate::telemetry::carry_table_stats::CarryTableStats;

/// The carries of all streams.
#[derive(Debug)]
pub struct CarryTable {
    /// The carry of no stream: kinds, shapes and entry.
    nothing: Carry,
    table: StateTable<Carry>,
    device: Device,
    most: usize,
    streams: HashMap<StreamId, Entry>,
    /// All streams, the one that was silent for longest first.
    silent: BTreeSet<(u64, StreamId)>,
    /// Batches so far: the time by which silence is measured.
    batches: u64,
    restarts: u64,
    evictions: u64,
}

/// One stream.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Its row of the table. The rows in use are the first ones, without gaps.
    slot: i64,
    /// The batch in which it was last.
    heard: u64,
    /// The trajectory that may go on from that row: its generation and sequence. None during an
    /// update, and for good where the update was not finite.
    next: Option<(u64, u64)>,
}

/// Not even the streams of one batch find room.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "--stream-memory is {given}, but this policy carries {per_stream} per stream from one unroll \
     to the next, {needed} for a batch of {batch_size}: allow {needed} or more, or make \
     rl.batch_size or the memory layer smaller"
)]
pub struct TooLittleMemory {
    /// Memory that is allowed.
    pub given: ByteSize,
    /// Memory that a batch needs.
    pub needed: ByteSize,
    /// Memory that a stream needs.
    pub per_stream: ByteSize,
    /// Streams of a batch.
    pub batch_size: usize,
}

/// Stream of the table, as checkpoints hold it, in the order of the table's rows: actor,
/// environment, the batch in which it was last, and the generation and sequence that may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedStream(u32, u32, u64, Option<(u64, u64)>);

impl CarryTable {
    /// Nothing is kept yet, and never more than `memory`, for batches of `batch_size` streams, each of
    /// which begins with `carry`.
    pub fn new(
        carry: &Carry,
        device: Device,
        memory: ByteSize,
        batch_size: usize,
    ) -> Result<Self, TooLittleMemory> {
        let per_stream = StateTable::new(carry, device, 1).row_bytes();
        let most = memory.bytes().checked_div(per_stream).unwrap_or(u64::MAX);
        if most < batch_size as u64 {
            let needed = ByteSize(per_stream.saturating_mul(batch_size as u64));
            let per_stream = ByteSize(per_stream);
            return Err(TooLittleMemory { given: memory, needed, per_stream, batch_size });
        }
        let most = most.min(i64::MAX as u64);
        Ok(CarryTable {
            nothing: carry.zeros_like(0),
            table: StateTable::new(carry, device, most as i64),
            device,
            most: most as usize,
            streams: HashMap::new(),
            silent: BTreeSet::new(),
            batches: 0,
            restarts: 0,
            evictions: 0,
        })
    }

    /// True if the policy carries anything at all. Then a batch must hold at most one trajectory of
    /// each stream.
    pub fn carries(&self) -> bool {
        !self.nothing.is_empty()
    }

    /// Takes what the streams of a batch carry, in the batch's order. From here on they begin anew,
    /// unless [`put`](Self::put) says what comes next.
    pub fn take(&mut self, rows: &[TrajectoryKey]) -> Carry {
        if !self.carries() {
            return self.nothing.zeros_like(rows.len() as i64);
        }
        self.make_room(rows);
        let mut anew = Vec::new();
        for row in rows {
            let entry = self.streams.get_mut(&row.stream).expect("there is room for every row");
            if entry.next.take() != Some((row.generation, row.sequence)) {
                anew.push(entry.slot);
                self.restarts += u64::from(row.sequence > 0);
            }
        }
        if !anew.is_empty() {
            self.table.clear(&anew);
        }
        let slots = self.slots(rows);
        self.table.take(&slots)
    }

    /// Keeps what an update has left of the streams of its batch, which were [taken](Self::take).
    pub fn put(&mut self, rows: &[TrajectoryKey], carry: &Carry) {
        if !self.carries() {
            return;
        }
        let slots = self.slots(rows);
        self.table.put(&slots, carry);
        for row in rows {
            let entry = self.streams.get_mut(&row.stream).expect("it was taken");
            entry.next = Some((row.generation, row.sequence + 1));
        }
    }

    /// Forgets the streams of actors, up to their last generations. The last rows of the table take
    /// the places that become free.
    pub fn forget(&mut self, actors: &[Forgotten]) {
        let last: HashMap<u32, u64> =
            actors.iter().map(|forgotten| (forgotten.actor, forgotten.generation)).collect();
        let is_forgotten = |stream: &StreamId, entry: &Entry| {
            last.get(&stream.actor)
                .is_some_and(|&last| entry.next.is_none_or(|(generation, _)| generation <= last))
        };
        let gone: Vec<StreamId> = self
            .streams
            .iter()
            .filter(|(stream, entry)| is_forgotten(stream, entry))
            .map(|(&stream, _)| stream)
            .collect();
        for stream in gone {
            let entry = self.streams.remove(&stream).expect("it was found just now");
            self.silent.remove(&(entry.heard, stream));
            self.fill(entry.slot);
        }
    }

    /// Moves the last row that is in use into a free slot before it.
    fn fill(&mut self, free: i64) {
        let last = self.streams.len() as i64;
        let Some(moved) = self.streams.values_mut().find(|entry| entry.slot == last) else {
            return; // It was the last one itself.
        };
        moved.slot = free;
        let row = self.table.take(&SlotIndex::new(&[last], self.device));
        self.table.put(&SlotIndex::new(&[free], self.device), &row);
    }

    /// Size of the table, and what happened since this was last asked.
    pub fn stats(&mut self) -> CarryTableStats {
        CarryTableStats {
            streams: self.streams.len(),
            bytes: self.table.bytes(),
            restarts: std::mem::take(&mut self.restarts),
            evictions: std::mem::take(&mut self.evictions),
        }
    }

    /// Everything that is kept, for a checkpoint: the streams, and their rows as named tensors.
    /// These share the table's memory, which the next update changes.
    pub fn save(&mut self) -> (Vec<SavedStream>, Vec<(String, Tensor)>) {
        if self.streams.is_empty() {
            return (Vec::new(), Vec::new());
        }
        let mut streams: Vec<_> = self.streams.iter().collect();
        streams.sort_unstable_by_key(|(_, entry)| entry.slot);
        let saved = streams.into_iter().map(|(stream, entry)| {
            SavedStream(stream.actor, stream.env_index, entry.heard, entry.next)
        });
        let rows = self.table.first(self.streams.len() as i64);
        let named = rows.into_iter().enumerate().map(|(i, t)| (name(i), t)).collect();
        (saved.collect(), named)
    }

    /// Keeps what [`save`](Self::save) said; the streams silent for longest are left out where the
    /// bound has become lower. An error says why it does not fit.
    pub fn load(
        &mut self,
        saved: &[SavedStream],
        stored: &[(String, Tensor)],
    ) -> Result<(), String> {
        if saved.is_empty() {
            return Ok(());
        }
        let mut newest: Vec<usize> = (0..saved.len()).collect();
        newest.sort_by_key(|&row| std::cmp::Reverse(saved[row].2));
        newest.truncate(self.most);
        newest.sort_unstable();
        let kept: Vec<i64> = newest.iter().map(|&row| row as i64).collect();
        let kept = Tensor::from_slice(&kept);
        let mut rows = Vec::new();
        for index in 0..stored.len() {
            let (_, tensor) = stored
                .iter()
                .find(|(found, _)| *found == name(index))
                .ok_or_else(|| format!("the streams' `{}` is missing", name(index)))?;
            if tensor.size().first() != Some(&(saved.len() as i64)) {
                let (streams, shape) = (saved.len(), tensor.size());
                return Err(format!("{streams} streams have a carry of shape {shape:?}"));
            }
            rows.push(tensor.index_select(0, &kept));
        }
        self.table.load(&rows).map_err(|error| format!("what the streams carry: {error}"))?;
        for (slot, &row) in newest.iter().enumerate() {
            let SavedStream(actor, env_index, heard, next) = saved[row];
            let stream = StreamId { actor, env_index };
            self.streams.insert(stream, Entry { slot: slot as i64, heard, next });
            self.silent.insert((heard, stream));
            self.batches = self.batches.max(heard);
        }
        Ok(())
    }

    /// Gives each row's stream a entry, evicting others where there is none left.
    fn make_room(&mut self, rows: &[TrajectoryKey]) {
        self.batches += 1;
        let heard = self.batches;
        // Those that are here already come first, so that nobody evicts them.
        for TrajectoryKey { stream, .. } in rows {
            if let Some(entry) = self.streams.get_mut(stream) {
                assert_ne!(entry.heard, heard, "{stream} is twice in a batch");
                self.silent.remove(&(entry.heard, *stream));
                self.silent.insert((heard, *stream));
                entry.heard = heard;
            }
        }
        for &TrajectoryKey { stream, .. } in rows {
            if self.streams.contains_key(&stream) {
                continue;
            }
            let slot = match self.streams.len() < self.most {
                true => self.streams.len() as i64,
                false => self.evict(),
            };
            self.streams.insert(stream, Entry { slot, heard, next: None });
            self.silent.insert((heard, stream));
        }
    }

    /// Forgets the stream that was silent for longest; returns its slot.
    fn evict(&mut self) -> i64 {
        let (heard, stream) = self.silent.pop_first().expect("a table without room is not empty");
        assert_ne!(heard, self.batches, "there is room for the streams of one batch");
        self.evictions += 1;
        self.streams.remove(&stream).expect("every stream is in both").slot
    }

    fn slots(&self, rows: &[TrajectoryKey]) -> SlotIndex {
        let slots: Vec<i64> = rows.iter().map(|row| self.streams[&row.stream].slot).collect();
        SlotIndex::new(&slots, self.device)
    }
}

/// The name of the carry's tensor `index` in a checkpoint.
fn name(index: usize) -> String {
    format!("carry.{index}")
}

#[cfg(test)]
mod tests;
