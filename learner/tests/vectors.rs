//! DDPG, TD3 and SAC against slow transcriptions of their papers: plain loops over plain numbers, one
//! decision at a time, on networks of a few cells. What an update minimizes, which weights it moves
//! and by how much, and what follows them.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

mod paper;

use engram_learner::algorithms::{LearnsFromReplay, ReplayAlgorithm, ReplayBatch, RlConfig};
use engram_learner::replay::{Replay, ReplaySample, TrajectoryShape};
use engram_mdp::{Ending, Generator, Seed, StepType, Trajectory};
use engram_policy::{Batch, Distribution, Policy, PolicyConfig};
use fixtures::{VECTOR, episode, trajectory, vector_spec, with_vectors};
use paper::{Paper, Weights, numbers};
use tch::{Device, Kind, Tensor};

const SAC: &str = include_str!("../../configs/rl/sac.toml");
const TD3: &str = include_str!("../../configs/rl/td3.toml");
const DDPG: &str = include_str!("../../configs/rl/ddpg.toml");

/// Seed of the algorithms, from which their critics and their noise follow.
const SEED: u64 = 3;

/// A network without memory whose heads have five cells, an optimizer whose first step is
/// g / (|g| + 1), and numbers that make what follows easy to see.
const CHANGES: [&str; 7] = [
    "seq.inputs=[\"observation\"]",
    "seq.memory={ name = \"none\" }",
    "seq.head={ hidden = [5], activation = \"tanh\", init = { hidden = { name = \"fan_in\" }, \
     policy = { name = \"fan_in\" }, value = { name = \"fan_in\" }, \
     action_values = { name = \"normal\", std = 0.7, bias = 0.1 } } }",
    "rl.optimizer={ name = \"rmsprop\", alpha = 0.0, epsilon = 1.0, momentum = 0.0 }",
    "rl.learning_rate=1.0",
    "rl.discount=0.9",
    "rl.target.tau=0.25",
];

/// An algorithm before its first update.
struct Setup {
    policy: Policy,
    algorithm: Box<dyn ReplayAlgorithm>,
    batch: ReplayBatch,
    sample: ReplaySample,
}

/// Episodes of one stream each: one of three decisions that ends, one of four that is cut off.
fn episodes() -> Vec<Trajectory> {
    let mut cut = trajectory(1, 0);
    *cut.frames.step_types.last_mut().unwrap() = StepType::Last(Ending::Truncated);
    let of = |x: Trajectory| with_vectors(Trajectory { core_state: vec![], ..x });
    vec![of(episode(0, 0)), of(cut)]
}

impl Setup {
    fn new(rl: &str, changes: &[&str]) -> Self {
        tch::set_num_threads(1);
        let all: Vec<&str> = CHANGES.into_iter().chain(changes.iter().copied()).collect();
        let resolved = fixtures::resolved_with(rl, &all);
        let RlConfig::Replay(rl) = resolved.section("rl").unwrap() else { panic!("a replay") };
        rl.validate().unwrap();
        let model: PolicyConfig = resolved.section("seq").unwrap();
        let (spec, outputs, seed) = (vector_spec(), rl.outputs(), Seed::new(1));
        let policy =
            Policy::with_outputs(&outputs, Kind::Double, &model, &spec, seed, Device::Cpu).unwrap();
        let (batch, sample) = drawn(&*rl);
        let algorithm = rl.start(&policy, Seed::new(SEED));
        Setup { policy, algorithm, batch, sample }
    }

    /// All weights: those of the acting network below `acting`, the others as the state has them.
    fn weights(&self) -> Weights {
        let mut all = numbers("acting.", self.policy.weights());
        all.extend(numbers("", &self.algorithm.state()));
        all
    }

    /// The paper's view of it.
    fn paper(&self) -> Paper {
        Paper::new(&self.sample.rows, self.batch.mask(), self.weights())
    }

    fn update(&mut self) -> Vec<(&'static str, f64)> {
        self.algorithm.update(&self.policy, &self.batch).unwrap().0.numbers
    }
}

/// Six sequences out of a replay of both episodes.
fn drawn(rl: &dyn LearnsFromReplay) -> (ReplayBatch, ReplaySample) {
    let spec = vector_spec();
    let shape = TrajectoryShape { spec: spec.clone(), state_width: 0 };
    let mut replay = Replay::new(rl.shared().replay, shape, None).unwrap();
    for whole in episodes() {
        replay.insert(1, &whole).unwrap();
    }
    let sample = replay.sample(16, &mut Seed::new(5).generator()).unwrap();
    let batch = Batch::from_trajectories(&sample.rows, &spec, Device::Cpu).unwrap();
    (ReplayBatch::new(batch, &sample, 0), sample)
}

/// Noise of the first update: the generator, and standard normal numbers for `frames` of each row.
fn noise(frames: i64, rows: usize) -> (Generator, Vec<f64>) {
    let mut generator = Seed::new(SEED).derive("noise", 0).generator();
    let raw = Tensor::zeros([frames, rows as i64, VECTOR as i64], (Kind::Double, Device::Cpu));
    let noise = Distribution::Deterministic { raw }.noise(&mut generator);
    (generator, Vec::try_from(noise.view(-1)).unwrap())
}

/// Gradient of each weight of `before` by its step g / (|g| + 1) from there.
fn gradient_of_step(before: &[f64], after: &[f64]) -> Vec<f64> {
    let gradient = |(before, after): (&f64, &f64)| {
        let step = before - after;
        step / (1.0 - step.abs())
    };
    before.iter().zip(after).map(gradient).collect()
}

/// Weights below `part` have moved against the gradient of `loss`, which is found by differences.
fn moved_against(paper: &Paper, after: &Weights, part: &str, loss: impl Fn(&Paper) -> f64) {
    const STEP: f64 = 1e-5;
    let mut moved = 0;
    for (name, before) in paper.weights.iter().filter(|(name, _)| name.starts_with(part)) {
        let found = gradient_of_step(before, &after[name]);
        for (i, found) in found.into_iter().enumerate() {
            let nudged = |by: f64| {
                let mut paper = paper.clone();
                paper.weights.get_mut(name).unwrap()[i] += by;
                loss(&paper)
            };
            let expected = (nudged(STEP) - nudged(-STEP)) / (2.0 * STEP);
            let error = (found - expected).abs() / expected.abs().max(0.1);
            assert!(error < 2e-5, "{name} {i}: {found}, the paper says {expected}");
            moved += usize::from(found.abs() > 1e-4);
        }
    }
    assert!(moved > 10, "{moved} weights below {part} moved");
}

/// Targets below `target` have come nearer to what is below `online` by τ.
fn follows(before: &Weights, after: &Weights, target: &str, online: &str) {
    let names = before.keys().filter_map(|name| name.strip_prefix(target)).collect::<Vec<_>>();
    assert!(!names.is_empty(), "there is {target}");
    for name in names {
        let (was, is) = (&before[&format!("{target}{name}")], &after[&format!("{target}{name}")]);
        for ((was, is), online) in was.iter().zip(is).zip(&after[&format!("{online}{name}")]) {
            assert!((is - (was + 0.25 * (online - was))).abs() < 1e-12, "{target}{name}");
        }
    }
}

fn number(numbers: &[(&str, f64)], name: &str) -> f64 {
    numbers.iter().find(|(found, _)| *found == name).unwrap().1
}

fn near(found: f64, expected: f64, what: &str) {
    let error = (found - expected).abs() / expected.abs().max(1.0);
    assert!(error < 1e-6, "{what}: {found}, the paper says {expected}");
}

#[test]
fn sac_learns_what_the_paper_says() {
    let alpha = "rl.objective.temperature={ name = \"tuned\", initial = 0.3, \
                 entropy_per_dimension = -1.0, learning_rate = 1e-3 }";
    for count in [2, 4] {
        let critics = format!(
            "rl.objective.critics={{ count = {count}, encoder = {{ name = \"separate\" }}, \
             judgement = \"{}\" }}",
            if count == 2 { "least" } else { "mean" }
        );
        let mut setup = Setup::new(SAC, &[alpha, &critics]);
        let paper = setup.paper();
        let frames = setup.batch.decisions() + 1;
        let (_, noise) = noise(frames, setup.sample.rows.len());
        let all: Vec<usize> = (0..count).collect();
        let targets = paper.soft_targets("acting.", "target.0.", &all, 0.3, &noise);
        let critic_loss = |paper: &Paper| paper.critic_loss(&targets, &["critic.0."], count);
        let judged = |values: &[f64]| match count {
            2 => values.iter().copied().fold(f64::INFINITY, f64::min),
            _ => values.iter().sum::<f64>() / count as f64,
        };
        let actor_loss = |paper: &Paper| {
            paper.soft_actor_loss("acting.", &["critic.0."], count, judged, 0.3, &noise)
        };
        let said = setup.update();
        let after = setup.weights();
        near(number(&said, "critic_loss"), critic_loss(&paper), "critic loss");
        near(number(&said, "actor_loss"), actor_loss(&paper).0, "actor loss");
        near(number(&said, "entropy"), actor_loss(&paper).1, "entropy");
        moved_against(&paper, &after, "critic.0.", critic_loss);
        moved_against(&paper, &after, "acting.", |paper| actor_loss(paper).0);
        follows(&paper.weights, &after, "target.0.", "critic.0.");
        let falls = actor_loss(&paper).1 > -(VECTOR as f64);
        let log_alpha = after["log_temperature"][0] - 0.3_f64.ln();
        assert!((log_alpha + if falls { 1e-3 } else { -1e-3 }).abs() < 1e-6, "{log_alpha}");
    }
}

#[test]
fn critics_that_share_the_actors_network_learn_the_same() {
    let shared = "rl.objective.critics.encoder={ name = \"shared\", \
                  freeze_encoder_in_actor_loss = false }";
    let alpha = "rl.objective.temperature={ name = \"fixed\", value = 0.3 }";
    let mut setup = Setup::new(SAC, &[shared, alpha]);
    let paper = setup.paper();
    let (_, noise) = noise(setup.batch.decisions() + 1, setup.sample.rows.len());
    let targets = paper.soft_targets("acting.", "target.0.", &[0, 1], 0.3, &noise);
    setup.update();
    let after = setup.weights();
    moved_against(&paper, &after, "acting.state_action_values", |paper| {
        paper.critic_loss(&targets, &["acting."], 2)
    });
    let least = |values: &[f64]| values[0].min(values[1]);
    moved_against(&paper, &after, "acting.policy", |paper| {
        paper.soft_actor_loss("acting.", &["acting."], 2, least, 0.3, &noise).0
    });
    follows(&paper.weights, &after, "target.0.", "acting.");
}

/// REDQ's and RESeL's targets.
#[test]
fn targets_are_the_least_of_the_critics_that_were_drawn() {
    let critics = "rl.objective.critics={ count = 5, encoder = { name = \"one_each\" }, \
                   judgement = \"mean\", target_subset = 2 }";
    let alpha = "rl.objective.temperature={ name = \"fixed\", value = 0.1 }";
    let mut setup = Setup::new(SAC, &[critics, alpha]);
    let paper = setup.paper();
    let (mut generator, noise) = noise(setup.batch.decisions() + 1, setup.sample.rows.len());
    let drawn = rand::seq::index::sample(&mut generator, 5, 2).into_vec();
    let targets = paper.soft_targets_of(
        "acting.",
        &drawn.iter().map(|critic| (format!("target.{critic}."), 0)).collect::<Vec<_>>(),
        0.1,
        &noise,
    );
    let each = ["critic.0.", "critic.1.", "critic.2.", "critic.3.", "critic.4."];
    let loss = |paper: &Paper| {
        each.iter().map(|critic| paper.critic_loss(&targets, &[critic], 1)).sum::<f64>()
    };
    let said = setup.update();
    near(number(&said, "critic_loss"), loss(&paper), "critic loss");
    let after = setup.weights();
    for critic in each {
        moved_against(&paper, &after, critic, loss);
        follows(&paper.weights, &after, &critic.replace("critic", "target"), critic);
    }
}

#[test]
fn td3_learns_what_the_paper_says_and_its_actor_at_every_second_update() {
    let mut setup = Setup::new(TD3, &["rl.target.every=2"]);
    let paper = setup.paper();
    let (_, noise) = noise(setup.batch.decisions(), setup.sample.rows.len());
    let smoothing = |i: usize| (noise[i] * 0.2).clamp(-0.5, 0.5);
    let targets = paper.certain_targets("target_actor.", "target.0.", &[0, 1], smoothing);
    let critic_loss = |paper: &Paper| paper.critic_loss(&targets, &["critic.0."], 2);
    let said = setup.update();
    let first = setup.weights();
    near(number(&said, "critic_loss"), critic_loss(&paper), "critic loss");
    moved_against(&paper, &first, "critic.0.", critic_loss);
    for (name, before) in &paper.weights {
        if name.starts_with("acting.") || name.starts_with("target") {
            assert_eq!(before, &first[name], "{name} waits");
        }
    }
    let paper = setup.paper();
    setup.update();
    let second = setup.weights();
    moved_against(&paper, &second, "acting.", |paper| {
        paper.certain_actor_loss("acting.", "critic.0.")
    });
    follows(&first, &second, "target.0.", "critic.0.");
    follows(&first, &second, "target_actor.", "acting.");
}

#[test]
fn ddpg_learns_what_the_paper_says() {
    let mut setup = Setup::new(DDPG, &[]);
    let paper = setup.paper();
    let targets = paper.certain_targets("target_actor.", "target.0.", &[0], |_| 0.0);
    let critic_loss = |paper: &Paper| paper.critic_loss(&targets, &["critic.0."], 1);
    let said = setup.update();
    let after = setup.weights();
    near(number(&said, "critic_loss"), critic_loss(&paper), "critic loss");
    moved_against(&paper, &after, "critic.0.", critic_loss);
    moved_against(&paper, &after, "acting.", |paper| {
        paper.certain_actor_loss("acting.", "critic.0.")
    });
    follows(&paper.weights, &after, "target.0.", "critic.0.");
    follows(&paper.weights, &after, "target_actor.", "acting.");
}

#[test]
fn parts_of_networks_have_step_sizes_of_their_own() {
    let rates = "rl.learning_rates={ policy = 0.5, \"policy.1\" = 0.125, \
                 \"state_action_values.1\" = 0.25 }";
    let critics = "rl.objective.critics.learning_rate=0.75";
    let (mut plain, mut rated) = (Setup::new(SAC, &[]), Setup::new(SAC, &[rates, critics]));
    let before = plain.weights();
    plain.update();
    rated.update();
    let (plain, rated) = (plain.weights(), rated.weights());
    for (part, rate) in [
        ("acting.policy.0.weight", 0.5),
        ("acting.policy.1.weight", 0.125),
        ("critic.0.state_action_values.0.weight", 0.75),
        ("critic.0.state_action_values.1.bias", 0.25),
    ] {
        for ((before, plain), rated) in before[part].iter().zip(&plain[part]).zip(&rated[part]) {
            let expected = before + rate * (plain - before);
            assert!((rated - expected).abs() < 1e-12, "{part}: {rated}, not {expected}");
        }
    }
}

#[test]
fn what_is_remembered_goes_on_bit_for_bit() {
    let guard = "rl.objective.critics={ count = 3, encoder = { name = \"one_each\" }, \
                 judgement = \"mean\", target_subset = 2, value_guard = 1e-3 }";
    for (rl, changes) in [(SAC, vec![guard]), (SAC, vec![]), (TD3, vec![]), (DDPG, vec![])] {
        let mut setup = Setup::new(rl, &changes);
        setup.update();
        let mut other = Setup::new(rl, &changes);
        other.policy.load(&setup.policy.save(1)).unwrap();
        for ((_, to), (_, from)) in other.policy.weights().iter().zip(setup.policy.weights()) {
            tch::no_grad(|| to.shallow_clone().copy_(from));
        }
        other.algorithm.load_state(&setup.algorithm.state()).unwrap();
        for _ in 0..3 {
            assert_eq!(setup.update(), other.update());
        }
        assert_eq!(setup.weights(), other.weights());
        let missing = other.algorithm.load_state(&[]).unwrap_err().to_string();
        assert!(missing.contains("lacks"), "{missing}");
    }
}

#[test]
fn an_update_that_is_not_finite_leaves_everything_as_it_was() {
    let guard = "rl.objective.critics.value_guard=1e-3";
    for (rl, changes) in [(SAC, vec![guard]), (TD3, vec![]), (DDPG, vec![])] {
        let mut setup = Setup::new(rl, &changes);
        setup.update();
        let before = setup.weights();
        let mut sample = setup.sample.clone();
        for row in &mut sample.rows {
            row.frames.previous_rewards.iter_mut().for_each(|reward| *reward = f32::INFINITY);
        }
        let batch = Batch::from_trajectories(&sample.rows, &vector_spec(), Device::Cpu).unwrap();
        let spoiled = ReplayBatch::new(batch, &sample, 0);
        let error = setup.algorithm.update(&setup.policy, &spoiled).unwrap_err();
        assert!(error.to_string().contains("skipped"), "{error}");
        assert_eq!(setup.weights(), before);
    }
}

#[test]
fn values_that_bootstrap_stay_within_what_targets_were() {
    use engram_learner::losses::state_action::ValueGuard;
    let of = |numbers: &[f64]| Tensor::from_slice(numbers);
    let mut guard = ValueGuard::new(0.5);
    let far = of(&[-100.0, 100.0]);
    assert_eq!(guard.clamp(&far), far, "it has seen nothing");
    guard.see(&of(&[-2.0, 7.0, 3.0]), &of(&[1.0, 0.0, 1.0]));
    assert_eq!(guard.clamp(&far), of(&[-2.0, 3.0]), "what the mask leaves out is not seen");
    guard.see(&of(&[0.0, 5.0]), &of(&[1.0, 1.0]));
    assert_eq!(guard.clamp(&far), of(&[-1.0, 5.0]), "it widens at once and narrows slowly");
}

#[test]
fn what_does_not_go_together_is_refused_with_the_reason() {
    let refused = |rl: &str, change: &str| {
        let resolved = fixtures::resolved_with(rl, &[change]);
        let RlConfig::Replay(rl) = resolved.section("rl").unwrap() else { panic!("a replay") };
        rl.validate().unwrap_err().to_string()
    };
    let said = refused(SAC, "rl.objective.critics.target_subset=3");
    assert!(said.contains("target_subset is 3; it must be between 1 and critics.count"), "{said}");
    let said = refused(SAC, "rl.exploration.action_noise=0.1");
    assert!(said.contains("action_noise is 0.1; it must be left out with `sac`"), "{said}");
    let said = refused(SAC, "rl.learning_rates={ memroy = 1e-5 }");
    assert!(said.contains("`memroy`") && said.contains("torso, embed, memory"), "{said}");
    let said = refused(SAC, "rl.learning_rates={ memory = 0.0 }");
    assert!(said.contains("learning_rates is 0; it must be above 0"), "{said}");
    let shared = "rl.objective.critics.encoder={ name = \"shared\", \
                  freeze_encoder_in_actor_loss = false }";
    let said = refused(TD3, shared);
    assert!(said.contains("policy_delay is 2; it must be 1 where"), "{said}");
    let said = refused(TD3, "rl.objective.target_noise.clip=-1.0");
    assert!(said.contains("target_noise.clip is -1"), "{said}");
    let said = refused(TD3, "rl.target.every=0");
    assert!(said.contains("target.every is 0; it must be at least 1"), "{said}");
}
