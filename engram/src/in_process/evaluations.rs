//! Evaluations during training: greedy episodes every so many env steps, in environments of their
//! own.
//!
//! Each takes the newest weights that the learner has published and plays with these to its end,
//! however far training gets meanwhile. Its score is a row of the run's `evaluations.csv`.

use std::path::PathBuf;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use engram_inference_server::{WeightsSource, weights};
use engram_learner::telemetry::progress_log::ProgressTable;
use engram_mdp::Seed;
use engram_service::Shutdown;
use engram_service::net::Address;
use engram_service::progress::ProgressLine;
use engram_service::threads::spawn_named;
use tokio::sync::watch;

use super::evaluation;
use crate::compute::Compute;
use crate::experiment::Experiment;
use crate::score::Score;

/// Evaluations of one run.
pub(crate) struct Evaluations {
    /// The experiment.
    pub(crate) experiment: Experiment,
    /// Name of the run.
    pub(crate) run_id: String,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// Address of the learner, which has the weights.
    pub(crate) learner: Address,
    /// Devices and threads.
    pub(crate) compute: Compute,
    /// Progress of the run.
    pub(crate) progress: watch::Receiver<ProgressLine>,
    /// Triggered when the run has ended.
    pub(crate) ending: Shutdown,
}

impl Evaluations {
    /// Evaluates until the run has ended, on a thread of its own.
    pub(crate) fn spawn(self) -> JoinHandle<Result<()>> {
        spawn_named("evaluations", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            self.run(&runtime)
        })
    }

    fn run(mut self, runtime: &tokio::runtime::Runtime) -> Result<()> {
        let interval = self.experiment.run.eval_env_steps;
        let mut table = None;
        let mut due = None;
        while let Some(line) = runtime.block_on(self.reached(due)) {
            // A run that is resumed does not repeat what it has evaluated.
            let reached = line.env_steps / interval;
            let begun = due.replace((reached + 1) * interval);
            let table = match &mut table {
                Some(table) => table,
                None => table.insert(
                    ProgressTable::open(self.folder.join("evaluations.csv"), line.env_steps)
                        .context("cannot write evaluations.csv")?,
                ),
            };
            if begun.is_none() {
                continue;
            }
            let Some(score) = self.evaluate(runtime, reached)? else { return Ok(()) };
            let mut row = vec![
                ("env_steps", Some(line.env_steps as f64)),
                ("updates", Some(line.updates as f64)),
            ];
            row.extend(score.columns());
            if let Err(error) = table.add(&row) {
                tracing::warn!(%error, "an evaluation is not written; training goes on");
            }
            tracing::info!(env_steps = line.env_steps, "{score}");
        }
        Ok(())
    }

    /// Waits until the run is as far as `due`, or has begun; `None` once it has ended.
    async fn reached(&mut self, due: Option<u64>) -> Option<ProgressLine> {
        tokio::select! {
            biased;
            () = self.ending.triggered() => None,
            line = self.progress.wait_for(|line| line.env_steps >= due.unwrap_or(1)) => {
                line.ok().map(|line| *line)
            }
        }
    }

    /// Plays with the newest weights; `None` where the run ended first.
    fn evaluate(&self, runtime: &tokio::runtime::Runtime, number: u64) -> Result<Option<Score>> {
        let newest = runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.ending.triggered() => None,
                newest = weights::newest(&self.learner, &self.run_id) => newest.ok(),
            }
        });
        let Some(bytes) = newest else { return Ok(None) };
        let run = &self.experiment.run;
        let seed = Seed::new(run.seed).derive("evaluation", number);
        let weights = WeightsSource::Bytes(bytes);
        let (compute, ending) = (self.compute, &self.ending);
        let played =
            evaluation::play(&self.experiment, seed, weights, run.eval_episodes, compute, ending)?;
        // Cut short by the end of the run: no whole evaluation.
        let score = Score::new(&played, self.experiment.env.optimum()).ok();
        Ok(score.filter(|_| !self.ending.is_triggered()))
    }
}
