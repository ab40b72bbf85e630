//! Evaluations of a run: when they are due, and how the run waits for the last ones.
//!
//! While training one is due with the first weights that are published after every
//! `run.eval_env_steps`; who plays them, and when, is up to evaluators, and training goes on
//! meanwhile. When the run has had its env steps, it waits: for those, then for the final evaluation
//! of the newest weights and of the best checkpoint.

use std::path::Path;
use std::thread::JoinHandle;

use engram_mdp::Seed;
use engram_policy::Snapshot;
use engram_service::threads::spawn_named;
use engram_service::{RunConfig, Shutdown};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::rpc::evaluation_queue::{
    CheckpointKind, Evaluation, EvaluationQueue, Occasion, PlayedEvaluation,
};
use crate::rpc::publisher::Weights;
use crate::storage::best_checkpoint::BestCheckpoint;
use crate::storage::evaluation_record::EvaluationRecord;
use crate::storage::final_evaluation::{FinalEvaluationTable, FinalScore};
use crate::storage::run_folder::RunFolder;
use crate::telemetry::counters::Counters;

/// Evaluations of one run, as its thread sees them.
pub(crate) struct Evaluations {
    settings: EvaluationSettings,
    queue: EvaluationQueue,
    /// Number of the last one that was due.
    last: u64,
    recorder: EvaluationRecorder,
}

/// EvaluationSettings of evaluations.
struct EvaluationSettings {
    /// The run's.
    seed: u64,
    /// Env steps between two of them; zero: there are none.
    interval: u64,
    episodes: u32,
    /// Episodes of a set at the end; zero: there are none.
    final_episodes: u32,
    final_sets: u32,
}

/// Thread that keeps scores, so that neither training nor a call waits for the disk.
struct EvaluationRecorder {
    stop: Shutdown,
    thread: JoinHandle<()>,
}

/// Weights of a run that has had its env steps.
pub(crate) struct TrainedWeights {
    pub(crate) weights: Weights,
    /// Env steps that they were learned from.
    pub(crate) env_steps: u64,
    /// Updates that made them.
    pub(crate) updates: u64,
}

/// End of a run's evaluations.
#[derive(Debug, Default)]
pub(crate) struct Evaluated {
    /// Scores of the final evaluation.
    pub(crate) scores: Vec<FinalScore>,
    /// True if shutdown came before the last evaluation was played.
    pub(crate) interrupted: bool,
}

/// Reason why the run does not wait for evaluators any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EndOfWait {
    /// Everything is played, or missed.
    Settled,
    /// No evaluator is there.
    Deserted,
    /// Shutdown came.
    Interrupted,
}

impl Evaluations {
    /// Those of a run, whose scores come through `played` and are kept in `record`.
    pub(crate) fn start(
        run: &RunConfig,
        queue: EvaluationQueue,
        played: mpsc::Receiver<PlayedEvaluation>,
        record: EvaluationRecord,
        runtime: Handle,
    ) -> Self {
        let settings = EvaluationSettings {
            seed: run.seed,
            interval: run.eval_env_steps,
            episodes: run.eval_episodes,
            final_episodes: run.final_eval_episodes,
            final_sets: run.final_eval_sets,
        };
        let last = record.last_env_steps().map_or(0, |at| settings.number(at));
        let recorder = EvaluationRecorder::start(played, record, runtime);
        Evaluations { settings, queue, last, recorder }
    }

    /// Has weights evaluated that are published just now, if that is due.
    pub(crate) fn published(&mut self, counters: &Counters, weights: &Snapshot) {
        let number = self.settings.number(counters.env_steps);
        if number <= self.last {
            return;
        }
        self.last = number;
        self.queue.offer(Evaluation {
            occasion: Occasion::Training,
            weights: weights.into(),
            env_steps: counters.env_steps,
            updates: counters.updates,
            episodes: self.settings.episodes,
            seed: Seed::new(self.settings.seed).derive("evaluation", number).number(),
        });
    }

    /// Waits for all evaluations of a run that has had its env steps, the final one included.
    pub(crate) fn finish(
        self,
        learned: TrainedWeights,
        folder: &RunFolder,
        runtime: &Handle,
        shutdown: &Shutdown,
    ) -> Evaluated {
        let wait = || runtime.block_on(self.wait(shutdown));
        let mut waited = wait();
        let is_final = self.settings.final_episodes > 0 && waited == EndOfWait::Settled;
        if is_final {
            self.offer_final(learned, folder);
            waited = wait();
        }
        if waited == EndOfWait::Deserted {
            self.queue.give_up("the run has ended");
            tracing::warn!(
                "no evaluator is there: start `engram-evaluator --learner ADDR`, and the learner again"
            );
        }
        self.recorder.finish();
        let scores = match is_final {
            true => FinalEvaluationTable::read(folder.path()).scores().to_vec(),
            false => Vec::new(),
        };
        Evaluated { scores, interrupted: waited == EndOfWait::Interrupted }
    }

    /// Waits until all evaluations are played, or nobody is expected to play them.
    async fn wait(&self, shutdown: &Shutdown) -> EndOfWait {
        let expected = self.settings.final_episodes > 0 || self.queue.expects_evaluators();
        tokio::select! {
            biased;
            () = self.queue.settled() => EndOfWait::Settled,
            () = shutdown.triggered() => EndOfWait::Interrupted,
            () = self.queue.deserted(), if expected => EndOfWait::Deserted,
            () = std::future::ready(()), if !expected => EndOfWait::Deserted,
        }
    }

    /// Offers all sets of the newest weights and of the best checkpoint that have no score yet.
    fn offer_final(&self, learned: TrainedWeights, folder: &RunFolder) {
        let EvaluationSettings { final_episodes: episodes, final_sets, seed, .. } = self.settings;
        let checkpoints = final_checkpoints(learned, &folder.checkpoints());
        let mut kept = FinalEvaluationTable::read(folder.path());
        let before = kept.scores().len();
        kept.retain(|score| {
            let place = (score.checkpoint, score.policy_version);
            let of =
                |(kind, of): &(CheckpointKind, TrainedWeights)| (*kind, of.weights.policy_version);
            checkpoints.iter().any(|checkpoint| of(checkpoint) == place)
                && score.episodes == u64::from(episodes)
                && score.set < final_sets
        });
        if kept.scores().len() < before
            && let Err(error) = kept.write()
        {
            tracing::warn!(%error, "final-evaluation.csv cannot be written");
        }
        for (checkpoint, TrainedWeights { env_steps, updates, weights }) in checkpoints {
            let place = |score: &FinalScore| (score.checkpoint, score.set);
            let known = |set| kept.scores().iter().any(|score| place(score) == (checkpoint, set));
            for set in (0..final_sets).filter(|&set| !known(set)) {
                self.queue.offer(Evaluation {
                    occasion: Occasion::End { set, checkpoint },
                    weights: weights.clone(),
                    env_steps,
                    updates,
                    episodes,
                    // The first one is what `engram eval` plays, the next one what it plays with
                    // the next seed.
                    seed: seed.wrapping_add(set.into()),
                });
            }
        }
    }
}

/// The newest weights and the best checkpoint, once if they are the same.
fn final_checkpoints(
    newest: TrainedWeights,
    folder: &Path,
) -> Vec<(CheckpointKind, TrainedWeights)> {
    let best = BestCheckpoint::read(folder).unwrap_or_else(|error| {
        tracing::warn!(%error, "the best checkpoint is not evaluated");
        None
    });
    let Some(BestCheckpoint { evaluation: of, weights: bytes }) = best else {
        return vec![(CheckpointKind::Newest, newest)];
    };
    let policy_version = of.policy_version;
    if policy_version == newest.weights.policy_version {
        return vec![(CheckpointKind::Both, newest)];
    }
    let weights = Weights { policy_version, bytes };
    let best = TrainedWeights { weights, env_steps: of.env_steps, updates: of.updates };
    vec![(CheckpointKind::Newest, newest), (CheckpointKind::Best, best)]
}

impl EvaluationSettings {
    /// Number of the evaluation that is due after so many env steps; zero: none.
    fn number(&self, env_steps: u64) -> u64 {
        env_steps.checked_div(self.interval).unwrap_or(0)
    }
}

impl EvaluationRecorder {
    fn start(
        mut played: mpsc::Receiver<PlayedEvaluation>,
        mut record: EvaluationRecord,
        runtime: Handle,
    ) -> Self {
        let stop = Shutdown::new();
        let stopping = stop.clone();
        let next = move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    next = played.recv() => next,
                    () = stopping.triggered() => None,
                }
            })
        };
        let thread = spawn_named("evaluations", move || {
            let mut next = next;
            while let Some(PlayedEvaluation { playing, score, kept }) = next() {
                record.add(playing.evaluation(), score);
                playing.recorded();
                // The evaluator may have left meanwhile.
                let _ = kept.send(());
            }
        });
        EvaluationRecorder { stop, thread }
    }

    fn finish(self) {
        self.stop.trigger();
        // If it has panicked, it has said so.
        let _ = self.thread.join();
    }
}
