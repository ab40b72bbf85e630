//! PPO against the same algorithm in plain PyTorch, `ppo_golden.py`, update for update: its losses,
//! its statistics and all weights.

mod support;

use engram_learner::algorithms::{Algorithm, AlgorithmConfig, Ppo, PpoConfig, StreamsAlgorithm};
use engram_mdp::{Actions, Ending, Frames, Observations, StepType, StreamId, Trajectory};
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::{Initialization, MemoryConfig, Policy};
use serde::Deserialize;
use std::collections::BTreeMap;
use support::{Task, numbers};
use tch::{Kind, Tensor, no_grad};

/// Printed by `python3 ppo_golden.py`.
const GOLDEN: &str = include_str!("ppo_golden.json");

const TASK: Task = Task { choices: 3, question: 2, ending: Ending::Terminated };
const OBSERVATION: usize = TASK.choices + 2;
const HIDDEN: usize = 3;

/// A row each: First, Mid, Terminated and Truncated frames. Unrolls begin anywhere in an episode.
const FRAMES: [&[u8]; 6] =
    [b"MMMMMMMMM", b"FMMTFMMMM", b"MMUFMTFMM", b"MTFMMMMMU", b"FMMMMMMMT", b"TFMUFMMMM"];

/// Columns of numbers, as the script counts them; ten of them belong to each update.
#[derive(Clone, Copy)]
enum Column {
    Observations = 20,
    Actions,
    Rewards,
    LogProbs,
    Hidden,
    Cell,
}

#[derive(Deserialize)]
struct Case {
    settings: String,
    updates: Vec<Update>,
}

/// Result of one update.
#[derive(Deserialize)]
struct Update {
    /// Trajectories by epoch and minibatch.
    order: Vec<Vec<Vec<i64>>>,
    stats: BTreeMap<String, f64>,
    weights: BTreeMap<String, Vec<f64>>,
}

fn residue(k: usize, i: usize) -> usize {
    (31 * i * i + 57 * (k + 1) * i + 101 * k + 17) % 257
}

/// Number `i` of column `k`, in [-0.5, 0.5]: a float of any precision holds it.
fn number(k: usize, i: usize) -> f32 {
    (residue(k, i) as f32 - 128.0) / 256.0
}

/// The policy with the script's weights.
fn policy(kind: Kind) -> Policy {
    let init = Initialization::FAN_IN;
    let lstm = LstmConfig { hidden: HIDDEN as i64, layers: 1, forget_bias: 0.0, init, bf16: false };
    let network = support::network(4, MemoryConfig::Lstm(lstm));
    let policy = support::policy(kind, &network, TASK, 1);
    for (k, (_, weight)) in policy.trainable().into_iter().enumerate() {
        let numbers: Vec<f32> = (0..weight.numel()).map(|i| 2.0 * number(k, i)).collect();
        no_grad(|| weight.shallow_clone().copy_(&Tensor::from_slice(&numbers).view_as(&weight)));
    }
    policy
}

/// Trajectories of one update: each pattern of frames is another row's than before.
fn trajectories(update: usize) -> Vec<Trajectory> {
    (0..FRAMES.len()).map(|row| trajectory(update, row)).collect()
}

fn trajectory(update: usize, row: usize) -> Trajectory {
    let step_type = |letter: &u8| match letter {
        b'F' => StepType::First,
        b'M' => StepType::Mid,
        b'T' => StepType::Last(Ending::Terminated),
        b'U' => StepType::Last(Ending::Truncated),
        other => unreachable!("{other} is no frame"),
    };
    let batch = FRAMES.len();
    let step_types: Vec<StepType> = FRAMES[(row + update) % batch].iter().map(step_type).collect();
    let column = |column: Column| 10 * update + column as usize;
    let of = |name: Column, i: usize| number(column(name), i);
    let frames = || step_types.iter().enumerate().map(|(t, step)| (t * batch + row, step));
    let seen = |i: usize| (0..OBSERVATION).map(move |n| i * OBSERVATION + n);
    let state = |name: Column| (0..HIDDEN).map(move |n| of(name, row * HIDDEN + n));
    let decided = &step_types[..step_types.len() - 1];
    Trajectory {
        stream: StreamId { actor: 0, env_index: row as u32 },
        sequence: update as u64,
        frames: Frames {
            observations: Observations::F32(
                frames()
                    .flat_map(|(i, _)| seen(i))
                    .map(|n| 2.0 * of(Column::Observations, n))
                    .collect(),
            ),
            previous_actions: Actions::Discrete(
                frames()
                    .map(|(i, step)| match step {
                        StepType::First => 0,
                        _ => (residue(column(Column::Actions), i) % TASK.choices) as i32,
                    })
                    .collect(),
            ),
            previous_rewards: frames()
                .map(|(i, step)| match step {
                    StepType::First => 0.0,
                    _ => 3.0 * of(Column::Rewards, i),
                })
                .collect(),
            step_types: step_types.clone(),
        },
        log_probs: frames()
            .take(decided.len())
            .map(|(i, step)| match step {
                StepType::Last(_) => 0.0,
                _ => 0.5 * of(Column::LogProbs, i) - 1.125,
            })
            .collect(),
        policy_versions: vec![0; decided.len()],
        core_state: state(Column::Hidden)
            .chain(state(Column::Cell).map(|number| 2.0 * number))
            .collect(),
    }
}

/// Holds every update of `case` against the golden numbers, at most `tolerance` apart.
fn hold(name: &str, case: &Case, kind: Kind, tolerance: f64) {
    let config: PpoConfig = support::settings(&case.settings, "");
    config.validate().expect("its values are in range");
    let policy = policy(kind);
    let mut algorithm = Ppo::new(&config, &policy);
    for (i, expected) in case.updates.iter().enumerate() {
        let batch = support::batch(&trajectories(i), &TASK.spec());
        let progress = i as f64 / case.updates.len() as f64;
        let carry = policy.initial_carry(batch.batch());
        let (stats, _) = algorithm.update(&policy, &batch, carry, progress).expect("finite");

        assert_eq!(expected.stats.len(), Ppo::COLUMNS.len());
        for (column, expected) in &expected.stats {
            let error = (stats.get(column) - expected).abs();
            assert!(error < tolerance, "{name}, update {i}: {column} {expected} is off by {error}");
        }
        assert_eq!(expected.weights.len(), policy.weights().len());
        for (weight, found) in policy.weights() {
            let expected = &expected.weights[weight];
            assert_eq!(expected.len(), found.numel(), "{weight}");
            for (n, (found, expected)) in numbers(found).into_iter().zip(expected).enumerate() {
                let error = (found - expected).abs();
                let place = format!("{name}, update {i}: number {n} of {weight}");
                assert!(error < tolerance, "{place} is {found}, not {expected}");
            }
        }
    }
}

/// Trajectories by update, epoch and minibatch.
fn order(case: &Case) -> Vec<Vec<Vec<Vec<i64>>>> {
    let config: PpoConfig = support::settings(&case.settings, "");
    let mut algorithm = Ppo::new(&config, &policy(Kind::Double));
    let mut of = |update: usize| {
        let mut state = algorithm.state();
        let batches = state.iter_mut().find(|(name, _)| name == "batches").expect("it counts them");
        batches.1 = Tensor::from_slice(&[update as i64]);
        algorithm.load_state(&state).expect("its own state");
        let batch = config.batch_size as i64;
        (0..config.epochs).map(|epoch| algorithm.minibatches(batch, epoch)).collect()
    };
    (0..case.updates.len()).map(&mut of).collect()
}

fn cases() -> BTreeMap<String, Case> {
    serde_json::from_str(GOLDEN).expect("what the script prints")
}

/// If this fails, and the order was meant to change: what was found is ORDER of the script.
#[test]
fn minibatches_come_in_the_order_of_the_script() {
    for (name, case) in &cases() {
        let expected: Vec<_> = case.updates.iter().map(|update| update.order.clone()).collect();
        let found = order(case);
        assert!(found == expected, "{name}: {found:?}");
    }
}

#[test]
fn updates_equal_those_of_plain_pytorch() {
    tch::set_num_threads(1);
    let cases = cases();
    assert_eq!(cases.keys().collect::<Vec<_>>(), ["decoupled", "everything"]);
    for (name, case) in &cases {
        // Seen: 6e-16 and 3e-7.
        hold(name, case, Kind::Double, 1e-13);
        hold(name, case, Kind::Float, 1e-5);
    }
}
