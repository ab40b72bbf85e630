//! An environment, an actor and a learner's batch in one thread, without services.
//!
//! The environment is recall: a cue at the first frame, blank frames, a question, and a reward if
//! the answer equals the cue.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "several tests and a bench share this, none all of it"
)]

use std::sync::Arc;

use engram_learner::algorithms::{
    AlgorithmConfig, LearnsFromReplay, PpoConfig, RlConfig, VtraceConfig,
};
use engram_mdp::{
    ActionSpec, Actions, Decision, Dtype, Ending, EnvSpec, Frames, Generator, ObservationMut,
    ObservationSpec, Seed, StepType, StreamId, Trajectory, TrajectoryBuilder,
};
use engram_policy::{
    Activation, Batch, Batched, CoreState, HeadConfig, HeadInit, Initialization, Inputs,
    MemoryConfig, MemoryInput, Policy, PolicyConfig, TorsoConfig,
};
use rand::RngExt;
use serde::de::DeserializeOwned;
use tch::{Device, Kind, Tensor};

/// Task: recall of a cue.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Cues, and as many actions.
    pub choices: usize,
    /// The frame that asks for the cue; if it is frame 0, where the cue is in sight, nothing needs
    /// to be remembered.
    pub question: usize,
    /// Ending of every episode.
    pub ending: Ending,
}

impl Task {
    /// Observation: the cue, whether it is the first frame, whether it is the question.
    pub fn spec(self) -> EnvSpec {
        EnvSpec {
            name: "recall".into(),
            observation: ObservationSpec { dtype: Dtype::F32, shape: vec![self.choices + 2] },
            action: ActionSpec::Discrete { count: self.choices },
            frame_stack: 1,
            action_repeat: 1,
        }
    }
}

/// A group of environments and the policy state that belongs to them.
pub struct Actor {
    task: Task,
    spec: EnvSpec,
    /// The frame of every environment, its index in the episode, and its cue.
    frames: Frames,
    places: Vec<usize>,
    cues: Vec<usize>,
    builders: Vec<TrajectoryBuilder>,
    core_state: CoreState,
    generator: Generator,
    /// Answers so far, and how many were right.
    pub answers: (u32, u32),
}

impl Actor {
    /// `envs` environments at their first frame. Their first episodes have various lengths, so
    /// that later on they are not in step, and unrolls cut episodes everywhere.
    pub fn new(task: Task, envs: usize, unroll_length: usize, policy: &Policy, seed: u64) -> Self {
        let spec = task.spec();
        let builder = |env_index| {
            let stream = StreamId { actor: 0, env_index };
            TrajectoryBuilder::new(stream, &spec, unroll_length)
        };
        let mut actor = Actor {
            frames: Frames::first(&spec, envs),
            places: vec![0; envs],
            cues: vec![0; envs],
            builders: (0..envs as u32).map(builder).collect(),
            core_state: policy.initial_state(envs as i64),
            generator: Seed::new(seed).derive("actor", 0).generator(),
            answers: (0, 0),
            task,
            spec,
        };
        for env in 0..envs {
            actor.begin(env);
            actor.places[env] = env % (task.question + 1);
        }
        actor.record();
        actor
    }

    /// Acts until every environment has completed a trajectory.
    pub fn unroll(&mut self, policy: &Policy) -> Vec<Trajectory> {
        loop {
            let actions = self.decide(policy);
            for (env, action) in actions.into_iter().enumerate() {
                self.step(env, action);
            }
            let finished = self.record();
            if !finished.is_empty() {
                return finished;
            }
        }
    }

    /// The trajectories of one unroll, side by side.
    pub fn batch(&mut self, policy: &Policy) -> Batch {
        batch(&self.unroll(policy), &self.spec)
    }

    fn decide(&mut self, policy: &Policy) -> Vec<usize> {
        let width = self.core_state.width();
        let flat = Vec::<f32>::try_from(self.core_state.flatten().view(-1)).expect("f32");
        let inputs = Inputs::from_frames(&self.frames, &self.spec, policy.device());
        let (output, core_state) = policy.step(&inputs, &self.core_state);
        self.core_state = core_state;
        let noise = output.distribution.noise(&mut self.generator);
        let actions = output.distribution.sample(&noise);
        let log_probs = output.distribution.log_prob(&actions).to_kind(Kind::Float);
        let actions = Vec::<i64>::try_from(actions).expect("discrete actions");
        let log_probs = Vec::<f32>::try_from(log_probs).expect("f32");
        for (env, builder) in self.builders.iter_mut().enumerate() {
            if builder.at_unroll_start() {
                builder.core_state(&flat[env * width..(env + 1) * width]);
            }
            let last = self.frames.step_types[env].is_last();
            let log_prob = if last { 0.0 } else { log_probs[env] };
            builder.decision(Decision { log_prob, policy_version: 0 });
        }
        actions.into_iter().map(|action| action as usize).collect()
    }

    fn step(&mut self, env: usize, action: usize) {
        if self.frames.step_types[env].is_last() {
            return self.begin(env);
        }
        let question = self.task.question;
        let place = self.places[env] + 1;
        self.places[env] = place;
        let answered = place > question;
        let right = answered && action == self.cues[env];
        self.answers.0 += u32::from(answered);
        self.answers.1 += u32::from(right);
        let step_type = if answered { StepType::Last(self.task.ending) } else { StepType::Mid };
        self.show(env, step_type, action, f32::from(u8::from(right)), |row| {
            row[row.len() - 1] = f32::from(u8::from(place == question));
        });
    }

    fn begin(&mut self, env: usize) {
        let cue = self.generator.random_range(0..self.task.choices);
        (self.places[env], self.cues[env]) = (0, cue);
        self.show(env, StepType::First, 0, 0.0, |row| {
            row[cue] = 1.0;
            row[row.len() - 2] = 1.0;
        });
    }

    fn show(
        &mut self,
        env: usize,
        step_type: StepType,
        action: usize,
        reward: f32,
        paint: impl Fn(&mut [f32]),
    ) {
        let frames = &mut self.frames;
        let ObservationMut::F32(row) = frames.observations.row_mut(env, self.task.choices + 2)
        else {
            unreachable!("recall shows floats")
        };
        row.fill(0.0);
        paint(row);
        let Actions::Discrete(actions) = &mut frames.previous_actions else {
            unreachable!("recall takes discrete actions")
        };
        actions[env] = action as i32;
        frames.previous_rewards[env] = reward;
        frames.step_types[env] = step_type;
    }

    fn record(&mut self) -> Vec<Trajectory> {
        let builders = self.builders.iter_mut().enumerate();
        builders.filter_map(|(env, b)| b.frame(&self.frames, env, &self.spec)).collect()
    }
}

/// Trajectories side by side, checked as a learner checks them.
pub fn batch(trajectories: &[Trajectory], spec: &EnvSpec) -> Batch {
    for trajectory in trajectories {
        trajectory.clone().checked(spec).expect("a good trajectory");
    }
    Batch::from_trajectories(trajectories, spec, Device::Cpu).expect("an even batch")
}

/// A torso of one layer, a memory, and linear heads.
pub fn network(torso: i64, memory: MemoryConfig) -> PolicyConfig {
    PolicyConfig {
        inputs: vec![MemoryInput::Observation, MemoryInput::PreviousAction],
        torso: TorsoConfig::Mlp {
            hidden: vec![torso],
            activation: Activation::Tanh,
            init: Initialization::FAN_IN,
            norm: None,
        },
        embed: None,
        memory,
        skip: None,
        head: HeadConfig {
            hidden: vec![],
            activation: Activation::Tanh,
            action: None,
            init: HeadInit::FAN_IN,
        },
    }
}

/// A policy for `task`, whose weights follow from the seed.
pub fn policy(kind: Kind, config: &PolicyConfig, task: Task, seed: u64) -> Policy {
    Policy::of_kind(kind, config, &task.spec(), Seed::new(seed), Device::Cpu).expect("a policy")
}

/// The shipped PPO settings, changed.
pub fn ppo(change: impl Fn(&mut PpoConfig)) -> PpoConfig {
    let mut config = settings(include_str!("../../../configs/rl/ppo.toml"), "");
    change(&mut config);
    config.validate().expect("its values are in range");
    config
}

/// The shipped V-trace settings, changed.
pub fn vtrace(change: impl Fn(&mut VtraceConfig)) -> VtraceConfig {
    let mut config = settings(include_str!("../../../configs/rl/vtrace.toml"), "");
    change(&mut config);
    config.validate().expect("its values are in range");
    config
}

/// All numbers of a tensor.
pub fn numbers(tensor: &Tensor) -> Vec<f64> {
    let flat = tensor.detach().to_kind(Kind::Double).contiguous().view(-1);
    Vec::try_from(flat).expect("one dimension")
}

/// The settings of `text`, one of `configs/rl`, changed by `lines` of the same form.
pub fn rl(text: &str, lines: &str) -> RlConfig {
    changed(text, lines).try_into().expect("it loads")
}

/// The same as the algorithm's own type.
pub fn settings<C: DeserializeOwned>(text: &str, lines: &str) -> C {
    let mut table = changed(text, lines);
    table.remove("algorithm").expect("an algorithm has a name");
    table.try_into().expect("it loads")
}

/// The same for an algorithm that learns from a replay.
pub fn from_replay(text: &str, lines: &str) -> Arc<dyn LearnsFromReplay> {
    match rl(text, lines) {
        RlConfig::Replay(config) => config,
        RlConfig::Streams(_) => panic!("a replay"),
    }
}

fn changed(text: &str, lines: &str) -> toml::Table {
    let mut table: toml::Table = text.parse().expect("it is TOML");
    let changes: toml::Table = lines.parse().expect("it is TOML");
    for (key, value) in changes {
        match (table.get_mut(&key), value) {
            // What has a name is chosen as a whole.
            (Some(toml::Value::Table(part)), toml::Value::Table(change))
                if !change.contains_key("name") =>
            {
                part.extend(change);
            }
            (_, new) => {
                table.insert(key, new);
            }
        }
    }
    table
}

/// `configs/rl/dqn.toml`.
pub const DQN: &str = include_str!("../../../configs/rl/dqn.toml");

/// `configs/rl/sac-discrete.toml`.
pub const SAC_DISCRETE: &str = include_str!("../../../configs/rl/sac-discrete.toml");

/// A network for `task` that says of frames what the algorithm of `rl` needs.
pub fn network_of(
    kind: Kind,
    rl: &dyn AlgorithmConfig,
    config: &PolicyConfig,
    task: Task,
) -> Policy {
    let (outputs, seed) = (rl.outputs(), Seed::new(1));
    Policy::with_outputs(&outputs, kind, config, &task.spec(), seed, Device::Cpu)
        .expect("a network")
}

/// The frames of one episode of `task` up to the question, `[T, 1]`, whatever was answered.
pub fn episode(task: Task, cue: usize) -> Inputs {
    let (frames, width) = (task.question + 1, task.choices + 2);
    let mut numbers = vec![0.0_f32; frames * width];
    (numbers[cue], numbers[task.choices]) = (1.0, 1.0);
    numbers[frames * width - 1] = 1.0;
    let leading = [frames as i64, 1];
    Inputs::new(
        Tensor::from_slice(&numbers).view([frames as i64, 1, width as i64]),
        Tensor::zeros(leading, (Kind::Int64, Device::Cpu)),
        Tensor::zeros(leading, (Kind::Float, Device::Cpu)),
        (0..frames).map(|t| t == 0).collect(),
    )
}
