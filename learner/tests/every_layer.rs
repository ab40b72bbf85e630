//! Every sequence model of `configs/seq` with every algorithm of `configs/rl`: which pairs there
//! are, that each learns from what it remembers, and that an accelerator learns the same.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use engram_learner::algorithms::{LearnsFromReplay, RlConfig};
use engram_learner::batches::replay_worker::SampledBatch;
use engram_learner::parity::{Learned, PLAIN_STEPS, Pair, Refusal, meet};
use engram_mdp::Seed;
use engram_policy::{MemoryConfig, Policy};
use engram_service::Resolved;
use fixtures::resolved_with;
use tch::{Device, Kind};

/// All parts of a kind, by name.
fn parts(kind: &str) -> BTreeMap<String, String> {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let names = engram_service::config::names(&configs, kind).unwrap().into_iter();
    let read = |name: String| {
        let text = fs::read_to_string(configs.join(kind).join(format!("{name}.toml"))).unwrap();
        (name, text)
    };
    names.map(read).collect()
}

fn pair((seq, model): (&str, &str), (rl, algorithm): (&str, &str), changes: &[&str]) -> Pair {
    let mut table: toml::Table = resolved_with(algorithm, changes).to_toml().parse().unwrap();
    table.insert("seq".into(), model.parse::<toml::Table>().unwrap().into());
    Pair::new(format!("{seq} with {rl}"), Resolved::from_toml(&table.to_string()).unwrap()).unwrap()
}

fn learned(pair: &Pair, past: u64) -> Learned {
    pair.learn(past, Device::Cpu).unwrap()
}

/// All pairs that there are, with changes to the algorithms.
fn pairs(changes: &[&str]) -> impl Iterator<Item = Pair> {
    all_pairs(changes).into_iter().filter(|pair| pair.refusal().is_none())
}

/// All pairs that are tried, those that are refused too.
fn all_pairs(changes: &[&str]) -> Vec<Pair> {
    tch::set_num_threads(1);
    let (models, algorithms) = (parts("seq"), parts("rl"));
    let pairs = models.iter().flat_map(|(seq, model)| {
        algorithms.iter().filter(|(rl, _)| meet(seq, rl)).map(move |(rl, algorithm)| {
            pair((seq.as_str(), model.as_str()), (rl.as_str(), algorithm.as_str()), changes)
        })
    });
    pairs.collect()
}

#[test]
fn every_layer_learns_with_every_algorithm_that_it_goes_with() {
    for pair in pairs(&[]) {
        let Learned { numbers, weights } = learned(&pair, 0);
        assert!(numbers.iter().all(|number| number.is_finite()), "{}: {numbers:?}", pair.name);
        for part in ["torso", "memory"] {
            let mut moved = weights.iter().filter(|(name, ..)| name.starts_with(part));
            let expected = weights.iter().any(|(name, ..)| name.starts_with(part));
            let moves = moved.any(|(_, before, after)| before != after);
            assert_eq!(moves, expected, "{}: {part} learns nothing", pair.name);
        }
    }
}

#[test]
fn pairs_that_are_refused_are_those_that_a_replay_has_nothing_for() {
    let mut refused = BTreeMap::new();
    for pair in all_pairs(&[]) {
        if let Some(refusal) = pair.refusal() {
            refused.entry(refusal).or_insert_with(Vec::new).push(pair.name);
        }
    }
    let rtrl = &refused[&Refusal::Rtrl];
    assert!(rtrl.iter().all(|name| name.contains("rtrl with ") && !name.contains("vtrace")));
    let no_past = &refused[&Refusal::NoPast];
    let single = ["with sac", "with td3", "with ddpg", "with offpcc/csac"];
    assert!(no_past.iter().all(|name| single.iter().any(|end| name.ends_with(end))));
    assert!(no_past.contains(&"gru with sac".to_owned()), "{no_past:?}");
    let no_images = &refused[&Refusal::NoImages];
    assert_eq!(*no_images, ["feedforward with offpcc/csac", "mlp-256 with offpcc/csac"]);
    let stored = &refused[&Refusal::Stored];
    assert!(stored.iter().all(|name| name.ends_with("with r2d2")), "{stored:?}");
    assert!(stored.iter().any(|name| name.starts_with("gpt2")), "{stored:?}");
}

#[test]
fn large_states_are_stored_where_they_are_asked_to_travel() {
    let (models, algorithms) = (parts("seq"), parts("rl"));
    for seq in ["mamba", "gpt2", "cgpt"] {
        let model = models[seq].replace("[memory]\n", "[memory]\nexport_state = true\n");
        let pair = pair((seq, &model), ("r2d2", &algorithms["r2d2"]), &[]);
        assert_eq!(pair.refusal(), None, "{seq}");
        let RlConfig::Replay(config) = &pair.rl else { unreachable!("r2d2 has a replay") };
        let [one, other] = [0, 1].map(|past| last_errors(&pair, &**config, past));
        assert!(one.iter().zip(other).all(|(&one, other)| one != other), "{seq}");
        let Learned { weights, .. } = learned(&pair, 0);
        let memory = weights.iter().filter(|(name, ..)| name.starts_with("memory"));
        assert!(memory.clone().any(|(_, before, after)| before != after), "{seq}");
    }
}

/// A rate with which an update changes no weight.
const NO_LEARNING: &str = "rl.learning_rate=1e-30";

/// A model with AC(λ) whose traces, which remember too, fade at once.
fn traceless(seq: &str) -> Pair {
    let (models, algorithms) = (parts("seq"), parts("rl"));
    let changes = [NO_LEARNING, "rl.lambda=0.0"];
    pair((seq, &models[seq]), ("ac-lambda", &algorithms["ac-lambda"]), &changes)
}

#[test]
fn what_a_learner_does_now_depends_on_what_came_before() {
    for pair in pairs(&[NO_LEARNING]) {
        let pair = pair.name.strip_suffix(" with ac-lambda").map(traceless).unwrap_or(pair);
        let depends = match &pair.rl {
            RlConfig::Streams(_) => {
                let second = |past| {
                    let numbers = learned(&pair, past).numbers;
                    numbers[numbers.len() / 2..].to_vec()
                };
                second(0) != second(1)
            }
            RlConfig::Replay(config) => last_errors(&pair, &**config, 0)
                .iter()
                .zip(last_errors(&pair, &**config, 1))
                .all(|(&one, other)| one != other),
        };
        assert_eq!(depends, pair.remembers(), "{}", pair.name);
    }
}

#[test]
fn recurrent_weights_stay_in_their_range_however_large_a_step_is() {
    let mut checked = 0;
    for pair in all_pairs(&["rl.learning_rate=0.05"]) {
        if !matches!(pair.model.memory, MemoryConfig::Indrnn(_)) || pair.refusal().is_some() {
            continue;
        }
        let Learned { weights, .. } = learned(&pair, 0);
        let (_, before, after) =
            weights.iter().find(|(name, ..)| name == "memory.recurrent_weight").unwrap();
        let largest = after.abs().max().double_value(&[]);
        assert!(before != after && largest <= 2f64.powf(1e-3) + 1e-6, "{}: {largest}", pair.name);
        checked += 1;
    }
    assert!(checked > 10, "{checked}");
}

#[test]
fn a_learner_sees_stacked_observations_where_a_sequence_has_them() {
    let (models, algorithms) = (parts("seq"), parts("rl"));
    let stacking = |seq: &str, rl: &str| {
        let (model, algorithm) = (models[seq].as_str(), algorithms[rl].as_str());
        let mut pair = pair((seq, model), (rl, algorithm), &[NO_LEARNING]);
        pair.spec.frame_stack = 3;
        pair
    };
    for seq in ["cnn-feedforward", "cnn-lstm-small"] {
        for rl in ["vtrace", "ppo", "pqn"] {
            let pair = stacking(seq, rl);
            let second = |past| {
                let numbers = learned(&pair, past).numbers;
                numbers[numbers.len() / 2..].to_vec()
            };
            assert!(pair.remembers() && second(0) != second(1), "{seq} with {rl}");
        }
        for rl in ["dqn", "rsac", "r2d2"] {
            let pair = stacking(seq, rl);
            assert_eq!(pair.refusal(), None, "{seq} with {rl}");
            let RlConfig::Replay(config) = &pair.rl else { unreachable!("it has a replay") };
            let [one, other] = [0, 1].map(|past| last_errors(&pair, &**config, past));
            assert!(one.iter().zip(other).all(|(&one, other)| one != other), "{seq} with {rl}");
        }
    }
    let single = stacking("cnn-feedforward", "sac");
    assert_eq!(single.refusal(), Some(Refusal::NoPast));
    let message = single.learn(0, Device::Cpu).unwrap_err().to_string();
    assert!(message.contains("replay.sequences.burn_in is 0, where"), "{message}");
}

/// TD errors of the last decisions of episodes whose first frames follow from `first`.
fn last_errors(pair: &Pair, config: &dyn LearnsFromReplay, first: u64) -> Vec<f64> {
    let seed = Seed::new(1);
    let (outputs, device) = (config.outputs(), Device::Cpu);
    let policy =
        Policy::with_outputs(&outputs, Kind::Double, &pair.model, &pair.spec, seed, device);
    let policy = policy.unwrap();
    let mut algorithm = config.start(&policy, seed);
    let width = policy.exported_state_width().unwrap_or(0);
    let SampledBatch { batch, sample } = pair.episodes(config, width, first, device).unwrap();
    let (_, errors) = algorithm.update(&policy, &batch).unwrap();
    let last = |at: usize, length: usize| (at + length - 1) as i64;
    let pieces = sample.pieces.iter();
    pieces.map(|x| errors.double_value(&[last(x.at, x.length), x.row as i64])).collect()
}

#[test]
#[ignore = "needs an accelerator: cargo xtask test -- --ignored"]
fn an_accelerator_learns_what_the_cpu_does() {
    let cuda = engram_policy::Device::Cuda(0).ready().unwrap();
    for pair in pairs(&PLAIN_STEPS) {
        let difference = learned(&pair, 0).difference(&pair.learn(0, cuda).unwrap());
        let (error, tolerance) = (difference.largest(), pair.tolerance());
        assert!(error < tolerance, "{}: {difference:?}, tolerance {tolerance}", pair.name);
        println!("{}: {error:.1e}", pair.name);
    }
}

#[test]
fn another_past_is_a_difference_and_the_same_one_is_none() {
    let (models, algorithms) = (parts("seq"), parts("rl"));
    for rl in ["vtrace", "dqn"] {
        let pair = pair(("lstm", &models["lstm"]), (rl, &algorithms[rl]), &PLAIN_STEPS);
        let here = learned(&pair, 0);
        assert_eq!(here.difference(&learned(&pair, 0)).largest(), 0.0, "{}", pair.name);
        assert!(here.difference(&learned(&pair, 1)).largest() > pair.tolerance(), "{}", pair.name);
    }
}
