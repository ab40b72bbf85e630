//! Neighbors of an actor, faked: an inference server whose answers can be recognized, and a learner
//! that remembers everything. Both misbehave on request.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod checks;
pub mod inference;
pub mod learner;

use std::time::Duration;

use engram_actor::{ActorConfig, ActorMode, Timeouts};
use engram_envs::EnvConfig;
use engram_mdp::Seed;
use engram_service::Address;

/// The run that the fakes serve.
pub const RUN: &str = "test-run";

/// An actor of four environments that trains in an environment.
pub fn config(
    environment: &str,
    inference: Vec<Address>,
    learner: Address,
    unroll_length: usize,
) -> ActorConfig {
    ActorConfig {
        actor: Some(0),
        instance: 0,
        run_id: None,
        env: EnvConfig::from_table(environment.parse().unwrap()).unwrap(),
        envs: 4,
        seed: Seed::new(7),
        inference,
        mode: ActorMode::Train { learner, unroll_length, max_unacknowledged: 4, stagger_steps: 0 },
        timeouts: Timeouts {
            answer: Duration::from_secs(5),
            report: Duration::from_millis(50),
            farewell: Duration::from_secs(1),
        },
    }
}

/// The environment of numbered frames.
pub fn counting(episode_length: u32) -> String {
    format!("name = 'counting'\nepisode_length = {episode_length}\nending = 'truncated'")
}
