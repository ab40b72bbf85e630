//! Compute settings: devices and threads of networks, which are flags of every command that runs one.

use anyhow::Result;
use clap::Args;
use engram_policy::Device;

/// Device and threads of a system's networks.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Compute {
    /// Device of networks: cpu, cuda, or cuda:N
    #[arg(long, env = "ENGRAM_DEVICE", default_value = "cpu")]
    pub(crate) device: Device,
    /// Threads of one tensor operation in the learner
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) learner_threads: usize,
    /// Threads of one tensor operation in the inference server
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) inference_threads: usize,
}

impl Compute {
    /// The flags, checked; an accelerator that is not there is an error.
    pub(crate) fn checked(self) -> Result<Compute> {
        self.device.ready()?;
        Ok(self)
    }
}
