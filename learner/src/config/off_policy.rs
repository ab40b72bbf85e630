//! Settings of the algorithms that learn from a replay.

use engram_policy::exploration::{Choice, Spread};
use engram_policy::{Exploration, Outputs, Returns};
use serde::{Deserialize, Serialize};

use super::{
    OptimizerConfig, OutOfRange, RewardClip, cost, learning_rate, positive, require, share,
};
use crate::algorithms::exploration::LinearEpsilon;
use crate::algorithms::target_network::TargetUpdate;
use crate::losses::value_rescaling::ValueRescaling;
use crate::losses::{ErrorLoss, Selection};
use crate::replay::rate_limiter::LimiterConfig;
use crate::replay::{ReplayConfig, Sampling};

/// What is replayed, how often, and how an update is made of it. What an algorithm learns from
/// sequences, `O`, is its own; all else is the same for all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffPolicyConfig<O = ()> {
    /// Sequences per update.
    pub batch_size: usize,
    /// γ, what a reward counts for one step later.
    pub discount: f64,
    /// Rewards that are added up before a value takes over: 1 for temporal differences.
    pub n_step: usize,
    /// What becomes of a reward before it is learned from.
    pub reward_clip: RewardClip,
    /// What an error of a value costs.
    pub error: ErrorLoss,
    /// The step size.
    pub learning_rate: f64,
    /// Gradients longer than this, all weights of an optimizer together, are shortened to it.
    pub max_grad_norm: f64,
    /// The rule that turns gradients into steps.
    pub optimizer: OptimizerConfig,
    /// How the target network follows.
    pub target: TargetUpdate,
    /// Updates between two publications of the weights.
    pub publish_updates: u64,
    /// η: of a sequence's priority, the share of its largest error; the rest is that of their
    /// mean. Without effect where sampling is uniform.
    pub priority_largest_share: f64,
    /// Updates in a row that may be skipped because a number was not finite, before the run stops.
    pub max_non_finite_updates: u32,
    /// Parts of the policy that do not learn: `torso`, `memory`, and so on.
    pub freeze: Vec<String>,
    /// How actors explore.
    pub exploration: ExplorationConfig,
    /// Updates per env step.
    pub limiter: LimiterConfig,
    /// What is kept, and how it is sampled.
    pub replay: ReplayConfig,
    /// What is learned from it.
    pub objective: O,
}

/// How actors explore over the run: at random during the warm-up, then ever less.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExplorationConfig {
    /// Env steps after the warm-up over which ε falls from 1, on a line.
    pub env_steps: u64,
    /// ε from then on.
    pub last_epsilon: f64,
    /// Actors that differ in their ε as in Ape-X; 1: none does.
    pub spread_actors: u32,
    /// α of that: the last actor's ε is `ε^(1 + α)`.
    pub spread_exponent: f64,
}

/// The objective of deep Q-learning on sequences (Mnih et al. 2015,
/// <https://doi.org/10.1038/nature14236>; Hausknecht & Stone 2015,
/// <https://arxiv.org/abs/1507.06527>).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QLearningConfig {
    /// Which network says what action is the best of the next frame.
    pub selection: Selection,
    /// What the critic knows of returns.
    pub returns: Returns,
    /// ε of the scale on which values are learned (Pohlen et al. 2018,
    /// <https://arxiv.org/abs/1805.11593>); -1: that of returns.
    pub value_rescaling: f64,
}

/// The objective of SAC for discrete actions (Christodoulou 2019,
/// <https://arxiv.org/abs/1910.07207>) on sequences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SacDiscreteConfig {
    /// Whether actor and critics share torso and memory.
    pub encoder: Encoder,
    /// α, what a nat of entropy is worth.
    pub temperature: Temperature,
}

/// Whether actor and critics share torso and memory; the key `name` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Encoder {
    /// They do, and one step minimizes the sum of both losses: half of the critics', all of the
    /// actor's.
    Shared {
        /// Whether the actor's loss leaves the critics alone, and what they see. Without it
        /// gradients may explode (Ni et al. 2023, <https://arxiv.org/abs/2307.03864>).
        freeze_critic: bool,
        /// Whether the actor's loss leaves torso and memory alone altogether: then the critics
        /// alone train them.
        freeze_encoder_in_actor_loss: bool,
    },
    /// Each has its own; the critics take a step first, then the actor.
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

impl<O> OffPolicyConfig<O> {
    /// What all algorithms share.
    pub fn shared(&self) -> OffPolicyConfig {
        OffPolicyConfig {
            batch_size: self.batch_size,
            discount: self.discount,
            n_step: self.n_step,
            reward_clip: self.reward_clip,
            error: self.error,
            learning_rate: self.learning_rate,
            max_grad_norm: self.max_grad_norm,
            optimizer: self.optimizer,
            target: self.target,
            publish_updates: self.publish_updates,
            priority_largest_share: self.priority_largest_share,
            max_non_finite_updates: self.max_non_finite_updates,
            freeze: self.freeze.clone(),
            exploration: self.exploration,
            limiter: self.limiter,
            replay: self.replay.clone(),
            objective: (),
        }
    }

    /// How actors explore while nothing is learned yet, or so many env steps after that;
    /// `choice` is how they choose an action that is not random.
    pub fn exploration(&self, choice: Choice, since_warm_up: Option<u64>) -> Exploration {
        let ExplorationConfig { env_steps, last_epsilon, spread_actors, spread_exponent } =
            self.exploration;
        let schedule = LinearEpsilon { steps: env_steps, last: last_epsilon };
        let epsilon = since_warm_up.map_or(1.0, |env_steps| schedule.at(env_steps));
        let spread = Spread { actors: spread_actors, exponent: spread_exponent };
        Exploration { choice, epsilon, spread: (spread_actors > 1).then_some(spread) }
    }

    /// Whether priorities are wanted of an update.
    pub fn is_prioritized(&self) -> bool {
        matches!(self.replay.sampling, Sampling::Prioritized { .. })
    }

    pub(super) fn validate_shared(&self) -> Result<(), OutOfRange> {
        require(
            (1..=65_536).contains(&self.batch_size),
            "batch_size",
            self.batch_size,
            "between 1 and 65536 sequences",
        )?;
        share("discount", self.discount)?;
        let range = "between 1 and 1024 steps";
        require((1..=1024).contains(&self.n_step), "n_step", self.n_step, range)?;
        if let ErrorLoss::Huber { threshold } = self.error {
            positive("error.threshold", threshold)?;
        }
        learning_rate("learning_rate", self.learning_rate)?;
        positive("max_grad_norm", self.max_grad_norm)?;
        self.optimizer.validate()?;
        match self.target {
            TargetUpdate::Polyak { tau } => share("target.tau", tau)?,
            TargetUpdate::Copy { every } => {
                require(every >= 1, "target.every", every, "at least 1 update")?;
            }
        }
        let (publish, most) = (self.publish_updates, self.max_non_finite_updates);
        require(publish >= 1, "publish_updates", publish, "at least 1 update")?;
        share("priority_largest_share", self.priority_largest_share)?;
        require(most >= 1, "max_non_finite_updates", most, "at least 1")?;
        self.exploration.validate()?;
        self.limiter.validate()?;
        self.replay.validate()
    }
}

impl ExplorationConfig {
    fn validate(&self) -> Result<(), OutOfRange> {
        share("exploration.last_epsilon", self.last_epsilon)?;
        let actors = self.spread_actors;
        require(actors >= 1, "exploration.spread_actors", actors, "1 (none) or more")?;
        cost("exploration.spread_exponent", self.spread_exponent)
    }
}

impl QLearningConfig {
    /// What the network says of frames.
    pub fn outputs(&self) -> Outputs {
        Outputs::ActionValues { critics: 1, returns: self.returns }
    }

    /// The scale of values, if not that of returns.
    pub fn rescaling(&self) -> Option<ValueRescaling> {
        let epsilon = self.value_rescaling;
        (epsilon >= 0.0).then_some(ValueRescaling { epsilon })
    }

    pub(super) fn validate(&self, error: ErrorLoss) -> Result<(), OutOfRange> {
        require(
            self.value_rescaling.is_finite(),
            "objective.value_rescaling",
            self.value_rescaling,
            "0 or a positive number, or -1 for none",
        )?;
        match self.returns {
            Returns::Expected {} => return Ok(()),
            Returns::Categorical { atoms, least, greatest } => {
                let range = "between 2 and 4096";
                require((2..=4096).contains(&atoms), "objective.returns.atoms", atoms, range)?;
                let good = least.is_finite() && greatest.is_finite() && least < greatest;
                require(
                    good,
                    "objective.returns.greatest",
                    greatest,
                    "finite and above returns.least",
                )?;
            }
            Returns::Quantiles { quantiles } => {
                let range = "between 1 and 4096";
                let within = (1..=4096).contains(&quantiles);
                require(within, "objective.returns.quantiles", quantiles, range)?;
                let huber = matches!(error, ErrorLoss::Huber { .. });
                let range = "\"huber\" where returns are quantiles; its threshold is their κ";
                require(huber, "error.name", "\"squared\"", range)?;
            }
        }
        let expected = self.value_rescaling < 0.0;
        let range = "-1 where returns are distributions, which have the scale of returns";
        require(expected, "objective.value_rescaling", self.value_rescaling, range)
    }
}

impl SacDiscreteConfig {
    /// What the acting network says of frames.
    pub fn outputs(&self) -> Outputs {
        match self.encoder {
            Encoder::Shared { .. } => {
                Outputs::ActorAndActionValues { critics: 2, returns: Returns::Expected {} }
            }
            Encoder::Separate {} => Outputs::Actor {},
        }
    }

    pub(super) fn validate(&self) -> Result<(), OutOfRange> {
        if let Encoder::Shared { freeze_critic: false, freeze_encoder_in_actor_loss: true } =
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
