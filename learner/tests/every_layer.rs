//! Every sequence model of `configs/seq` with every algorithm of `configs/rl`: which pairs there
//! are, that each learns from what it remembers, and that an accelerator learns the same.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use engram_learner::LearnerConfig;
use engram_learner::algorithms::{LearnsFromReplay, ReplayBatch, RlConfig};
use engram_learner::batches::batcher::StreamsBatch;
use engram_learner::batches::random_shift::RandomShift;
use engram_learner::batches::replay_worker::SampledBatch;
use engram_learner::batches::selector::TrajectoryKey;
use engram_learner::config::replay::{InitialState, Sampling};
use engram_learner::replay::{Replay, TrajectoryShape};
use engram_learner::run::learner::Learner;
use engram_learner::run::pipeline::{Pipeline, ReplayPipeline, StreamsPipeline};
use engram_mdp::{
    ActionSpec, Dtype, EnvSpec, Generator, ObservationSpec, Observations, Seed, Trajectory,
};
use engram_policy::{Batch, MemoryConfig, Policy, PolicyConfig, TorsoConfig};
use engram_service::Resolved;
use fixtures::{
    acts_by_vectors, episode, resolved_with, spec, trajectory, vector_spec, with_vectors,
};
use rand::RngExt;
use tch::{Device, Kind, Tensor};

/// Reason why a sequence model and an algorithm do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Refusal {
    /// Sensitivities are carried along a stream, and sequences of a replay have none.
    Rtrl,
    /// The replay stores states, and the model's does not travel with trajectories.
    Stored,
    /// Sequences are single decisions, and the model has a memory.
    NoPast,
    /// The algorithm shifts images, and the model sees none.
    NoImages,
}

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

/// Pair: a sequence model and an algorithm, both as their files have them.
struct Pair {
    name: String,
    resolved: Resolved,
    model: PolicyConfig,
    rl: RlConfig,
    /// Environment, which shows numbers or small images.
    spec: EnvSpec,
    /// Folder of a replay on the disk.
    folder: tempfile::TempDir,
}

impl Pair {
    fn new((seq, model): (&str, &str), (rl, algorithm): (&str, &str), changes: &[&str]) -> Self {
        let mut table: toml::Table = resolved_with(algorithm, changes).to_toml().parse().unwrap();
        table.insert("seq".into(), model.parse::<toml::Table>().unwrap().into());
        let resolved = Resolved::from_toml(&table.to_string()).unwrap();
        let model: PolicyConfig = resolved.section("seq").unwrap();
        let observation = match model.torso {
            TorsoConfig::Cnn { .. } | TorsoConfig::ImpalaResnet { .. } => {
                let side = model.torso.least_side().max(5);
                ObservationSpec { dtype: Dtype::U8, shape: vec![3, side, side] }
            }
            _ => spec().observation,
        };
        let name = format!("{seq} with {rl}");
        let rl: RlConfig = resolved.section("rl").unwrap();
        let vectors = acts_by_vectors(&rl.algorithm().outputs());
        let acts = if vectors { vector_spec() } else { spec() };
        let (spec, folder) = (EnvSpec { observation, ..acts }, tempfile::tempdir().unwrap());
        Pair { name, resolved, model, rl, spec, folder }
    }

    /// Why there is no such pair, if there is none.
    fn refusal(&self) -> Option<Refusal> {
        if let Err(error) = self.rl.check_model(&self.model) {
            let gradient = error.to_string().contains("memory.gradient");
            return Some(if gradient { Refusal::Rtrl } else { Refusal::NoPast });
        }
        let RlConfig::Replay(config) = &self.rl else { return None };
        if RandomShift::of(&config.shared(), &self.spec).is_err() {
            return Some(Refusal::NoImages);
        }
        let stored = config.shared().replay.initial_state == InitialState::Stored;
        let policy = Policy::new(&self.model, &self.spec, Seed::new(1), Device::Cpu).unwrap();
        (stored && policy.exported_state_width().is_none()).then_some(Refusal::Stored)
    }

    fn learner<P: Pipeline>(&self, config: &Arc<P::Config>, device: Device) -> Learner<P> {
        let (resolved, run) = (self.resolved.clone(), fixtures::RUN.into());
        let folder = Some(self.folder.path().into());
        let mut own = LearnerConfig::new(resolved, run, folder, device, 1).unwrap();
        own.run.env_steps = 1_000;
        Learner::new(config, own, &self.spec, None).unwrap()
    }

    /// `trajectory` in the pair's environment: each of its frames shows what follows from a seed,
    /// and its state is as wide as the model's.
    fn seen(
        &self,
        mut trajectory: Trajectory,
        state_width: usize,
        frame: impl Fn(usize) -> Seed,
    ) -> Trajectory {
        if self.vectors() {
            trajectory = with_vectors(trajectory);
        }
        let env_index = trajectory.stream.env_index.into();
        let generator = |row| frame(row).derive("env", env_index).generator();
        let (rows, numbers) = (trajectory.frames.rows(), self.spec.observation.len());
        let shown = (0..rows).flat_map(|row| random(&mut generator(row), numbers));
        trajectory.frames.observations = match self.spec.observation.dtype {
            Dtype::F32 => Observations::F32(shown.collect()),
            Dtype::U8 => Observations::U8(shown.map(|x| (x.abs() * 255.0) as u8).collect()),
        };
        trajectory.core_state = random(&mut generator(0), state_width);
        trajectory
    }

    /// Unroll `sequence` of two streams.
    fn unroll(&self, state_width: usize, sequence: u64, seed: u64, device: Device) -> StreamsBatch {
        let seed = Seed::new(seed).derive("unroll", sequence);
        let trajectories = [0, 1].map(|env_index| {
            let frame = |row| seed.derive("frame", row as u64);
            self.seen(trajectory(env_index, sequence), state_width, frame)
        });
        let key = |of: &Trajectory| TrajectoryKey {
            stream: of.stream,
            generation: 1,
            sequence,
            policy_version: 1,
        };
        let batch = Batch::from_trajectories(&trajectories, &self.spec, device).unwrap();
        StreamsBatch { batch, keys: trajectories.iter().map(key).collect() }
    }

    /// Two episodes out of a replay, whose first frames follow from `first`.
    fn episodes(
        &self,
        config: &dyn LearnsFromReplay,
        state_width: usize,
        first: u64,
        device: Device,
    ) -> SampledBatch {
        let folder = tempfile::tempdir_in(&self.folder).unwrap();
        let shape = TrajectoryShape { spec: self.spec.clone(), state_width };
        let mut config = config.shared().replay;
        (config.sampling, config.batch_env_steps) = (Sampling::Uniform, None);
        let burn_in = config.burn_in();
        let mut replay = Replay::new(config, shape, Some(folder.path().into())).unwrap();
        for env_index in 0..2 {
            let frame =
                |row| Seed::new(if row == 0 { first } else { 0 }).derive("frame", row as u64);
            let whole = self.seen(episode(env_index, 0), state_width, frame);
            replay.insert(1, &whole).unwrap();
        }
        let sample = replay.sample(2, &mut Seed::new(1).generator()).unwrap();
        let batch = Batch::from_trajectories(&sample.rows, &self.spec, device).unwrap();
        SampledBatch { batch: ReplayBatch::new(batch, &sample, burn_in), sample }
    }

    /// True if actions are vectors.
    fn vectors(&self) -> bool {
        matches!(self.spec.action, ActionSpec::Continuous { .. })
    }

    /// True if what a learner does depends on what came before. A clock is carried with a stream;
    /// earlier observations are nothing to it.
    fn remembers(&self) -> bool {
        match self.model.memory {
            MemoryConfig::None(_) => false,
            MemoryConfig::PositionalMlp(_) => matches!(self.rl, RlConfig::Streams(_)),
            _ => true,
        }
    }
}

fn random(generator: &mut Generator, count: usize) -> Vec<f32> {
    (0..count).map(|_| generator.random_range(-1.0..1.0)).collect()
}

/// All pairs that there are, with changes to the algorithms.
fn pairs(changes: &[&str]) -> impl Iterator<Item = Pair> {
    all_pairs(changes).into_iter().filter(|pair| pair.refusal().is_none())
}

/// True if a model is tried with an algorithm. Those in a folder, which are another program's, meet
/// the algorithms of that folder and V-trace, PPO and DQN; all others meet every algorithm.
fn meet(seq: &str, rl: &str) -> bool {
    let Some((folder, _)) = seq.split_once('/') else { return true };
    rl.split_once('/').is_some_and(|(other, _)| other == folder)
        || ["vtrace", "ppo", "dqn"].contains(&rl)
}

/// All pairs that are tried, those that are refused too.
fn all_pairs(changes: &[&str]) -> Vec<Pair> {
    tch::set_num_threads(1);
    let (models, algorithms) = (parts("seq"), parts("rl"));
    let pairs = models.iter().flat_map(|(seq, model)| {
        algorithms.iter().filter(|(rl, _)| meet(seq, rl)).map(move |(rl, algorithm)| {
            Pair::new((seq.as_str(), model.as_str()), (rl.as_str(), algorithm.as_str()), changes)
        })
    });
    pairs.collect()
}

/// Result of learning from two batches, one after another.
struct Learned {
    numbers: Vec<f64>,
    /// Weights before and after.
    weights: Vec<(String, Tensor, Tensor)>,
}

fn learn<P: Pipeline>(mut learner: Learner<P>, batches: [P::Batch; 2]) -> Learned {
    let weights = |learner: &Learner<P>| {
        let policy = Policy::from_weights(&learner.weights().bytes, Device::Cpu).unwrap();
        policy
            .weights()
            .iter()
            .map(|(name, x)| (name.clone(), x.detach().copy()))
            .collect::<Vec<_>>()
    };
    let before = weights(&learner);
    let mut numbers = vec![];
    for batch in &batches {
        let stats = learner.update(batch, 1).unwrap();
        numbers.extend(stats.numbers.iter().map(|(_, number)| *number));
    }
    let pairs = before.into_iter().zip(weights(&learner));
    let weights = pairs.map(|((name, before), (_, after))| (name, before, after)).collect();
    Learned { numbers, weights }
}

/// Learning of a pair. What came before the second batch follows from `past`.
fn learned(pair: &Pair, past: u64, device: Device) -> Learned {
    match &pair.rl {
        RlConfig::Streams(config) => {
            let learner = pair.learner::<StreamsPipeline>(config, device);
            let width = learner.core_state_width();
            let first = pair.unroll(width, 0, past, device);
            let mut second = pair.unroll(width, 1, 0, device);
            if width > 0 {
                second.batch.core_state = first.batch.core_state.shallow_clone();
            }
            learn(learner, [first, second])
        }
        RlConfig::Replay(config) => {
            let learner = pair.learner::<ReplayPipeline>(config, device);
            let width = learner.core_state_width();
            let batch = |first| pair.episodes(&**config, width, first, device);
            learn(learner, [batch(past), batch(past)])
        }
    }
}

#[test]
fn every_layer_learns_with_every_algorithm_that_it_goes_with() {
    for pair in pairs(&[]) {
        let Learned { numbers, weights } = learned(&pair, 0, Device::Cpu);
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

/// A rate with which an update changes no weight.
const NO_LEARNING: &str = "rl.learning_rate=1e-30";

#[test]
fn what_a_learner_does_now_depends_on_what_came_before() {
    for pair in pairs(&[NO_LEARNING]) {
        let depends = match &pair.rl {
            RlConfig::Streams(_) => {
                let second = |past| {
                    let numbers = learned(&pair, past, Device::Cpu).numbers;
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
        let Learned { weights, .. } = learned(&pair, 0, Device::Cpu);
        let (_, before, after) =
            weights.iter().find(|(name, ..)| name == "memory.recurrent_weight").unwrap();
        let largest = after.abs().max().double_value(&[]);
        assert!(before != after && largest <= 2f64.powf(1e-3) + 1e-6, "{}: {largest}", pair.name);
        checked += 1;
    }
    assert!(checked > 10, "{checked}");
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
    let SampledBatch { batch, sample } = pair.episodes(config, width, first, device);
    let (_, errors) = algorithm.update(&policy, &batch).unwrap();
    let last = |at: usize, length: usize| (at + length - 1) as i64;
    let pieces = sample.pieces.iter();
    pieces.map(|x| errors.double_value(&[last(x.at, x.length), x.row as i64])).collect()
}

/// Steps that are nearly proportional to gradients, so that small differences stay small.
const PLAIN: [&str; 2] = [
    "rl.optimizer={ name = \"rmsprop\", alpha = 0.99, epsilon = 1.0, momentum = 0.0 }",
    "rl.learning_rate=0.1",
];

#[test]
#[ignore = "needs an accelerator: cargo xtask test -- --ignored"]
fn an_accelerator_learns_what_the_cpu_does() {
    let cuda = engram_policy::Device::Cuda(0).ready().unwrap();
    for pair in pairs(&PLAIN) {
        let (here, there) = (learned(&pair, 0, Device::Cpu), learned(&pair, 0, cuda));
        // Convolutions compute in TF32, which has ten bits.
        let images = pair.spec.observation.dtype == Dtype::U8;
        let tolerance = if images { 2e-2 } else { 1e-3 };
        for (here, there) in here.numbers.iter().zip(&there.numbers) {
            let error = (here - there).abs() / here.abs().max(1e-2);
            assert!(error < tolerance, "{}: {here} here and {there} there", pair.name);
        }
        let (mut square, mut total) = (0.0, 0.0);
        for ((name, at_first, after), (_, begun, there)) in here.weights.iter().zip(&there.weights)
        {
            assert_eq!(at_first, begun, "{}: {name} begins otherwise", pair.name);
            let norm = |x: Tensor| x.square().sum(Kind::Double).double_value(&[]);
            square += norm(there - after);
            total += norm(after - at_first);
        }
        let error = f64::sqrt(square / total);
        assert!(error < tolerance, "{}: weights move otherwise, by {error}", pair.name);
        println!("{}: {error:.1e}", pair.name);
    }
}
