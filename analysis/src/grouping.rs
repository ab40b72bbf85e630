//! Grouping: the settings by which runs are told apart, as hue, panel or x axis.
//!
//! Without being told, the settings of the environment make panels (the only numeric one makes the
//! x axis of the aggregate plot), and everything else that differs makes hues. A setting that
//! follows from those already chosen, as a budget from a delay, is not named.

use anyhow::{Result, bail};
use engram_service::config::{SettingClass, nearest};

use crate::question::Question;
use crate::runs::Run;

/// Setting that names the environment.
const ENVIRONMENT: &str = "env.name";

/// Settings that make hues, panels and the x axis.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grouping {
    /// Runs that differ in these are compared within a panel.
    pub(crate) hue: Vec<String>,
    /// Runs that differ in these are in different panels.
    pub(crate) panel: Vec<String>,
    /// The x axis of the aggregate plot: one key, or one for each kind of environment.
    pub(crate) x: Vec<String>,
    /// Settings that differ although nobody asked for them: their runs are taken together.
    pub(crate) pooled: Vec<String>,
}

impl Grouping {
    /// The question's choice, and for the rest the settings in which runs differ.
    pub(crate) fn choose(runs: &[Run], question: &Question) -> Result<Self> {
        for key in question.hue.iter().chain(&question.panel).chain(&question.x) {
            check(runs, key)?;
        }
        let mut open = differing(runs);
        let mut grouping = Grouping::default();
        let asked = question.hue.iter().chain(&question.panel).chain(&question.x);
        let mut chosen: Vec<String> = asked.cloned().collect();
        let is_env = |key: &&String| key.starts_with("env.");
        let environments: Vec<String> = open.iter().filter(is_env).cloned().collect();
        // Whatever else is asked, environments that are not the same do not share axes.
        grouping.panel = question.panel.clone();
        if environments.iter().any(|key| key == ENVIRONMENT)
            && !chosen.iter().any(|key| key == ENVIRONMENT)
        {
            grouping.panel.insert(0, ENVIRONMENT.into());
            chosen.push(ENVIRONMENT.into());
        }
        grouping.x = match &question.x {
            Some(x) => vec![x.clone()],
            None => numbers_of_environments(runs, &environments, &chosen),
        };
        chosen.extend(grouping.x.iter().cloned());
        if question.panel.is_empty() {
            grouping.panel.extend(independent(runs, &mut chosen, &environments));
        }
        open.retain(|key| !key.starts_with("env.") || !question.panel.is_empty());
        let rest = independent(runs, &mut chosen, &open);
        if question.hue.is_empty() {
            grouping.hue = rest;
            grouping.x_of_the_rest(runs);
        } else {
            grouping.hue = question.hue.clone();
            grouping.pooled = rest;
        }
        Ok(grouping)
    }

    /// Falls back to the only number among other settings, where none of the environment's can be
    /// the x axis.
    fn x_of_the_rest(&mut self, runs: &[Run]) {
        if !self.x.is_empty() {
            return;
        }
        let numbers: Vec<String> =
            self.hue.iter().filter(|key| is_numeric(runs.iter(), key)).cloned().collect();
        if let [x] = &numbers[..] {
            self.hue.retain(|key| key != x);
            self.x = vec![x.clone()];
        }
    }

    /// Name of a run's hue.
    pub(crate) fn hue_of(&self, run: &Run) -> String {
        if self.hue.is_empty() {
            return run.setting("seq").unwrap_or(&run.name).to_owned();
        }
        label(run, &self.hue)
    }

    /// Key and value of the x axis, if the run has one.
    pub(crate) fn x_of<'a>(&'a self, run: &Run) -> Option<(&'a str, f64)> {
        let found = |key: &'a String| Some((key.as_str(), run.setting(key)?.parse().ok()?));
        self.x.iter().find_map(found)
    }
}

/// Values of some keys in words: parts by their names, other settings by key and value.
pub(crate) fn label(run: &Run, keys: &[String]) -> String {
    let word = |key: &String| {
        let value = run.setting(key)?;
        match key.as_str() {
            "seq" | "rl" | "run" | "env" | "env.name" => Some(value.to_owned()),
            _ => Some(format!("{} {value}", short_name(key))),
        }
    };
    keys.iter().filter_map(word).collect::<Vec<_>>().join(", ")
}

/// The last word of a key, with spaces.
pub(crate) fn short_name(key: &str) -> String {
    key.rsplit('.').next().unwrap_or(key).replace('_', " ")
}

fn check(runs: &[Run], key: &str) -> Result<()> {
    if runs.iter().any(|run| run.setting(key).is_some()) {
        return Ok(());
    }
    let known = runs.iter().flat_map(|run| &run.settings).map(|(key, _)| key.as_str());
    match nearest(key, known) {
        Some(near) => bail!("no run has the setting `{key}`; did you mean `{near}`?"),
        None => bail!("no run has the setting `{key}`; write it as in seq, env.delay or run.seed"),
    }
}

/// True if runs with other values of a setting are different things. Names tell nothing apart, save
/// for those by which people call models and algorithms.
fn tells_runs_apart(key: &str) -> bool {
    matches!(key, "seq" | "rl") || SettingClass::of(key).tells_runs_apart()
}

/// Settings that are not the same in all runs: the environment's first, then the names of parts.
fn differing(runs: &[Run]) -> Vec<String> {
    let mut keys: Vec<&String> = Vec::new();
    for (key, _) in runs.iter().flat_map(|run| &run.settings) {
        let same = || runs.iter().all(|run| run.setting(key) == runs[0].setting(key));
        if !keys.contains(&key) && tells_runs_apart(key) && !same() {
            keys.push(key);
        }
    }
    let rank = |key: &str| match key {
        "env.name" => 0,
        key if key.starts_with("env.") => 1,
        "seq" | "rl" => 2,
        _ => 3,
    };
    keys.sort_by_key(|key| rank(key));
    keys.into_iter().cloned().collect()
}

/// Those of `candidates` that do not follow from `chosen`, which they are added to.
fn independent(runs: &[Run], chosen: &mut Vec<String>, candidates: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for key in candidates {
        if !chosen.contains(key) && !follows(runs, key, chosen) {
            chosen.push(key.clone());
            found.push(key.clone());
        }
    }
    found
}

/// True if runs that agree in all of `chosen` agree in `key`.
fn follows(runs: &[Run], key: &str, chosen: &[String]) -> bool {
    let same = |a: &Run, b: &Run, key: &str| a.setting(key) == b.setting(key);
    runs.iter().enumerate().all(|(i, a)| {
        let twins = runs[..i].iter().filter(|b| chosen.iter().all(|key| same(a, b, key)));
        twins.into_iter().all(|b| same(a, b, key))
    })
}

fn is_numeric<'a>(mut runs: impl Iterator<Item = &'a Run>, key: &str) -> bool {
    runs.all(|run| run.setting(key).is_some_and(|value| value.parse::<f64>().is_ok()))
}

/// For each kind of environment its only independent number, if there is exactly one.
fn numbers_of_environments(runs: &[Run], environments: &[String], taken: &[String]) -> Vec<String> {
    let mut names: Vec<Option<&str>> = runs.iter().map(|run| run.setting("env.name")).collect();
    names.sort_unstable();
    names.dedup();
    let mut found: Vec<String> = Vec::new();
    for name in names {
        let group: Vec<Run> =
            runs.iter().filter(|run| run.setting("env.name") == name).cloned().collect();
        let varies = |key: &str| group.iter().any(|r| r.setting(key) != group[0].setting(key));
        let numbers: Vec<String> = environments
            .iter()
            .filter(|key| is_numeric(group.iter(), key) && varies(key) && !taken.contains(key))
            .cloned()
            .collect();
        if let [only] = &independent(&group, &mut Vec::new(), &numbers)[..]
            && !found.contains(only)
        {
            found.push(only.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::run;

    fn choose(runs: &[Run], question: &Question) -> Grouping {
        Grouping::choose(runs, question).unwrap()
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    /// Two lengths, whose budgets follow, by two models, of which one has a setting of its own.
    fn grid() -> Vec<Run> {
        let mut runs = Vec::new();
        for (delay, steps) in [("20", "500"), ("50", "900")] {
            for (seq, hidden) in [("lstm", "64"), ("gru", "128")] {
                for seed in ["1", "2"] {
                    let settings = [
                        ("env", "recall"),
                        ("seq", seq),
                        ("run.seed", seed),
                        ("run.env_steps", steps),
                        ("env.name", "recall"),
                        ("env.delay", delay),
                        ("seq.memory.hidden", hidden),
                        ("run.unroll_length", "5"),
                    ];
                    runs.push(run(&format!("{seq}-{delay}-seed{seed}"), &settings, 1.0));
                }
            }
        }
        runs
    }

    #[test]
    fn the_length_makes_the_x_axis_and_the_model_the_hue_and_what_follows_is_not_named() {
        let found = choose(&grid(), &Question::default());
        let expected = Grouping {
            hue: strings(&["seq"]),
            panel: Vec::new(),
            x: strings(&["env.delay"]),
            pooled: Vec::new(),
        };
        assert_eq!(found, expected);
        let run = &grid()[0];
        assert_eq!(found.hue_of(run), "lstm");
        assert_eq!(found.x_of(run), Some(("env.delay", 20.0)));
    }

    #[test]
    fn settings_that_nobody_asked_for_are_said_to_be_pooled() {
        let question = Question { hue: strings(&["env.delay"]), ..Question::default() };
        let found = choose(&grid(), &question);
        assert_eq!(found.pooled, ["seq"]);
        assert!(found.x.is_empty() && found.panel.is_empty());
    }

    #[test]
    fn without_a_number_of_the_environment_the_only_other_number_is_the_x_axis() {
        let of = |unroll: &str, seq: &str| {
            run("r", &[("seq", seq), ("run.unroll_length", unroll), ("run.seed", unroll)], 1.0)
        };
        let runs = [of("1", "a"), of("5", "a"), of("1", "b"), of("5", "b")];
        let found = choose(&runs, &Question::default());
        assert_eq!((found.x, found.hue), (strings(&["run.unroll_length"]), strings(&["seq"])));
    }

    #[test]
    fn every_kind_of_environment_has_its_own_length() {
        let of = |name: &str, key: &str, value: &str| {
            run("r", &[("env.name", name), (key, value), ("seq", "lstm")], 1.0)
        };
        let runs = [
            of("recall", "env.delay", "20"),
            of("recall", "env.delay", "50"),
            of("tmaze", "env.corridor_length", "10"),
            of("tmaze", "env.corridor_length", "20"),
        ];
        let found = choose(&runs, &Question::default());
        assert_eq!(found.x, ["env.delay", "env.corridor_length"]);
        assert_eq!(found.panel, ["env.name"]);
        assert_eq!(found.hue_of(&runs[0]), "lstm");
    }

    #[test]
    fn an_unknown_setting_is_answered_with_the_nearest() {
        let question = Question { x: Some("env.dela".into()), ..Question::default() };
        let error = Grouping::choose(&grid(), &question).unwrap_err().to_string();
        assert!(error.contains("did you mean `env.delay`?"), "{error}");
    }
}
