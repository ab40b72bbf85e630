//! Learners without services, of the experiment of `fixtures`.

use std::sync::Arc;

use engram_learner::LearnerConfig;
use engram_learner::algorithms::{LearnsFromStreams, RlConfig};
use engram_learner::batches::batcher::StreamsBatch;
use engram_learner::batches::selector::TrajectoryKey;
use engram_learner::run::{learner, pipeline};
use engram_mdp::Trajectory;
use engram_policy::Batch;
use tch::Device;

use crate::fixtures::{RUN, resolved, spec, stream};

/// A learner from streams.
pub type Learner = learner::Learner<pipeline::StreamsPipeline>;

/// The experiment, with changes.
pub fn config(changes: &[&str]) -> LearnerConfig {
    LearnerConfig::new(resolved(changes), RUN.into(), None, Device::Cpu, 1).unwrap()
}

/// Its algorithm.
pub fn algorithm(changes: &[&str]) -> Arc<dyn LearnsFromStreams> {
    match resolved(changes).section("rl").unwrap() {
        RlConfig::Streams(config) => config,
        RlConfig::Replay(_) => panic!("streams"),
    }
}

/// Trajectory `sequence` of each of two streams, as a batch.
pub fn batch(pair: &[Trajectory; 2], sequence: u64) -> StreamsBatch {
    let keys = [0, 1].map(|env_index| TrajectoryKey {
        stream: stream(env_index),
        generation: 5,
        sequence,
        policy_version: 1,
    });
    let batch = Batch::from_trajectories(pair, &spec(), Device::Cpu).unwrap();
    StreamsBatch { batch, keys: keys.into() }
}
