//! PQN: its returns, loss and gradients against a slow transcription, what it tells actors, and that
//! it learns.

mod support;

use engram_learner::algorithms::{Algorithm, AlgorithmConfig, Pqn, PqnConfig, StreamsAlgorithm};
use engram_mdp::{Ending, Seed, StepType, Trajectory};
use engram_policy::exploration::Choice;
use engram_policy::memory::gru::GruConfig;
use engram_policy::memory::none::NoneConfig;
use engram_policy::{
    Batch, Carry, Initialization, MemoryConfig, Norm, Policy, PolicyConfig, TorsoConfig,
};
use support::{Actor, Task, numbers};
use tch::{Device, Kind, Tensor, no_grad};

const TASK: Task = Task { choices: 3, question: 2, ending: Ending::Terminated };

fn network(torso: i64, hidden: i64) -> PolicyConfig {
    let init = Initialization::FAN_IN;
    let gru = GruConfig { hidden, layers: 1, forget_bias: 0.0, init };
    normed(support::network(torso, MemoryConfig::Gru(gru)))
}

/// The same with a norm in its torso.
fn normed(mut network: PolicyConfig) -> PolicyConfig {
    let TorsoConfig::Mlp { norm, .. } = &mut network.torso else { panic!("an MLP") };
    *norm = Some(Norm::Layer);
    network
}

fn config(change: impl Fn(&mut PqnConfig)) -> PqnConfig {
    let mut config: PqnConfig = support::settings(include_str!("../../configs/rl/pqn.toml"), "");
    (config.discount, config.lambda) = (0.9, 0.7);
    (config.batch_size, config.epochs, config.minibatches) = (6, 2, 3);
    change(&mut config);
    config.validate().expect("its values are in range");
    config
}

fn policy(network: &PolicyConfig, kind: Kind, task: Task, seed: u64) -> Policy {
    let (outputs, seed) = (config(|_| ()).outputs(), Seed::new(seed));
    Policy::with_outputs(&outputs, kind, network, &task.spec(), seed, Device::Cpu)
        .expect("a policy")
}

/// Unrolls of episodes of four frames that end in both ways and are cut in three places.
fn unrolls(network: &PolicyConfig) -> Vec<Trajectory> {
    let endings = [Ending::Terminated, Ending::Truncated];
    let unrolls = endings.into_iter().zip([11, 12]).flat_map(|(ending, seed)| {
        let task = Task { ending, ..TASK };
        let behavior = support::policy(Kind::Float, network, task, seed);
        let mut actor = Actor::new(task, 1, 7, &behavior, seed);
        (0..3).flat_map(|_| actor.unroll(&behavior)).collect::<Vec<_>>()
    });
    unrolls.collect()
}

fn carry(policy: &Policy, batch: &Batch) -> Carry {
    policy.initial_carry(batch.batch())
}

/// Action values, row by row: `(t * batch + b) * choices + action`.
fn values(policy: &Policy, batch: &Batch) -> Vec<f64> {
    let core_state = policy.core_state(&batch.core_state).expect("of this policy");
    let output = no_grad(|| policy.unroll(&batch.inputs, &core_state).0);
    numbers(&output.values.actions()[0].raw)
}

/// `(t * batch + b, return)` of every decision, by the recursion of each trajectory.
fn returns(values: &[f64], trajectories: &[Trajectory], c: &PqnConfig) -> Vec<(usize, f64)> {
    let columns = trajectories.len();
    let mut found = Vec::new();
    for (b, trajectory) in trajectories.iter().enumerate() {
        let best = |t: usize| {
            let row = (t * columns + b) * TASK.choices;
            values[row..row + TASK.choices].iter().copied().fold(f64::MIN, f64::max)
        };
        let step_types = &trajectory.frames.step_types;
        let mut next_return = best(trajectory.unroll_length());
        for t in (0..trajectory.unroll_length()).rev() {
            if step_types[t].is_last() {
                next_return = best(t);
                continue;
            }
            let discount = match step_types[t + 1] {
                StepType::Last(Ending::Terminated) => 0.0,
                _ => c.discount,
            };
            let next = (1.0 - c.lambda) * best(t + 1) + c.lambda * next_return;
            next_return = f64::from(trajectory.rewards()[t]) + discount * next;
            found.push((t * columns + b, next_return));
        }
    }
    found
}

#[test]
fn returns_loss_and_gradients_equal_a_slow_transcription() {
    tch::set_num_threads(1);
    let network = network(4, 3);
    let trajectories = unrolls(&network);
    let batch = support::batch(&trajectories, &TASK.spec());
    for config in [config(|_| ()), config(|c| c.lambda = 0.0), config(|c| c.lambda = 1.0)] {
        let first = policy(&network, Kind::Double, TASK, 1);
        let algorithm = Pqn::new(&config, &first);
        let (found, _) = algorithm.returns(&first, &batch, &carry(&first, &batch));
        let expected = returns(&values(&first, &batch), &trajectories, &config);
        let all = numbers(&found);
        for &(here, expected) in &expected {
            assert!((all[here] - expected).abs() < 1e-12, "{here}: {} {expected}", all[here]);
        }

        let learner = policy(&network, Kind::Double, TASK, 2);
        let actions = numbers(&batch.actions);
        let slow = || {
            let values = values(&learner, &batch);
            let error = |&(here, target): &(usize, f64)| {
                0.5 * (values[here * TASK.choices + actions[here] as usize] - target).powi(2)
            };
            expected.iter().map(error).sum::<f64>() / expected.len() as f64
        };
        let loss = || Pqn::loss(&learner, &batch, carry(&learner, &batch), &found).0;
        assert!((loss().double_value(&[]) - slow()).abs() < 1e-12);
        let weights: Vec<Tensor> = learner.trainable().into_iter().map(|(_, w)| w).collect();
        let gradients = Tensor::run_backward(&[loss()], &weights, false, false);
        for ((name, weight), gradient) in learner.trainable().iter().zip(&gradients) {
            let flat = weight.detach().view(-1);
            for (i, found) in numbers(gradient).into_iter().enumerate() {
                let original = flat.double_value(&[i as i64]);
                let step = 1e-6;
                let at = |number: f64| {
                    let _ = flat.get(i as i64).fill_(number);
                    slow()
                };
                let expected = (at(original + step) - at(original - step)) / (2.0 * step);
                at(original);
                assert!((found - expected).abs() < 1e-7, "{name} {i}: {found} {expected}");
            }
        }
    }
}

#[test]
fn actors_are_told_to_be_greedy_but_for_a_share_that_falls_with_env_steps() {
    let network = network(4, 3);
    let batch = support::batch(&unrolls(&network), &TASK.spec());
    let decisions = batch.weights.sum(Kind::Float).double_value(&[]);
    let config = config(|c| {
        c.exploration.env_steps = 4 * decisions as u64;
        c.exploration.last_epsilon = 0.2;
    });
    let policy = policy(&network, Kind::Float, TASK, 1);
    let mut algorithm = Pqn::new(&config, &policy);
    let epsilon = |algorithm: &Pqn| {
        let told = algorithm.exploration().expect("it explores");
        assert_eq!(told.choice, Choice::Greedy);
        told.epsilon
    };
    assert_eq!(epsilon(&algorithm), 1.0);
    algorithm.update(&policy, &batch, carry(&policy, &batch), 0.0).expect("finite");
    assert!((epsilon(&algorithm) - 0.8).abs() < 1e-9);
    // What it has seen is part of its state.
    let mut other = Pqn::new(&config, &policy);
    other.load_state(&algorithm.state()).expect("its own state");
    assert_eq!(epsilon(&other), epsilon(&algorithm));
    for _ in 0..5 {
        algorithm.update(&policy, &batch, carry(&policy, &batch), 0.0).expect("finite");
    }
    assert_eq!(epsilon(&algorithm), 0.2);
}

/// Share of right answers of actors that act at random, by the values that were learned.
fn success(network: &PolicyConfig) -> f64 {
    tch::set_num_threads(1);
    let task = Task { choices: 2, question: 4, ending: Ending::Terminated };
    let learner = policy(network, Kind::Float, task, 1);
    let random = support::policy(Kind::Float, network, task, 2);
    let mut actor = Actor::new(task, 32, 10, &random, 1);
    let config = config(|c| {
        (c.batch_size, c.epochs, c.minibatches) = (32, 2, 4);
        (c.discount, c.lambda, c.learning_rate) = (0.95, 0.9, 5e-3);
    });
    let mut algorithm = Pqn::new(&config, &learner);
    let mut batch = actor.batch(&random);
    for update in 0..60 {
        let progress = f64::from(update) / 60.0;
        batch = actor.batch(&random);
        let carry = learner.initial_carry(batch.batch());
        // States of a policy that learns would come with it; zeros stand for those before here.
        batch.core_state = batch.core_state.zeros_like();
        algorithm.update(&learner, &batch, carry, progress).expect("a finite update");
    }
    right_answers(&learner, &batch, task)
}

/// Share of the questions in `batch`, whose cue was seen in it, at which the best action is the cue.
fn right_answers(learner: &Policy, batch: &Batch, task: Task) -> f64 {
    let core_state = learner.core_state(&batch.core_state).expect("of this policy");
    let output = no_grad(|| learner.unroll(&batch.inputs, &core_state).0);
    let best = numbers(&output.values.actions()[0].raw.argmax(2, false));
    let [time, columns] = [batch.unroll_length() + 1, batch.batch()].map(|n| n as usize);
    let seen = numbers(&batch.inputs.observation);
    let at = |t: usize, b: usize, i: usize| seen[(t * columns + b) * (task.choices + 2) + i];
    let (mut asked, mut right) = (0.0, 0.0);
    for b in 0..columns {
        let mut cue = None;
        for t in 0..time {
            if at(t, b, task.choices) == 1.0 {
                cue = (0..task.choices).find(|&choice| at(t, b, choice) == 1.0);
            }
            if let (1.0, Some(cue)) = (at(t, b, task.choices + 1), cue) {
                asked += 1.0;
                right += f64::from(best[t * columns + b] == cue as f64);
            }
        }
    }
    assert!(asked >= 32.0, "{asked} questions");
    right / asked
}

#[test]
fn recall_is_learned_with_memory_and_only_with_memory() {
    let with = success(&network(16, 32));
    assert!(with > 0.98, "{with}");
    let without = success(&normed(support::network(16, MemoryConfig::None(NoneConfig {}))));
    assert!((0.3..0.7).contains(&without), "{without}");
}
