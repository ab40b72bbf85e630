//! Learning itself, without services: an actor and a learner take turns in one thread.

mod support;

use engram_learner::algorithms::LearnsFromStreams;
use engram_mdp::Ending;
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::memory::none::NoneConfig;
use engram_policy::{Batch, Initialization, MemoryConfig};
use support::{Actor, Task};
use tch::Kind;

const RECALL: Task = Task { choices: 2, question: 4, ending: Ending::Terminated };

/// Training of an agent.
struct Training {
    task: Task,
    memory: MemoryConfig,
    unroll_length: usize,
    learning_rate: f64,
    updates: u32,
}

impl Training {
    /// The share of right answers during the last 20 updates. What `spoil` does to batches is
    /// what the learner is to suffer from.
    fn success(&self, spoil: impl Fn(&mut Batch)) -> f64 {
        tch::set_num_threads(1);
        let network = support::network(16, self.memory.clone());
        let policy = support::policy(Kind::Float, &network, self.task, 1);
        let mut actor = Actor::new(self.task, 32, self.unroll_length, &policy, 1);
        let config = support::vtrace(|c| c.learning_rate = self.learning_rate);
        let mut algorithm = config.start(&policy);
        for update in 0..self.updates {
            if update + 20 == self.updates {
                actor.answers = (0, 0);
            }
            let mut batch = actor.batch(&policy);
            spoil(&mut batch);
            let progress = f64::from(update) / f64::from(self.updates);
            let carry = policy.initial_carry(batch.batch());
            algorithm.update(&policy, &batch, carry, progress).expect("a finite update");
        }
        let (asked, right) = actor.answers;
        f64::from(right) / f64::from(asked)
    }
}

#[test]
fn a_bandit_is_learned_without_memory() {
    let training = Training {
        task: Task { choices: 4, question: 0, ending: Ending::Terminated },
        memory: MemoryConfig::None(NoneConfig {}),
        unroll_length: 5,
        learning_rate: 3e-2,
        updates: 100,
    };
    let success = training.success(|_| ());
    assert!(success > 0.98, "{success}");
}

#[test]
fn recall_is_learned_with_memory_and_only_with_memory() {
    let with = |memory| Training {
        task: RECALL,
        memory,
        unroll_length: 10,
        learning_rate: 1e-2,
        updates: 160,
    };
    let lstm = MemoryConfig::Lstm(LstmConfig {
        hidden: 32,
        layers: 1,
        forget_bias: 0.0,
        init: Initialization::FAN_IN,
        bf16: false,
    });
    let success = with(lstm).success(|_| ());
    assert!(success > 0.98, "{success}");
    let success = with(MemoryConfig::None(NoneConfig {})).success(|_| ());
    assert!((0.4..0.6).contains(&success), "{success}");
}

/// No unroll holds both the cue and the answer: what the policy saw is in the core state, or
/// nowhere.
#[test]
fn recall_is_learned_across_unrolls_and_only_through_core_states() {
    let training = |updates| Training {
        task: Task { question: 2, ..RECALL },
        memory: MemoryConfig::Lstm(LstmConfig {
            hidden: 64,
            layers: 1,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
            bf16: false,
        }),
        unroll_length: 2,
        learning_rate: 3e-3,
        updates,
    };
    let success = training(400).success(|_| ());
    assert!(success > 0.95, "{success}");
    let success = training(150).success(|batch| batch.core_state = batch.core_state.zeros_like());
    assert!((0.4..0.6).contains(&success), "{success}");
}
