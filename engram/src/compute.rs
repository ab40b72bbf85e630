//! Compute settings: devices and threads of networks, and their flags.

use anyhow::Result;
use clap::Args;
use engram_policy::Device;

/// Device and threads of a system's networks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compute {
    /// The device of the policies.
    pub(crate) device: Device,
    /// Threads of one tensor operation in the learner.
    pub(crate) learner_threads: usize,
    /// Threads of one tensor operation in the inference server.
    pub(crate) inference_threads: usize,
}

/// Flags of every command that runs a network.
#[derive(Args, Clone, Debug)]
pub(crate) struct ComputeArgs {
    /// Device of networks: cpu, cuda, or cuda:N
    #[arg(long, env = "ENGRAM_DEVICE", default_value = "cpu")]
    device: Device,
    /// Threads of one tensor operation in the learner
    #[arg(long, value_name = "N", default_value_t = 1)]
    learner_threads: usize,
    /// Threads of one tensor operation in the inference server
    #[arg(long, value_name = "N", default_value_t = 1)]
    inference_threads: usize,
}

impl ComputeArgs {
    /// The flags as the system wants them; an accelerator that is not there is an error.
    pub(crate) fn compute(&self) -> Result<Compute> {
        self.device.ready()?;
        Ok(Compute {
            device: self.device,
            learner_threads: self.learner_threads,
            inference_threads: self.inference_threads,
        })
    }
}
