//! Results of a column: scores of finished runs beside the published ones.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use engram_analysis::curves::Curve;
use engram_analysis::epochs::{best_epoch, last_epoch};
use engram_analysis::statistics::{Estimate, mean};
use serde::Serialize;

use super::published::{Cells, PublishedTable};
use crate::sweep::SweepTask;

/// Results of all worlds of a column.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Results {
    source: String,
    level: String,
    layer: String,
    epoch_env_steps: f64,
    worlds: Vec<WorldResult>,
}

/// Result of one world.
#[derive(Clone, Debug, Serialize)]
struct WorldResult {
    world: String,
    /// The layer's published score.
    published: Option<f64>,
    published_best: f64,
    published_best_layer: String,
    /// Mean return of the best epoch, and of the last one, of each finished run.
    best_epochs: Vec<f64>,
    last_epochs: Vec<f64>,
    /// Env steps and seconds of each.
    env_steps: Vec<f64>,
    seconds: Vec<f64>,
}

impl Results {
    /// Of the runs among `tasks` that are finished; they are `worlds`, each with all its seeds.
    pub(super) fn of(
        table: &PublishedTable,
        level: &str,
        layer: &str,
        worlds: &[String],
        tasks: &[SweepTask],
    ) -> Result<Self> {
        let seeds = tasks.len() / worlds.len();
        let worlds = worlds.iter().zip(tasks.chunks(seeds)).map(|(world, tasks)| {
            let Cells { best, .. } = table.cells(level, world);
            let mut result = WorldResult {
                world: world.clone(),
                published: table.cells(level, world).score(layer),
                published_best: best.score,
                published_best_layer: best.layer.clone(),
                best_epochs: vec![],
                last_epochs: vec![],
                env_steps: vec![],
                seconds: vec![],
            };
            for task in tasks.iter().filter(|task| task.is_finished()) {
                let curve = Curve::read(&task.folder)?;
                let length = table.epoch_env_steps;
                result.best_epochs.extend(best_epoch(&curve.returns, length));
                result.last_epochs.extend(last_epoch(&curve.returns, length));
                result.env_steps.push(curve.env_steps);
                result.seconds.push(curve.seconds);
            }
            Ok(result)
        });
        Ok(Results {
            source: table.source.clone(),
            level: level.into(),
            layer: layer.into(),
            epoch_env_steps: table.epoch_env_steps,
            worlds: worlds.collect::<Result<_>>()?,
        })
    }

    /// True if no run is finished.
    pub(super) fn is_empty(&self) -> bool {
        self.worlds.iter().all(|world| world.best_epochs.is_empty())
    }

    /// Writes them as JSON.
    pub(super) fn write(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("results are no JSON")?;
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }
}

impl fmt::Display for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Results { level, layer, worlds, .. } = self;
        writeln!(f, "{layer}, {level}: mean over seeds of the best epoch's mean return\n")?;
        writeln!(
            f,
            "| world | published | here | last epoch | seeds | env steps | best published |\n\
             |---|---|---|---|---|---|---|"
        )?;
        for world in worlds {
            let published =
                world.published.map_or_else(|| "–".into(), |score| format!("{score:.3}"));
            let [best, last] = [&world.best_epochs, &world.last_epochs].map(|scores| {
                mean(scores).map_or_else(|| "–".into(), |of: Estimate| of.plus_minus())
            });
            let steps = mean(&world.env_steps).map_or(0.0, |steps| steps.value / 1e6);
            writeln!(
                f,
                "| {} | {published} | {best} | {last} | {} | {steps:.1} M | {:.3} ({}) |",
                world.world,
                world.best_epochs.len(),
                world.published_best,
                world.published_best_layer,
            )?;
        }
        Ok(())
    }
}
