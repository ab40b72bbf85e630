//! Learner spec: everything a learner is made of, beside its algorithm and its environment.

use std::path::PathBuf;

use engram_mdp::Seed;
use engram_policy::PolicyConfig;
use tch::Device;

use crate::config::flags::ByteSize;
use crate::telemetry::metrics::Metrics;

/// Spec of a learner.
#[derive(Clone, Debug)]
pub struct LearnerSpec {
    /// The run.
    pub run_id: String,
    /// Its resolved configuration, as TOML, for the checkpoints.
    pub config: String,
    /// The network.
    pub policy: PolicyConfig,
    /// The experiment's seed.
    pub seed: Seed,
    /// Env steps of the whole run: what a learning rate's schedule is relative to.
    pub budget: u64,
    /// Device of the network.
    pub device: Device,
    /// The most that may be kept of streams between unrolls.
    pub stream_memory: ByteSize,
    /// Decisions per trajectory.
    pub unroll_length: usize,
    /// Folder of a replay's segments, where there is one.
    pub replay_folder: Option<PathBuf>,
    /// Metrics of what is kept between updates.
    pub metrics: Metrics,
}
