//! The recurrent state of every slot, on the device.
//!
//! Rows are taken out before a batch and put back after it. There are as many as the highest slot
//! that was ever asked for needs, doubled; how many that may become is the business of
//! [`crate::slots`].

use engram_policy::CoreState;
use tch::{Device, Tensor};

/// The states of all slots.
#[derive(Debug)]
pub(crate) struct SlotStates {
    states: CoreState,
    device: Device,
}

/// Rows of a batch: which slot each one is.
#[derive(Debug)]
pub(crate) struct Rows {
    index: Tensor,
    count: i64,
    lowest: i64,
    highest: i64,
    /// Whether they are all slots from the lowest to the highest, in order.
    together: bool,
}

impl Rows {
    /// The rows `slots`, none of them twice, for states on `device`.
    pub(crate) fn new(slots: &[i64], device: Device) -> Self {
        let lowest = slots.iter().copied().min().expect("a batch has rows");
        let highest = slots.iter().copied().max().expect("a batch has rows");
        Rows {
            index: Tensor::from_slice(slots).to_device(device),
            count: slots.len() as i64,
            lowest,
            highest,
            together: slots.iter().zip(lowest..).all(|(&slot, expected)| slot == expected),
        }
    }
}

impl SlotStates {
    /// One slot whose state is zero; `initial` is the initial state of the policy on `device`.
    pub(crate) fn new(initial: &CoreState, device: Device) -> Self {
        SlotStates { states: initial.zeros_like(1), device }
    }

    /// The states of the slots `rows`, in their order.
    pub(crate) fn take(&mut self, rows: &Rows) -> CoreState {
        self.grow(rows.highest + 1);
        self.states.index_select(&rows.index)
    }

    /// Replaces the states of the slots `rows`.
    pub(crate) fn put(&mut self, rows: &Rows, states: &CoreState) {
        self.grow(rows.highest + 1);
        if !rows.together {
            return self.states.index_copy(&rows.index, states);
        }
        // One block: copied as such, which is several times faster.
        for (all, new) in self.states.tensors().iter().zip(states.tensors()) {
            all.narrow(0, rows.lowest, rows.count).copy_(new);
        }
    }

    /// Sets the states of `slots` to zero.
    pub(crate) fn clear(&mut self, slots: &[i64]) {
        let zeros = self.states.zeros_like(slots.len() as i64);
        self.put(&Rows::new(slots, self.device), &zeros);
    }

    /// Makes room for at least `slots` slots; new ones are zero.
    fn grow(&mut self, slots: i64) {
        let before = self.states.batch();
        if slots <= before {
            return;
        }
        let mut larger = self.states.zeros_like(slots.max(2 * before));
        let rows: Vec<i64> = (0..before).collect();
        larger.index_copy(&Tensor::from_slice(&rows).to_device(self.device), &self.states);
        self.states = larger;
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::{ActionSpec, Dtype, EnvSpec, ObservationSpec, Seed};
    use engram_policy::{Policy, PolicyConfig};
    use tch::Kind;

    use super::*;

    fn initial() -> CoreState {
        let config: PolicyConfig = toml::from_str(
            "inputs = [\"observation\"]\n[torso]\nname = \"identity\"\n\
             [memory]\nname = \"lstm\"\nhidden = 2\nlayers = 1\nforget_bias = 0.0\n\
             [head]\nhidden = []\nactivation = \"relu\"\n",
        )
        .unwrap();
        let spec = EnvSpec {
            name: "test".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![1] },
            action: ActionSpec::Discrete { count: 2 },
            action_repeat: 1,
        };
        Policy::new(&config, &spec, Seed::new(1), Device::Cpu).unwrap().initial_state(1)
    }

    fn numbered(slots: &[i64]) -> CoreState {
        let numbers: Vec<f32> = slots.iter().flat_map(|&slot| [slot as f32 + 1.0; 4]).collect();
        let flat = Tensor::from_slice(&numbers).view([slots.len() as i64, 4]);
        initial().unflatten(&flat).unwrap()
    }

    fn check(states: &mut SlotStates, slots: &[i64], expected: &[f32]) {
        let found = states.take(&Rows::new(slots, Device::Cpu)).flatten();
        let expected = Tensor::from_slice(expected).unsqueeze(1).expand([-1, 4], false);
        assert_eq!(found, expected);
    }

    #[test]
    fn every_slot_keeps_its_own_state_while_their_number_grows() {
        let mut states = SlotStates::new(&initial(), Device::Cpu);
        for slots in [&[0, 1][..], &[5, 3], &[6, 7, 8], &[100]] {
            states.put(&Rows::new(slots, Device::Cpu), &numbered(slots));
        }
        check(&mut states, &[0, 1, 2, 3, 4, 5], &[1.0, 2.0, 0.0, 4.0, 0.0, 6.0]);
        check(&mut states, &[100, 8, 7, 6, 200], &[101.0, 9.0, 8.0, 7.0, 0.0]);
        states.clear(&[3, 7, 0]);
        check(&mut states, &[8, 7, 6, 5, 3, 1, 0], &[9.0, 0.0, 7.0, 6.0, 0.0, 2.0, 0.0]);
        let taken = states.take(&Rows::new(&[1, 5], Device::Cpu));
        states.clear(&[1, 5]);
        let sum = taken.flatten().sum(Kind::Float).double_value(&[]);
        assert_eq!(sum, 32.0, "what was taken is a copy");
    }
}
