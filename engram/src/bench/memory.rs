//! Cost of memory layers: acting, training, and exact gradients.
//!
//! Everything is measured through whole policies without a torso: what is fed goes straight into
//! the memory, what comes out into a linear policy and value. Times are medians; what is compared
//! took turns.

pub(crate) mod layers;
mod real_time;
mod workload;

use anyhow::Result;

use crate::compute::Compute;

/// Measures, and prints tables.
pub(super) fn run(compute: Compute, seconds: f64) -> Result<()> {
    let device = compute.device.ready()?;
    tch::set_num_threads(i32::try_from(compute.learner_threads)?);
    real_time::run(device, seconds)?;
    layers::run(device, seconds)
}
