//! Algorithms that learn from a replay: which weights move, what is remembered, and that they
//! learn.

#![allow(clippy::unwrap_used)]

mod support;

use engram_learner::algorithms::{LearnsFromReplay, ReplayBatch, SacDiscrete, SacDiscreteConfig};
use engram_learner::config::OffPolicyConfig;
use engram_learner::replay::{Replay, ReplaySample, TrajectoryShape};
use engram_mdp::{Ending, Generator, Seed};
use engram_policy::memory::gru::GruConfig;
use engram_policy::memory::none::NoneConfig;
use engram_policy::{Batch, Initialization, MemoryConfig, Policy};
use support::{Actor, DQN, SAC_DISCRETE, Task, from_replay, network, network_of};
use tch::{Device, Kind, Tensor};

const TASK: Task = Task { choices: 2, question: 3, ending: Ending::Terminated };

const SEPARATE: &str = "[objective]\nencoder = { name = \"separate\" }";

const TUNED: &str = "[objective]\ntemperature = { name = \"tuned\", initial = 0.2, \
                     entropy_share = 0.5, learning_rate = 0.01 }";

fn gru() -> MemoryConfig {
    MemoryConfig::Gru(GruConfig {
        hidden: 12,
        layers: 1,
        forget_bias: 2.0,
        init: Initialization::FAN_IN,
    })
}

fn shared(freeze_critic: bool, freeze_encoder: bool) -> String {
    format!(
        "[objective]\nencoder = {{ name = \"shared\", freeze_critic = {freeze_critic}, \
         freeze_encoder_in_actor_loss = {freeze_encoder} }}"
    )
}

/// Replay that random play has filled.
struct Kept {
    replay: Replay,
    generator: Generator,
    burn_in: usize,
}

impl Kept {
    fn of(rl: &dyn LearnsFromReplay, task: Task, unrolls: usize) -> Self {
        tch::set_num_threads(1);
        let random =
            support::policy(Kind::Float, &network(4, MemoryConfig::None(NoneConfig {})), task, 9);
        let mut actor = Actor::new(task, 16, 8, &random, 1);
        let config = rl.shared().replay;
        let burn_in = config.burn_in();
        let shape = TrajectoryShape { spec: task.spec(), state_width: 0 };
        let mut replay = Replay::new(config, shape, None).unwrap();
        for trajectory in (0..unrolls).flat_map(|_| actor.unroll(&random)) {
            replay.insert(1, &trajectory).unwrap();
        }
        Kept { replay, generator: Seed::new(2).generator(), burn_in }
    }

    fn draw(&mut self, sequences: usize) -> (ReplayBatch, ReplaySample) {
        let sample = self.replay.sample(sequences, &mut self.generator).unwrap();
        let batch = Batch::from_trajectories(&sample.rows, &TASK.spec(), Device::Cpu).unwrap();
        (ReplayBatch::new(batch, &sample, self.burn_in), sample)
    }
}

fn numbers(policy: &Policy) -> Vec<(String, Vec<f32>)> {
    let flat = |weight: &Tensor| Vec::try_from(weight.detach().flatten(0, -1)).unwrap();
    policy.weights().iter().map(|(name, weight)| (name.clone(), flat(weight))).collect()
}

/// The share of questions that the policy answers right when it plays greedily.
fn success(policy: &Policy, task: Task) -> f64 {
    let mut right = 0;
    for cue in 0..task.choices {
        let episode = support::episode(task, cue);
        let (output, _) = policy.unroll(&episode, &policy.initial_state(1));
        let answer = output.distribution.mode().int64_value(&[task.question as i64, 0]);
        right += usize::from(answer == cue as i64);
    }
    right as f64 / task.choices as f64
}

fn learns(rl: &dyn LearnsFromReplay, task: Task, updates: usize) {
    let policy = network_of(Kind::Float, rl, &network(16, gru()), task);
    let mut algorithm = rl.start(&policy, Seed::new(3));
    let mut kept = Kept::of(rl, task, 40);
    for update in 0..updates {
        let (replayed, _) = kept.draw(32);
        let _ = algorithm.update(&policy, &replayed).unwrap();
        if update % 20 == 19 && success(&policy, task) == 1.0 && update >= updates / 2 {
            return;
        }
    }
    assert_eq!(success(&policy, task), 1.0, "after {updates} updates");
}

const FAST: &str = "learning_rate = 0.01\ntarget = { name = \"polyak\", tau = 0.05 }";

#[test]
fn q_learning_remembers_a_cue() {
    learns(&*from_replay(DQN, FAST), TASK, 300);
}

#[test]
fn the_distribution_of_returns_is_learned_too() {
    let categorical = "[objective]\nreturns = { name = \"categorical\", atoms = 11, \
                       least = -0.5, greatest = 1.5 }";
    // Where most decisions have nothing to tell apart, cross-entropies take their time.
    let fast = FAST.replace("0.01", "0.02");
    learns(&*from_replay(DQN, &format!("{fast}\n{categorical}")), TASK, 1200);
}

#[test]
fn quantiles_of_returns_are_learned_too() {
    let quantiles = "error = { name = \"huber\", threshold = 1.0 }\n[objective]\n\
                     returns = { name = \"quantiles\", quantiles = 8 }";
    learns(&*from_replay(DQN, &format!("{FAST}\n{quantiles}")), TASK, 400);
}

#[test]
fn soft_actor_critic_remembers_a_cue_with_either_encoder() {
    learns(&*from_replay(SAC_DISCRETE, FAST), TASK, 300);
    learns(&*from_replay(SAC_DISCRETE, &format!("{FAST}\n{SEPARATE}")), TASK, 300);
}

#[test]
fn chunks_from_stored_weights_burn_in_and_pack_without_harm() {
    let chunks = "sequences = { name = \"chunks\", length = 3, burn_in = 2 }";
    learns(&*from_replay(DQN, &format!("{FAST}\n[replay]\n{chunks}")), TASK, 400);
    learns(&*from_replay(DQN, &format!("{FAST}\n[replay]\npacked = true")), TASK, 300);
}

#[test]
fn nothing_is_learned_from_a_burn_in() {
    let chunks = "[replay]\nsequences = { name = \"chunks\", length = 2, burn_in = 2 }";
    let rl = from_replay(DQN, chunks);
    let policy = network_of(Kind::Float, &*rl, &network(8, gru()), TASK);
    let mut algorithm = rl.start(&policy, Seed::new(3));
    let (replayed, sample) = Kept::of(&*rl, TASK, 10).draw(8);
    let (_, errors) = algorithm.update(&policy, &replayed).unwrap();
    assert_eq!(errors.size(), [4, sample.rows.len() as i64]);
    let errors = Vec::<f32>::try_from(errors.contiguous().view(-1)).unwrap();
    for (error, weight) in errors.iter().zip(sample.weights()) {
        assert_eq!(*error != 0.0, weight != 0.0, "errors are where something is learned");
    }
}

/// The parts of a network that the loss of an actor moves.
fn moved_by_actor(settings: &str) -> Vec<&'static str> {
    let config: OffPolicyConfig<SacDiscreteConfig> = support::settings(SAC_DISCRETE, settings);
    let policy = network_of(Kind::Double, &config, &network(8, gru()), TASK);
    let algorithm = SacDiscrete::new(&config, &policy, Seed::new(3));
    let (replayed, _) = Kept::of(&config, TASK, 10).draw(8);
    let loss = algorithm.shared_losses(&policy, &replayed).actor.loss;
    let weights = policy.trainable();
    let inputs: Vec<&Tensor> = weights.iter().map(|(_, weight)| weight).collect();
    let gradients = Tensor::run_backward(&[loss], &inputs, false, false);
    let moves = |part: &str| {
        let below = weights.iter().zip(&gradients).filter(|((name, _), _)| name.starts_with(part));
        let moved: Vec<bool> =
            below.map(|(_, g)| g.defined() && g.abs().max().double_value(&[]) > 0.0).collect();
        assert!(!moved.is_empty(), "there is a part {part}");
        moved.iter().any(|&moved| moved)
    };
    ["torso", "memory", "policy", "action_values"].into_iter().filter(|part| moves(part)).collect()
}

#[test]
fn freezing_says_which_weights_the_actors_loss_moves() {
    let all = ["torso", "memory", "policy", "action_values"];
    assert_eq!(moved_by_actor(&shared(false, false)), all);
    assert_eq!(moved_by_actor(&shared(true, false)), ["torso", "memory", "policy"]);
    assert_eq!(moved_by_actor(&shared(true, true)), ["policy"]);
}

/// The critics once took their step first, and so that step had to be taken back where the actor's
/// numbers were not finite.
#[test]
fn the_actor_is_judged_by_the_critics_as_they_were_before_their_step() {
    for settings in [SEPARATE, &shared(true, true)] {
        let rl = from_replay(SAC_DISCRETE, settings);
        let (_, mut sample) = Kept::of(&*rl, TASK, 10).draw(8);
        let mut updated = |reward: f32| {
            sample.rows.iter_mut().for_each(|row| row.frames.previous_rewards[1] = reward);
            let policy = network_of(Kind::Float, &*rl, &network(8, gru()), TASK);
            let batch = Batch::from_trajectories(&sample.rows, &TASK.spec(), Device::Cpu).unwrap();
            let mut algorithm = rl.start(&policy, Seed::new(3));
            let _ = algorithm.update(&policy, &ReplayBatch::new(batch, &sample, 0)).unwrap();
            let critics = |(name, _): &(String, Tensor)| name.contains("action_values.0.0.weight");
            let critic = algorithm.state().into_iter().find(critics).unwrap().1;
            let mut actor = numbers(&policy);
            actor.retain(|(name, _)| name.starts_with("policy"));
            (actor, critic)
        };
        let ((actor, critic), (same, other)) = (updated(-9.0), updated(9.0));
        assert_eq!(actor, same, "{settings}");
        assert_ne!(critic, other, "{settings}");
    }
}

#[test]
fn an_encoder_frozen_for_the_actor_alone_is_refused() {
    let error = from_replay(SAC_DISCRETE, &shared(false, true)).validate().unwrap_err().to_string();
    assert!(error.contains("rl.objective.encoder.freeze_encoder_in_actor_loss"), "{error}");
}

/// Critics with a memory of their own once began from the actor's state.
#[test]
fn stored_states_are_refused_where_critics_have_a_memory_of_their_own() {
    let stored = "[replay]\ninitial_state = \"stored\"\n\
                  sequences = { name = \"chunks\", length = 2, burn_in = 0 }\n";
    from_replay(SAC_DISCRETE, stored).validate().unwrap();
    let separate = from_replay(SAC_DISCRETE, &format!("{stored}{SEPARATE}"));
    let error = separate.validate().unwrap_err().to_string();
    assert!(
        error.starts_with("rl.replay.initial_state is \"stored\"; it must be \"zero\""),
        "{error}"
    );
    assert!(error.contains("rl.objective.encoder is \"separate\""), "{error}");
}

#[test]
fn what_is_remembered_goes_on_bit_for_bit() {
    let separate = format!("{SEPARATE}\n{}", TUNED.trim_start_matches("[objective]\n"));
    for (text, settings) in
        [(DQN, ""), (DQN, "target = { name = \"copy\", every = 3 }"), (SAC_DISCRETE, TUNED)]
            .into_iter()
            .chain([(SAC_DISCRETE, separate.as_str())])
    {
        let rl = from_replay(text, settings);
        let policy = network_of(Kind::Float, &*rl, &network(8, gru()), TASK);
        let mut algorithm = rl.start(&policy, Seed::new(3));
        let mut kept = Kept::of(&*rl, TASK, 10);
        let batches: Vec<ReplayBatch> = (0..4).map(|_| kept.draw(8).0).collect();
        for replayed in &batches[..2] {
            let _ = algorithm.update(&policy, replayed).unwrap();
        }
        let (state, bytes) = (algorithm.state(), policy.save(1));

        let mut other_policy = network_of(Kind::Float, &*rl, &network(8, gru()), TASK);
        let mut other = rl.start(&other_policy, Seed::new(77));
        other_policy.load(&bytes).unwrap();
        other.load_state(&state).unwrap();
        for replayed in &batches[2..] {
            let (stats, errors) = algorithm.update(&policy, replayed).unwrap();
            let (again, same) = other.update(&other_policy, replayed).unwrap();
            assert_eq!((stats.numbers, errors), (again.numbers, same), "{settings}");
        }
        assert_eq!(numbers(&policy), numbers(&other_policy), "{settings}");
        let missing = other.load_state(&[]).unwrap_err().to_string();
        assert!(missing.contains("lacks"), "{missing}");
    }
}

#[test]
fn an_update_that_is_not_finite_leaves_everything_as_it_was() {
    for (text, settings) in [(DQN, ""), (SAC_DISCRETE, ""), (SAC_DISCRETE, SEPARATE)] {
        let rl = from_replay(text, settings);
        let policy = network_of(Kind::Float, &*rl, &network(8, gru()), TASK);
        let mut algorithm = rl.start(&policy, Seed::new(3));
        let (_, mut sample) = Kept::of(&*rl, TASK, 10).draw(8);
        let (before, state) = (numbers(&policy), algorithm.state());
        sample.rows[0].frames.previous_rewards[1] = f32::INFINITY;
        let batch = Batch::from_trajectories(&sample.rows, &TASK.spec(), Device::Cpu).unwrap();
        let spoiled = ReplayBatch::new(batch, &sample, 0);
        let error = algorithm.update(&policy, &spoiled).unwrap_err();
        assert!(error.to_string().contains("skipped"), "{error}");
        assert_eq!(numbers(&policy), before, "{settings}");
        for ((name, was), (_, is)) in state.iter().zip(algorithm.state()) {
            assert_eq!(was, &is, "{name}");
        }
    }
}
