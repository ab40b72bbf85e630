//! Settings of a run that belong neither to the environment, nor to the algorithm, nor to the
//! sequence model.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::ConfigError;

/// `[run]` of an experiment. The fields' words are the manual.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Every generator of the run is derived from it, by name and index.
    pub seed: u64,
    /// The run ends when the learner has learned from so many env steps (agent decisions), counted
    /// over all actors.
    pub env_steps: u64,
    /// Actors that one process starts, each on a thread of its own. Where actors are processes or
    /// containers, as many run as somebody starts.
    pub actors: u32,
    /// Environments of each actor: 1, or an even number that forms two groups, one of which steps
    /// while the other waits for its actions.
    pub envs_per_actor: u32,
    /// The first episode of every environment is cut off after a random number of env steps, at
    /// most so many; zero: it is not. Where all episodes last equally long, environments would
    /// otherwise stay in step for ever, and a batch of short trajectories show one moment of the
    /// episode only. Such an episode counts for nobody's statistics.
    pub stagger_steps: u32,
    /// Decisions per trajectory (T): how far gradients reach back, and how often an environment
    /// sends what it saw.
    pub unroll_length: usize,
    /// The most rows (environments) in one forward pass of the inference server. A request brings
    /// the rows of one group; a batch closes before the request that would overfill it.
    pub max_batch_size: usize,
    /// Milliseconds that the oldest request of a batch that is not full waits for company. Zero:
    /// whatever has arrived is served at once.
    pub max_wait_ms: f64,
    /// Trajectories that the learner's queue holds. When it is full pushes wait, and actors with
    /// them: a longer queue smooths, and makes data older.
    pub queue_trajectories: usize,
    /// Policy lag that the learner allows for, where it learns from streams: an unroll begins only
    /// if its trajectories will be learned from by weights at most so many published versions newer.
    /// 0: batches are played and learned from in turns. 1: the next batch is played meanwhile. Large:
    /// as fast as can be.
    pub policy_lag: u64,
    /// A trajectory whose weights are older than this many published versions is dropped, and
    /// counted.
    pub max_policy_lag: u64,
    /// Seconds between checkpoints; one more is written at the end.
    pub checkpoint_seconds: f64,
    /// Checkpoints kept; older ones are deleted once a newer one is complete.
    pub checkpoints_kept: usize,
    /// Seconds between progress lines, on the terminal and in `progress.csv`.
    pub log_seconds: f64,
    /// Actions of all evaluations; greedy where it is left out.
    #[serde(default)]
    pub eval_actions: ActionChoice,
    /// Episodes played by an evaluation while training.
    pub eval_episodes: u32,
    /// Env steps between evaluations while training, in environments of their own; zero: there are none.
    pub eval_env_steps: u64,
    /// Episodes in each set of the final evaluation; zero: there is none.
    pub final_eval_episodes: u32,
    /// Sets of the final evaluation, each in other environments.
    pub final_eval_sets: u32,
}

/// Choice of actions where nobody learns from them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionChoice {
    /// The most likely ones.
    #[default]
    Greedy,
    /// Drawn and explored as while training.
    Drawn,
}

impl ActionChoice {
    /// Episodes that are played so, in words.
    pub fn episodes(self) -> &'static str {
        match self {
            ActionChoice::Greedy => "greedy episodes",
            ActionChoice::Drawn => "episodes of drawn actions",
        }
    }
}

impl RunConfig {
    /// Checks every range; the message names the key, the range and its reason.
    pub fn validate(&self) -> Result<(), ConfigError> {
        within("env_steps", self.env_steps, 1..=u64::MAX >> 1, "a run without env steps is none")?;
        within("actors", self.actors, 1..=4096, "actors that one process starts")?;
        within("envs_per_actor", self.envs_per_actor, 1..=16_384, "environments of each actor")?;
        if self.envs_per_actor > 1 && !self.envs_per_actor.is_multiple_of(2) {
            return Err(range(
                "envs_per_actor",
                self.envs_per_actor,
                "1 or even",
                "two groups of the same size take turns",
            ));
        }
        within("stagger_steps", self.stagger_steps, 0..=1_000_000, "steps of the first episodes")?;
        within("unroll_length", self.unroll_length, 1..=65_536, "decisions per trajectory")?;
        let group = self.envs_per_group() as usize;
        if !(group..=65_536).contains(&self.max_batch_size) {
            return Err(range(
                "max_batch_size",
                self.max_batch_size,
                &format!("{group} to 65536"),
                "one request brings envs_per_actor / 2 rows, or one, and must fit into a batch",
            ));
        }
        within("max_wait_ms", self.max_wait_ms, 0.0..=10_000.0, "milliseconds that a batch waits")?;
        within(
            "queue_trajectories",
            self.queue_trajectories,
            1..=1 << 20,
            "trajectories that wait for the learner",
        )?;
        within("policy_lag", self.policy_lag, 0..=self.max_policy_lag, "or all would be dropped")?;
        within("checkpoint_seconds", self.checkpoint_seconds, 1.0..=1e6, "between checkpoints")?;
        within("checkpoints_kept", self.checkpoints_kept, 1..=10_000, "the newest always stays")?;
        within("log_seconds", self.log_seconds, 0.1..=86_400.0, "between progress lines")?;
        within("eval_episodes", self.eval_episodes, 1..=1_000_000, "episodes per evaluation")?;
        within("eval_env_steps", self.eval_env_steps, 0..=u64::MAX >> 1, "between evaluations")?;
        within(
            "final_eval_episodes",
            self.final_eval_episodes,
            0..=1_000_000,
            "episodes of a set",
        )?;
        within("final_eval_sets", self.final_eval_sets, 1..=1000, "sets of the final evaluation")
    }

    /// Environments of a group.
    pub fn envs_per_group(&self) -> u32 {
        self.envs_per_actor.div_ceil(2)
    }

    /// [`max_wait_ms`](Self::max_wait_ms) as a duration.
    pub fn max_wait(&self) -> Duration {
        Duration::from_secs_f64(self.max_wait_ms / 1e3)
    }

    /// [`checkpoint_seconds`](Self::checkpoint_seconds) as a duration.
    pub fn checkpoint_interval(&self) -> Duration {
        Duration::from_secs_f64(self.checkpoint_seconds)
    }

    /// [`log_seconds`](Self::log_seconds) as a duration.
    pub fn log_interval(&self) -> Duration {
        Duration::from_secs_f64(self.log_seconds)
    }
}

/// Refuses a number outside of `allowed`; NaN is outside of everything.
fn within<T: PartialOrd + Display>(
    key: &str,
    value: T,
    allowed: RangeInclusive<T>,
    why: &'static str,
) -> Result<(), ConfigError> {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(range(key, value, &format!("{} to {}", allowed.start(), allowed.end()), why))
}

fn range(key: &str, value: impl Display, range: &str, why: &'static str) -> ConfigError {
    ConfigError::Range {
        key: format!("run.{key}"),
        value: value.to_string(),
        range: range.into(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> RunConfig {
        RunConfig {
            seed: 1,
            env_steps: 1_000_000,
            actors: 2,
            envs_per_actor: 32,
            stagger_steps: 0,
            unroll_length: 20,
            max_batch_size: 64,
            max_wait_ms: 1.0,
            queue_trajectories: 64,
            policy_lag: 1,
            max_policy_lag: 100,
            checkpoint_seconds: 60.0,
            checkpoints_kept: 3,
            log_seconds: 2.0,
            eval_actions: ActionChoice::Drawn,
            eval_episodes: 100,
            eval_env_steps: 0,
            final_eval_episodes: 0,
            final_eval_sets: 1,
        }
    }

    #[test]
    fn the_guide_says_of_every_key_what_it_does_and_when_to_move_it() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/guide/configuration.md");
        let text = std::fs::read_to_string(page).unwrap();
        let (_, section) = text.split_once("\n## The `[run]` section\n").unwrap();
        let section = section.split("\n#").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        let rows: Vec<Vec<&str>> =
            rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect();
        let keys = toml::Table::try_from(good()).unwrap();
        for key in keys.keys() {
            let row = rows.iter().find(|row| row[0] == format!("`{key}`"));
            let row = row.unwrap_or_else(|| panic!("`{key}` has no row in {page}"));
            let full = row.len() == 3 && row.iter().all(|cell| !cell.is_empty());
            assert!(full, "`{key}` needs what it does and when to move it in {page}");
        }
        assert_eq!(rows.len(), keys.len(), "{page} has a row of a key that is none");
    }

    #[test]
    fn a_value_out_of_range_names_key_value_range_and_reason() {
        good().validate().unwrap();
        let refuse = |change: fn(&mut RunConfig)| {
            let mut bad = good();
            change(&mut bad);
            bad.validate().unwrap_err().to_string()
        };
        assert_eq!(
            refuse(|run| run.actors = 0),
            "`run.actors` is 0; it must be 1 to 4096: actors that one process starts"
        );
        assert_eq!(
            refuse(|run| run.envs_per_actor = 33),
            "`run.envs_per_actor` is 33; it must be 1 or even: two groups of the same size take turns"
        );
        let alone = RunConfig { envs_per_actor: 1, max_batch_size: 1, ..good() };
        alone.validate().unwrap();
        assert_eq!((alone.envs_per_group(), good().envs_per_group()), (1, 16));
        assert!(refuse(|run| run.max_batch_size = 15).contains("must be 16 to 65536"));
        assert!(refuse(|run| run.max_wait_ms = f64::NAN).contains("`run.max_wait_ms` is NaN"));
        assert!(refuse(|run| run.log_seconds = 0.0).contains("0.1 to 86400"));
    }
}
