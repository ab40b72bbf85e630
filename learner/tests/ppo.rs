//! PPO: its loss and gradients against a slow transcription, its epochs, and what an update may and
//! may not change.

mod support;

use engram_learner::algorithms::optimizer::{Optimizer, clipped, global_norm};
use engram_learner::algorithms::{Algorithm, Ppo, PpoConfig, Proximal, StreamsAlgorithm};
use engram_mdp::{Ending, StepType, Trajectory};
use engram_policy::memory::elstm::ElstmConfig;
use engram_policy::memory::lstm::LstmConfig;
use engram_policy::memory::none::NoneConfig;
use engram_policy::{
    Batch, Batched, Carry, Distribution, Gradient, Initialization, MemoryConfig, Policy,
    PolicyConfig,
};
use support::{Actor, Task, numbers};
use tch::{Kind, Tensor, no_grad};

const TASK: Task = Task { choices: 3, question: 2, ending: Ending::Terminated };

fn lstm(hidden: i64) -> MemoryConfig {
    let init = Initialization::FAN_IN;
    MemoryConfig::Lstm(LstmConfig { hidden, layers: 1, forget_bias: 0.0, init, bf16: false })
}

fn network() -> PolicyConfig {
    support::network(4, lstm(3))
}

/// Unrolls of two other policies, of episodes of four frames that end in both ways and are cut in
/// three places.
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

fn config(change: impl Fn(&mut PpoConfig)) -> PpoConfig {
    support::ppo(|c| {
        (c.batch_size, c.epochs, c.minibatches) = (6, 2, 3);
        (c.discount, c.lambda, c.ratio_clip) = (0.9, 0.8, 0.05);
        (c.baseline_cost, c.entropy_cost) = (0.7, 0.3);
        (c.value_clip, c.normalize_advantages) = (None, None);
        change(c);
    })
}

/// Numbers of a policy at the frames of a batch, row by row, `t * batch + b`.
struct Said {
    log_probs: Vec<f64>,
    entropies: Vec<f64>,
    values: Vec<f64>,
}

fn said(policy: &Policy, batch: &Batch) -> Said {
    let core_state = policy.core_state(&batch.core_state).expect("of this policy");
    let (output, _) = no_grad(|| policy.unroll(&batch.inputs, &core_state));
    let Distribution::Categorical { logits } = &output.distribution else {
        panic!("recall has discrete actions")
    };
    let logits = numbers(logits);
    let rows = logits.chunks(TASK.choices).map(|row| {
        let total: f64 = row.iter().map(|x| x.exp()).sum();
        row.iter().map(|x| x.exp() / total).collect::<Vec<_>>()
    });
    let rows: Vec<Vec<f64>> = rows.collect();
    let actions = numbers(&batch.actions);
    Said {
        log_probs: actions.iter().zip(&rows).map(|(a, row)| row[*a as usize].ln()).collect(),
        entropies: rows.iter().map(|row| -row.iter().map(|p| p * p.ln()).sum::<f64>()).collect(),
        values: numbers(output.value()),
    }
}

/// A decision before the first step.
struct Before {
    here: usize,
    log_prob: f64,
    importance: f64,
    value: f64,
    advantage: f64,
}

/// Every decision: GAE as the sum that it is, of each decision for itself.
fn before(
    policy: &Policy,
    trajectories: &[Trajectory],
    batch: &Batch,
    c: &PpoConfig,
) -> Vec<Before> {
    let (said, columns) = (said(policy, batch), trajectories.len());
    let mut decisions = Vec::new();
    for (b, trajectory) in trajectories.iter().enumerate() {
        let step_types = &trajectory.frames.step_types;
        let value = |t: usize| said.values[t * columns + b];
        for start in (0..trajectory.unroll_length()).filter(|&t| !step_types[t].is_last()) {
            let (mut advantage, mut factor) = (0.0, 1.0);
            for t in start..trajectory.unroll_length() {
                if step_types[t].is_last() {
                    break;
                }
                let terminated = step_types[t + 1] == StepType::Last(Ending::Terminated);
                let next = if terminated { 0.0 } else { value(t + 1) };
                advantage +=
                    factor * (f64::from(trajectory.rewards()[t]) + c.discount * next - value(t));
                factor *= c.discount * c.lambda;
            }
            let here = start * columns + b;
            let behavior = f64::from(trajectory.log_probs[start]);
            let now = said.log_probs[here];
            let (log_prob, importance) = match c.importance_clip {
                None => (behavior, 1.0),
                Some(clip) => (now, (now - behavior).exp().min(clip)),
            };
            decisions.push(Before { here, log_prob, importance, value: value(start), advantage });
        }
    }
    decisions
}

/// The loss of `policy`, one number at a time.
fn loss_of(policy: &Policy, batch: &Batch, decisions: &[Before], c: &PpoConfig) -> f64 {
    let (said, count) = (said(policy, batch), decisions.len() as f64);
    let mean = decisions.iter().map(|d| d.advantage).sum::<f64>() / count;
    let square = decisions.iter().map(|d| (d.advantage - mean).powi(2)).sum::<f64>();
    let losses = decisions.iter().map(|d| {
        let advantage = match c.normalize_advantages {
            None => d.advantage,
            Some(least) => (d.advantage - mean) / (square / count).sqrt().max(least),
        };
        let ratio = (said.log_probs[d.here] - d.log_prob).exp();
        let clipped = ratio.clamp(1.0 - c.ratio_clip, 1.0 + c.ratio_clip);
        let surrogate = d.importance * (ratio * advantage).min(clipped * advantage);
        let (value, target) = (said.values[d.here], d.value + d.advantage);
        let free = (value - target).powi(2);
        let value_loss = match c.value_clip {
            None => free,
            Some(clip) => {
                let near = d.value + (value - d.value).clamp(-clip, clip);
                free.max((near - target).powi(2))
            }
        };
        -surrogate + c.baseline_cost * 0.5 * value_loss - c.entropy_cost * said.entropies[d.here]
    });
    losses.sum::<f64>() / count
}

fn carry(policy: &Policy, batch: &Batch) -> Carry {
    policy.initial_carry(batch.batch())
}

#[test]
fn loss_and_gradients_equal_a_slow_transcription() {
    tch::set_num_threads(1);
    let trajectories = unrolls(&network());
    assert!(trajectories.iter().any(|unroll| unroll.rewards().contains(&1.0)));
    let batch = support::batch(&trajectories, &TASK.spec());
    let first = support::policy(Kind::Double, &network(), TASK, 1);
    let configs = [
        config(|_| ()),
        config(|c| c.value_clip = Some(0.02)),
        config(|c| c.normalize_advantages = Some(0.01)),
        config(|c| c.normalize_advantages = Some(100.0)),
        config(|c| c.importance_clip = Some(1.02)),
    ];
    for config in configs {
        // Some steps away from the policy that the batch began with.
        let policy = support::policy(Kind::Double, &network(), TASK, 2);
        let algorithm = Ppo::new(&config, &policy);
        let (proximal, summary) = algorithm.proximal(&first, &batch, &carry(&first, &batch));
        let decisions = before(&first, &trajectories, &batch, &config);
        assert_eq!(summary.decisions as usize, decisions.len());
        let expected = loss_of(&policy, &batch, &decisions, &config);
        let loss = || algorithm.loss(&policy, &batch, carry(&policy, &batch), &proximal, 0.0).0;
        let error = (loss().total.double_value(&[]) - expected).abs();
        assert!(error < 1e-12, "the loss {expected} is off by {error}");

        let weights: Vec<Tensor> = policy.trainable().into_iter().map(|(_, w)| w).collect();
        let gradients = Tensor::run_backward(&[loss().total], &weights, false, false);
        for ((name, weight), gradient) in policy.trainable().iter().zip(&gradients) {
            let flat = weight.detach().view(-1);
            for (i, found) in numbers(gradient).into_iter().enumerate() {
                let original = flat.double_value(&[i as i64]);
                let step = 1e-6;
                let at = |number: f64| {
                    let _ = flat.get(i as i64).fill_(number);
                    loss_of(&policy, &batch, &decisions, &config)
                };
                let expected = (at(original + step) - at(original - step)) / (2.0 * step);
                at(original);
                let error = (found - expected).abs();
                assert!(error < 1e-7, "{name} {i}: {found}, differences say {expected}");
            }
        }
    }
}

#[test]
fn an_update_is_every_step_of_every_epoch_from_the_advantages_before_the_first() {
    let batch = support::batch(&unrolls(&network()), &TASK.spec());
    let config = config(|c| c.max_grad_norm = 0.1);
    let policy = || support::policy(Kind::Double, &network(), TASK, 1);
    let (updated, by_hand) = (policy(), policy());
    let mut algorithm = Ppo::new(&config, &updated);
    let mut optimizer = Optimizer::new(&config.optimizer, &by_hand.trainable());
    for progress in [0.25, 0.5] {
        let reference = Ppo::new(&config, &by_hand);
        let proximal = reference.proximal(&by_hand, &batch, &carry(&by_hand, &batch)).0;
        let shares: Vec<_> =
            (0..2).flat_map(|epoch| algorithm.minibatches(batch.batch(), epoch)).collect();
        assert_eq!(shares.iter().map(Vec::len).collect::<Vec<_>>(), [2; 6]);
        for rows in shares {
            let index = Tensor::from_slice(&rows);
            let of = |tensor: &Tensor| tensor.index_select(1, &index);
            let proximal = Proximal {
                log_probs: of(&proximal.log_probs),
                importance: None,
                values: of(&proximal.values),
                targets: of(&proximal.targets),
                advantages: of(&proximal.advantages),
            };
            let part = batch.select(&rows);
            let loss =
                reference.loss(&by_hand, &part, carry(&by_hand, &part), &proximal, progress).0;
            let gradient = optimizer.gradient(&loss.total, &by_hand.trainable());
            let norm = global_norm(&gradient).double_value(&[]);
            let rate = config.learning_rate * (1.0 - progress);
            optimizer.step(&by_hand.trainable(), &clipped(gradient, norm, 0.1), rate);
        }
        let (stats, _) =
            algorithm.update(&updated, &batch, carry(&updated, &batch), progress).expect("finite");
        assert_eq!(stats.get("optimizer_steps"), 6.0);
        for ((name, found), (_, expected)) in updated.weights().iter().zip(by_hand.weights()) {
            let error = (found - expected).abs().max().double_value(&[]);
            assert!(error < 1e-14, "{name} is off by {error}");
        }
    }
}

#[test]
fn rewards_are_scaled_before_they_are_learned_from() {
    let policy = support::policy(Kind::Double, &network(), TASK, 1);
    let targets = |reward_scale, factor: f64| {
        let mut batch = support::batch(&unrolls(&network()), &TASK.spec());
        batch.rewards *= factor;
        let algorithm = Ppo::new(&config(|c| c.reward_scale = reward_scale), &policy);
        numbers(&algorithm.proximal(&policy, &batch, &carry(&policy, &batch)).0.targets)
    };
    assert_eq!(targets(0.25, 1.0), targets(1.0, 0.25));
    assert_ne!(targets(0.25, 1.0), targets(1.0, 1.0));
}

#[test]
fn epochs_and_batches_are_dealt_out_differently() {
    let policy = support::policy(Kind::Float, &network(), TASK, 1);
    let batch = support::batch(&unrolls(&network()), &TASK.spec());
    let mut algorithm = Ppo::new(&config(|c| c.minibatches = 2), &policy);
    let first = [0, 1].map(|epoch| algorithm.minibatches(6, epoch).concat());
    assert_ne!(first[0], first[1]);
    algorithm.update(&policy, &batch, carry(&policy, &batch), 0.0).expect("finite");
    assert_ne!(algorithm.minibatches(6, 0).concat(), first[0]);
    let mut sorted = first[0].clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn no_further_epoch_begins_once_the_policy_has_moved_too_far() {
    let batch = support::batch(&unrolls(&network()), &TASK.spec());
    let steps = |kl_stop| {
        let policy = support::policy(Kind::Float, &network(), TASK, 1);
        let mut algorithm = Ppo::new(&config(|c| (c.epochs, c.kl_stop) = (5, kl_stop)), &policy);
        let updated = algorithm.update(&policy, &batch, carry(&policy, &batch), 0.0);
        updated.expect("finite").0.get("optimizer_steps")
    };
    assert_eq!((steps(None), steps(Some(1e-9)), steps(Some(1e9))), (15.0, 3.0, 15.0));
}

/// Sensitivities of every stream are put back where they belong, whatever share it was in.
#[test]
fn streams_carry_on_what_is_theirs() {
    let elstm = ElstmConfig { hidden: 3, gradient: Gradient::Rtrl, forget_bias: 0.0 };
    let network = support::network(4, MemoryConfig::Elstm(elstm));
    let batch = support::batch(&unrolls(&network), &TASK.spec());
    let carried = |minibatches, epochs| {
        let policy = support::policy(Kind::Double, &network, TASK, 1);
        let config = config(|c| {
            (c.minibatches, c.epochs, c.learning_rate) = (minibatches, epochs, 1e-15);
        });
        let mut algorithm = Ppo::new(&config, &policy);
        let rows: Vec<f64> = (0..6).map(f64::from).collect();
        let before = carry(&policy, &batch).map(6, |tensor| {
            let mut shape = vec![1; tensor.dim()];
            shape[0] = 6;
            tensor + Tensor::from_slice(&rows).view(shape.as_slice())
        });
        let (_, after) = algorithm.update(&policy, &batch, before, 0.0).expect("finite");
        assert!(!after.is_empty());
        after.columns().into_iter().map(Tensor::shallow_clone).collect::<Vec<_>>()
    };
    let whole = carried(1, 1);
    for parts in [carried(3, 1), carried(3, 4)] {
        for (found, expected) in parts.iter().zip(&whole) {
            let error = (found - expected).abs().max().double_value(&[]);
            assert!(error < 1e-9, "off by {error}");
            assert_eq!(found.size()[0], 6);
        }
    }
}

fn weights(policy: &Policy) -> Vec<Vec<f64>> {
    policy.trainable().iter().map(|(_, weight)| numbers(weight)).collect()
}

fn memory_of(algorithm: &Ppo) -> Vec<(String, Vec<f64>)> {
    algorithm.state().into_iter().map(|(name, tensor)| (name, numbers(&tensor))).collect()
}

#[test]
fn an_update_that_is_not_finite_leaves_no_trace_of_its_first_steps() {
    let policy = support::policy(Kind::Float, &network(), TASK, 1);
    let mut algorithm = Ppo::new(&config(|_| ()), &policy);
    let mut batch = support::batch(&unrolls(&network()), &TASK.spec());
    algorithm.update(&policy, &batch, carry(&policy, &batch), 0.0).expect("finite");
    let (weights_before, memory_before) = (weights(&policy), memory_of(&algorithm));

    let good = batch.rewards.copy();
    // A trajectory of the second minibatch: there has been a step when it is met.
    let row = algorithm.minibatches(6, 0)[1][0];
    let _ = batch.rewards.select(1, row).fill_(f64::NAN);
    let error = algorithm.update(&policy, &batch, carry(&policy, &batch), 0.0);
    assert_eq!(error.expect_err("a loss that is no number").quantity, "loss");
    assert_eq!(weights(&policy), weights_before);
    assert_eq!(memory_of(&algorithm), memory_before);

    batch.rewards = good;
    algorithm.update(&policy, &batch, carry(&policy, &batch), 0.0).expect("finite");
    assert_ne!(weights(&policy), weights_before);
}

#[test]
fn a_restored_algorithm_goes_on_bit_for_bit() {
    let batch = support::batch(&unrolls(&network()), &TASK.spec());
    let policy = support::policy(Kind::Float, &network(), TASK, 1);
    let mut algorithm = Ppo::new(&config(|_| ()), &policy);
    algorithm.update(&policy, &batch, carry(&policy, &batch), 0.1).expect("finite");
    let mut restored = support::policy(Kind::Float, &network(), TASK, 2);
    restored.load(&policy.save(1)).expect("its own weights");
    let mut other = Ppo::new(&config(|_| ()), &restored);
    other.load_state(&algorithm.state()).expect("its own state");
    algorithm.update(&policy, &batch, carry(&policy, &batch), 0.2).expect("finite");
    other.update(&restored, &batch, carry(&restored, &batch), 0.2).expect("finite");
    assert_eq!(weights(&policy), weights(&restored));
    assert_eq!(memory_of(&algorithm), memory_of(&other));
}

/// The share of right answers during the last 5 of 40 updates.
fn success(memory: MemoryConfig) -> f64 {
    tch::set_num_threads(1);
    let task = Task { choices: 2, question: 4, ending: Ending::Terminated };
    let policy = support::policy(Kind::Float, &support::network(16, memory), task, 1);
    let mut actor = Actor::new(task, 32, 10, &policy, 1);
    let config = support::ppo(|c| (c.batch_size, c.learning_rate) = (32, 5e-3));
    let mut algorithm = Ppo::new(&config, &policy);
    for update in 0..40 {
        if update == 35 {
            actor.answers = (0, 0);
        }
        let batch = actor.batch(&policy);
        let progress = f64::from(update) / 40.0;
        let carry = policy.initial_carry(batch.batch());
        algorithm.update(&policy, &batch, carry, progress).expect("a finite update");
    }
    let (asked, right) = actor.answers;
    f64::from(right) / f64::from(asked)
}

#[test]
fn recall_is_learned_with_memory_and_only_with_memory() {
    let with = success(lstm(32));
    assert!(with > 0.98, "{with}");
    let without = success(MemoryConfig::None(NoneConfig {}));
    assert!((0.35..0.65).contains(&without), "{without}");
}
