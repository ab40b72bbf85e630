//! Settings of SAC for discrete actions.

use engram_policy::{Outputs, Policy, Returns};
use serde::{Deserialize, Serialize};

use crate::algorithms::temperature::{Alpha, TuningRule};
use crate::config::replay::InitialState;
use crate::config::{OutOfRange, cost, learning_rate, positive, require, share};
use crate::losses::sac_discrete::{target_entropy, temperature_loss};

/// The objective of SAC for discrete actions (Christodoulou 2019,
/// <https://arxiv.org/abs/1910.07207>) on sequences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SacDiscreteConfig {
    /// Torso and memory of actor and critics: shared or not.
    pub encoder: EncoderSharing,
    /// α, what a nat of entropy is worth.
    pub temperature: Temperature,
}

/// Torso and memory of actor and critics: shared or not; the key `name` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum EncoderSharing {
    /// They do, and one step minimizes the sum of both losses: half of the critics', all of the
    /// actor's.
    Shared {
        /// True if the actor's loss leaves the critics alone, and what they see. Without it
        /// gradients may explode (Ni et al. 2023, <https://arxiv.org/abs/2307.03864>).
        freeze_critic: bool,
        /// True if the actor's loss leaves torso and memory alone altogether: then the critics
        /// alone train them.
        freeze_encoder_in_actor_loss: bool,
    },
    /// Each has its own, and an optimizer of its own.
    Separate {},
}

/// α; the key `name` names how it is found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Temperature {
    /// It is given.
    Fixed {
        /// α.
        value: f64,
    },
    /// It is learned, so that the policy's entropy becomes what is aimed at (Haarnoja et al. 2018,
    /// <https://arxiv.org/abs/1812.05905>).
    Tuned {
        /// α at the start.
        initial: f64,
        /// The entropy aimed at, as a share of that of a uniform choice.
        entropy_share: f64,
        /// The step size of log α.
        learning_rate: f64,
    },
}

impl Temperature {
    /// α of a run that begins.
    pub(super) fn start(self, policy: &Policy) -> Alpha {
        match self {
            Temperature::Fixed { value } => Alpha::Fixed(value),
            Temperature::Tuned { initial, entropy_share, learning_rate } => {
                let actions = policy.spec().action.width();
                let target_entropy = target_entropy(entropy_share, actions);
                let (greatest, loss) = (f64::INFINITY, temperature_loss);
                let rule = TuningRule { initial, greatest, target_entropy, learning_rate, loss };
                Alpha::tuned(rule, policy.device())
            }
        }
    }
}

impl SacDiscreteConfig {
    /// Outputs of the acting network.
    pub(super) fn acting_outputs(&self) -> Outputs {
        match self.encoder {
            EncoderSharing::Shared { .. } => {
                Outputs::ActorAndActionValues { critics: 2, returns: Returns::Expected {} }
            }
            EncoderSharing::Separate {} => Outputs::Actor {},
        }
    }

    /// Checks every range, and that critics begin sequences with a state that is theirs.
    pub(super) fn check(&self, initial: InitialState) -> Result<(), OutOfRange> {
        if (self.encoder, initial) == (EncoderSharing::Separate {}, InitialState::Stored) {
            let range = "\"zero\" where rl.objective.encoder is \"separate\": what is stored is the \
                         state of the acting network's memory, and critics have one of their own";
            require(false, "replay.initial_state", "\"stored\"", range)?;
        }
        if let EncoderSharing::Shared { freeze_critic: false, freeze_encoder_in_actor_loss: true } =
            self.encoder
        {
            let range = "false where freeze_critic is: the actor's loss would reach the encoder \
                         through the critics";
            require(false, "objective.encoder.freeze_encoder_in_actor_loss", true, range)?;
        }
        match self.temperature {
            Temperature::Fixed { value } => cost("objective.temperature.value", value),
            Temperature::Tuned { initial, entropy_share, learning_rate: rate } => {
                positive("objective.temperature.initial", initial)?;
                share("objective.temperature.entropy_share", entropy_share)?;
                learning_rate("objective.temperature.learning_rate", rate)
            }
        }
    }
}
