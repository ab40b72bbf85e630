//! Record of a run's evaluations: rows of `evaluations.csv` and `final-evaluation.csv`, the best
//! checkpoint, and metrics.

use std::path::{Path, PathBuf};

use engram_mdp::Score;

use crate::durable::owner::Owner;
use crate::rpc::evaluation_queue::{Evaluation, Occasion};
use crate::storage::best_checkpoint::{BestCheckpoint, BestEvaluation};
use crate::storage::checkpoint_error::{CheckpointError, disk};
use crate::storage::final_evaluation::{FinalEvaluationTable, FinalScore};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::progress_log::ProgressTable;

/// Record of the evaluations of one run.
#[derive(Debug)]
pub struct EvaluationRecord {
    folder: PathBuf,
    /// Owner of the folder, where it has one.
    owner: Option<Owner>,
    /// Evaluations while training, once there are any.
    table: Option<ProgressTable>,
    best: Option<BestEvaluation>,
    metrics: Metrics,
}

impl EvaluationRecord {
    /// The record in a run's folder, which starts or goes on at `env_steps`. Later evaluations are
    /// forgotten; the best checkpoint stays, even if it is later.
    pub fn open(folder: &Path, env_steps: u64, metrics: Metrics) -> Result<Self, CheckpointError> {
        let file = evaluations(folder);
        let table = file.exists().then(|| ProgressTable::open(file.clone(), env_steps));
        let table = table.transpose().map_err(disk("open", &file))?;
        let best = BestCheckpoint::read(&checkpoints(folder))?.map(|best| best.evaluation);
        Ok(EvaluationRecord { folder: folder.into(), owner: None, table, best, metrics })
    }

    /// The same, of a learner that owns the folder. It keeps nothing once another one does.
    pub fn owned_by(self, owner: Owner) -> Self {
        EvaluationRecord { owner: Some(owner), ..self }
    }

    /// Env steps of the last evaluation while training.
    pub fn last_env_steps(&self) -> Option<u64> {
        self.table.as_ref()?.last().map(|env_steps| env_steps as u64)
    }

    /// Keeps a score. A disk that refuses it costs the row or the best checkpoint, not the run.
    pub fn add(&mut self, evaluation: &Evaluation, score: Score) {
        let Evaluation { env_steps, ref weights, .. } = *evaluation;
        let policy_version = weights.policy_version;
        tracing::info!(
            env_steps,
            policy_version,
            "evaluated: {}",
            score.sentence("episodes", None)
        );
        if self.owner.as_ref().is_some_and(|owner| owner.look().is_err()) {
            return;
        }
        match evaluation.occasion {
            Occasion::Training => {
                self.metrics.evaluated(policy_version, score.mean_return, score.success);
                self.add_row(evaluation, &score);
                self.keep_if_best(evaluation, score);
            }
            Occasion::End { set, checkpoint } => {
                let row = FinalScore {
                    env_steps,
                    updates: evaluation.updates,
                    policy_version,
                    checkpoint,
                    set,
                    episodes: score.episodes,
                    episode_return: score.mean_return,
                    return_std: score.return_std,
                    success: score.success,
                    episode_length: score.mean_length,
                };
                if let Err(error) = FinalEvaluationTable::read(&self.folder).add(row) {
                    tracing::warn!(%error, "a final evaluation is not written");
                }
            }
        }
    }

    fn add_row(&mut self, evaluation: &Evaluation, score: &Score) {
        let Evaluation { env_steps, updates, ref weights, .. } = *evaluation;
        let mut row = vec![
            ("env_steps", Some(env_steps as f64)),
            ("updates", Some(updates as f64)),
            ("policy_version", Some(weights.policy_version as f64)),
        ];
        row.extend(score.columns());
        let opened = match self.table.take() {
            Some(table) => Ok(table),
            None => ProgressTable::open(evaluations(&self.folder), env_steps),
        };
        let written = opened.and_then(|table| self.table.insert(table).add(&row));
        if let Err(error) = written {
            tracing::warn!(%error, "an evaluation is not written; training goes on");
        }
    }

    fn keep_if_best(&mut self, evaluation: &Evaluation, score: Score) {
        let found = BestEvaluation::new(evaluation, score);
        if self.best.as_ref().is_some_and(|best| !found.is_better_than(best)) {
            return;
        }
        let weights = evaluation.weights.bytes.clone();
        let best = BestCheckpoint { evaluation: found.clone(), weights };
        match best.write_of(&checkpoints(&self.folder), self.owner.as_ref()) {
            Ok(()) => self.best = Some(found),
            Err(error) => {
                self.metrics.checkpoint_failed();
                tracing::warn!(%error, "the best checkpoint is not written; the one before stays");
            }
        }
    }
}

fn evaluations(folder: &Path) -> PathBuf {
    folder.join("evaluations.csv")
}

fn checkpoints(folder: &Path) -> PathBuf {
    folder.join("checkpoints")
}
