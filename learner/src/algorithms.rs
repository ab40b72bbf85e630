//! Algorithms: a batch becomes an update of the weights.
//!
//! One file each, with its settings, which a reader can finish. An algorithm learns either from
//! streams, what actors have just sent ([`StreamsAlgorithm`]), or from a replay, what was kept of
//! it ([`ReplayAlgorithm`]). Which of the two a run does is decided once, when its `[rl]` part is
//! read: [`RlConfig`].
//!
//! Adding one: `docs/guide/own-algorithm.md`.

mod algorithm;

mod vtrace;

mod ppo;

mod pqn;

mod ac_lambda;

mod dqn;

mod sac_discrete;

mod sac;

mod td3;

mod continuous;

mod temperature;

mod replay_batch;

mod finite_step;

mod epochs;

pub mod optimizer;

pub mod state_dict;

pub mod target_network;

use std::sync::Arc;

use engram_policy::{Gradient, MemoryConfig, PolicyConfig, PolicyError};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};

pub use self::ac_lambda::{AcLambda, AcLambdaConfig, AcLambdaGradient};
pub use self::algorithm::{
    Algorithm, AlgorithmConfig, LearnsFromReplay, LearnsFromStreams, NonFinite, Objective,
    ReplayAlgorithm, StreamsAlgorithm,
};
pub use self::continuous::{CriticEncoder, CriticsConfig};
pub use self::dqn::{Dqn, QLearningConfig};
pub use self::ppo::{Ppo, PpoConfig, PpoLoss, Proximal};
pub use self::pqn::{Pqn, PqnConfig};
pub use self::replay_batch::ReplayBatch;
pub use self::sac::{SacConfig, SacTemperature};
pub use self::sac_discrete::{EncoderSharing, SacDiscrete, SacDiscreteConfig, Temperature};
pub use self::td3::{DdpgConfig, TargetNoise, Td3Config};
pub use self::vtrace::{Loss, Reduction, Vtrace, VtraceConfig};
use crate::config::OffPolicyConfig;
pub use crate::telemetry::update_stats::{Phases, UpdateStats};

/// Every algorithm: its name, the key `algorithm` of `[rl]`, and how the rest of it is read.
const ALGORITHMS: &[(&str, Read)] = &[
    ("vtrace", streams::<VtraceConfig>),
    ("ppo", streams::<PpoConfig>),
    ("pqn", streams::<PqnConfig>),
    ("ac_lambda", streams::<AcLambdaConfig>),
    ("dqn", replay::<QLearningConfig>),
    ("sac_discrete", replay::<SacDiscreteConfig>),
    ("sac", replay::<SacConfig>),
    ("td3", replay::<Td3Config>),
    ("ddpg", replay::<DdpgConfig>),
];

/// The `[rl]` part of an experiment: what a run learns from, and the algorithm's settings.
#[derive(Clone, Debug)]
pub enum RlConfig {
    /// From what actors have just sent, each trajectory once.
    Streams(Arc<dyn LearnsFromStreams>),
    /// From sequences drawn out of all that was kept.
    Replay(Arc<dyn LearnsFromReplay>),
}

impl RlConfig {
    /// Names of all algorithms, as `algorithm` of `[rl]` has them.
    pub fn algorithms() -> impl Iterator<Item = &'static str> {
        ALGORITHMS.iter().map(|(name, _)| *name)
    }

    /// Refuses a sequence model whose gradient this cannot find, or whose memory would have nothing
    /// to remember.
    pub fn check_model(&self, model: &PolicyConfig) -> Result<(), PolicyError> {
        let RlConfig::Replay(config) = self else { return Ok(()) };
        if model.memory.gradient() == Gradient::Rtrl {
            return Err(PolicyError::Config {
                key: "memory.gradient",
                found: "\"rtrl\"".into(),
                expected: "\"tbptt\" where rl.algorithm learns from a replay: sensitivities are \
                           carried from one unroll of a stream to the next, and sequences of a \
                           replay have none"
                    .into(),
            });
        }
        let has_memory = !matches!(model.memory, MemoryConfig::None(_));
        if has_memory && config.shared().replay.has_no_past() {
            return Err(PolicyError::Config {
                key: "memory.name",
                found: "a memory".into(),
                expected: "\"none\" where rl.replay.sequences are single decisions, before which \
                           there is nothing to remember: choose a longer length, whole episodes, \
                           or an algorithm that has them, such as rsac in place of sac"
                    .into(),
            });
        }
        Ok(())
    }

    /// The settings, whatever a run learns from.
    pub fn algorithm(&self) -> &dyn AlgorithmConfig {
        match self {
            RlConfig::Streams(config) => &**config,
            RlConfig::Replay(config) => &**config,
        }
    }

    /// Actors that explore in ways of their own; 1 where all explore alike.
    pub(crate) fn exploring_actors(&self) -> u32 {
        let spread = match self {
            RlConfig::Streams(config) => config.exploration().and_then(|explore| explore.spread),
            RlConfig::Replay(config) => config.shared().exploration.spread,
        };
        spread.map_or(1, |spread| spread.actors)
    }
}

impl<'de> Deserialize<'de> for RlConfig {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut table = Table::deserialize(from)?;
        let name = table.remove("algorithm").ok_or_else(|| D::Error::missing_field("algorithm"))?;
        let Some(name) = name.as_str() else {
            return Err(D::Error::custom(format!("rl.algorithm is {name}, not a name")));
        };
        let Some((_, read)) = ALGORITHMS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<String> = Self::algorithms().map(|known| format!("`{known}`")).collect();
            let known = known.join(", ");
            return Err(D::Error::custom(format!(
                "unknown variant `{name}`, expected one of {known}"
            )));
        };
        read(table).map_err(|error| D::Error::custom(error.message()))
    }
}

/// Reads what `[rl]` says beside the algorithm's name.
type Read = fn(Table) -> Result<RlConfig, toml::de::Error>;

fn streams<C>(table: Table) -> Result<RlConfig, toml::de::Error>
where
    C: LearnsFromStreams + DeserializeOwned + 'static,
{
    let config: C = Value::Table(table).try_into()?;
    Ok(RlConfig::Streams(Arc::new(config)))
}

fn replay<O: Objective + DeserializeOwned>(table: Table) -> Result<RlConfig, toml::de::Error> {
    let config: OffPolicyConfig<O> = Value::Table(table).try_into()?;
    Ok(RlConfig::Replay(Arc::new(config)))
}
