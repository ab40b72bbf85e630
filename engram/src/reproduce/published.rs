//! Published table: scores, where they are from, and the experiment that makes them.
//!
//! ```toml
//! source = "A. Author 2023, https://…, table 3"
//! folder = "popgym"                    # of the worlds in configs/env and the layers in configs/seq
//! experiment = "popgym/ppo"
//! epoch_env_steps = 65_536             # the best of such stretches counts
//!
//! [easy.repeat-first]                  # level and world
//! gru = 1.0                            # a layer's score
//! best = { score = 1.0, layer = "GRU" }
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use engram_service::config::nearest;
use serde::Deserialize;

/// A published table.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PublishedTable {
    /// Source of the scores.
    pub(crate) source: String,
    /// Folder of its worlds and layers.
    folder: String,
    /// Experiment of all cells.
    pub(crate) experiment: String,
    /// Env steps of an epoch.
    pub(crate) epoch_env_steps: f64,
    /// Cells, by level and world.
    #[serde(flatten)]
    levels: BTreeMap<String, BTreeMap<String, Cells>>,
}

/// Cells of one world.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Cells {
    /// The best of all layers, published or not for each of them.
    pub(crate) best: Best,
    /// Scores by layer.
    #[serde(flatten)]
    scores: BTreeMap<String, f64>,
}

/// Best of a world.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Best {
    /// Its score.
    pub(crate) score: f64,
    /// Its layer.
    pub(crate) layer: String,
}

impl PublishedTable {
    /// The table `name` of `configs/published`.
    pub(crate) fn read(configs: &Path, name: &str) -> Result<Self> {
        let file = configs.join("published").join(format!("{name}.toml"));
        if !file.exists() {
            let known = engram_service::config::names(configs, "published")?.join(", ");
            bail!("no published table is called `{name}`; there is {known}");
        }
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", file.display()))
    }

    /// Name of the part, an environment or a sequence model, that `word` of the table is.
    pub(crate) fn part(&self, word: &str) -> String {
        format!("{}/{word}", self.folder)
    }

    /// All worlds of a level, or `some` of them.
    pub(crate) fn worlds(&self, level: &str, some: &[String]) -> Result<Vec<String>> {
        let Some(cells) = self.levels.get(level) else {
            let known = self.levels.keys().cloned().collect::<Vec<_>>().join(", ");
            bail!("the table has no level `{level}`; it has {known}");
        };
        for world in some {
            if !cells.contains_key(world) {
                let known: Vec<&str> = cells.keys().map(String::as_str).collect();
                bail!(
                    "the table has no world `{world}` at level {level}{}; it has {}",
                    nearest(world, known.iter().copied())
                        .map_or_else(String::new, |word| format!(", did you mean `{word}`?")),
                    known.join(", ")
                );
            }
        }
        Ok(if some.is_empty() { cells.keys().cloned().collect() } else { some.to_vec() })
    }

    /// Cells of a world.
    pub(crate) fn cells(&self, level: &str, world: &str) -> &Cells {
        &self.levels[level][world]
    }
}

impl Cells {
    /// Published score of a layer, if there is one.
    pub(crate) fn score(&self, layer: &str) -> Option<f64> {
        self.scores.get(layer).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn configs() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs")
    }

    #[test]
    fn every_table_names_parts_that_there_are() {
        let known = |kind| engram_service::config::names(&configs(), kind).unwrap();
        let (envs, experiments) = (known("env"), known("experiments"));
        for name in known("published") {
            let table = PublishedTable::read(&configs(), &name).unwrap();
            assert!(experiments.contains(&table.experiment), "{name}: {}", table.experiment);
            for (level, worlds) in &table.levels {
                for (world, cells) in worlds {
                    assert!(envs.contains(&table.part(world)), "{name}: {level}: {world}");
                    let scores = cells.scores.values();
                    assert!(scores.clone().all(|&score| score <= cells.best.score), "{world}");
                }
            }
        }
    }

    #[test]
    fn what_a_table_does_not_have_is_named_with_what_it_has() {
        let error = PublishedTable::read(&configs(), "popgim").unwrap_err().to_string();
        assert!(error.contains("`popgim`; there is popgym"), "{error}");
        let table = PublishedTable::read(&configs(), "popgym").unwrap();
        let error = table.worlds("esay", &[]).unwrap_err().to_string();
        assert!(error.contains("no level `esay`; it has easy, hard, medium"), "{error}");
        let error = table.worlds("easy", &["repeat-frist".into()]).unwrap_err().to_string();
        assert!(error.contains("did you mean `repeat-first`?"), "{error}");
        assert_eq!(table.worlds("easy", &[]).unwrap().len(), 8);
        assert_eq!(table.cells("easy", "count-recall").score("gru"), Some(0.177));
        assert_eq!(table.cells("easy", "count-recall").score("lstm"), None);
    }
}
