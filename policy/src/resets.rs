//! Beginnings of episodes inside `[T, B]` rows, kept on the CPU so that no layer must ask the
//! device for it.
//!
//! Fused recurrent kernels know no resets. [`Resets::spread`] gives them longer sequences
//! instead: before every first frame a *clear* step is put in, which a layer turns into zero
//! state by its gates, and rows with fewer of them are filled up at the end with *hold* steps,
//! which leave the state alone. An unroll costs as many steps more as the row with most episodes
//! has beginnings.

use tch::{Device, Kind, Tensor};

/// Flags of T × B rows, time-major: true for First frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Resets {
    first: Vec<bool>,
    batch: usize,
}

/// Longer sequences `[T', B]` in which clear steps take the place of resets.
pub(crate) struct SpreadSequences {
    /// T'.
    pub time: i64,
    /// `[T', B, 2]`: 1 in the first column at clear steps, in the second one at hold steps.
    pub control: Tensor,
    /// i64 `[T B]`: the row of `[T' B]` where each step went.
    pub place: Tensor,
    /// i64 `[B]`: where each environment's last step went.
    pub last: Tensor,
}

impl Resets {
    /// `first[t * batch + b]` says whether frame t of environment b is a First one.
    pub fn new(first: Vec<bool>, batch: usize) -> Self {
        assert!(batch > 0 && !first.is_empty(), "resets of no frames at all");
        assert!(first.len().is_multiple_of(batch), "resets have shape [T, B]");
        Resets { first, batch }
    }

    /// T.
    pub fn time(&self) -> usize {
        self.first.len() / self.batch
    }

    /// B.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The B rows of moment `time`.
    pub fn at(&self, time: usize) -> &[bool] {
        &self.first[time * self.batch..(time + 1) * self.batch]
    }

    /// True if any episode begins at moment `time`.
    pub fn any_at(&self, time: usize) -> bool {
        self.at(time).contains(&true)
    }

    /// The moments `start..start + length`.
    pub(crate) fn narrow(&self, start: usize, length: usize) -> Resets {
        let rows = start * self.batch..(start + length) * self.batch;
        Resets::new(self.first[rows].to_vec(), self.batch)
    }

    /// The environments `rows`, in their order.
    pub(crate) fn select(&self, rows: &[i64]) -> Resets {
        let moment = |time| rows.iter().map(move |&row| self.at(time)[row as usize]);
        Resets::new((0..self.time()).flat_map(moment).collect(), rows.len())
    }

    /// bool `[B]`: whether an episode begins at moment `time`.
    pub(crate) fn first_at(&self, time: usize, device: Device) -> Tensor {
        Tensor::from_slice(self.at(time)).to_device(device)
    }

    /// For each of the T × B rows, the moments since the latest beginning of an episode in it, 0 at
    /// the beginning itself; `None` before the first one.
    pub(crate) fn ages(&self) -> Vec<Option<i64>> {
        let mut ages: Vec<Option<i64>> = Vec::with_capacity(self.first.len());
        for (row, &first) in self.first.iter().enumerate() {
            let before = row.checked_sub(self.batch).and_then(|before| ages[before]);
            ages.push(if first { Some(0) } else { before.map(|age| age + 1) });
        }
        ages
    }

    /// `[T, B, 1]`: 0 where an episode begins, else 1.
    pub(crate) fn kept(&self, kind: Kind, device: Device) -> Tensor {
        let kept: Vec<f32> = self.first.iter().map(|&first| f32::from(!first)).collect();
        let kept = Tensor::from_slice(&kept).view([-1, self.batch as i64, 1]);
        kept.to_kind(kind).to_device(device)
    }

    /// Longer sequences without resets; `None` where no episode begins after moment 0. A reset at
    /// moment 0 belongs to the state, see `CoreState::begin`.
    pub(crate) fn spread(&self, kind: Kind, device: Device) -> Option<SpreadSequences> {
        let (time, batch) = (self.time(), self.batch);
        let mut beginnings = vec![0; batch];
        for row in batch..time * batch {
            beginnings[row % batch] += usize::from(self.first[row]);
        }
        let extra = beginnings.iter().copied().max().filter(|&extra| extra > 0)?;
        let longer = time + extra;
        let mut control = vec![0f32; longer * batch * 2];
        let mut place = vec![0i64; time * batch];
        let mut last = vec![0i64; batch];
        for (b, last) in last.iter_mut().enumerate() {
            let mut at = b;
            for row in (b..time * batch).step_by(batch) {
                if row >= batch && self.first[row] {
                    control[2 * at] = 1.0;
                    at += batch;
                }
                place[row] = at as i64;
                *last = at as i64;
                at += batch;
            }
            for held in (at..longer * batch).step_by(batch) {
                control[2 * held + 1] = 1.0;
            }
        }
        let control = Tensor::from_slice(&control).view([longer as i64, batch as i64, 2]);
        Some(SpreadSequences {
            time: longer as i64,
            control: control.to_kind(kind).to_device(device),
            place: Tensor::from_slice(&place).to_device(device),
            last: Tensor::from_slice(&last).to_device(device),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_puts_a_clear_step_before_every_beginning_and_holds_at_the_end() {
        // Row 0 begins at moment 2; row 1 at moments 0, 1 and 3.
        let first = [[false, true], [false, true], [true, false], [false, true]].concat();
        let spread = Resets::new(first, 2).spread(Kind::Float, Device::Cpu).unwrap();
        assert_eq!(spread.time, 6);
        // Row 0: 0 1 clear 2 3 hold; row 1: 0 clear 1 2 clear 3.
        let control = Vec::<f32>::try_from(spread.control.flatten(0, -1)).unwrap();
        let expected =
            [[0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]];
        assert_eq!(control, expected.concat().iter().map(|&x| x as f32).collect::<Vec<_>>());
        let place = Vec::<i64>::try_from(&spread.place).unwrap();
        assert_eq!(place, [0, 1, 2, 5, 6, 7, 8, 11]);
        assert_eq!(Vec::<i64>::try_from(&spread.last).unwrap(), [8, 11]);
    }

    #[test]
    fn ages_count_from_the_latest_beginning() {
        let first = [[false, true], [false, false], [true, false], [false, true]].concat();
        let ages = Resets::new(first, 2).ages();
        let expected = [[-1, 0], [-1, 1], [0, 2], [1, 0]].concat();
        let ages: Vec<i64> = ages.into_iter().map(|age| age.unwrap_or(-1)).collect();
        assert_eq!(ages, expected);
    }

    #[test]
    fn nothing_is_spread_where_nothing_begins_after_the_first_moment() {
        let resets = Resets::new(vec![true, false, false, false], 2);
        assert!(resets.spread(Kind::Float, Device::Cpu).is_none());
        assert!(resets.any_at(0) && !resets.any_at(1));
    }
}
