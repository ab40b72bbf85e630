//! Every network of every algorithm, targets and critics too: weights of another run, frozen parts
//! and dropout reach all of them.

#![allow(clippy::unwrap_used)]

#[allow(unreachable_pub)]
mod fixtures;

use std::collections::BTreeSet;
use std::sync::Arc;

use engram_learner::LearnerConfig;
use engram_learner::algorithms::{LearnsFromReplay, ReplayBatch, RlConfig};
use engram_learner::batches::batcher::StreamsBatch;
use engram_learner::batches::replay_worker::SampledBatch;
use engram_learner::batches::selector::TrajectoryKey;
use engram_learner::replay::{Replay, TrajectoryShape};
use engram_learner::run::learner::Learner;
use engram_learner::run::pipeline::{Pipeline, ReplayPipeline, StreamsPipeline};
use engram_learner::storage::warm_start::WarmStart;
use engram_mdp::{EnvSpec, Seed, Trajectory};
use engram_policy::{Batch, Policy};
use engram_service::Resolved;
use fixtures::{acts_by_vectors, episode, resolved_with, spec, stream, vector_spec, with_vectors};
use tch::{Device, Tensor};

const VTRACE: &str = include_str!("../../configs/rl/vtrace.toml");
const PPO: &str = include_str!("../../configs/rl/ppo.toml");
const PQN: &str = include_str!("../../configs/rl/pqn.toml");
const AC_LAMBDA: &str = include_str!("../../configs/rl/ac-lambda.toml");
const DQN: &str = include_str!("../../configs/rl/dqn.toml");
const SAC_DISCRETE: &str = include_str!("../../configs/rl/sac-discrete.toml");
const SAC: &str = include_str!("../../configs/rl/rsac.toml");
const TD3: &str = include_str!("../../configs/rl/rtd3.toml");
const DDPG: &str = include_str!("../../configs/rl/rdpg.toml");

/// Every algorithm, with its networks in every arrangement.
const CASES: [(&str, &str, &str); 12] = [
    ("vtrace", VTRACE, "rl.batch_size=2"),
    ("ppo", PPO, "rl.minibatches=2"),
    ("pqn", PQN, "rl.minibatches=2"),
    ("ac_lambda", AC_LAMBDA, "rl.batch_size=2"),
    ("dqn", DQN, "rl.batch_size=2"),
    ("sac_discrete", SAC_DISCRETE, "rl.batch_size=2"),
    ("sac_discrete", SAC_DISCRETE, "rl.objective.encoder={ name = \"separate\" }"),
    ("sac", SAC, "rl.batch_size=2"),
    ("sac", SAC, ONE_EACH),
    ("sac", SAC, SHARED),
    ("td3", TD3, "rl.batch_size=2"),
    ("ddpg", DDPG, "rl.batch_size=2"),
];

const ONE_EACH: &str = "rl.objective.critics.encoder={ name = \"one_each\" }";

const SHARED: &str = "rl.objective.critics.encoder={ name = \"shared\", \
                      freeze_encoder_in_actor_loss = false }";

const TORSO: &str = "seq.torso={ name = \"mlp\", hidden = [5], activation = \"tanh\", \
                     init = { name = \"fan_in\" } }";

const EMBED: &str = "seq.embed={ observation = 6, previous_action = 3, activation = \"relu\", \
                     init = { name = \"fan_in\" } }";

/// Parts that come from another run and do not learn.
const FROZEN: [&str; 2] = ["torso", "embed"];

/// Dropout, and no state that travels.
const MEMORY: &str = "seq.memory={ name = \"gpt2\", width = 8, heads = 2, blocks = 1, \
                      context_length = 9, positions = \"sine\", dropout = 0.5 }";

/// Parts of the state that belong to an optimizer: its moments.
const MOMENTS: [&str; 3] = ["mean", "square", "velocity"];

fn learner_config(resolved: &Resolved, seed: u64) -> LearnerConfig {
    let (resolved, run) = (resolved.clone(), fixtures::RUN.into());
    let mut config = LearnerConfig::new(resolved, run, None, Device::Cpu, 1).unwrap();
    config.run.seed = seed;
    config
}

fn trajectories(vectors: bool) -> Vec<Trajectory> {
    let of = |env_index| Trajectory { core_state: vec![], ..episode(env_index, 0) };
    let with = |x| if vectors { with_vectors(x) } else { x };
    [with(of(0)), with(of(1))].into()
}

fn spec_of(vectors: bool) -> EnvSpec {
    if vectors { vector_spec() } else { spec() }
}

fn batch(trajectories: &[Trajectory], vectors: bool) -> Batch {
    Batch::from_trajectories(trajectories, &spec_of(vectors), Device::Cpu).unwrap()
}

fn from_streams() -> StreamsBatch {
    let key = |env_index| TrajectoryKey {
        stream: stream(env_index),
        generation: 1,
        sequence: 0,
        policy_version: 1,
    };
    StreamsBatch { batch: batch(&trajectories(false), false), keys: vec![key(0), key(1)] }
}

fn from_replay(config: &dyn LearnsFromReplay) -> SampledBatch {
    let vectors = acts_by_vectors(&config.outputs());
    let shape = TrajectoryShape { spec: spec_of(vectors), state_width: 0 };
    let mut replay = Replay::new(config.shared().replay, shape, None).unwrap();
    for trajectory in trajectories(vectors) {
        replay.insert(1, &trajectory).unwrap();
    }
    let sample = replay.sample(2, &mut Seed::new(1).generator()).unwrap();
    let batch = ReplayBatch::new(batch(&sample.rows, vectors), &sample, 0);
    SampledBatch { batch, sample }
}

/// A learner's algorithm is looked at together with the network that acts.
struct Examined<P> {
    learner: Learner<P>,
    donor: Policy,
}

impl<P: Pipeline> Examined<P> {
    /// A run that begins with torso, embedders and memory of another one, the memory not frozen.
    fn begin(resolved: &Resolved, config: &Arc<P::Config>, spec: &EnvSpec) -> Self {
        let begin = |seed, warm_start: Option<&WarmStart>| {
            let learner_config = learner_config(resolved, seed);
            Learner::<P>::new(config, learner_config, spec, warm_start).unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("weights.safetensors");
        let bytes = begin(2, None).weights().bytes;
        std::fs::write(&file, &bytes).unwrap();
        let parts = ["torso", "embed", "memory"].map(String::from);
        let warm_start = WarmStart::read(&file, &parts).unwrap();
        let donor = Policy::from_weights(&bytes, Device::Cpu).unwrap();
        Examined { learner: begin(1, Some(&warm_start)), donor }
    }

    /// All weights that lie below `part` of the donor, wherever the run keeps them, with what they
    /// are at the donor.
    fn all_below(&mut self, part: &str) -> Vec<(String, Tensor, Tensor)> {
        let acting = self.learner.weights().bytes;
        let acting = Policy::from_weights(&acting, Device::Cpu).unwrap();
        let acting = acting.weights().iter().map(|(name, x)| (format!("acting.{name}"), x.copy()));
        let state = self.learner.pipeline().algorithm().state();
        let mut found = Vec::new();
        for (name, weight) in acting.chain(state) {
            for (of_donor, expected) in self.donor.weights() {
                if of_donor.starts_with(part) && name.ends_with(&format!(".{of_donor}")) {
                    found.push((name.clone(), weight.copy(), expected.copy()));
                }
            }
        }
        found
    }

    /// Frozen weights are nowhere else than at the donor, and no optimizer knows them.
    fn frozen_parts_are_the_donors(&mut self, when: &str) {
        for part in FROZEN {
            let below = self.all_below(part);
            assert!(!below.is_empty());
            for (name, weight, expected) in below {
                assert!(!is_moment(&name), "{when}: {name} is frozen");
                assert_eq!(weight, expected, "{when}: {name}");
            }
        }
    }

    fn memory_is_the_donors(&mut self) -> bool {
        let memory = self.all_below("memory").into_iter();
        memory.filter(|(name, ..)| !is_moment(name)).all(|(_, weight, expected)| weight == expected)
    }

    /// Weights of the acting network's heads.
    fn acting_heads(&self) -> Vec<Tensor> {
        let acting = self.learner.weights().bytes;
        let acting = Policy::from_weights(&acting, Device::Cpu).unwrap();
        let kept = ["torso", "embed", "memory"];
        let heads = acting.weights().iter();
        let heads = heads.filter(|(name, _)| !kept.iter().any(|part| name.starts_with(part)));
        heads.map(|(_, weight)| weight.copy()).collect()
    }

    /// Largest number that an optimizer remembers of gradients.
    fn largest_moment(&self) -> f64 {
        let state = self.learner.pipeline().algorithm().state();
        let moments = state.iter().filter(|(name, _)| is_moment(name));
        moments.map(|(_, moment)| moment.abs().max().double_value(&[])).fold(0.0, f64::max)
    }

    /// As many networks have dropout as the state has networks.
    fn dropout_is_everywhere(&mut self, inputs: &engram_policy::Inputs) {
        let state = self.learner.pipeline().algorithm().state();
        let mut networks = self.learner.pipeline_mut().algorithm_mut().networks();
        let mut owners = BTreeSet::new();
        for (name, _) in &state {
            let weights = networks.iter().flat_map(|network| network.weights());
            for (weight, _) in weights {
                if name.ends_with(&format!(".{weight}")) && !is_moment(name) {
                    owners.insert(name[..name.len() - weight.len()].to_owned());
                }
            }
        }
        assert_eq!(networks.len(), owners.len(), "networks in the state: {owners:?}");
        for network in &mut networks {
            let remember = || network.remember(inputs, &network.initial_state(2)).0;
            assert_ne!(remember(), remember(), "a network without dropout");
        }
    }
}

fn is_moment(name: &str) -> bool {
    let mut parts = name.split('.');
    parts.any(|part| MOMENTS.contains(&part))
}

fn examine<P: Pipeline>(
    resolved: &Resolved,
    config: &Arc<P::Config>,
    content: &P::Batch,
    vectors: bool,
) {
    let mut examined = Examined::<P>::begin(resolved, config, &spec_of(vectors));
    examined.frozen_parts_are_the_donors("at first");
    assert!(examined.memory_is_the_donors(), "a memory of its own");
    let mark = examined.learner.mark();
    // As with a replay, from which more is learned than arrives.
    examined.learner.update(content, 0).unwrap();
    assert_ne!(examined.learner.mark(), mark, "an update without env steps is to be saved");
    examined.frozen_parts_are_the_donors("after an update");
    assert!(!examined.memory_is_the_donors(), "nothing was learned");
    examined.dropout_is_everywhere(&batch(&trajectories(vectors), vectors).inputs);
}

#[test]
fn another_runs_weights_frozen_parts_and_dropout_reach_every_network() {
    let cases: BTreeSet<&str> = CASES.iter().map(|(name, ..)| *name).collect();
    assert_eq!(cases, RlConfig::algorithms().collect(), "algorithms that are not looked at");
    for (_, rl, change) in CASES {
        let resolved =
            resolved_with(rl, &[change, TORSO, EMBED, MEMORY, "rl.freeze=[\"torso\", \"embed\"]"]);
        match resolved.section("rl").unwrap() {
            RlConfig::Streams(config) => {
                examine::<StreamsPipeline>(&resolved, &config, &from_streams(), false);
            }
            RlConfig::Replay(config) => {
                let vectors = acts_by_vectors(&config.outputs());
                let batch = from_replay(&*config);
                examine::<ReplayPipeline>(&resolved, &config, &batch, vectors);
            }
        }
    }
}

#[test]
fn a_reset_starts_everything_anew_but_what_is_another_runs() {
    for (_, rl, change) in CASES {
        let freeze = "rl.freeze=[\"torso\", \"embed\"]";
        let resolved =
            resolved_with(rl, &[change, TORSO, EMBED, MEMORY, freeze, "rl.reset_updates=2"]);
        let Ok(RlConfig::Replay(config)) = resolved.section("rl") else { continue };
        let vectors = acts_by_vectors(&config.outputs());
        let batch = from_replay(&*config);
        let mut examined = Examined::<ReplayPipeline>::begin(&resolved, &config, &spec_of(vectors));
        let first = examined.acting_heads();
        examined.learner.update(&batch, 0).unwrap();
        assert!(examined.largest_moment() > 0.0);
        let step = difference(&first, &examined.acting_heads());
        assert!(step < 1e-3, "an update is a small step, not {step}");

        examined.learner.update(&batch, 0).unwrap();
        let reset = difference(&first, &examined.acting_heads());
        assert!(reset > 3e-3, "{reset} after a reset, {step} after an update");
        assert_eq!(examined.largest_moment(), 0.0, "the optimizers start anew, too");
        examined.frozen_parts_are_the_donors("after a reset");
        examined.learner.update(&batch, 0).unwrap();
        assert!(examined.largest_moment() > 0.0, "it learns on");
    }
}

/// Largest difference of weights.
fn difference(a: &[Tensor], b: &[Tensor]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs().max().double_value(&[])).fold(0.0, f64::max)
}
