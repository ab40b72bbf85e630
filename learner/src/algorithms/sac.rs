//! Soft actor-critic: a Gaussian actor behind a tanh, whose entropy is worth something.
//!
//! Haarnoja et al. 2018, <https://arxiv.org/abs/1812.05905>; on sequences as in Yang & Nguyen 2021,
//! <https://arxiv.org/abs/2110.12628>. With ensembles and random subsets of critics it is REDQ (Chen et
//! al. 2021, <https://arxiv.org/abs/2101.05982>); with a slow memory, `rl.learning_rates`, and whole
//! episodes RESeL (Luo et al. 2024, <https://arxiv.org/abs/2405.15384>).

use engram_mdp::{Generator, Seed};
use engram_policy::exploration::Choice;
use engram_policy::{Outputs, Policy, VectorSpread};
use serde::{Deserialize, Serialize};
use tch::{Tensor, no_grad};

use super::algorithm::{Objective, ReplayAlgorithm};
use super::continuous::{ActorCritic, ActorRule, CriticsConfig, Proposal};
use super::replay_batch::ReplayBatch;
use super::state_dict::{StateDict, StateError};
use super::temperature::{Alpha, TuningRule};
use crate::config::{
    OffPolicyConfig, OutOfRange, cost, is_one, learning_rate, one, positive, require,
};
use crate::losses::state_action::temperature_loss;

/// The objective of soft actor-critic (Haarnoja et al. 2018, <https://arxiv.org/abs/1812.05905>).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SacConfig {
    /// Critics.
    pub critics: CriticsConfig,
    /// α, what a nat of entropy is worth.
    pub temperature: SacTemperature,
    /// Updates of the critics for each of the actor and of α; 1 if not given.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub policy_delay: u64,
}

/// α; the key `name` names how it is found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum SacTemperature {
    /// It is given.
    Fixed {
        /// α.
        value: f64,
    },
    /// It is learned, so that the policy's entropy becomes what is aimed at.
    Tuned {
        /// α at the start.
        initial: f64,
        /// The entropy aimed at, in nats, for each number of an action: −1 in the paper.
        entropy_per_dimension: f64,
        /// The step size of log α.
        learning_rate: f64,
        /// α at most; no limit if not given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        greatest: Option<f64>,
    },
}

/// The actor: the acting policy itself, now and at the next frame.
pub(super) struct SoftActor {
    alpha: Alpha,
}

impl ActorRule for SoftActor {
    fn propose(
        &self,
        policy: &Policy,
        memory: Option<&Tensor>,
        batch: &ReplayBatch,
        learns: bool,
        generator: &mut Generator,
    ) -> Proposal {
        let remember = || memory.map_or_else(|| batch.remember(policy), Tensor::shallow_clone);
        let y = if learns { remember() } else { no_grad(remember) };
        let (own, (next, log_probs)) = match batch.decisions() {
            1 => at_two_frames(policy, &y, learns, generator),
            length => {
                let mut all = || {
                    let distribution = policy.distribution(&y);
                    let noise = distribution.noise(generator);
                    distribution.reparameterized(&noise)
                };
                let (actions, log_probs) = if learns { all() } else { no_grad(all) };
                let frames =
                    |start| (actions.narrow(0, start, length), log_probs.narrow(0, start, length));
                (learns.then(|| frames(0)), frames(1))
            }
        };
        let (next, log_probs) = (next.detach(), log_probs.detach());
        Proposal { next, bonus: Some(-(self.alpha.tensor(&log_probs) * log_probs)), own }
    }

    fn temperature(&self, like: &Tensor) -> Tensor {
        self.alpha.tensor(like)
    }

    fn temperature_value(&self) -> f64 {
        self.alpha.value()
    }

    fn see_entropy(&mut self, entropy: &Tensor) {
        self.alpha.update(entropy);
    }

    fn save(&self, state: &mut StateDict) {
        self.alpha.save(state);
    }

    fn load(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        self.alpha.load(state)
    }

    fn choice(&self) -> Choice {
        Choice::Sample
    }
}

/// Actions and their log-densities at the first of two frames, if the actor `learns` from it, and at
/// the second one. Half of the frames need no gradient here: of longer sequences, only the last one.
fn at_two_frames(
    policy: &Policy,
    y: &Tensor,
    learns: bool,
    generator: &mut Generator,
) -> (Option<(Tensor, Tensor)>, (Tensor, Tensor)) {
    let at = |frame| policy.distribution(&y.narrow(0, frame, 1));
    let next = no_grad(|| at(1));
    let noise = [0, 1].map(|_| next.noise(generator));
    let own = learns.then(|| at(0).reparameterized(&noise[0]));
    (own, no_grad(|| next.reparameterized(&noise[1])))
}

impl SacTemperature {
    /// α of a run that begins.
    fn start(self, policy: &Policy) -> Alpha {
        match self {
            SacTemperature::Fixed { value } => Alpha::Fixed(value),
            SacTemperature::Tuned { initial, entropy_per_dimension, learning_rate, greatest } => {
                let rule = TuningRule {
                    initial,
                    greatest: greatest.unwrap_or(f64::INFINITY),
                    target_entropy: entropy_per_dimension * policy.spec().action.width() as f64,
                    learning_rate,
                    loss: temperature_loss,
                };
                Alpha::tuned(rule, policy.device())
            }
        }
    }

    fn validate(self) -> Result<(), OutOfRange> {
        match self {
            SacTemperature::Fixed { value } => cost("objective.temperature.value", value),
            SacTemperature::Tuned {
                initial,
                entropy_per_dimension,
                learning_rate: rate,
                greatest,
            } => {
                positive("objective.temperature.initial", initial)?;
                let (key, range) =
                    ("objective.temperature.entropy_per_dimension", "a finite number");
                let finite = entropy_per_dimension.is_finite();
                require(finite, key, entropy_per_dimension, range)?;
                if let Some(greatest) = greatest {
                    let range = "at least temperature.initial";
                    let (key, good) = ("objective.temperature.greatest", greatest >= initial);
                    require(good, key, greatest, range)?;
                }
                learning_rate("objective.temperature.learning_rate", rate)
            }
        }
    }
}

impl Objective for SacConfig {
    fn outputs(&self) -> Outputs {
        let critics = self.critics.in_acting_network();
        Outputs::VectorActor { spread: VectorSpread::Gaussian, critics }
    }

    fn validate(&self, shared: &OffPolicyConfig) -> Result<(), OutOfRange> {
        self.critics.check(shared, self.policy_delay)?;
        self.temperature.validate()?;
        let noise = shared.exploration.action_noise;
        let range = "left out with `sac`, whose policy explores by itself";
        require(noise == 0.0, "exploration.action_noise", noise, range)
    }

    fn start(
        config: &OffPolicyConfig<Self>,
        policy: &Policy,
        seed: Seed,
    ) -> Box<dyn ReplayAlgorithm> {
        let SacConfig { critics, temperature, policy_delay } = &config.objective;
        let actor = SoftActor { alpha: temperature.start(policy) };
        Box::new(ActorCritic::new(config, critics, *policy_delay, actor, policy, seed))
    }
}

impl std::fmt::Debug for SoftActor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SoftActor").finish_non_exhaustive()
    }
}
