//! The work itself, one stage at a time, without any network: environments, forward passes,
//! updates.
//!
//! Their sum is the floor of a run. CPU time is the process's, so that what libtorch's own threads
//! do is counted as well.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use engram_envs::VectorEnv;
use engram_learner::RlConfig;
use engram_mdp::{
    ActionSpec, Actions, Decision, Frames, Generator, Seed, StreamId, Trajectory, TrajectoryBuilder,
};
use engram_policy::acting::{self, Chosen};
use engram_policy::{Batch, Batched, CoreState, Exploration, Inputs, Policy};
use engram_service::process::cpu_seconds;
use tch::Device;

use super::timing::wait_for;
use crate::experiment::Experiment;

/// Cost of one stage.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StageCost {
    /// Env steps that were worked on.
    pub(crate) env_steps: u64,
    /// CPU time that it took.
    pub(crate) cpu_seconds: f64,
    /// Time that it took.
    pub(crate) seconds: f64,
}

impl StageCost {
    /// Env steps per second of CPU time.
    pub(crate) fn rate(self) -> f64 {
        self.env_steps as f64 / self.cpu_seconds
    }

    /// Env steps per second.
    pub(crate) fn throughput(self) -> f64 {
        self.env_steps as f64 / self.seconds
    }

    /// Microseconds of CPU time per env step.
    pub(crate) fn micros(self) -> f64 {
        1e6 * self.cpu_seconds / self.env_steps as f64
    }
}

/// Repeats `work`, which tells how many env steps it did, for a while; once before, to warm up.
fn measure(seconds: f64, mut work: impl FnMut() -> u64) -> StageCost {
    work();
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut env_steps = 0;
    while start.elapsed() < Duration::from_secs_f64(seconds) {
        env_steps += work();
    }
    let seconds = start.elapsed().as_secs_f64();
    StageCost { env_steps, cpu_seconds: cpu_seconds() - cpu, seconds }
}

/// Rows that are no Last frame: the ones whose step is an env step.
fn decisions(frames: &Frames) -> u64 {
    frames.step_types.iter().filter(|step_type| !step_type.is_last()).count() as u64
}

/// Stepping the environments of one group, with actions drawn at random beforehand.
pub(crate) fn stepping(experiment: &Experiment, rows: u32, seconds: f64) -> Result<StageCost> {
    let seed = Seed::new(experiment.run.seed);
    let mut group = VectorEnv::new(&experiment.env, 0..rows, seed);
    let mut generator = seed.derive("bench", 0).generator();
    let actions: Vec<Actions> =
        (0..64).map(|_| random(group.spec().action, rows as usize, &mut generator)).collect();
    Ok(measure(seconds, || {
        let mut env_steps = 0;
        for actions in &actions {
            env_steps += decisions(group.frames());
            group.step(actions);
        }
        env_steps
    }))
}

/// Forward passes and draws of actions for `rows` environments at once, slots and conversions
/// left out.
pub(crate) fn forward(
    experiment: &Experiment,
    rows: u32,
    seconds: f64,
    device: Device,
) -> Result<StageCost> {
    let mut rollout = Rollout::new(experiment, rows, device)?;
    let frames = rollout.group.frames().clone();
    let inputs = Inputs::from_frames(&frames, rollout.policy.spec(), device);
    Ok(measure(seconds, || {
        for _ in 0..16 {
            rollout.act(&inputs);
        }
        16 * u64::from(rows)
    }))
}

/// Updates on a batch that was stored beforehand.
pub(crate) fn updating(experiment: &Experiment, seconds: f64, device: Device) -> Result<StageCost> {
    let batch_size = experiment.rl.algorithm().batch_size();
    let mut rollout = Rollout::new(experiment, u32::try_from(batch_size)?, device)?;
    let trajectories = rollout.trajectories(experiment.run.unroll_length);
    let env_steps = trajectories.iter().map(|t| t.env_steps() as u64).sum::<u64>();
    let batch = Batch::from_trajectories(&trajectories, rollout.policy.spec(), device)?;
    let RlConfig::Streams(config) = &experiment.rl else {
        bail!("rl.algorithm learns from a replay: `engram bench offpolicy` measures that")
    };
    let mut algorithm = config.start(&rollout.policy);
    let (mut carry, mut failed) = (Some(rollout.policy.initial_carry(batch.batch())), None);
    let cost = measure(seconds, || {
        // After an update that failed there is none, and no number that counts.
        if let Some(before) = carry.take() {
            match algorithm.update(&rollout.policy, &batch, before, 0.5) {
                Ok((_, next)) => carry = Some(next),
                Err(error) => failed = Some(error),
            }
        }
        if let Some((_, weight)) = rollout.policy.weights().first() {
            wait_for(weight);
        }
        env_steps
    });
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(cost),
    }
}

/// Trajectories of a policy that has learned nothing, for whoever needs some.
pub(crate) fn trajectories(experiment: &Experiment, rows: u32) -> Result<Vec<Trajectory>> {
    Ok(Rollout::new(experiment, rows, Device::Cpu)?.trajectories(experiment.run.unroll_length))
}

/// A policy on a group of environments, with nothing between them.
struct Rollout {
    group: VectorEnv,
    policy: Policy,
    state: CoreState,
    generators: [(Generator, usize); 1],
}

impl Rollout {
    fn new(experiment: &Experiment, rows: u32, device: Device) -> Result<Self> {
        let seed = Seed::new(experiment.run.seed);
        let group = VectorEnv::new(&experiment.env, 0..rows, seed);
        let policy = Policy::new(&experiment.seq, group.spec(), seed.derive("policy", 0), device)?;
        let state = policy.initial_state(i64::from(rows));
        let generators = [(seed.derive("bench", 1).generator(), rows as usize)];
        Ok(Rollout { group, policy, state, generators })
    }

    /// One decision for every row.
    fn act(&mut self, inputs: &Inputs) -> Chosen {
        let (output, state) = self.policy.step(inputs, &self.state);
        self.state = state;
        let behaviors = vec![Exploration::NONE.of_rank(0); self.state.batch() as usize];
        acting::act(&output.distribution, &behaviors, &mut self.generators)
    }

    /// One trajectory of `unroll_length` decisions per row.
    fn trajectories(&mut self, unroll_length: usize) -> Vec<Trajectory> {
        let spec = self.group.spec().clone();
        let rows = self.group.frames().rows();
        let stream = |env_index: usize| StreamId { actor: 0, env_index: env_index as u32 };
        let mut builders: Vec<TrajectoryBuilder> = (0..rows)
            .map(|row| TrajectoryBuilder::new(stream(row), &spec, unroll_length))
            .collect();
        loop {
            let frames = self.group.frames().clone();
            let ready: Vec<Trajectory> = builders
                .iter_mut()
                .enumerate()
                .filter_map(|(row, builder)| builder.frame(&frames, row, &spec))
                .collect();
            if !ready.is_empty() {
                return ready;
            }
            let before = self.state.flatten().to_device(Device::Cpu);
            let inputs = Inputs::from_frames(&frames, &spec, self.policy.device());
            let Chosen { actions, log_probs } = self.act(&inputs);
            for (row, builder) in builders.iter_mut().enumerate() {
                if builder.at_unroll_start() {
                    let state = Vec::<f32>::try_from(before.get(row as i64));
                    builder.core_state(&state.expect("a row of floats"));
                }
                let last = frames.step_types[row].is_last();
                let log_prob = if last { 0.0 } else { log_probs[row] };
                builder.decision(Decision { log_prob, policy_version: 1 });
            }
            self.group.step(&actions);
        }
    }
}

/// Actions drawn at random, one for each row.
pub(super) fn random(spec: ActionSpec, rows: usize, generator: &mut Generator) -> Actions {
    use rand::RngExt;
    match spec {
        ActionSpec::Discrete { count } => {
            Actions::Discrete((0..rows).map(|_| generator.random_range(0..count as i32)).collect())
        }
        ActionSpec::Continuous { dimensions } => Actions::Continuous(
            (0..rows * dimensions).map(|_| generator.random_range(-1.0..=1.0)).collect(),
        ),
    }
}
