//! Settings that DDPG, TD3 and SAC share: their critics.

use serde::{Deserialize, Serialize};

use crate::config::replay::InitialState;
use crate::config::{OffPolicyConfig, OutOfRange, learning_rate, require, share};
use crate::losses::state_action::Judgement;

/// Critics of vectors of actions. A feature that is not named is off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CriticsConfig {
    /// Critics: 1 in DDPG, 2 in TD3 and SAC, 8 in RESeL, 10 in REDQ.
    pub count: usize,
    /// Torso and memory of the critics.
    pub encoder: CriticEncoder,
    /// Value by which they judge the actor.
    pub judgement: Judgement,
    /// Critics that are drawn at each update, the least of whose values is bootstrapped from: REDQ,
    /// Chen et al. 2021, <https://arxiv.org/abs/2101.05982>. All if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_subset: Option<usize>,
    /// Their step size; `rl.learning_rate` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Values that are bootstrapped from stay within the range of the targets so far, which comes
    /// nearer to that of the newest ones by this share at each update; not if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value_guard: Option<f64>,
}

/// Torso and memory of the critics; the key `name` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum CriticEncoder {
    /// Those of the actor, in one network that one step moves. The actor's loss leaves the critics'
    /// heads alone.
    Shared {
        /// True if it leaves torso and memory alone, too: then the critics alone train them.
        freeze_encoder_in_actor_loss: bool,
    },
    /// One for all critics, apart from the actor's.
    Separate {},
    /// One for each critic.
    OneEach {},
}

impl CriticsConfig {
    /// True if the actor's loss leaves torso and memory alone.
    pub(super) fn freezes_encoder(&self) -> bool {
        self.encoder == CriticEncoder::Shared { freeze_encoder_in_actor_loss: true }
    }

    /// Critics that the acting network holds.
    pub(in crate::algorithms) fn in_acting_network(&self) -> usize {
        match self.encoder {
            CriticEncoder::Shared { .. } => self.count,
            _ => 0,
        }
    }

    /// Checks every range, and that it goes with the `shared` settings and a policy that is updated
    /// once in `policy_delay` updates.
    pub(in crate::algorithms) fn check<O>(
        &self,
        shared: &OffPolicyConfig<O>,
        policy_delay: u64,
    ) -> Result<(), OutOfRange> {
        let range = "between 1 and 64";
        require((1..=64).contains(&self.count), "objective.critics.count", self.count, range)?;
        if let Some(subset) = self.target_subset {
            let (key, range) = ("objective.critics.target_subset", "between 1 and critics.count");
            require((1..=self.count).contains(&subset), key, subset, range)?;
        }
        if let Some(rate) = self.learning_rate {
            learning_rate("objective.critics.learning_rate", rate)?;
        }
        if let Some(rate) = self.value_guard {
            share("objective.critics.value_guard", rate)?;
        }
        let (key, range) = ("objective.policy_delay", "at least 1 update");
        require(policy_delay >= 1, key, policy_delay, range)?;
        let is_shared = self.in_acting_network() > 0;
        if is_shared {
            let range = "1 where objective.critics.encoder is \"shared\": one step moves both";
            require(policy_delay == 1, key, policy_delay, range)?;
            let range = "left out where objective.critics.encoder is \"shared\": one step moves \
                         both; set rl.learning_rates for state_action_values";
            let key = "objective.critics.learning_rate";
            let given = self.learning_rate;
            require(given.is_none(), key, given.unwrap_or_default(), range)?;
        } else if shared.replay.initial_state == InitialState::Stored {
            let range = "\"zero\" where objective.critics.encoder is not \"shared\": what is stored \
                         is the state of the acting network's memory, and critics have one of \
                         their own";
            require(false, "replay.initial_state", "\"stored\"", range)?;
        }
        Ok(())
    }
}
