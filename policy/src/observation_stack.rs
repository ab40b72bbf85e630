//! Observation stack: the last K raw observations of the episode side by side, before the torso
//! (Mnih et al. 2015, <https://doi.org/10.1038/nature14236>).
//!
//! ```text
//! s_t = [ o_{t-K+1} ; … ; o_{t-1} ; o_t ]        before the episode's first frame stands that one
//! ```
//!
//! Only the newest observation crosses the wire and is kept in trajectories; the K − 1 before it are
//! part of the policy's state. Where the environment stacks, every picture is sent and stored K times.

use engram_mdp::{Dtype, EnvSpec};
use tch::{Device, Kind, Tensor};

use crate::resets::Resets;

/// Stack of K observations `[O..]` along their first dimension.
pub(crate) struct ObservationStack {
    frames: i64,
    /// O.., as the environment shows it.
    shape: Vec<i64>,
    options: (Kind, Device),
}

/// Stacks of an unroll, `[T, B, K, O..]`.
pub(crate) struct Stacked(Tensor);

impl ObservationStack {
    /// The stack that `spec` asks for.
    pub(crate) fn new(spec: &EnvSpec, device: Device) -> Self {
        let kind = match spec.observation.dtype {
            Dtype::U8 => Kind::Uint8,
            Dtype::F32 => Kind::Float,
        };
        let shape = spec.observation.shape.iter().map(|&side| side as i64).collect();
        ObservationStack { frames: spec.frame_stack.into(), shape, options: (kind, device) }
    }

    /// Observations before the first one: zeros `[B, K - 1, O..]`, which no stack ever shows.
    pub(crate) fn initial(&self, batch: i64) -> Tensor {
        Tensor::zeros(self.shape_after(&[batch, self.frames - 1]).as_slice(), self.options)
    }

    /// Stacks of the observations `[T, B, O..]`, or `[B, O..]` of one moment, which follow on the
    /// K − 1 of `before`, `[B, K - 1, O..]`, oldest first.
    pub(crate) fn stack(&self, observation: &Tensor, before: &Tensor, resets: &Resets) -> Stacked {
        let (time, batch) = (resets.time() as i64, resets.batch() as i64);
        let observation = observation.reshape(self.shape_after(&[time, batch]).as_slice());
        let before = before.to_kind(observation.kind()).transpose(0, 1);
        let seen = Tensor::cat(&[&before, &observation], 0); // [K - 1 + T, B, O..]
        let ages = resets.ages();
        let rows: Vec<i64> = (0..time * batch)
            .flat_map(|row| {
                let age = ages[row as usize].unwrap_or(i64::MAX);
                let now = row + (self.frames - 1) * batch;
                (0..self.frames).rev().map(move |back| now - back.min(age) * batch)
            })
            .collect();
        let rows = Tensor::from_slice(&rows).to_device(seen.device());
        let stacked = seen.flatten(0, 1).index_select(0, &rows);
        Stacked(stacked.view(self.shape_after(&[time, batch, self.frames]).as_slice()))
    }

    fn shape_after(&self, leading: &[i64]) -> Vec<i64> {
        leading.iter().chain(&self.shape).copied().collect()
    }
}

impl Stacked {
    /// Observations for the torso, `[T B, K O₁, ..]`.
    pub(crate) fn observations(&self) -> Tensor {
        self.0.flatten(0, 1).flatten(1, 2)
    }

    /// The K − 1 observations before the moment behind `time`, `[B, K - 1, O..]`, oldest first.
    pub(crate) fn after(&self, time: i64) -> Tensor {
        let last = self.0.get(time);
        last.narrow(1, 1, last.size()[1] - 1).contiguous()
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::{ActionSpec, ObservationSpec};

    use super::*;

    fn stack(frame_stack: u32, shape: &[usize]) -> ObservationStack {
        let spec = EnvSpec {
            name: "pictures".into(),
            observation: ObservationSpec { dtype: Dtype::U8, shape: shape.to_vec() },
            frame_stack,
            action: ActionSpec::Discrete { count: 2 },
            action_repeat: 1,
        };
        ObservationStack::new(&spec, Device::Cpu)
    }

    fn numbers(tensor: &Tensor) -> Vec<u8> {
        Vec::try_from(tensor.contiguous().view(-1)).unwrap()
    }

    #[test]
    fn an_episode_begins_with_copies_of_its_first_observation() {
        let stack = stack(3, &[1]);
        // Row 0 goes on after 8 and 9; row 1 begins anew at moment 1.
        let before = Tensor::from_slice(&[8u8, 9, 8, 9]).view([2, 2, 1]);
        let observation = Tensor::from_slice(&[10u8, 20, 11, 21, 12, 22]).view([3, 2, 1]);
        let resets = Resets::new(vec![false, false, false, true, false, false], 2);
        let stacked = stack.stack(&observation, &before, &resets);
        let shown = stacked.observations().view([3, 2, 3]);
        assert_eq!(numbers(&shown.select(1, 0)), [8, 9, 10, 9, 10, 11, 10, 11, 12]);
        assert_eq!(numbers(&shown.select(1, 1)), [8, 9, 20, 21, 21, 21, 21, 21, 22]);
        assert_eq!(numbers(&stacked.after(1)), [10, 11, 21, 21]);
        assert_eq!(numbers(&stacked.after(-1)), [11, 12, 21, 22]);
    }

    #[test]
    fn images_are_stacked_by_channels() {
        let stack = stack(2, &[2, 1, 3]);
        let observation = Tensor::arange(12, (Kind::Uint8, Device::Cpu)).view([2, 1, 2, 1, 3]);
        let resets = Resets::new(vec![true, false], 1);
        let stacked = stack.stack(&observation, &stack.initial(1), &resets);
        assert_eq!(stacked.observations().size(), [2, 4, 1, 3]);
        let expected = [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5].into_iter().chain(0..12);
        assert_eq!(numbers(&stacked.observations()), expected.collect::<Vec<u8>>());
    }
}
