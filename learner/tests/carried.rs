//! Gradients that reach back before the unroll, through what the learner keeps of its streams:
//! with short unrolls one after another they are those of one long one.
//!
//! Losses are made such that those of the parts add up to that of the whole: sums, of what a
//! decision and the next frame say (λ is 0), without the policy gradient, whose advantage looks
//! one frame further.

mod support;

use engram_learner::algorithms::{
    AcLambda, AcLambdaConfig, Loss, Reduction, StreamsAlgorithm, Vtrace,
};
use engram_learner::batches::carry_table::CarryTable;
use engram_learner::batches::selector::TrajectoryKey;
use engram_learner::config::flags::ByteSize;
use engram_learner::config::{OptimizerConfig, RewardClip, Schedule};
use engram_mdp::{Ending, Frames, Trajectory};
use engram_policy::memory::cgpt::CgptConfig;
use engram_policy::memory::elstm::ElstmConfig;
use engram_policy::memory::input_layer::InputLayer;
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::memory::stack::StackConfig;
use engram_policy::{
    Batch, Carry, Gradient, Initialization, Inputs, MemoryConfig, Norm, Policy, PolicyConfig,
    TorsoConfig,
};
use support::{Actor, Task};
use tch::{Device, Kind, Tensor, no_grad};

/// Episodes of fourteen frames, and unrolls of five decisions.
const TASK: Task = Task { choices: 3, question: 12, ending: Ending::Truncated };

const UNROLL_LENGTH: usize = 5;

const ENVS: usize = 3;

fn elstm(hidden: i64, gradient: Gradient) -> MemoryConfig {
    MemoryConfig::Elstm(ElstmConfig { hidden, gradient, forget_bias: 2.0 })
}

/// Nothing below the memory learns, for its gradient would be truncated.
fn network(memory: MemoryConfig) -> PolicyConfig {
    PolicyConfig { torso: TorsoConfig::Identity {}, ..support::network(1, memory) }
}

/// Experience: unrolls one after another of each environment.
struct Experience {
    policy: Policy,
    algorithm: Vtrace,
    unrolls: Vec<Vec<Trajectory>>,
    /// The policy's own state before each unroll, `[B, S]`, not rounded.
    states: Vec<Tensor>,
}

impl Experience {
    fn of(memory: MemoryConfig, unrolls: usize) -> Self {
        Experience::of_length(UNROLL_LENGTH, memory, unrolls)
    }

    fn of_length(length: usize, memory: MemoryConfig, unrolls: usize) -> Self {
        tch::set_num_threads(1);
        let network = network(memory);
        let behavior = support::policy(Kind::Float, &network, TASK, 2);
        let mut actor = Actor::new(TASK, ENVS, length, &behavior, 3);
        let unrolls: Vec<_> = (0..unrolls).map(|_| actor.unroll(&behavior)).collect();
        let policy = support::policy(Kind::Double, &network, TASK, 1);
        let config = support::vtrace(|c| {
            (c.reduction, c.lambda, c.pg_rho_clip) = (Reduction::Sum, 0.0, 1e-300);
            (c.baseline_cost, c.entropy_cost) = (1.0, 0.3);
        });
        let algorithm = Vtrace::new(&config, &policy);
        let states = no_grad(|| states(&policy, &unrolls));
        Experience { policy, algorithm, unrolls, states }
    }

    fn carried(&self) -> CarryTable {
        self.table(&self.policy.initial_carry(1))
    }

    fn table(&self, carry: &Carry) -> CarryTable {
        CarryTable::new(carry, Device::Cpu, ByteSize::STREAM_MEMORY, ENVS).expect("enough memory")
    }

    /// The environments' trajectories of unroll `k`, and where they came from.
    fn batch(&self, k: usize, envs: &[usize]) -> (Batch, Vec<TrajectoryKey>) {
        let trajectories: Vec<_> = envs.iter().map(|&env| self.unrolls[k][env].clone()).collect();
        let row = |t: &Trajectory| TrajectoryKey {
            stream: t.stream,
            generation: 1,
            sequence: t.sequence,
            policy_version: 0,
        };
        let rows = trajectories.iter().map(row).collect();
        (self.with_states(&trajectories, k, envs), rows)
    }

    /// Unrolls of one environment as a single one.
    fn joined(&self, unrolls: std::ops::Range<usize>, env: usize) -> Batch {
        let spec = TASK.spec();
        let first = unrolls.start;
        let mut whole = self.unrolls[first][env].clone();
        for k in unrolls.skip(1) {
            let next = &self.unrolls[k][env];
            whole.frames.extend_rows(&next.frames, 1..next.unroll_length() + 1, &spec);
            whole.log_probs.extend(&next.log_probs);
            whole.policy_versions.extend(&next.policy_versions);
        }
        self.with_states(&[whole], first, &[env])
    }

    fn with_states(&self, trajectories: &[Trajectory], k: usize, envs: &[usize]) -> Batch {
        let rows: Vec<i64> = envs.iter().map(|&env| env as i64).collect();
        let mut batch = support::batch(trajectories, &TASK.spec());
        batch.core_state = match self.policy.exported_state_width() {
            Some(_) => self.states[k].index_select(0, &Tensor::from_slice(&rows)),
            None => Tensor::zeros([envs.len() as i64, 0], (Kind::Float, Device::Cpu)),
        };
        batch
    }

    /// The gradient as a learner finds it, summed over updates that change nothing; environment 1
    /// sends nothing in the unrolls `missing`.
    fn learned(&self, carried: &mut CarryTable, missing: &[usize]) -> Vec<(String, Tensor)> {
        let all = (0..self.unrolls.len()).map(|k| {
            let envs: &[usize] = if missing.contains(&k) { &[0, 2] } else { &[1, 0, 2] };
            let (batch, rows) = self.batch(k, envs);
            let carry = carried.take(&rows);
            let (gradient, carry) = self.gradient(self.algorithm.loss(&self.policy, &batch, carry));
            carried.put(&rows, &carry);
            gradient
        });
        sum(all)
    }

    /// The gradient of backpropagation through time over joined unrolls.
    fn through_time(&self, joined: &[(std::ops::Range<usize>, usize)]) -> Vec<(String, Tensor)> {
        sum(joined.iter().map(|(unrolls, env)| {
            let batch = self.joined(unrolls.clone(), *env);
            let nothing = self.policy.initial_carry(1);
            self.gradient(self.algorithm.loss(&self.policy, &batch, nothing)).0
        }))
    }

    /// By each weight; and what is carried on.
    fn gradient(&self, loss: Loss) -> (Vec<(String, Tensor)>, Carry) {
        let names = self.policy.trainable().into_iter().map(|(name, _)| name);
        let (gradients, carry) = self.policy.gradient(&loss.total, loss.context);
        (names.zip(gradients).collect(), carry)
    }
}

/// The policy's states before each unroll, flat, in its own precision.
fn states(policy: &Policy, unrolls: &[Vec<Trajectory>]) -> Vec<Tensor> {
    let spec = TASK.spec();
    let mut state = policy.initial_state(ENVS as i64);
    let mut before = Vec::new();
    for unroll in unrolls {
        let flat = state.tensors().iter().map(|tensor| tensor.reshape([ENVS as i64, -1]));
        before.push(Tensor::cat(&flat.collect::<Vec<_>>(), 1));
        for t in 0..unroll[0].unroll_length() {
            let mut frames = Frames::with_capacity(&spec, ENVS);
            unroll.iter().for_each(|x| frames.extend_rows(&x.frames, t..t + 1, &spec));
            state = policy.step(&Inputs::from_frames(&frames, &spec, Device::Cpu), &state).1;
        }
    }
    before
}

fn sum(all: impl Iterator<Item = Vec<(String, Tensor)>>) -> Vec<(String, Tensor)> {
    let add = |sum: Vec<(String, Tensor)>, next: Vec<(String, Tensor)>| {
        sum.into_iter().zip(next).map(|((name, a), (_, b))| (name, a + b)).collect()
    };
    all.reduce(add).expect("there are unrolls")
}

/// The largest difference relative to the largest number, over the weights whose names begin so.
fn difference(a: &[(String, Tensor)], b: &[(String, Tensor)], names: &str) -> f64 {
    let chosen = a.iter().zip(b).filter(|((name, _), _)| name.starts_with(names));
    let differences = chosen.map(|((_, a), (_, b))| {
        let scale = b.abs().max().double_value(&[]).max(1e-3);
        (a - b).abs().max().double_value(&[]) / scale
    });
    differences.reduce(f64::max).expect("there are such weights")
}

/// Gradient of AC(λ), summed over updates that change nothing.
fn by_traces(experience: &Experience, lambda: f64) -> Tensor {
    let (algorithm, policy) = (ac_lambda(experience, lambda), &experience.policy);
    let mut carried = experience.table(&algorithm.initial_carry(policy, 1));
    let gradients = (0..experience.unrolls.len()).map(|k| {
        let (batch, rows) = experience.batch(k, &[1, 0, 2]);
        let found = algorithm.gradient(policy, &batch, carried.take(&rows));
        carried.put(&rows, &found.carry);
        found.gradient
    });
    gradients.reduce(|sum, next| sum + next).expect("there are unrolls")
}

/// The same of whole lives at once, where nothing came before.
fn at_once(experience: &Experience, lambda: f64) -> Tensor {
    let (algorithm, policy) = (ac_lambda(experience, lambda), &experience.policy);
    let gradients = everything(experience.unrolls.len()).into_iter().map(|(unrolls, env)| {
        let batch = experience.joined(unrolls, env);
        algorithm.gradient(policy, &batch, algorithm.initial_carry(policy, 1)).gradient
    });
    gradients.reduce(|sum, next| sum + next).expect("there are environments")
}

fn ac_lambda(experience: &Experience, lambda: f64) -> AcLambda {
    let config = AcLambdaConfig {
        batch_size: ENVS,
        discount: 0.95,
        lambda,
        reward_clip: RewardClip::None,
        reward_scale: 1.0,
        baseline_cost: 0.7,
        entropy_cost: 0.3,
        entropy_schedule: Schedule::Constant,
        learning_rate: 0.1,
        schedule: Schedule::Constant,
        max_grad_norm: 1.0,
        optimizer: OptimizerConfig::Adam {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        },
        max_non_finite_updates: 1,
        freeze: vec![],
    };
    AcLambda::new(&config, &experience.policy)
}

/// All unrolls of every environment, each as one.
fn everything(unrolls: usize) -> Vec<(std::ops::Range<usize>, usize)> {
    (0..ENVS).map(|env| (0..unrolls, env)).collect()
}

#[test]
fn gradients_over_short_unrolls_are_those_of_one_long_unroll() {
    let experience = Experience::of(elstm(4, Gradient::Rtrl), 6);
    let expected = experience.through_time(&everything(6));
    let found = experience.learned(&mut experience.carried(), &[]);
    let error = difference(&found, &expected, "");
    assert!(error < 1e-12, "{error}");

    // The same without what streams carry: truncated at every unroll's start.
    let mut truncated = Vec::new();
    for k in 0..6 {
        truncated.extend((0..ENVS).map(|env| (k..k + 1, env)));
    }
    let truncated = experience.through_time(&truncated);
    let error = difference(&truncated, &expected, "memory.input_weight");
    assert!(error > 0.01, "truncation makes no difference here: {error}");
}

/// Of single decisions too, which is what traces are for.
#[test]
fn traces_bring_advantages_across_unrolls_as_rtrl_brings_gradients() {
    for (length, unrolls) in [(1, 30), (5, 6), (7, 4)] {
        let experience = Experience::of_length(length, elstm(4, Gradient::Rtrl), unrolls);
        let [with, without] = [0.9, 0.0].map(|lambda| {
            let (found, expected) = (by_traces(&experience, lambda), at_once(&experience, lambda));
            let scale = expected.abs().max().double_value(&[]);
            let error = (&found - &expected).abs().max().double_value(&[]) / scale;
            assert!(error < 1e-12, "{unrolls} unrolls of {length}, λ = {lambda}: {error}");
            found
        });
        let difference = ((&with - without).norm() / with.norm()).double_value(&[]);
        assert!(difference > 0.01, "λ makes no difference here: {difference}");
    }
}

#[test]
fn behind_a_gap_a_gradient_reaches_back_to_the_gap() {
    let experience = Experience::of(elstm(4, Gradient::Rtrl), 6);
    let mut carried = experience.carried();
    let found = experience.learned(&mut carried, &[2]);
    let parts = [(0..6, 0), (0..6, 2), (0..2, 1), (3..6, 1)];
    let error = difference(&found, &experience.through_time(&parts), "");
    assert!(error < 1e-12, "{error}");
    assert_eq!(carried.stats().restarts, 1);
    let whole = experience.through_time(&everything(6));
    assert!(difference(&found, &whole, "memory") > 0.01, "the gap makes no difference here");
}

#[test]
fn in_a_stack_the_layer_on_top_has_its_exact_gradient() {
    let lstm = MemoryConfig::Lstm(LstmConfig {
        hidden: 3,
        layers: 1,
        forget_bias: 1.0,
        init: Initialization::FAN_IN,
        bf16: false,
    });
    let layers = vec![lstm, elstm(4, Gradient::Rtrl)];
    let experience = Experience::of(MemoryConfig::Stack(StackConfig { layers }), 6);
    let expected = experience.through_time(&everything(6));
    let found = experience.learned(&mut experience.carried(), &[]);
    for exact in ["memory.1", "policy", "value"] {
        let error = difference(&found, &expected, exact);
        assert!(error < 1e-12, "{exact}: {error}");
    }
    assert!(difference(&found, &expected, "memory.0") > 1e-3, "below it, it is truncated");
}

#[test]
fn where_nothing_is_carried_a_learner_truncates() {
    let experience = Experience::of(elstm(4, Gradient::Tbptt), 3);
    let mut carried = experience.carried();
    assert!(!carried.carries());
    let found = experience.learned(&mut carried, &[]);
    let mut parts = Vec::new();
    for k in 0..3 {
        parts.extend((0..ENVS).map(|env| (k..k + 1, env)));
    }
    let error = difference(&found, &experience.through_time(&parts), "");
    assert!(error < 1e-12, "{error}");
}

/// Attention sees frames before an unroll by what its stream carries.
#[test]
fn a_state_that_stays_at_home_is_that_of_one_long_unroll() {
    let memory = MemoryConfig::Cgpt(CgptConfig {
        input: InputLayer::Linear,
        width: 8,
        heads: 2,
        blocks: 2,
        context_length: 11,
        norm: Norm::Layer,
        bf16: false,
        export_state: false,
    });
    let experience = Experience::of(memory, 6);
    let one_by_one = |carries: bool| {
        let mut carried = experience.carried();
        let loss = |k| {
            let (batch, rows) = experience.batch(k, &[1, 0, 2]);
            let carry = carried.take(&rows);
            let loss = experience.algorithm.loss(&experience.policy, &batch, carry);
            if carries {
                carried.put(&rows, &experience.policy.next_carry(loss.context));
            }
            loss.total.double_value(&[])
        };
        (0..6).map(loss).sum::<f64>()
    };
    let at_once = |env| {
        let nothing = experience.policy.initial_carry(1);
        let joined = experience.joined(0..6, env);
        experience.algorithm.loss(&experience.policy, &joined, nothing).total.double_value(&[])
    };
    let expected = (0..ENVS).map(at_once).sum::<f64>();
    let (error, without) = (one_by_one(true) - expected, one_by_one(false) - expected);
    assert!(error.abs() < 1e-10 * expected.abs(), "{error} of {expected}");
    assert!(without.abs() > 1e-3 * expected.abs(), "{without} of {expected}");
}
