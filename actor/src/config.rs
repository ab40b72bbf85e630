//! Configuration of one actor.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engram_envs::EnvConfig;
use engram_mdp::Seed;
use engram_proto::limits::{MAX_ENVS_PER_STREAM, MAX_UNROLL_LENGTH};
use engram_service::Address;
use engram_service::config::ActionChoice;

use crate::error::ActorError;

/// Messages that programs leave unacknowledged: each group has one under way, and one more.
pub const MAX_UNACKNOWLEDGED: usize = 4;

/// Configuration of one actor.
#[derive(Clone, Debug)]
pub struct ActorConfig {
    /// Its number within the run, which no other actor of the run may have. Without one the learner
    /// gives it a free one, and an evaluation takes any.
    pub actor: Option<u32>,
    /// A number unlike that of any other process: by it the learner tells that it comes again, and
    /// actors are not in step, and spread over servers. Nothing that is learned depends on it.
    pub instance: u64,
    /// The run it belongs to; `None` means whichever the first peer to answer serves.
    pub run_id: Option<String>,
    /// Its environment.
    pub env: EnvConfig,
    /// Number of environments, in two groups (one, where there is one environment).
    pub envs: u32,
    /// The experiment's seed: an evaluation's environments are derived from it by the actor's
    /// number. An actor that trains draws from the seed that the learner gives it.
    pub seed: Seed,
    /// InferenceConnector servers, one or several behind each address. The groups spread over them,
    /// and fail over from one to the next.
    pub inference: Vec<Address>,
    /// Training or evaluation.
    pub mode: ActorMode,
    /// Limits on waiting for its peers.
    pub timeouts: Timeouts,
}

/// Mode of an actor: training or evaluation.
#[derive(Clone, Debug)]
pub enum ActorMode {
    /// It samples actions, and sends the learner what it sees.
    Train {
        /// Destination of trajectories and reports.
        learner: Address,
        /// The most steps after which the first episodes are cut off, so that environments do not
        /// stay in step; 0: they are not.
        stagger_steps: u32,
        /// Decisions per trajectory (T); the learner expects the same number.
        unroll_length: usize,
        /// `Trajectories` messages (of up to 1 MiB) that may be under way to the learner without
        /// its acknowledgement. When so many are, the environments stop: more of them smooth, and
        /// make data older.
        max_unacknowledged: usize,
    },
    /// It plays a number of episodes. No learner is needed.
    Evaluate {
        /// Episodes to play, the same number in every environment (one more in the first ones,
        /// where that does not come out even).
        episodes: u32,
        /// Actions that it takes.
        actions: ActionChoice,
    },
}

/// Timeouts of an actor. Not part of an experiment: no result depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Limit on an answer, after which a server is taken for dead: a registration, actions, or
    /// the receipt of a report. Acknowledgements of trajectories have no such limit, for a busy
    /// learner makes its actors wait; there the connection's keepalive tells.
    pub answer: Duration,
    /// Interval between reports of finished episodes. The first ones come sooner.
    pub report: Duration,
    /// Limit on the last report, when the actor leaves.
    pub farewell: Duration,
}

impl Timeouts {
    /// The timeouts of programs; tests use shorter ones.
    pub const STANDARD: Timeouts = Timeouts {
        answer: Duration::from_secs(20),
        report: Duration::from_secs(1),
        farewell: Duration::from_secs(2),
    };
}

/// A generation for an evaluation that starts now, which no learner gives one: milliseconds since
/// 1970. It is an identity, which has to grow from one process to the next, and no seed: nothing
/// random depends on it.
pub(crate) fn generation_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl ActorConfig {
    /// Checks every setting; the message names it, its value, and what would be right. An
    /// environment that is served elsewhere is asked for its spec.
    pub fn validate(&self) -> Result<(), ActorError> {
        within("envs", u64::from(self.envs), 1, u64::from(MAX_ENVS_PER_STREAM))?;
        if self.inference.is_empty() {
            return Err(ActorError::Setting {
                setting: "inference",
                found: "empty".into(),
                expected: "the address of at least one inference server".into(),
            });
        }
        self.env.try_spec()?;
        match self.mode {
            ActorMode::Train { unroll_length, max_unacknowledged, .. } => {
                within("unroll_length", unroll_length as u64, 1, MAX_UNROLL_LENGTH as u64)?;
                within("max_unacknowledged", max_unacknowledged as u64, 1, 1024)
            }
            ActorMode::Evaluate { episodes, .. } => {
                within("episodes", u64::from(episodes), 1, 1 << 20)
            }
        }
    }
}

fn within(setting: &'static str, value: u64, from: u64, to: u64) -> Result<(), ActorError> {
    if (from..=to).contains(&value) {
        return Ok(());
    }
    let (found, expected) = (value.to_string(), format!("{from} to {to}"));
    Err(ActorError::Setting { setting, found, expected })
}
