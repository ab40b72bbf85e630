//! Keys of a Gymnasium environment.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use toml::Table;

use crate::error::{EnvError, ParameterError, within};

/// The name in `[env]`.
pub(crate) const NAME: &str = "gym";

/// Limit on an answer where `step_seconds` is not set. It must be long: a level may be generated.
const STEP_LIMIT: Duration = Duration::from_secs(60);

/// The parameters of an environment of Gymnasium's, or of any package that registers with it.
///
/// Only `id` must be set: every other key switches something on.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GymConfig {
    /// The environment's id, as `gymnasium.make` takes it.
    pub id: String,
    /// A Python module that is imported first, as it registers the environment.
    pub module: Option<String>,
    /// Arguments of `gymnasium.make`.
    pub kwargs: Option<Table>,
    /// The Python that runs the server; else the variable `ENGRAM_PYTHON`, else `python3`.
    pub python: Option<String>,
    /// A server elsewhere, `unix:/PATH` or `HOST:PORT`, instead of one that the actor starts.
    pub address: Option<String>,
    /// Processes that share a group's environments; else one.
    pub workers: Option<u32>,
    /// Seconds after which a server that does not answer is replaced; else 60.
    pub step_seconds: Option<f64>,
    /// Steps of the environment per decision; their rewards are added.
    pub frame_skip: Option<u32>,
    /// Newest observations side by side, the oldest first, zeros before the start.
    pub frame_stack: Option<u32>,
    /// Color images become gray.
    pub grayscale: Option<bool>,
    /// Images become `[height, width]`, by averages of areas.
    pub resize: Option<[u32; 2]>,
    /// Rewards are cut to plus or minus this.
    pub clip_reward: Option<f64>,
    /// Probability that a step of the environment repeats the action before.
    pub sticky_actions: Option<f64>,
    /// Decisions after which an episode is truncated, instead of the environment's own limit.
    pub max_steps: Option<u32>,
    /// The observed numbers of a flat observation, or the observed parts of a Dict.
    pub observe: Option<Vec<Part>>,
    /// Bound of continuous actions that the environment does not bound.
    pub action_bound: Option<f64>,
    /// True for whoever will draw it; no key.
    #[serde(skip)]
    pub(crate) pictures: bool,
}

/// A part of an observation.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Part {
    /// A number of a flat observation, counted from zero.
    Index(u32),
    /// A part of a Dict.
    Name(String),
}

impl GymConfig {
    /// Checks every parameter that can be checked without the environment.
    pub(crate) fn validate(&self) -> Result<(), ParameterError> {
        let text = |key, text: &Option<String>| match text.as_deref() {
            Some("") => Err(ParameterError::new(key, "empty", "left out, or set")),
            _ => Ok(()),
        };
        if self.id.is_empty() {
            return Err(ParameterError::new("id", "empty", "an id, as in \"CartPole-v1\""));
        }
        text("module", &self.module)?;
        text("python", &self.python)?;
        if let Some(address) = &self.address {
            let well = address.strip_prefix("unix:").map_or_else(
                || address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()),
                |path| path.starts_with('/'),
            );
            if !well {
                let right = "\"unix:/PATH\" or \"HOST:PORT\"";
                return Err(ParameterError::new("address", address, right));
            }
        }
        within("workers", self.workers.unwrap_or(1), 1..=256)?;
        within("step_seconds", self.step_seconds.unwrap_or(1.0), 0.01..=86_400.0)?;
        within("frame_skip", self.frame_skip.unwrap_or(1), 1..=1000)?;
        within("frame_stack", self.frame_stack.unwrap_or(1), 1..=1000)?;
        for side in self.resize.iter().flatten() {
            within("resize", *side, 1..=2048)?;
        }
        within("clip_reward", self.clip_reward.unwrap_or(1.0), 1e-9..=1e9)?;
        within("sticky_actions", self.sticky_actions.unwrap_or(0.0), 0.0..=1.0)?;
        within("max_steps", self.max_steps.unwrap_or(1), 1..=u32::MAX)?;
        within("action_bound", self.action_bound.unwrap_or(1.0), 1e-9..=1e9)?;
        let Some(parts) = &self.observe else { return Ok(()) };
        let names = parts.iter().filter(|part| matches!(part, Part::Name(_))).count();
        if parts.is_empty() || (names != 0 && names != parts.len()) {
            let right = "numbers, counted from 0, or names of a Dict's parts";
            return Err(ParameterError::new("observe", format!("{parts:?}"), right));
        }
        Ok(())
    }

    /// An error of this environment's server.
    pub(crate) fn error(&self, reason: String) -> EnvError {
        EnvError::Server { environment: self.id.clone(), reason }
    }

    /// The program of the server.
    pub(super) fn program(&self) -> String {
        let variable = || std::env::var("ENGRAM_PYTHON").ok().filter(|name| !name.is_empty());
        self.python.clone().or_else(variable).unwrap_or_else(|| "python3".into())
    }

    /// Limit on an answer.
    pub(super) fn step_limit(&self) -> Duration {
        self.step_seconds.map_or(STEP_LIMIT, Duration::from_secs_f64)
    }

    /// Name of the spec: the id, and the wrappers that change how a frame looks.
    pub(super) fn look(&self) -> String {
        let mut look = String::new();
        if self.grayscale == Some(true) {
            look.push_str(", grayscale");
        }
        if let Some([height, width]) = self.resize {
            let _ = write!(look, ", resize={height}x{width}");
        }
        if let Some(parts) = &self.observe {
            let words: Vec<String> = parts.iter().map(Part::word).collect();
            let _ = write!(look, ", observe={}", words.join("+"));
        }
        if let Some(stack) = self.frame_stack.filter(|&stack| stack > 1) {
            let _ = write!(look, ", frame_stack={stack}");
        }
        match look.strip_prefix(", ") {
            Some(look) => format!("{NAME}:{}({look})", self.id),
            None => format!("{NAME}:{}", self.id),
        }
    }
}

impl Part {
    fn word(&self) -> String {
        match self {
            Part::Index(index) => index.to_string(),
            Part::Name(name) => name.clone(),
        }
    }
}
