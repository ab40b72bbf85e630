//! The V-trace actor-critic: its loss and gradients against a slow transcription, and what an
//! update may and may not change.

mod support;

use engram_learner::algorithms::{
    LearnsFromStreams, Reduction, StreamsAlgorithm, Vtrace, VtraceConfig,
};
use engram_learner::config::{RewardClip, Schedule};
use engram_mdp::{Ending, StepType, Trajectory};
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::{
    Batch, Carry, Distribution, Initialization, MemoryConfig, Policy, PolicyConfig,
};
use support::{Actor, Task, numbers};
use tch::{Kind, Tensor, no_grad};

const TASK: Task = Task { choices: 3, question: 2, ending: Ending::Terminated };

fn lstm() -> PolicyConfig {
    support::network(
        4,
        MemoryConfig::Lstm(LstmConfig {
            hidden: 3,
            layers: 1,
            forget_bias: 0.0,
            init: Initialization::FAN_IN,
            bf16: false,
        }),
    )
}

/// Unrolls of two other policies, of episodes of four frames that end in both ways and are cut
/// in three places.
fn off_policy_unrolls() -> Vec<Trajectory> {
    let endings = [Ending::Terminated, Ending::Truncated];
    let unrolls = endings.into_iter().zip([11, 12]).flat_map(|(ending, seed)| {
        let task = Task { ending, ..TASK };
        let behavior = support::policy(Kind::Float, &lstm(), task, seed);
        let mut actor = Actor::new(task, 1, 7, &behavior, seed);
        (0..3).flat_map(|_| actor.unroll(&behavior)).collect::<Vec<_>>()
    });
    let unrolls: Vec<Trajectory> = unrolls.collect();
    assert!(unrolls.iter().any(|unroll| unroll.rewards().contains(&1.0)));
    unrolls
}

/// An LSTM carries nothing: its state travels with trajectories, and its gradient is truncated.
fn carry(policy: &Policy, batch: &Batch) -> Carry {
    policy.initial_carry(batch.batch())
}

fn config(reduction: Reduction) -> VtraceConfig {
    let change = |c: &mut VtraceConfig| {
        c.reduction = reduction;
        (c.discount, c.lambda) = (0.9, 0.8);
        (c.rho_clip, c.c_clip, c.pg_rho_clip) = (1.2, 1.0, 1.1);
        (c.baseline_cost, c.entropy_cost) = (0.7, 0.3);
    };
    support::vtrace(change)
}

/// A decision as the transcription sees it. Frames that are Last have none.
struct Decided {
    log_prob: f64,
    ratio: f64,
    entropy: f64,
    value: f64,
    target: f64,
    advantage: f64,
}

/// Every decision, walking each trajectory backwards and one number at a time.
fn transcription(
    policy: &Policy,
    trajectories: &[Trajectory],
    batch: &Batch,
    c: &VtraceConfig,
) -> Vec<Decided> {
    let core_state = policy.core_state(&batch.core_state).expect("of this policy");
    let (output, _) = no_grad(|| policy.unroll(&batch.inputs, &core_state));
    let Distribution::Categorical { logits } = &output.distribution else {
        panic!("recall has discrete actions")
    };
    let (columns, choices) = (trajectories.len(), TASK.choices);
    let (logits, values) = (numbers(logits), numbers(output.value()));
    let actions = numbers(&batch.actions);
    let mut decisions = Vec::new();
    for (b, trajectory) in trajectories.iter().enumerate() {
        let value = |t: usize| values[t * columns + b];
        let mut next_target = value(trajectory.unroll_length());
        for t in (0..trajectory.unroll_length()).rev() {
            let step_types = &trajectory.frames.step_types;
            if step_types[t].is_last() {
                next_target = value(t);
                continue;
            }
            let here = t * columns + b;
            let row = &logits[here * choices..(here + 1) * choices];
            let total: f64 = row.iter().map(|x| x.exp()).sum();
            let probabilities: Vec<f64> = row.iter().map(|x| x.exp() / total).collect();
            let log_prob = probabilities[actions[here] as usize].ln();
            let ratio = (log_prob - f64::from(trajectory.log_probs[t])).exp();
            let discount = match step_types[t + 1] {
                StepType::Last(Ending::Terminated) => 0.0,
                _ => c.discount,
            };
            let reward = f64::from(trajectory.rewards()[t]);
            let error = |next: f64| reward + discount * next - value(t);
            let trace = discount * c.lambda * ratio.min(c.c_clip);
            let target = value(t)
                + ratio.min(c.rho_clip) * error(value(t + 1))
                + trace * (next_target - value(t + 1));
            let weight = if c.ratio_clip.is_some() { 1.0 } else { ratio.min(c.pg_rho_clip) };
            decisions.push(Decided {
                log_prob,
                ratio,
                entropy: -probabilities.iter().map(|p| p * p.ln()).sum::<f64>(),
                value: value(t),
                target,
                advantage: weight * error(next_target),
            });
            next_target = target;
        }
    }
    if let Some(least) = c.normalize_advantages {
        let count = decisions.len() as f64;
        let mean = decisions.iter().map(|d| d.advantage).sum::<f64>() / count;
        let square = decisions.iter().map(|d| (d.advantage - mean).powi(2)).sum::<f64>();
        let deviation = (square / count).sqrt().max(least);
        decisions.iter_mut().for_each(|d| d.advantage = (d.advantage - mean) / deviation);
    }
    decisions
}

/// The loss of `decisions`, with the targets and advantages of `constants`.
fn loss_of(decisions: &[Decided], constants: &[Decided], c: &VtraceConfig) -> f64 {
    let losses = decisions.iter().zip(constants).map(|(d, k)| {
        let value_loss = 0.5 * (k.target - d.value).powi(2);
        let policy = match c.ratio_clip {
            None => d.log_prob * k.advantage,
            Some(clip) => {
                let clipped = d.ratio.clamp(1.0 - clip, 1.0 + clip);
                (d.ratio * k.advantage).min(clipped * k.advantage)
            }
        };
        -policy + c.baseline_cost * value_loss - c.entropy_cost * d.entropy
    });
    match c.reduction {
        Reduction::Sum => losses.sum(),
        Reduction::Mean => losses.sum::<f64>() / decisions.len() as f64,
    }
}

fn gradients(algorithm: &Vtrace, policy: &Policy, batch: &Batch) -> Vec<Vec<f64>> {
    let weights: Vec<Tensor> = policy.trainable().into_iter().map(|(_, w)| w).collect();
    let loss = algorithm.loss(policy, batch, carry(policy, batch)).total;
    let gradients = Tensor::run_backward(&[loss], &weights, false, false);
    gradients.iter().map(numbers).collect()
}

#[test]
fn loss_and_gradients_equal_a_slow_transcription() {
    tch::set_num_threads(1);
    let trajectories = off_policy_unrolls();
    let batch = support::batch(&trajectories, &TASK.spec());
    let policy = support::policy(Kind::Double, &lstm(), TASK, 1);
    let normalized =
        |least| VtraceConfig { normalize_advantages: Some(least), ..config(Reduction::Mean) };
    let configs = [
        config(Reduction::Sum),
        config(Reduction::Mean),
        VtraceConfig { ratio_clip: Some(0.05), ..config(Reduction::Sum) },
        normalized(0.01),
        normalized(100.0),
    ];
    for config in configs {
        let algorithm = Vtrace::new(&config, &policy);
        let slow = || transcription(&policy, &trajectories, &batch, &config);
        let constants = slow();
        let expected = loss_of(&constants, &constants, &config);
        let found = algorithm.loss(&policy, &batch, carry(&policy, &batch));
        assert_eq!(found.summary.decisions as usize, constants.len());
        let error = (found.total.double_value(&[]) - expected).abs();
        assert!(error < 1e-12 * expected.abs(), "the loss {expected} is off by {error}");

        let gradients = gradients(&algorithm, &policy, &batch);
        for ((name, weight), gradient) in policy.trainable().iter().zip(gradients) {
            let flat = weight.detach().view(-1);
            for (i, found) in gradient.into_iter().enumerate() {
                // Central differences, with targets and advantages held fast.
                let original = flat.double_value(&[i as i64]);
                let step = 1e-5;
                let at = |number: f64| {
                    let _ = flat.get(i as i64).fill_(number);
                    loss_of(&slow(), &constants, &config)
                };
                let expected = (at(original + step) - at(original - step)) / (2.0 * step);
                at(original);
                let error = (found - expected).abs();
                assert!(error < 1e-8, "{name} {i}: {found}, differences say {expected}");
            }
        }
    }
}

#[test]
fn half_way_a_falling_price_on_certainty_is_half_of_the_first() {
    let trajectories = off_policy_unrolls();
    let updated = |entropy_schedule, entropy_cost| {
        let config = VtraceConfig { entropy_schedule, entropy_cost, ..config(Reduction::Mean) };
        let policy = support::policy(Kind::Double, &lstm(), TASK, 1);
        let batch = support::batch(&trajectories, &TASK.spec());
        let mut algorithm = Vtrace::new(&config, &policy);
        algorithm.update(&policy, &batch, carry(&policy, &batch), 0.5).unwrap();
        policy.weights().iter().map(|(_, weight)| weight.copy()).collect::<Vec<_>>()
    };
    let half_way = updated(Schedule::Linear, 0.3);
    assert_eq!(half_way, updated(Schedule::Constant, 0.15));
    assert_ne!(half_way, updated(Schedule::Constant, 0.3));
}

#[test]
fn what_stands_at_a_last_frame_changes_nothing() {
    let trajectories = off_policy_unrolls();
    let policy = support::policy(Kind::Float, &lstm(), TASK, 1);
    let algorithm = Vtrace::new(&config(Reduction::Sum), &policy);
    let mut batch = support::batch(&trajectories, &TASK.spec());
    let before = gradients(&algorithm, &policy, &batch);
    let last = batch.weights.eq(0.0);
    let count = last.to_kind(Kind::Int64).sum(Kind::Int64).int64_value(&[]);
    assert!(count > 3, "the unrolls hold {count} Last frames");
    batch.actions = batch.actions.masked_fill(&last, 2);
    batch.rewards = batch.rewards.masked_fill(&last, -77.0);
    batch.behavior_log_probs = batch.behavior_log_probs.masked_fill(&last, -5.0);
    assert_eq!(gradients(&algorithm, &policy, &batch), before);
    // The same changes elsewhere are noticed.
    batch.rewards = batch.rewards.masked_fill(&last.logical_not(), -77.0);
    assert_ne!(gradients(&algorithm, &policy, &batch), before);
}

#[test]
fn fresh_data_is_on_policy_because_the_core_state_came_with_it() {
    let policy = support::policy(Kind::Float, &lstm(), TASK, 1);
    let mut actor = Actor::new(TASK, 16, 5, &policy, 1);
    let config = support::vtrace(|_| ());
    let algorithm = Vtrace::new(&config, &policy);
    let off = |batch: &Batch| {
        (algorithm.loss(&policy, batch, carry(&policy, batch)).summary.mean_rho - 1.0).abs()
    };
    actor.batch(&policy);
    let mut batch = actor.batch(&policy);
    let with_state = off(&batch);
    assert!(with_state < 1e-6, "importance weights are off by {with_state}");
    let _ = batch.core_state.zero_();
    let without_state = off(&batch);
    assert!(without_state > 1e-4, "zeros in its place are off by {without_state} only");
}

#[test]
fn rewards_are_clipped_where_the_config_says_so() {
    let policy = support::policy(Kind::Float, &lstm(), TASK, 1);
    let loss = |reward_clip, factor: f64| {
        let mut batch = support::batch(&off_policy_unrolls(), &TASK.spec());
        batch.rewards *= factor;
        let config = VtraceConfig { reward_clip, ..config(Reduction::Mean) };
        Vtrace::new(&config, &policy)
            .loss(&policy, &batch, carry(&policy, &batch))
            .total
            .double_value(&[])
    };
    assert_eq!(loss(RewardClip::AbsOne, 9.0), loss(RewardClip::AbsOne, 1.0));
    assert_ne!(loss(RewardClip::None, 9.0), loss(RewardClip::None, 1.0));
    assert_eq!(loss(RewardClip::None, 1.0), loss(RewardClip::AbsOne, 1.0));
}

#[test]
fn rewards_are_scaled_where_the_config_says_so() {
    let policy = support::policy(Kind::Float, &lstm(), TASK, 1);
    let loss = |reward_scale, factor: f64| {
        let mut batch = support::batch(&off_policy_unrolls(), &TASK.spec());
        batch.rewards *= factor;
        let config = VtraceConfig { reward_scale, ..config(Reduction::Mean) };
        let loss = Vtrace::new(&config, &policy).loss(&policy, &batch, carry(&policy, &batch));
        loss.total.double_value(&[])
    };
    assert_eq!(loss(0.5, 1.0), loss(1.0, 0.5));
    assert_ne!(loss(0.5, 1.0), loss(1.0, 1.0));
}

fn weights(policy: &Policy) -> Vec<Vec<f64>> {
    policy.trainable().iter().map(|(_, weight)| numbers(weight)).collect()
}

fn memory_of(algorithm: &dyn StreamsAlgorithm) -> Vec<(String, Vec<f64>)> {
    algorithm.state().into_iter().map(|(name, tensor)| (name, numbers(&tensor))).collect()
}

#[test]
fn an_update_that_is_not_finite_leaves_no_trace() {
    let policy = support::policy(Kind::Float, &lstm(), TASK, 1);
    let mut algorithm = support::vtrace(|_| ()).start(&policy);
    let mut batch = support::batch(&off_policy_unrolls(), &TASK.spec());
    algorithm.update(&policy, &batch, carry(&policy, &batch), 0.0).expect("a finite update");
    let (weights_before, memory_before) = (weights(&policy), memory_of(&*algorithm));

    let good = batch.rewards.copy();
    batch.rewards = &good + f64::INFINITY;
    let error = algorithm
        .update(&policy, &batch, carry(&policy, &batch), 0.0)
        .expect_err("an infinite loss");
    assert_eq!(error.quantity, "loss");
    batch.rewards = &good + f64::NAN;
    let error = algorithm
        .update(&policy, &batch, carry(&policy, &batch), 0.0)
        .expect_err("a loss that is no number");
    assert!(error.to_string().contains("NaN"), "{error}");
    assert_eq!(weights(&policy), weights_before);
    assert_eq!(memory_of(&*algorithm), memory_before);

    batch.rewards = good;
    algorithm.update(&policy, &batch, carry(&policy, &batch), 0.0).expect("a finite update");
    assert_ne!(weights(&policy), weights_before);
}

#[test]
fn a_restored_algorithm_goes_on_bit_for_bit() {
    let rl = support::vtrace(|_| ());
    let batch = support::batch(&off_policy_unrolls(), &TASK.spec());
    let policy = support::policy(Kind::Float, &lstm(), TASK, 1);
    let mut algorithm = rl.start(&policy);
    algorithm.update(&policy, &batch, carry(&policy, &batch), 0.1).expect("a finite update");
    let mut restored_policy = support::policy(Kind::Float, &lstm(), TASK, 2);
    restored_policy.load(&policy.save(1)).expect("its own weights");
    let mut other = rl.start(&restored_policy);
    other.load_state(&algorithm.state()).expect("its own state");
    algorithm.update(&policy, &batch, carry(&policy, &batch), 0.2).expect("a finite update");
    other
        .update(&restored_policy, &batch, carry(&restored_policy, &batch), 0.2)
        .expect("a finite update");
    assert_eq!(weights(&policy), weights(&restored_policy));
    assert_eq!(memory_of(&*algorithm), memory_of(&*other));
}

#[test]
fn the_learning_rate_follows_the_schedule_and_ends_at_rest() {
    let policy = support::policy(Kind::Float, &lstm(), TASK, 1);
    let mut algorithm = support::vtrace(|c| c.learning_rate = 0.01).start(&policy);
    let batch = support::batch(&off_policy_unrolls(), &TASK.spec());
    let (stats, _) =
        algorithm.update(&policy, &batch, carry(&policy, &batch), 0.75).expect("a finite update");
    assert!((stats.get("learning_rate") - 0.0025).abs() < 1e-12);
    let before = weights(&policy);
    let (stats, _) =
        algorithm.update(&policy, &batch, carry(&policy, &batch), 1.0).expect("a finite update");
    assert_eq!((stats.get("learning_rate"), weights(&policy)), (0.0, before));
}
