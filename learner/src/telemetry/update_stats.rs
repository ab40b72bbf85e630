//! Update stats: the numbers of an update, and where its time went.

use std::time::Duration;

/// Stats of an update.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateStats {
    /// Named numbers, those of the algorithm's `columns`, in their order.
    pub numbers: Vec<(&'static str, f64)>,
    /// Time by phase.
    pub phases: Phases,
}

/// Phases of an update. Each ends where numbers are read back from the device, but for the
/// last: on an accelerator it is only the time to ask for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// From a batch, and what its streams carry, to a loss.
    pub forward: Duration,
    /// From a loss to a gradient.
    pub backward: Duration,
    /// From a gradient to new weights, and to what is carried on.
    pub optimizer: Duration,
}

impl UpdateStats {
    /// Number called `name`, one of the algorithm's columns.
    pub fn get(&self, name: &str) -> f64 {
        let found = self.numbers.iter().find(|(found, _)| *found == name);
        found.unwrap_or_else(|| panic!("an update has no number `{name}`")).1
    }

    pub(crate) fn set(&mut self, name: &str, value: f64) {
        let found = self.numbers.iter_mut().find(|(found, _)| *found == name);
        found.unwrap_or_else(|| panic!("an update has no number `{name}`")).1 = value;
    }
}
