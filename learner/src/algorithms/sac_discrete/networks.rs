//! Networks beside the acting one, and the optimizers that move weights.

use engram_mdp::Seed;
use engram_policy::{Outputs, Policy, Returns};
use tch::Tensor;

use super::config::{EncoderSharing, SacDiscreteConfig};
use crate::algorithms::optimizer::Optimizer;
use crate::algorithms::state_dict::{StateDict, StateError, below, copies, restore, under};
use crate::algorithms::target_network::update_target;
use crate::config::{OffPolicyConfig, TargetUpdate};

/// Below this name lie the critics' heads.
const CRITICS: &str = "action_values.";

/// The networks beside the acting one, and who moves which weights.
pub(super) enum Networks {
    Shared {
        optimizer: Optimizer,
        /// Of which the critics' heads alone are used, on the memory of the network that learns.
        target: Box<Policy>,
    },
    Separate {
        actor: Optimizer,
        critic: Box<Policy>,
        critics: Optimizer,
        target: Box<Policy>,
    },
}

impl Networks {
    /// Those of a run that begins; a critic of its own starts from `seed`.
    pub(super) fn new(
        config: &OffPolicyConfig<SacDiscreteConfig>,
        policy: &Policy,
        seed: Seed,
    ) -> Self {
        match config.objective.encoder {
            EncoderSharing::Shared { .. } => Networks::Shared {
                optimizer: Optimizer::of(config, &policy.trainable()),
                target: Box::new(policy.replica()),
            },
            EncoderSharing::Separate {} => {
                let outputs = Outputs::ActionValues { critics: 2, returns: Returns::Expected {} };
                let critic = policy.beside(&outputs, seed);
                Networks::Separate {
                    actor: Optimizer::of(config, &policy.trainable()),
                    critics: Optimizer::of(config, &critic.trainable()),
                    target: Box::new(critic.replica()),
                    critic: Box::new(critic),
                }
            }
        }
    }

    /// All of them.
    pub(super) fn all(&mut self) -> Vec<&mut Policy> {
        match self {
            Networks::Shared { target, .. } => vec![&mut **target],
            Networks::Separate { critic, target, .. } => vec![&mut **critic, &mut **target],
        }
    }

    /// The target network follows, after so many updates.
    pub(super) fn follow(&self, policy: &Policy, rule: TargetUpdate, updates: u64) {
        match self {
            Networks::Shared { target, .. } => {
                update_target(&heads_of(target), &heads_of(policy), rule, updates);
            }
            Networks::Separate { critic, target, .. } => {
                update_target(target.weights(), critic.weights(), rule, updates);
            }
        }
    }

    pub(super) fn state(&self) -> StateDict {
        match self {
            Networks::Shared { optimizer, target } => {
                let mut state = under("optimizer", optimizer.state());
                state.extend(under("target", copies(&heads_of(target))));
                state
            }
            Networks::Separate { actor, critic, critics, target } => {
                let mut state = under("optimizer", actor.state());
                state.extend(under("critic", copies(critic.weights())));
                state.extend(under("critic_optimizer", critics.state()));
                state.extend(under("target", copies(target.weights())));
                state
            }
        }
    }

    pub(super) fn load_state(&mut self, state: &[(String, Tensor)]) -> Result<(), StateError> {
        match self {
            Networks::Shared { optimizer, target } => {
                restore(&heads_of(target), "target", state)?;
                optimizer.load_state(&below("optimizer", state))
            }
            Networks::Separate { actor, critic, critics, target } => {
                restore(critic.weights(), "critic", state)?;
                restore(target.weights(), "target", state)?;
                critics.load_state(&below("critic_optimizer", state))?;
                actor.load_state(&below("optimizer", state))
            }
        }
    }
}

/// The weights of the critics' heads.
fn heads_of(network: &Policy) -> Vec<(String, Tensor)> {
    let heads = network.weights().iter().filter(|(name, _)| name.starts_with(CRITICS));
    heads.map(|(name, weight)| (name.clone(), weight.shallow_clone())).collect()
}
