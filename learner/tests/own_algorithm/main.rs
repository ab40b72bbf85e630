//! The algorithms that `docs/guide/own-algorithm.md` shows, one of each pipeline: they compile
//! outside of the crate, the page shows them as they are, and they learn.

#![allow(clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

#[allow(unreachable_pub, reason = "inside of the crate these are public")]
mod actor_critic;
#[allow(unreachable_pub, reason = "inside of the crate these are public")]
mod q_learning;

use std::sync::Arc;

use actor_critic::ActorCriticConfig;
use engram_learner::RlConfig;
use engram_learner::algorithms::{LearnsFromReplay, LearnsFromStreams, ReplayBatch};
use engram_learner::config::OffPolicyConfig;
use engram_learner::replay::{Replay, TrajectoryShape};
use engram_mdp::{Ending, Seed};
use engram_policy::memory::gru::GruConfig;
use engram_policy::memory::none::NoneConfig;
use engram_policy::{Batch, Initialization, MemoryConfig};
use q_learning::OwnTarget;
use support::{Actor, Task, network, network_of};
use tch::{Device, Kind};

const BANDIT: Task = Task { choices: 4, question: 0, ending: Ending::Terminated };

const RECALL: Task = Task { choices: 2, question: 3, ending: Ending::Terminated };

const PAGE: &str = include_str!("../../../docs/guide/own-algorithm.md");

const ALGORITHMS: &str = include_str!("../../src/algorithms.rs");

/// The settings that the page shows.
fn shown<C: serde::de::DeserializeOwned>(name: &str) -> C {
    let start = PAGE.find(&format!("algorithm = \"{name}\"")).expect("the page has a preset");
    let text = PAGE[start..].split("```").next().unwrap();
    support::settings(text, "")
}

#[test]
fn the_page_shows_both_files_and_the_list_as_they_are() {
    for file in [include_str!("actor_critic.rs"), include_str!("q_learning.rs")] {
        let file = file.trim_end();
        assert!(PAGE.contains(file), "docs/guide/own-algorithm.md differs from:\n{file}");
    }
    let list = ALGORITHMS.split("const ALGORITHMS").nth(1).unwrap().split("];").next().unwrap();
    let entries: Vec<&str> = list.lines().filter(|line| line.contains("::<")).collect();
    assert!(!entries.is_empty());
    for entry in entries {
        assert!(PAGE.contains(entry), "the page lacks the entry {entry}");
    }
}

#[test]
fn an_algorithm_of_streams_learns_a_bandit() {
    tch::set_num_threads(1);
    let config: ActorCriticConfig = shown("actor_critic");
    let rl = RlConfig::Streams(Arc::new(config.clone()));
    rl.algorithm().validate().unwrap();
    let policy =
        support::policy(Kind::Float, &network(16, MemoryConfig::None(NoneConfig {})), BANDIT, 1);
    let mut actor = Actor::new(BANDIT, config.batch_size, 5, &policy, 1);
    let mut algorithm = config.start(&policy);
    for update in 0..150 {
        if update == 130 {
            actor.answers = (0, 0);
        }
        let batch = actor.batch(&policy);
        let carry = policy.initial_carry(batch.batch());
        algorithm.update(&policy, &batch, carry, 0.0).expect("a finite update");
    }
    let (asked, right) = actor.answers;
    assert!(f64::from(right) / f64::from(asked) > 0.95, "{right} of {asked}");
}

#[test]
fn an_algorithm_of_a_replay_learns_recall() {
    tch::set_num_threads(1);
    let config: OffPolicyConfig<OwnTarget> = shown("own_target");
    let rl = RlConfig::Replay(Arc::new(config.clone()));
    rl.algorithm().validate().unwrap();

    let random =
        support::policy(Kind::Float, &network(4, MemoryConfig::None(NoneConfig {})), RECALL, 9);
    let mut actor = Actor::new(RECALL, 16, 8, &random, 1);
    let shape = TrajectoryShape { spec: RECALL.spec(), state_width: 0 };
    let mut replay = Replay::new(config.replay.clone(), shape, None).unwrap();
    for trajectory in (0..40).flat_map(|_| actor.unroll(&random)) {
        replay.insert(1, &trajectory).unwrap();
    }
    let memory = MemoryConfig::Gru(GruConfig {
        hidden: 12,
        layers: 1,
        forget_bias: 2.0,
        init: Initialization::FAN_IN,
    });
    let policy = network_of(Kind::Float, &config, &network(16, memory), RECALL);
    let mut algorithm = config.start(&policy, Seed::new(3));
    let mut generator = Seed::new(2).generator();
    for _ in 0..400 {
        let sample = replay.sample(32, &mut generator).unwrap();
        let batch = Batch::from_trajectories(&sample.rows, &RECALL.spec(), Device::Cpu).unwrap();
        let _ = algorithm.update(&policy, &ReplayBatch::new(batch, &sample, 0)).unwrap();
    }
    for cue in 0..RECALL.choices {
        let episode = support::episode(RECALL, cue);
        let (output, _) = policy.unroll(&episode, &policy.initial_state(1));
        let answer = output.distribution.mode().int64_value(&[RECALL.question as i64, 0]);
        assert_eq!(answer, cue as i64);
    }
}
