//! Training loop: wait for a batch, update, have it published, and every so often report and save.
//!
//! The policy, the algorithm and the optimizer belong to the thread that runs this.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engram_policy::Snapshot;
use engram_service::Shutdown;
use engram_service::heartbeat::Heartbeat;
use engram_service::progress::ProgressLine;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use crate::algorithms::NonFinite;
use crate::batches::batch::LearnerBatch;
use crate::rpc::context::Stage;
use crate::rpc::shared_stats::SharedStats;
use crate::rpc::unroll_grants::UnrollGrants;
use crate::run::disk::Disk;
use crate::run::error::LearnerError;
use crate::run::evaluations::{Evaluated, TrainedWeights};
use crate::run::learner::Learner;
use crate::run::learner_config::LearnerConfig;
use crate::run::pipeline::Pipeline;
use crate::run::publishing::PublishingThread;
use crate::run::summary::{Ended, RunSummary};
use crate::storage::checkpoint_writer::PendingCheckpoint;
use crate::telemetry::episodes::WINDOW;
use crate::telemetry::interval_stats::IntervalStats;
use crate::telemetry::metric_labels::UpdatePhase;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::time_profile::TimeProfile;

/// A run, ready to train.
pub(crate) struct Training<P: Pipeline> {
    pub(crate) learner: Learner<P>,
    pub(crate) batches: mpsc::Receiver<LearnerBatch<P::Batch>>,
    pub(crate) publishing: PublishingThread,
    pub(crate) stage: watch::Sender<Stage>,
    pub(crate) grants: UnrollGrants,
    pub(crate) stats: Arc<SharedStats>,
    pub(crate) disk: Option<Disk>,
    pub(crate) progress: watch::Sender<ProgressLine>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
    pub(crate) runtime: Handle,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) limits: Limits,
}

/// Limits of training: its length, its intervals, and the failures that are borne.
pub(crate) struct Limits {
    pub(crate) env_steps: u64,
    /// Updates between two publications of the weights.
    pub(crate) publish_updates: u64,
    pub(crate) log_interval: Duration,
    pub(crate) checkpoint_interval: Duration,
    pub(crate) non_finite_updates: u32,
}

/// State that changes while it trains.
struct LoopState {
    /// Since the last row.
    interval: IntervalStats,
    /// Env steps per second in the interval before that, or in the first one so far.
    rate: f64,
    reported: bool,
    /// When time was last added to the run's seconds.
    clock: Instant,
    /// When a checkpoint was last made, or there was nothing to save.
    saved: Instant,
    non_finite_in_a_row: u32,
    /// Updates since weights were last published.
    unpublished: u64,
    /// Trajectories of the batch whose minibatches are being learned from.
    learned: usize,
    total: Total,
}

/// Over the whole life of this process.
struct Total {
    started: Instant,
    first_env_step: u64,
    stale: u64,
    time_profile: TimeProfile,
}

impl Limits {
    pub(crate) fn new<P: Pipeline>(config: &LearnerConfig, pipeline: &P) -> Self {
        Limits {
            env_steps: config.run.env_steps,
            publish_updates: pipeline.publish_updates(),
            log_interval: config.run.log_interval(),
            checkpoint_interval: config.run.checkpoint_interval(),
            non_finite_updates: config.rl.algorithm().max_non_finite_updates(),
        }
    }
}

impl<P: Pipeline> Training<P> {
    /// Trains until the run has had its env steps, or shutdown. The last checkpoint is on the
    /// disk when this returns; after an error, the last good one is.
    pub(crate) fn run(mut self) -> Result<RunSummary, LearnerError> {
        let mut state = self.begin();
        self.publish_first();
        match self.train(&mut state) {
            Ok(()) => Ok(self.end(state)),
            Err(error) => {
                self.heartbeat.rest();
                self.publishing.finish();
                // The disk may still be busy with a good checkpoint.
                self.disk.and_then(|disk| disk.writer.finish(None));
                Err(error)
            }
        }
    }

    fn train(&mut self, state: &mut LoopState) -> Result<(), LearnerError> {
        while !self.learner.is_finished() {
            let Some(batch) = self.wait_for_batch(state) else { break };
            state.unpublished += u64::from(self.update(&batch, state)?);
            state.learned += batch.policy_versions.len();
            if batch.last_minibatch {
                self.learned(state);
            }
            self.report(state);
            self.save_if_due(state);
        }
        if self.learner.is_finished() && state.unpublished > 0 {
            // What is evaluated at the end has a version of its own.
            self.publish(state, 0);
        }
        Ok(())
    }

    fn begin(&self) -> LoopState {
        let (now, counters) = (Instant::now(), self.learner.counters());
        self.metrics.progress(counters.env_steps);
        LoopState {
            interval: IntervalStats::start(
                now,
                counters,
                &self.stats.episodes(),
                &self.learner.columns(),
            ),
            rate: 0.0,
            reported: false,
            clock: now,
            saved: now,
            non_finite_in_a_row: 0,
            unpublished: 0,
            learned: 0,
            total: Total {
                started: now,
                first_env_step: counters.env_steps,
                stale: 0,
                time_profile: TimeProfile::default(),
            },
        }
    }

    /// Publishes the weights to start from: those of the checkpoint under their own version, unless
    /// a killed predecessor has used newer ones.
    fn publish_first(&mut self) {
        self.learner.explore();
        let used = self.disk.as_ref().map_or(0, |disk| disk.folder.newest_version());
        let version = self.learner.counters().policy_version;
        let weights = match version {
            1.. if used <= version => self.learner.snapshot(),
            _ => {
                self.learner.skip_versions(used);
                self.learner.next_snapshot()
            }
        };
        self.send(weights, 0);
    }

    /// The next batch; `None` on shutdown, when the batch thread has ended, or when another learner
    /// has taken the run over. A replay may fill for
    /// longer than the interval between checkpoints, and is saved meanwhile. Every wait beats, so one
    /// beat is never further from the next than an update, its publication and a checkpoint.
    fn wait_for_batch(&mut self, state: &mut LoopState) -> Option<LearnerBatch<P::Batch>> {
        loop {
            self.heartbeat.beat();
            if self.is_taken() {
                return None;
            }
            let forgotten = self.stats.membership().take_forgotten();
            if !forgotten.is_empty() {
                self.learner.pipeline_mut().forget(&forgotten, &self.metrics);
            }
            let started = Instant::now();
            let until = self.limits.checkpoint_interval.saturating_sub(state.saved.elapsed());
            let until = until.min(self.heartbeat.interval());
            let batch = self.runtime.block_on(async {
                let next = async {
                    tokio::select! {
                        biased;
                        () = self.shutdown.triggered() => None,
                        batch = self.batches.recv() => batch,
                    }
                };
                tokio::time::timeout(until, next).await
            });
            let waited = started.elapsed();
            self.metrics.waited_for_data(waited);
            state.interval.time_profile().waited(waited);
            match batch {
                Ok(batch) => return batch,
                Err(_due) => self.save_if_due(state),
            }
        }
    }

    /// True once somebody has seen that the run's folder has another owner.
    fn is_taken(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.folder.owner().taken().is_err())
    }

    /// Learns from a batch; `false` if the update was skipped. Too many of those in a row are an
    /// error.
    fn update(
        &mut self,
        batch: &LearnerBatch<P::Batch>,
        state: &mut LoopState,
    ) -> Result<bool, LearnerError> {
        let LearnerBatch { content, policy_versions, env_steps, stale, assembly_time, .. } = batch;
        let version = self.learner.counters().policy_version;
        let lags = || policy_versions.iter().map(|&acted| version.saturating_sub(acted));
        lags().for_each(|lag| state.interval.lag(lag));
        state.interval.stale(*stale);
        state.total.stale += stale;
        state.interval.time_profile().spent(UpdatePhase::Assemble, *assembly_time);
        let updated = self.learner.update(content, *env_steps);
        self.learner.pipeline_mut().report(&self.metrics);
        match updated {
            Ok(stats) => {
                let phases = stats.phases;
                self.metrics.phase(UpdatePhase::Forward, phases.forward);
                self.metrics.phase(UpdatePhase::Backward, phases.backward);
                self.metrics.phase(UpdatePhase::Optimizer, phases.optimizer);
                self.metrics.updated(*env_steps, lags());
                state.interval.updated(&stats);
                state.non_finite_in_a_row = 0;
                Ok(true)
            }
            Err(last) => {
                self.metrics.non_finite(*env_steps);
                state.non_finite_in_a_row += 1;
                self.tolerate(last, state.non_finite_in_a_row)?;
                Ok(false)
            }
        }
    }

    fn tolerate(&self, last: NonFinite, in_a_row: u32) -> Result<(), LearnerError> {
        if in_a_row < self.limits.non_finite_updates {
            tracing::warn!(in_a_row, "{last}");
            return Ok(());
        }
        Err(LearnerError::NonFinite { in_a_row, last })
    }

    /// A batch is learned from: its trajectories are under way until what they made of the weights is
    /// published.
    fn learned(&mut self, state: &mut LoopState) {
        let trajectories = std::mem::take(&mut state.learned);
        if state.unpublished < self.limits.publish_updates {
            return self.grants.learned(trajectories);
        }
        self.publish(state, trajectories);
        state.unpublished = 0;
    }

    fn publish(&mut self, state: &mut LoopState, learned: usize) {
        let started = Instant::now();
        let weights = self.learner.next_snapshot();
        self.send(weights, learned);
        let took = started.elapsed();
        self.metrics.phase(UpdatePhase::Publish, took);
        state.interval.time_profile().spent(UpdatePhase::Publish, took);
    }

    fn send(&mut self, weights: Snapshot, learned: usize) {
        if let Some(disk) = &mut self.disk {
            disk.publishing(self.learner.counters(), &weights);
        }
        self.publishing.offer(weights, learned);
    }

    /// Tells how far the run is; every so often, a row of the learning curves too.
    fn report(&mut self, state: &mut LoopState) {
        let now = Instant::now();
        self.metrics.progress(self.learner.counters().env_steps);
        self.learner.add_seconds(now.duration_since(state.clock).as_secs_f64());
        state.clock = now;
        let due = state.interval.elapsed(now) >= self.limits.log_interval;
        if due || !state.reported {
            state.rate = state.interval.rate(now, self.learner.counters());
        }
        self.progress.send_replace(self.line(state));
        if due {
            self.close_interval(now, state);
        }
    }

    fn line(&self, state: &LoopState) -> ProgressLine {
        let counters = self.learner.counters();
        let episodes = self.stats.episodes();
        let means = episodes.latest(WINDOW);
        ProgressLine {
            env_steps: counters.env_steps,
            budget: self.limits.env_steps,
            steps_per_second: state.rate,
            episodes: episodes.total(),
            mean_return: means.episode_return.map(|mean| mean as f32),
            return_of_100: episodes.return_of(100).map(|mean| mean as f32),
            success: means.success.map(|share| share as f32),
            updates: counters.updates,
            policy_lag: state.interval.mean_lag().unwrap_or(0.0) as f32,
        }
    }

    /// Adds a row, and starts the next interval.
    fn close_interval(&mut self, now: Instant, state: &mut LoopState) {
        let counters = self.learner.counters();
        let episodes = self.stats.episodes().clone();
        if let Some(disk) = &mut self.disk
            && disk.folder.owner().look().is_ok()
        {
            disk.progress_log.add(&state.interval.row(now, counters, &episodes));
        }
        state.total.time_profile.add(state.interval.time_profile());
        state.interval = IntervalStats::start(now, counters, &episodes, &self.learner.columns());
        state.reported = true;
    }

    fn save_if_due(&mut self, state: &mut LoopState) {
        if state.saved.elapsed() < self.limits.checkpoint_interval {
            return;
        }
        state.saved = Instant::now();
        if !self.has_unsaved() {
            return;
        }
        if self.disk.as_ref().is_some_and(|disk| disk.writer.is_busy()) {
            tracing::warn!("the disk is slower than run.checkpoint_seconds: one is left out");
            return;
        }
        let checkpoint = self.checkpoint();
        state.interval.time_profile().spent(UpdatePhase::Checkpoint, state.saved.elapsed());
        self.metrics.phase(UpdatePhase::Checkpoint, state.saved.elapsed());
        if let Some(disk) = &self.disk {
            disk.writer.write(checkpoint);
        }
    }

    /// True if the run has gone on since the newest checkpoint on the disk.
    fn has_unsaved(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.writer.written() != self.learner.mark())
    }

    fn checkpoint(&mut self) -> PendingCheckpoint {
        let membership = self.stats.membership().save();
        let episodes = self.stats.episodes().clone();
        let (checkpoint, replay) = self.learner.checkpoint(membership, episodes);
        PendingCheckpoint { checkpoint, replay }
    }

    /// The last row, the last checkpoint, the last evaluations, and what the run came to.
    fn end(mut self, mut state: LoopState) -> RunSummary {
        // The disk and evaluators take the time that they need.
        self.heartbeat.rest();
        // Whoever subscribes gets the last weights before he hears of the end.
        self.publishing.finish();
        self.report(&mut state);
        let now = Instant::now();
        let counters = *self.learner.counters();
        if state.interval.has_env_steps(&counters) {
            self.close_interval(now, &mut state);
        }
        let last = self.has_unsaved().then(|| self.checkpoint());
        let elapsed = now.duration_since(state.total.started);
        let means = self.stats.episodes().latest(WINDOW);
        let shares = state.total.time_profile.shares(elapsed);
        tracing::info!(
            env_steps = counters.env_steps,
            updates = counters.updates,
            bottleneck = %shares.bottleneck(),
            data_wait = format!("{:.0}%", 100.0 * shares.data_wait),
            "training ended"
        );
        let finished = self.learner.is_finished();
        if finished {
            self.stage.send_replace(Stage::Evaluating);
        }
        let learned = finished.then(|| TrainedWeights {
            weights: self.learner.weights(),
            env_steps: counters.env_steps,
            updates: counters.updates,
        });
        let (checkpoint, evaluated) = match self.disk {
            Some(disk) => disk.end(last, learned, &self.runtime, &self.shutdown),
            None => (None, Evaluated::default()),
        };
        let new_env_steps = (counters.env_steps - state.total.first_env_step) as f64;
        RunSummary {
            ended: match finished && !evaluated.interrupted {
                true => Ended::Finished,
                false => Ended::Stopped,
            },
            env_steps: counters.env_steps,
            updates: counters.updates,
            policy_version: counters.policy_version,
            episodes: self.stats.episodes().total(),
            means,
            stale_trajectories: state.total.stale,
            env_steps_per_second: new_env_steps / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            shares,
            checkpoint,
            final_evaluation: evaluated.scores,
        }
    }
}
