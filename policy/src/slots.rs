//! State table: a row for each of many streams or environments, on the device.
//!
//! SlotIndex are taken out before a batch and put back after it. There are as many as the highest one
//! that was ever asked for needs, doubled, so for a moment a growing table takes half as much
//! again. How many rows that may become, and whose they are, is the business of whoever keeps it.

use tch::{Device, Tensor, no_grad};

use crate::error::PolicyError;
use crate::state::Batched;

/// States of many slots, such as core states or carries.
#[derive(Debug)]
pub struct StateTable<S> {
    states: S,
    device: Device,
    most: i64,
}

/// Slots of a batch's rows.
#[derive(Debug)]
pub struct SlotIndex {
    index: Tensor,
    count: i64,
    lowest: i64,
    highest: i64,
    /// True if they are all slots from the lowest to the highest, in order: one block, which is
    /// copied as such several times faster.
    together: bool,
}

impl SlotIndex {
    /// The rows `slots`, none of them twice, for states on `device`.
    pub fn new(slots: &[i64], device: Device) -> Self {
        let lowest = slots.iter().copied().min().expect("a batch has rows");
        let highest = slots.iter().copied().max().expect("a batch has rows");
        SlotIndex {
            index: Tensor::from_slice(slots).to_device(device),
            count: slots.len() as i64,
            lowest,
            highest,
            together: slots.iter().zip(lowest..).all(|(&slot, expected)| slot == expected),
        }
    }
}

impl<S: Batched> StateTable<S> {
    /// One slot whose state is zero, and at most `most` of them later on; `initial` is a state
    /// like those to come, on `device`.
    pub fn new(initial: &S, device: Device, most: i64) -> Self {
        assert!(most > 0, "a table has room for a row");
        StateTable { states: initial.zeros_like(1), device, most }
    }

    /// The states of the slots `rows`, in their order.
    pub fn take(&mut self, rows: &SlotIndex) -> S {
        self.grow(rows.highest + 1);
        match rows.together {
            true => {
                let block = |table: &Tensor| table.narrow(0, rows.lowest, rows.count).copy();
                self.states.map(rows.count, block)
            }
            false => self.states.index_select(&rows.index),
        }
    }

    /// Replaces the states of the slots `rows`.
    pub fn put(&mut self, rows: &SlotIndex, states: &S) {
        self.grow(rows.highest + 1);
        assert_eq!(rows.count, states.batch(), "a slot for each row");
        let (tables, new) = (self.states.columns(), states.columns());
        assert_eq!(tables.len(), new.len(), "states of one memory");
        no_grad(|| {
            for (table, new) in tables.into_iter().zip(new) {
                match rows.together {
                    true => table.narrow(0, rows.lowest, rows.count).copy_(new),
                    false => drop(table.shallow_clone().index_copy_(0, &rows.index, new)),
                }
            }
        });
    }

    /// Sets the states of `slots` to zero.
    pub fn clear(&mut self, slots: &[i64]) {
        let zeros = self.states.zeros_like(slots.len() as i64);
        self.put(&SlotIndex::new(slots, self.device), &zeros);
    }

    /// The states of the first `slots` slots: views, each `[slots, ..]`, which change with the
    /// table.
    pub fn first(&mut self, slots: i64) -> Vec<Tensor> {
        self.grow(slots);
        self.states.columns().into_iter().map(|tensor| tensor.narrow(0, 0, slots)).collect()
    }

    /// Replaces the states of the first slots by what [`first`](Self::first) said of them,
    /// wherever that was kept. Untouched if it does not fit.
    pub fn load(&mut self, first: &[Tensor]) -> Result<(), PolicyError> {
        let Some(slots) = first.first().map(|tensor| tensor.size()[0]) else { return Ok(()) };
        let kept = self.states.columns();
        let wrong = |index: usize, expected: String, found: String| PolicyError::Tensor {
            name: format!("state {index}"),
            expected,
            found,
        };
        if kept.len() != first.len() {
            let (expected, found) = (format!("{} tensors", kept.len()), first.len());
            return Err(wrong(0, expected, format!("one of {found} tensors")));
        }
        for (index, (kept, given)) in kept.into_iter().zip(first).enumerate() {
            let expected: Vec<i64> =
                std::iter::once(slots).chain(kept.size().into_iter().skip(1)).collect();
            if given.size() != expected || given.kind() != kept.kind() {
                let show = |kind, shape| format!("{kind:?} {shape:?}");
                let found = show(given.kind(), given.size());
                return Err(wrong(index, show(kept.kind(), expected), found));
            }
        }
        self.grow(slots);
        no_grad(|| {
            for (all, new) in self.states.columns().into_iter().zip(first) {
                all.narrow(0, 0, slots).copy_(new);
            }
        });
        Ok(())
    }

    /// Bytes of one slot's state.
    pub fn row_bytes(&self) -> u64 {
        let bytes = |tensor: &Tensor| {
            let row: i64 = tensor.size()[1..].iter().product();
            row as u64 * tensor.kind().elt_size_in_bytes() as u64
        };
        self.states.columns().into_iter().map(bytes).sum()
    }

    /// Bytes of the whole table, as large as it is now.
    pub fn bytes(&self) -> u64 {
        self.row_bytes() * self.states.batch() as u64
    }

    /// Makes room for at least `slots` slots; new ones are zero.
    fn grow(&mut self, slots: i64) {
        let before = self.states.batch();
        if slots <= before {
            return;
        }
        assert!(slots <= self.most, "{slots} slots in a table of {}", self.most);
        let larger = self.states.zeros_like(slots.max(2 * before).min(self.most));
        no_grad(|| {
            for (new, old) in larger.columns().into_iter().zip(self.states.columns()) {
                new.narrow(0, 0, before).copy_(old);
            }
        });
        self.states = larger;
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;
    use crate::state::CoreState;

    /// Four floats and a count.
    fn initial() -> CoreState {
        let zeros = |shape: &[i64], kind| Tensor::zeros(shape, (kind, Device::Cpu));
        CoreState::new(1, vec![zeros(&[1, 2, 2], Kind::Float), zeros(&[1, 1], Kind::Int64)])
    }

    fn table(most: i64) -> StateTable<CoreState> {
        StateTable::new(&initial(), Device::Cpu, most)
    }

    fn numbered(slots: &[i64]) -> CoreState {
        let numbers: Vec<f32> = slots.iter().flat_map(|&slot| [slot as f32 + 1.0; 5]).collect();
        let flat = Tensor::from_slice(&numbers).view([slots.len() as i64, 5]);
        initial().unflatten(&flat).unwrap()
    }

    fn check(states: &mut StateTable<CoreState>, slots: &[i64], expected: &[f32]) {
        let found = states.take(&SlotIndex::new(slots, Device::Cpu)).flatten();
        let expected = Tensor::from_slice(expected).unsqueeze(1).expand([-1, 5], false);
        assert_eq!(found, expected);
    }

    #[test]
    fn every_slot_keeps_its_own_state_while_their_number_grows() {
        let mut states = table(i64::MAX);
        for slots in [&[0, 1][..], &[5, 3], &[6, 7, 8], &[100]] {
            states.put(&SlotIndex::new(slots, Device::Cpu), &numbered(slots));
        }
        check(&mut states, &[0, 1, 2, 3, 4, 5], &[1.0, 2.0, 0.0, 4.0, 0.0, 6.0]);
        check(&mut states, &[100, 8, 7, 6, 200], &[101.0, 9.0, 8.0, 7.0, 0.0]);
        states.clear(&[3, 7, 0]);
        check(&mut states, &[8, 7, 6, 5, 3, 1, 0], &[9.0, 0.0, 7.0, 6.0, 0.0, 2.0, 0.0]);
        let taken = states.take(&SlotIndex::new(&[1, 5], Device::Cpu));
        states.clear(&[1, 5]);
        let sum = taken.flatten().sum(Kind::Float).double_value(&[]);
        assert_eq!(sum, 40.0, "what was taken is a copy");
    }

    #[test]
    fn a_table_grows_to_its_bound_and_knows_its_bytes() {
        let mut states = table(5);
        assert_eq!((states.row_bytes(), states.bytes()), (4 * 4 + 8, 24));
        for (slot, rows) in [(1, 2), (2, 4), (4, 5)] {
            states.put(&SlotIndex::new(&[slot], Device::Cpu), &numbered(&[slot]));
            assert_eq!(states.bytes(), 24 * rows);
        }
        check(&mut states, &[1, 2, 4], &[2.0, 3.0, 5.0]);
    }

    #[test]
    fn the_first_slots_come_back_as_they_were_and_others_are_refused() {
        let mut states = table(8);
        states.put(&SlotIndex::new(&[0, 1, 2], Device::Cpu), &numbered(&[0, 1, 2]));
        let kept: Vec<Tensor> = states.first(3).iter().map(Tensor::copy).collect();
        let mut other = table(8);
        other.load(&kept).unwrap();
        check(&mut other, &[0, 1, 2], &[1.0, 2.0, 3.0]);
        let refused = other.load(&[kept[0].narrow(1, 0, 1), kept[1].copy()]).unwrap_err();
        assert!(refused.to_string().contains("Float [3, 2, 2]"), "{refused}");
        assert!(other.load(&kept[..1]).is_err());
        assert!(other.load(&[kept[0].copy(), kept[1].to_kind(Kind::Int)]).is_err());
        check(&mut other, &[0, 1, 2], &[1.0, 2.0, 3.0]);
    }
}
