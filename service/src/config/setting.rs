//! Settings: the class of a key, and the differences between two configurations.
//!
//! | class | settings | a checkpoint resumes under another value | a sweep's run goes on under another value | plots tell runs apart by it |
//! |---|---|---|---|---|
//! | [`Identity`](SettingClass::Identity) | `env.*`, `rl.*`, `seq.*`, `run.unroll_length` | no | no | yes |
//! | [`Seed`](SettingClass::Seed) | `run.seed` | no | no | no |
//! | [`Scale`](SettingClass::Scale) | actors, environments, batches, queues | yes | no | yes |
//! | [`Budget`](SettingClass::Budget) | `run.env_steps` | yes | yes | yes |
//! | [`Reporting`](SettingClass::Reporting) | intervals of logs, checkpoints, evaluations | yes | yes | no |
//! | [`Name`](SettingClass::Name) | `experiment`, `parts.*` | yes | no | no |

use std::fmt;

use toml::{Table, Value};

use super::table::leaves;

/// Class of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingClass {
    /// The experiment itself: another value is another experiment.
    Identity,
    /// The repetition of an experiment.
    Seed,
    /// Parallelism, batching and queues: more machines, the same experiment. Results may depend on
    /// it.
    Scale,
    /// The length of the run.
    Budget,
    /// Logs, checkpoints and evaluations: no result depends on it.
    Reporting,
    /// A word for other settings.
    Name,
}

/// Class of each key of `[run]`.
const RUN: [(&str, SettingClass); 19] = [
    ("seed", SettingClass::Seed),
    ("env_steps", SettingClass::Budget),
    ("actors", SettingClass::Scale),
    ("envs_per_actor", SettingClass::Scale),
    ("stagger_steps", SettingClass::Scale),
    ("unroll_length", SettingClass::Identity),
    ("max_batch_size", SettingClass::Scale),
    ("max_wait_ms", SettingClass::Scale),
    ("queue_trajectories", SettingClass::Scale),
    ("policy_lag", SettingClass::Scale),
    ("max_policy_lag", SettingClass::Scale),
    ("checkpoint_seconds", SettingClass::Reporting),
    ("checkpoints_kept", SettingClass::Reporting),
    ("log_seconds", SettingClass::Reporting),
    ("eval_actions", SettingClass::Reporting),
    ("eval_episodes", SettingClass::Reporting),
    ("eval_env_steps", SettingClass::Reporting),
    ("final_eval_episodes", SettingClass::Reporting),
    ("final_eval_sets", SettingClass::Reporting),
];

impl SettingClass {
    /// Class of a key of a resolved configuration, as in `run.seed` or `env.delay`. A key of `[run]`
    /// that this release does not know counts as [`Identity`](Self::Identity).
    pub fn of(key: &str) -> Self {
        match key.split_once('.') {
            None | Some(("parts", _)) => SettingClass::Name,
            Some(("run", key)) => {
                let known = RUN.into_iter().find(|(name, _)| *name == key);
                known.map_or(SettingClass::Identity, |(_, class)| class)
            }
            Some(_) => SettingClass::Identity,
        }
    }

    /// True if a run that resumes from a checkpoint may have another value.
    pub fn may_change_on_resume(self) -> bool {
        !matches!(self, SettingClass::Identity | SettingClass::Seed)
    }

    /// True if a run of a sweep may go on with another value: it prolongs the run, or no result
    /// depends on it.
    pub fn may_change_in_sweep(self) -> bool {
        matches!(self, SettingClass::Budget | SettingClass::Reporting)
    }

    /// True if runs with different values are different things to compare.
    pub fn tells_runs_apart(self) -> bool {
        matches!(self, SettingClass::Identity | SettingClass::Scale | SettingClass::Budget)
    }
}

/// A setting on which two configurations differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The key, as `section.key` or deeper.
    pub key: String,
    /// The older value; `None` where there is no such key.
    pub old: Option<Value>,
    /// The newer value.
    pub new: Option<Value>,
}

/// Settings on which two configurations differ, in the order of the newer one's keys, then those
/// that only the older one has.
pub fn differences(old: &Table, new: &Table) -> Vec<Difference> {
    let (old, new) = (leaves(old), leaves(new));
    let value = |all: &[(String, &Value)], key: &str| {
        all.iter().find(|(name, _)| name == key).map(|(_, value)| (*value).clone())
    };
    let gone = old.iter().filter(|(key, _)| new.iter().all(|(name, _)| name != key));
    let keys = new.iter().chain(gone).map(|(key, _)| key.clone());
    keys.map(|key| Difference { old: value(&old, &key), new: value(&new, &key), key })
        .filter(|difference| difference.old != difference.new)
        .collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| {
            value.as_ref().map_or_else(|| "nothing".into(), Value::to_string)
        };
        write!(f, "{} was {}, and is {} now", self.key, show(&self.old), show(&self.new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;

    #[test]
    fn every_key_of_run_has_a_class() {
        let run = "seed = 1\nenv_steps = 1\nactors = 1\nenvs_per_actor = 2\nstagger_steps = 0\n\
            unroll_length = 1\nmax_batch_size = 1\nmax_wait_ms = 0.0\nqueue_trajectories = 1\n\
            policy_lag = 1\nmax_policy_lag = 1\ncheckpoint_seconds = 1.0\ncheckpoints_kept = 1\n\
            log_seconds = 1.0\neval_episodes = 1\neval_env_steps = 0\n\
            final_eval_episodes = 0\nfinal_eval_sets = 1\n";
        let run: RunConfig = toml::from_str(run).unwrap();
        let keys = Table::try_from(run).unwrap();
        let keys: Vec<&str> = keys.keys().map(String::as_str).collect();
        assert_eq!(keys, RUN.map(|(key, _)| key));
    }

    #[test]
    fn a_key_that_no_release_knows_is_part_of_the_experiment() {
        for key in ["env.delay", "seq.memory.hidden", "run.unroll_length", "run.new"] {
            assert_eq!(SettingClass::of(key), SettingClass::Identity, "{key}");
        }
        for key in ["run", "experiment", "seq", "parts.seq"] {
            assert_eq!(SettingClass::of(key), SettingClass::Name, "{key}");
        }
    }

    #[test]
    fn every_key_that_differs_is_named_with_both_values() {
        let old: Table = toml::from_str("a.b = 1\na.c = [1]\nd = \"x\"").unwrap();
        let new: Table = toml::from_str("a.c = [2]\nd = \"x\"\ne = 0.5").unwrap();
        let found: Vec<String> = differences(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "a.c was [1], and is [2] now",
                "e was nothing, and is 0.5 now",
                "a.b was 1, and is nothing now"
            ]
        );
    }
}
