//! DDPG and TD3: an actor that is certain of a vector, climbs the slope of a critic, and explores by
//! noise that is added to what it does.
//!
//! DDPG: Lillicrap et al. 2016, <https://arxiv.org/abs/1509.02971>. TD3, with a second critic, a slower
//! actor, and noise on the actions that targets are of: Fujimoto et al. 2018,
//! <https://arxiv.org/abs/1802.09477>. On sequences as in Yang & Nguyen 2021,
//! <https://arxiv.org/abs/2110.12628>.

use engram_mdp::{Generator, Seed};
use engram_policy::exploration::Choice;
use engram_policy::{Outputs, Policy, VectorSpread};
use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use super::algorithm::{Objective, ReplayAlgorithm};
use super::continuous::{ActorCritic, ActorRule, CriticEncoder, CriticsConfig, Proposal};
use super::replay_batch::ReplayBatch;
use super::state_dict::{StateDict, StateError, copies, restore, under};
use super::target_network::update_target;
use crate::config::{OffPolicyConfig, OutOfRange, cost, is_one, one, positive};
use crate::losses::state_action::Judgement;

/// The objective of TD3 (Fujimoto et al. 2018, <https://arxiv.org/abs/1802.09477>).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Td3Config {
    /// Critics.
    pub critics: CriticsConfig,
    /// Updates of the critics for each of the actor; 1 if not given, 2 in the paper, which lets
    /// the targets wait as long (`rl.target.every`).
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub policy_delay: u64,
    /// Noise on the actions of which targets are.
    pub target_noise: TargetNoise,
}

/// Gaussian noise on the next frames' actions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetNoise {
    /// Its standard deviation.
    pub std: f64,
    /// Its greatest size.
    pub clip: f64,
}

/// The objective of DDPG (Lillicrap et al. 2016, <https://arxiv.org/abs/1509.02971>): one critic, and
/// targets of the actor's own actions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DdpgConfig {
    /// Torso and memory of the critic.
    pub encoder: CriticEncoder,
    /// The critic's step size; `rl.learning_rate` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critic_learning_rate: Option<f64>,
}

/// The actor, and the one that follows it.
pub(super) struct DeterministicActor {
    target: Policy,
    noise: Option<TargetNoise>,
}

impl DeterministicActor {
    fn new(policy: &Policy, noise: Option<TargetNoise>) -> Self {
        DeterministicActor { target: policy.replica(), noise }
    }

    /// Actions at frames 1 to T, by the actor that follows.
    fn next(&self, batch: &ReplayBatch, generator: &mut Generator) -> Tensor {
        no_grad(|| {
            let later = batch.remember(&self.target).narrow(0, 1, batch.decisions());
            let distribution = self.target.distribution(&later);
            let actions = distribution.mode();
            let Some(TargetNoise { std, clip }) = self.noise else { return actions };
            let noise = distribution.noise(generator) * std;
            (actions + noise.clamp(-clip, clip)).clamp(-1.0, 1.0)
        })
    }
}

impl ActorRule for DeterministicActor {
    fn propose(
        &self,
        policy: &Policy,
        memory: Option<&Tensor>,
        batch: &ReplayBatch,
        learns: bool,
        generator: &mut Generator,
    ) -> Proposal {
        let own = || {
            let y = memory.map_or_else(|| batch.remember(policy), Tensor::shallow_clone);
            let actions = policy.distribution(&y.narrow(0, 0, batch.decisions())).mode();
            let certain = actions.select(-1, 0).zeros_like().detach();
            (actions, certain)
        };
        Proposal { next: self.next(batch, generator), bonus: None, own: learns.then(own) }
    }

    fn temperature(&self, like: &Tensor) -> Tensor {
        Tensor::zeros([1], (like.kind(), like.device()))
    }

    fn temperature_value(&self) -> f64 {
        0.0
    }

    fn follow(&self, policy: &Policy, settings: &OffPolicyConfig, updates: u64) {
        update_target(self.target.weights(), policy.weights(), settings.target, updates);
    }

    fn networks(&mut self) -> Vec<&mut Policy> {
        vec![&mut self.target]
    }

    fn save(&self, state: &mut StateDict) {
        state.extend(under("target_actor", copies(self.target.weights())));
    }

    fn load(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        restore(self.target.weights(), "target_actor", state)
    }

    fn choice(&self) -> Choice {
        Choice::Greedy
    }
}

/// Outputs of an acting network that holds so many `critics`.
fn outputs(critics: usize) -> Outputs {
    Outputs::VectorActor { spread: VectorSpread::Deterministic, critics }
}

impl Objective for Td3Config {
    fn outputs(&self) -> Outputs {
        outputs(self.critics.in_acting_network())
    }

    fn validate(&self, shared: &OffPolicyConfig) -> Result<(), OutOfRange> {
        self.critics.check(shared, self.policy_delay)?;
        cost("objective.target_noise.std", self.target_noise.std)?;
        positive("objective.target_noise.clip", self.target_noise.clip)
    }

    fn start(
        config: &OffPolicyConfig<Self>,
        policy: &Policy,
        seed: Seed,
    ) -> Box<dyn ReplayAlgorithm> {
        let Td3Config { critics, policy_delay, target_noise } = &config.objective;
        let actor = DeterministicActor::new(policy, Some(*target_noise));
        Box::new(ActorCritic::new(config, critics, *policy_delay, actor, policy, seed))
    }
}

impl DdpgConfig {
    fn critics(&self) -> CriticsConfig {
        CriticsConfig {
            count: 1,
            encoder: self.encoder,
            judgement: Judgement::First,
            target_subset: None,
            learning_rate: self.critic_learning_rate,
            value_guard: None,
        }
    }
}

impl Objective for DdpgConfig {
    fn outputs(&self) -> Outputs {
        outputs(self.critics().in_acting_network())
    }

    fn validate(&self, shared: &OffPolicyConfig) -> Result<(), OutOfRange> {
        self.critics().check(shared, 1)
    }

    fn start(
        config: &OffPolicyConfig<Self>,
        policy: &Policy,
        seed: Seed,
    ) -> Box<dyn ReplayAlgorithm> {
        let critics = config.objective.critics();
        let actor = DeterministicActor::new(policy, None);
        Box::new(ActorCritic::new(config, &critics, 1, actor, policy, seed))
    }
}

impl std::fmt::Debug for DeterministicActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeterministicActor").field("noise", &self.noise).finish_non_exhaustive()
    }
}
