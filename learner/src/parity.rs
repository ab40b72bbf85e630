//! Parity of devices: a sequence model learns with an algorithm from two made-up batches, so that
//! an accelerator can be compared with the CPU.
//!
//! `engram check` and the tests make the same comparison: [`Pair::learn`] on two devices, and
//! [`Learned::difference`] between what was learned.

use std::sync::Arc;

use engram_mdp::{
    ActionSpec, Actions, Dtype, Ending, EnvSpec, Frames, Generator, Observations, Seed, StepType,
    StreamId, Trajectory,
};
use engram_policy::{Batch, MemoryConfig, Outputs, Policy, PolicyConfig, parity};
use engram_service::Resolved;
use rand::RngExt;
use tch::{Device, Kind, Tensor};

use crate::algorithms::{LearnsFromReplay, ReplayBatch, RlConfig};
use crate::batches::batcher::StreamsBatch;
use crate::batches::random_shift::RandomShift;
use crate::batches::replay_worker::SampledBatch;
use crate::batches::selector::TrajectoryKey;
use crate::config::replay::{InitialState, Sampling, Storage};
use crate::replay::{Replay, TrajectoryShape};
use crate::run::error::LearnerError;
use crate::run::learner::Learner;
use crate::run::learner_config::LearnerConfig;
use crate::run::pipeline::{Pipeline, ReplayPipeline, StreamsPipeline};

/// Changes of an algorithm with which steps are nearly proportional to gradients, so that small
/// differences stay small.
pub const PLAIN_STEPS: [&str; 2] = [
    "rl.optimizer={ name = \"rmsprop\", alpha = 0.99, epsilon = 1.0, momentum = 0.0 }",
    "rl.learning_rate=0.1",
];

/// Decisions of an unroll and of an episode.
const UNROLL_LENGTH: usize = 4;
/// Numbers of an action where actions are vectors; else there are [`ACTIONS`] of them.
const DIMENSIONS: usize = 2;
const ACTIONS: usize = 4;
/// Streams that are learned from, or episodes.
const ROWS: u32 = 2;
/// Numbers that three bytes can be.
const THREE_BYTES: f32 = (1 << 24) as f32;
/// More than two batches bring.
const BUDGET: u64 = 1_000;

/// Pair: a sequence model and an algorithm, in a small environment that both are for.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Its name, for people.
    pub name: String,
    /// The sequence model.
    pub model: PolicyConfig,
    /// The algorithm.
    pub rl: RlConfig,
    /// The environment, which shows numbers or small images.
    pub spec: EnvSpec,
    resolved: Resolved,
}

/// Reason why a sequence model and an algorithm do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Sensitivities are carried along a stream, and sequences of a replay have none.
    Rtrl,
    /// The replay stores states, and the model's does not travel with trajectories.
    Stored,
    /// Sequences are single decisions, and the model has a memory, or sees stacked observations.
    NoPast,
    /// The algorithm shifts images, and the model sees none.
    NoImages,
}

/// Result of learning from two batches, one after another.
#[derive(Debug)]
pub struct Learned {
    /// Numbers that both updates told: losses, norms and so on.
    pub numbers: Vec<f64>,
    /// Every weight, before and after.
    pub weights: Vec<(String, Tensor, Tensor)>,
}

/// Difference between what two devices learned.
#[derive(Clone, Copy, Debug)]
pub struct Difference {
    /// The largest one between numbers of the updates, relative to the number, or to 0.01 if that
    /// is larger.
    pub numbers: f64,
    /// Distance between the weights after the updates, relative to the distance that they moved;
    /// infinite where they began otherwise or did not move.
    pub weights: f64,
}

/// True if a model is tried with an algorithm. Those in a folder, which are another program's, meet
/// the algorithms of that folder and V-trace, PPO and DQN; all others meet every algorithm.
pub fn meet(seq: &str, rl: &str) -> bool {
    let Some((folder, _)) = seq.split_once('/') else { return true };
    rl.split_once('/').is_some_and(|(other, _)| other == folder)
        || ["vtrace", "ppo", "dqn"].contains(&rl)
}

impl Pair {
    /// The sequence model and the algorithm of an experiment.
    pub fn new(name: String, mut resolved: Resolved) -> Result<Pair, LearnerError> {
        let model: PolicyConfig = resolved.section("seq")?;
        let model = PolicyConfig { torso: model.torso.in_single_precision(), ..model };
        let mut rl: RlConfig = resolved.section("rl")?;
        let disk = |config: &dyn LearnsFromReplay| config.shared().replay.storage == Storage::Disk;
        if matches!(&rl, RlConfig::Replay(config) if disk(&**config)) {
            resolved.set("rl.replay.storage=memory")?;
            rl = resolved.section("rl")?;
        }
        let vectors = matches!(rl.algorithm().outputs(), Outputs::VectorActor { .. });
        let action = match vectors {
            true => ActionSpec::Continuous { dimensions: DIMENSIONS },
            false => ActionSpec::Discrete { count: ACTIONS },
        };
        let spec = parity::spec(&model, action);
        Ok(Pair { name, model, rl, spec, resolved })
    }

    /// Why there is no such pair, if there is none.
    pub fn refusal(&self) -> Option<Refusal> {
        if let Err(error) = self.rl.check_model(&self.model) {
            let gradient = error.to_string().contains("memory.gradient");
            return Some(if gradient { Refusal::Rtrl } else { Refusal::NoPast });
        }
        let RlConfig::Replay(config) = &self.rl else { return None };
        if RandomShift::of(&config.shared(), &self.spec).is_err() {
            return Some(Refusal::NoImages);
        }
        if config.shared().replay.check_frame_stack(self.spec.frame_stack).is_err() {
            return Some(Refusal::NoPast);
        }
        let stored = config.shared().replay.initial_state == InitialState::Stored;
        let policy = Policy::new(&self.model, &self.spec, Seed::new(1), Device::Cpu).ok()?;
        (stored && policy.exported_state_width().is_none()).then_some(Refusal::Stored)
    }

    /// True if what a learner does depends on what came before. A clock is carried with a stream;
    /// earlier observations are nothing to it.
    pub fn remembers(&self) -> bool {
        match self.model.memory {
            MemoryConfig::None(_) => self.spec.frame_stack > 1,
            MemoryConfig::PositionalMlp(_) => matches!(self.rl, RlConfig::Streams(_)),
            _ => true,
        }
    }

    /// Largest [difference](Difference::largest) that the precision of an accelerator explains:
    /// recurrent layers of cuDNN compute in TF32, and convolutions too, again and again. Ten bits.
    pub fn tolerance(&self) -> f64 {
        match self.spec.observation.dtype {
            Dtype::U8 => 2e-2,
            Dtype::F32 => 1e-3,
        }
    }

    /// Learns from two batches. What came before the second one follows from `past`.
    pub fn learn(&self, past: u64, device: Device) -> Result<Learned, LearnerError> {
        match &self.rl {
            RlConfig::Streams(config) => {
                let learner = self.learner::<StreamsPipeline>(config, device)?;
                let width = learner.core_state_width();
                let first = self.unroll(width, 0, past, device)?;
                let mut second = self.unroll(width, 1, 0, device)?;
                if width > 0 {
                    second.batch.core_state = first.batch.core_state.shallow_clone();
                }
                learn(learner, [first, second])
            }
            RlConfig::Replay(config) => {
                let learner = self.learner::<ReplayPipeline>(config, device)?;
                let width = learner.core_state_width();
                let batch = || self.episodes(&**config, width, past, device);
                learn(learner, [batch()?, batch()?])
            }
        }
    }

    /// Two episodes out of a replay, whose first frames follow from `first`.
    pub fn episodes(
        &self,
        config: &dyn LearnsFromReplay,
        state_width: usize,
        first: u64,
        device: Device,
    ) -> Result<SampledBatch, LearnerError> {
        let shape = TrajectoryShape { spec: self.spec.clone(), state_width };
        let mut config = config.shared().replay;
        (config.sampling, config.batch_env_steps) = (Sampling::Uniform, None);
        let burn_in = config.burn_in();
        let mut replay = Replay::new(config, shape, None)?;
        for env_index in 0..ROWS {
            let frame =
                |row| Seed::new(if row == 0 { first } else { 0 }).derive("frame", row as u64);
            let (begin, end) = (StepType::First, StepType::Last(Ending::Terminated));
            let steps = vec![begin, StepType::Mid, StepType::Mid, end, begin];
            replay.insert(1, &self.trajectory(env_index, 0, steps, state_width, frame))?;
        }
        let sample = replay.sample(ROWS as usize, &mut Seed::new(1).generator())?;
        let batch = Batch::from_trajectories(&sample.rows, &self.spec, device);
        let batch = batch.map_err(LearnerError::Batch)?;
        Ok(SampledBatch { batch: ReplayBatch::new(batch, &sample, burn_in), sample })
    }

    fn learner<P: Pipeline>(
        &self,
        config: &Arc<P::Config>,
        device: Device,
    ) -> Result<Learner<P>, LearnerError> {
        let mut own = LearnerConfig::new(self.resolved.clone(), "parity".into(), None, device, 1)?;
        own.run.env_steps = BUDGET;
        Learner::new(config, own, &self.spec, None)
    }

    /// Unroll `sequence` of two streams, in the middle of episodes from the second one on.
    fn unroll(
        &self,
        state_width: usize,
        sequence: u64,
        seed: u64,
        device: Device,
    ) -> Result<StreamsBatch, LearnerError> {
        let seed = Seed::new(seed).derive("unroll", sequence);
        let step = |row| if (sequence, row) == (0, 0) { StepType::First } else { StepType::Mid };
        let trajectories: Vec<Trajectory> = (0..ROWS)
            .map(|env_index| {
                let frame = |row| seed.derive("frame", row as u64);
                let steps = (0..=UNROLL_LENGTH).map(step).collect();
                self.trajectory(env_index, sequence, steps, state_width, frame)
            })
            .collect();
        let key = |of: &Trajectory| TrajectoryKey {
            stream: of.stream,
            generation: 1,
            sequence,
            policy_version: 1,
        };
        let batch = Batch::from_trajectories(&trajectories, &self.spec, device);
        let batch = batch.map_err(LearnerError::Batch)?;
        Ok(StreamsBatch { batch, keys: trajectories.iter().map(key).collect() })
    }

    /// A core state: numbers, and behind them the bytes of stacked pictures, three in each.
    fn core_state(&self, generator: &mut Generator, width: usize) -> Vec<f32> {
        let mut state = random(generator, width);
        if self.spec.observation.dtype == Dtype::U8 {
            let bytes = (self.spec.frame_stack as usize - 1) * self.spec.observation.len();
            let pictures = width.saturating_sub(bytes.div_ceil(3));
            state[pictures..].iter_mut().for_each(|x| *x = (x.abs() * THREE_BYTES).floor());
        }
        state
    }

    /// A trajectory each of whose frames shows what follows from a seed; actions and rewards follow
    /// from their place.
    fn trajectory(
        &self,
        env_index: u32,
        sequence: u64,
        steps: Vec<StepType>,
        state_width: usize,
        frame: impl Fn(usize) -> Seed,
    ) -> Trajectory {
        let generator = |row| frame(row).derive("env", env_index.into()).generator();
        let place = Seed::new(9).derive("trajectory", env_index.into()).derive("at", sequence);
        let rows = steps.len();
        let past = |name, row: usize| {
            (!steps[row].is_first()).then(|| place.derive(name, row as u64).generator())
        };
        let action = |row| past("action", row).map(|mut of| of.random_range(0..ACTIONS as i32));
        let vector = |row| past("action", row).map(|mut of| random(&mut of, DIMENSIONS));
        let reward = |row| past("reward", row).map(|mut of| of.random_range(0.0..1.0));
        let previous_actions = match self.spec.action {
            ActionSpec::Discrete { .. } => {
                Actions::Discrete((0..rows).map(|row| action(row).unwrap_or(0)).collect())
            }
            ActionSpec::Continuous { .. } => Actions::Continuous(
                (0..rows).flat_map(|row| vector(row).unwrap_or(vec![0.0; DIMENSIONS])).collect(),
            ),
        };
        let seen = |row| random(&mut generator(row), self.spec.observation.len());
        let shown = (0..rows).flat_map(seen);
        let observations = match self.spec.observation.dtype {
            Dtype::F32 => Observations::F32(shown.collect()),
            Dtype::U8 => Observations::U8(shown.map(|x| (x.abs() * 255.0) as u8).collect()),
        };
        Trajectory {
            stream: StreamId { actor: 7, env_index },
            sequence,
            frames: Frames {
                observations,
                previous_actions,
                previous_rewards: (0..rows).map(|row| reward(row).unwrap_or(0.0)).collect(),
                step_types: steps,
            },
            log_probs: vec![-(ACTIONS as f32).ln(); rows - 1],
            policy_versions: vec![1; rows - 1],
            core_state: self.core_state(&mut generator(0), state_width),
        }
    }
}

fn random(generator: &mut Generator, count: usize) -> Vec<f32> {
    (0..count).map(|_| generator.random_range(-1.0..1.0)).collect()
}

fn learn<P: Pipeline>(
    mut learner: Learner<P>,
    batches: [P::Batch; 2],
) -> Result<Learned, LearnerError> {
    let before = weights(&learner)?;
    let mut numbers = vec![];
    for batch in &batches {
        let updated = learner.update(batch, 1);
        let stats = updated.map_err(|last| LearnerError::NonFinite { in_a_row: 1, last })?;
        numbers.extend(stats.numbers.iter().map(|(_, number)| *number));
    }
    let pairs = before.into_iter().zip(weights(&learner)?);
    let weights = pairs.map(|((name, before), (_, after))| (name, before, after)).collect();
    Ok(Learned { numbers, weights })
}

impl Learned {
    /// Difference between this and what another device learned.
    pub fn difference(&self, there: &Learned) -> Difference {
        let finite = |error: f64| if error.is_finite() { error } else { f64::INFINITY };
        let numbers = self.numbers.iter().zip(&there.numbers);
        let numbers = numbers
            .map(|(here, there)| finite((here - there).abs() / here.abs().max(1e-2)))
            .fold(0.0, f64::max);
        let (mut square, mut total, mut same) = (0.0, 0.0, true);
        for ((_, begun, after), (_, begun_there, there)) in self.weights.iter().zip(&there.weights)
        {
            same &= begun == begun_there;
            let norm = |x: Tensor| x.square().sum(Kind::Double).double_value(&[]);
            square += norm(there - after);
            total += norm(after - begun);
        }
        let weights = if same { f64::sqrt(square / total) } else { f64::INFINITY };
        Difference { numbers, weights: finite(weights) }
    }
}

impl Difference {
    /// The larger one of the two.
    pub fn largest(&self) -> f64 {
        self.numbers.max(self.weights)
    }
}

/// Every weight of a learner by name, on the CPU.
fn weights<P: Pipeline>(learner: &Learner<P>) -> Result<Vec<(String, Tensor)>, LearnerError> {
    let policy = Policy::from_weights(&learner.weights().bytes, Device::Cpu);
    let policy = policy.map_err(LearnerError::Policy)?;
    let weights = policy.weights().iter();
    Ok(weights.map(|(name, x)| (name.clone(), x.detach().copy())).collect())
}
