//! Metrics of the learner: the only place that knows their names.
//!
//! Handles are made once, so that the path of a trajectory pays one atomic addition per number.
//! [`metric_labels`](crate::telemetry::metric_labels) tell those of one name apart.

#![allow(clippy::disallowed_macros, reason = "this is the place where metrics are named")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engram_service::config::Parts;
use engram_service::{Resolved, RunConfig};
use metrics::{Counter, Gauge, Histogram, Unit};

use crate::telemetry::carry_table_stats::CarryTableStats;
use crate::telemetry::metric_labels::{Dropped, HeldBack, UpdatePhase};
use crate::telemetry::replay_size::ReplaySize;

const RUN_INFO: &str = "engram_run_info";
const RUN_ENV_STEPS: &str = "engram_run_env_steps";
const RUN_BUDGET: &str = "engram_run_budget_env_steps";
const CHECKPOINT_INTERVAL: &str = "engram_checkpoint_interval_seconds";
const TRAJECTORIES_RECEIVED: &str = "engram_trajectories_received_total";
const TRAJECTORIES_DROPPED: &str = "engram_trajectories_dropped_total";
const STREAM_GAPS: &str = "engram_stream_gaps_total";
const CARRY_TABLE_STREAMS: &str = "engram_carry_table_streams";
const CARRY_TABLE_BYTES: &str = "engram_carry_table_bytes";
const STREAM_RESTARTS: &str = "engram_stream_restarts_total";
const CARRY_TABLE_EVICTIONS: &str = "engram_carry_table_evictions_total";
const REPLAY_EPISODES: &str = "engram_replay_episodes";
const REPLAY_ENV_STEPS: &str = "engram_replay_env_steps";
const REPLAY_BYTES: &str = "engram_replay_bytes";
const REPLAY_DROPPED: &str = "engram_replay_dropped_env_steps_total";
const RATE_LIMITER_WAIT: &str = "engram_rate_limiter_wait_seconds_total";
const ACTORS: &str = "engram_actors";
const QUEUE_DEPTH: &str = "engram_queue_depth";
const POLICY_VERSION: &str = "engram_policy_version";
const POLICY_LAG: &str = "engram_policy_lag";
const ENV_STEPS: &str = "engram_learner_env_steps_total";
const EPISODES: &str = "engram_learner_episodes_total";
const EPISODE_RETURN: &str = "engram_learner_episode_return";
const EPISODE_SUCCESS: &str = "engram_learner_episode_success";
const EVALUATORS: &str = "engram_evaluators";
const EVALUATIONS: &str = "engram_evaluations_total";
const EVALUATIONS_MISSED: &str = "engram_evaluations_missed_total";
const EVALUATION_VERSION: &str = "engram_evaluation_policy_version";
const EVALUATION_RETURN: &str = "engram_evaluation_mean_return";
const EVALUATION_SUCCESS: &str = "engram_evaluation_success";
const UPDATES: &str = "engram_learner_updates_total";
const UPDATE_SECONDS: &str = "engram_learner_update_seconds";
const WAIT_SECONDS: &str = "engram_learner_wait_seconds_total";
const NON_FINITE: &str = "engram_non_finite_updates_total";
const WEIGHTS_PUBLISHED: &str = "engram_weights_published_total";
const WEIGHTS_BYTES: &str = "engram_weights_bytes_total";
const CHECKPOINT_SECONDS: &str = "engram_checkpoint_seconds";
const CHECKPOINT_SUCCESS: &str = "engram_checkpoint_last_success_timestamp_seconds";
const CHECKPOINT_FAILURES: &str = "engram_checkpoint_failures_total";

/// The learner's metrics.
#[derive(Clone)]
pub struct Metrics {
    run_env_steps: Gauge,
    received: Counter,
    dropped: [Counter; 4],
    replay_episodes: Gauge,
    replay_env_steps: Gauge,
    replay_bytes: Gauge,
    replay_dropped: Counter,
    rate_limiter_wait: [Gauge; 2],
    stream_gaps: Counter,
    carry_table_streams: Gauge,
    carry_table_bytes: Gauge,
    stream_restarts: Counter,
    carry_table_evictions: Counter,
    actors: Gauge,
    queue_depth: Gauge,
    policy_version: Gauge,
    policy_lag: Histogram,
    env_steps: Counter,
    episodes: Counter,
    evaluators: Gauge,
    evaluations: Counter,
    evaluations_missed: Counter,
    updates: Counter,
    phases: [Histogram; 6],
    data_wait: Gauge,
    non_finite: Counter,
    weights_published: Counter,
    weights_bytes: Counter,
    checkpoint_seconds: Histogram,
    checkpoint_success: Gauge,
    checkpoint_failures: Counter,
}

impl Metrics {
    /// Handles to all of them, in the recorder that the process has by now.
    pub fn new() -> Self {
        describe();
        let dropped =
            |reason: &'static str| metrics::counter!(TRAJECTORIES_DROPPED, "reason" => reason);
        Metrics {
            run_env_steps: metrics::gauge!(RUN_ENV_STEPS),
            received: metrics::counter!(TRAJECTORIES_RECEIVED),
            dropped: ["stale", "repeat", "invalid", "unreplayable"].map(dropped),
            replay_episodes: metrics::gauge!(REPLAY_EPISODES),
            replay_env_steps: metrics::gauge!(REPLAY_ENV_STEPS),
            replay_bytes: metrics::gauge!(REPLAY_BYTES),
            replay_dropped: metrics::counter!(REPLAY_DROPPED),
            rate_limiter_wait: ["insertions", "updates"]
                .map(|side| metrics::gauge!(RATE_LIMITER_WAIT, "side" => side)),
            stream_gaps: metrics::counter!(STREAM_GAPS),
            carry_table_streams: metrics::gauge!(CARRY_TABLE_STREAMS),
            carry_table_bytes: metrics::gauge!(CARRY_TABLE_BYTES),
            stream_restarts: metrics::counter!(STREAM_RESTARTS),
            carry_table_evictions: metrics::counter!(CARRY_TABLE_EVICTIONS),
            actors: metrics::gauge!(ACTORS),
            queue_depth: metrics::gauge!(QUEUE_DEPTH),
            policy_version: metrics::gauge!(POLICY_VERSION, "role" => "learner"),
            policy_lag: metrics::histogram!(POLICY_LAG),
            env_steps: metrics::counter!(ENV_STEPS),
            episodes: metrics::counter!(EPISODES),
            evaluators: metrics::gauge!(EVALUATORS),
            evaluations: metrics::counter!(EVALUATIONS),
            evaluations_missed: metrics::counter!(EVALUATIONS_MISSED),
            updates: metrics::counter!(UPDATES),
            phases: UpdatePhase::ALL
                .map(|phase| metrics::histogram!(UPDATE_SECONDS, "phase" => phase.name())),
            data_wait: metrics::gauge!(WAIT_SECONDS, "on" => "data"),
            non_finite: metrics::counter!(NON_FINITE),
            weights_published: metrics::counter!(WEIGHTS_PUBLISHED),
            weights_bytes: metrics::counter!(WEIGHTS_BYTES),
            checkpoint_seconds: metrics::histogram!(CHECKPOINT_SECONDS),
            checkpoint_success: metrics::gauge!(CHECKPOINT_SUCCESS),
            checkpoint_failures: metrics::counter!(CHECKPOINT_FAILURES),
        }
    }

    /// Name, parts and budget of the run; shown until the result is dropped.
    pub fn run(&self, run_id: &str, config: &Resolved, run: &RunConfig) -> Shown {
        let Parts { env, rl, seq } = config.parts().clone();
        let run_id = run_id.to_owned();
        let info =
            metrics::gauge!(RUN_INFO, "run" => run_id, "env" => env, "rl" => rl, "seq" => seq);
        info.set(1.0);
        metrics::gauge!(RUN_BUDGET).set(run.env_steps as f64);
        metrics::gauge!(CHECKPOINT_INTERVAL).set(run.checkpoint_interval().as_secs_f64());
        Shown(info)
    }

    /// Progress of the run; earlier processes' work counts.
    pub fn progress(&self, env_steps: u64) {
        self.run_env_steps.set(env_steps as f64);
    }

    /// An actor opened its stream of trajectories.
    pub fn actor_came(&self) {
        self.actors.increment(1.0);
    }

    /// Its stream ended.
    pub fn actor_left(&self) {
        self.actors.decrement(1.0);
    }

    /// So many good trajectories arrived.
    pub fn received(&self, trajectories: u64) {
        self.received.increment(trajectories);
    }

    /// So many trajectories will not be learned from.
    pub fn dropped(&self, reason: Dropped, trajectories: u64) {
        self.dropped[reason as usize].increment(trajectories);
    }

    /// Size of the replay.
    pub fn replay(&self, size: &ReplaySize) {
        self.replay_episodes.set(size.episodes as f64);
        self.replay_env_steps.set(size.env_steps as f64);
        self.replay_bytes.set((size.bytes + size.open_bytes) as f64);
    }

    /// Env steps whose episodes will never be complete.
    pub fn replay_dropped(&self, env_steps: u64) {
        self.replay_dropped.increment(env_steps);
    }

    /// The rate limiter has held one side back for so long.
    pub fn held_back(&self, side: HeldBack, time: Duration) {
        self.rate_limiter_wait[side as usize].increment(time.as_secs_f64());
    }

    /// Trajectories of a stream are missing.
    pub fn gap(&self) {
        self.stream_gaps.increment(1);
    }

    /// Size of the carry table, and what has happened to it.
    pub fn carry_table(&self, stats: &CarryTableStats) {
        self.carry_table_streams.set(stats.streams as f64);
        self.carry_table_bytes.set(stats.bytes as f64);
        self.stream_restarts.increment(stats.restarts);
        self.carry_table_evictions.increment(stats.evictions);
    }

    /// So many trajectories wait.
    pub fn queue_depth(&self, trajectories: usize) {
        self.queue_depth.set(trajectories as f64);
    }

    /// Episodes were reported; the means are over the latest ones. Without a mean there is no
    /// metric: zero would be a number too.
    pub fn episodes(&self, new: u64, episode_return: Option<f64>, success: Option<f64>) {
        self.episodes.increment(new);
        if let Some(mean) = episode_return {
            metrics::gauge!(EPISODE_RETURN).set(mean);
        }
        if let Some(share) = success {
            metrics::gauge!(EPISODE_SUCCESS).set(share);
        }
    }

    /// So many evaluators have an open stream.
    pub fn evaluators(&self, evaluators: usize) {
        self.evaluators.set(evaluators as f64);
    }

    /// Weights were evaluated while training; these numbers are there from the first time on.
    pub fn evaluated(&self, policy_version: u64, mean_return: f64, success: Option<f64>) {
        self.evaluations.increment(1);
        metrics::gauge!(EVALUATION_VERSION).set(policy_version as f64);
        metrics::gauge!(EVALUATION_RETURN).set(mean_return);
        if let Some(share) = success {
            metrics::gauge!(EVALUATION_SUCCESS).set(share);
        }
    }

    /// An evaluation was not played.
    pub fn evaluation_missed(&self) {
        self.evaluations_missed.increment(1);
    }

    /// The learner waited for a batch.
    pub fn waited_for_data(&self, time: Duration) {
        self.data_wait.increment(time.as_secs_f64());
    }

    /// A phase of an update took so long.
    pub fn phase(&self, phase: UpdatePhase, time: Duration) {
        self.phases[phase as usize].record(time.as_secs_f64());
    }

    /// A batch was learned from, at these policy lags.
    pub fn updated(&self, env_steps: u64, lags: impl Iterator<Item = u64>) {
        self.updates.increment(1);
        self.env_steps.increment(env_steps);
        lags.for_each(|lag| self.policy_lag.record(lag as f64));
    }

    /// An update was skipped.
    pub fn non_finite(&self, env_steps: u64) {
        self.non_finite.increment(1);
        self.env_steps.increment(env_steps);
    }

    /// New weights were published.
    pub fn published(&self, version: u64, bytes: usize) {
        self.policy_version.set(version as f64);
        self.weights_published.increment(1);
        self.weights_bytes.increment(bytes as u64);
    }

    /// A checkpoint is on the disk.
    pub fn checkpoint_written(&self, time: Duration, now: SystemTime) {
        self.checkpoint_seconds.record(time.as_secs_f64());
        let since_1970 = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.checkpoint_success.set(since_1970.as_secs_f64());
    }

    /// The disk refused one.
    pub fn checkpoint_failed(&self) {
        self.checkpoint_failures.increment(1);
    }
}

/// Run that is shown: a process may have one after the other.
pub struct Shown(Gauge);

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.set(0.0);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    let count = Unit::Count;
    describe_gauge!(RUN_INFO, count, "1 while a run goes on; the labels name it and its parts.");
    describe_gauge!(RUN_ENV_STEPS, count, "Agent decisions that the run has learned from.");
    describe_gauge!(RUN_BUDGET, count, "Agent decisions that the run will learn from.");
    describe_counter!(TRAJECTORIES_RECEIVED, count, "Good trajectories that arrived.");
    describe_counter!(TRAJECTORIES_DROPPED, count, "Trajectories not learned from, by reason.");
    describe_counter!(STREAM_GAPS, count, "Holes in streams of trajectories.");
    describe_gauge!(CARRY_TABLE_STREAMS, count, "Streams in the carry table.");
    describe_gauge!(CARRY_TABLE_BYTES, Unit::Bytes, "Bytes of the carry table.");
    describe_counter!(STREAM_RESTARTS, count, "Streams that began anew in the middle.");
    describe_counter!(CARRY_TABLE_EVICTIONS, count, "Streams evicted from the carry table.");
    describe_gauge!(REPLAY_EPISODES, count, "Complete episodes in the replay.");
    describe_gauge!(REPLAY_ENV_STEPS, count, "Env steps of these.");
    describe_gauge!(REPLAY_BYTES, Unit::Bytes, "Bytes of the replay, open episodes included.");
    describe_counter!(REPLAY_DROPPED, count, "Env steps of episodes that were cut off.");
    describe_gauge!(
        RATE_LIMITER_WAIT,
        Unit::Seconds,
        "Time that the rate limiter held a side back."
    );
    describe_gauge!(ACTORS, count, "Actors with an open stream of trajectories.");
    describe_gauge!(QUEUE_DEPTH, count, "Trajectories that wait for the learner.");
    describe_gauge!(POLICY_VERSION, count, "Version of the weights.");
    describe_histogram!(POLICY_LAG, count, "Versions that a trajectory is behind the learner.");
    describe_counter!(ENV_STEPS, count, "Agent decisions learned from.");
    describe_counter!(EPISODES, count, "Finished episodes reported to the learner.");
    describe_gauge!(EPISODE_RETURN, count, "Mean return of the latest 1000 episodes.");
    describe_gauge!(EPISODE_SUCCESS, count, "Share solved of the latest 1000 episodes.");
    describe_gauge!(EVALUATORS, count, "Evaluators with an open stream.");
    describe_counter!(EVALUATIONS, count, "Evaluations while training.");
    describe_counter!(EVALUATIONS_MISSED, count, "Evaluations that no evaluator played.");
    describe_gauge!(EVALUATION_VERSION, count, "Version of the weights evaluated last.");
    describe_gauge!(EVALUATION_RETURN, count, "Mean return of the last evaluation.");
    describe_gauge!(EVALUATION_SUCCESS, count, "Share solved of the last evaluation.");
    describe_counter!(UPDATES, count, "Steps of the optimizer.");
    let seconds = Unit::Seconds;
    describe_histogram!(UPDATE_SECONDS, seconds, "Time that an update takes, by phase.");
    // A gauge that only grows: the recorder's counters are whole numbers.
    describe_gauge!(WAIT_SECONDS, seconds, "Time that the learner waited, by what for.");
    describe_counter!(NON_FINITE, count, "Updates skipped because a number was not finite.");
    describe_counter!(WEIGHTS_PUBLISHED, count, "Versions of the weights published.");
    describe_counter!(WEIGHTS_BYTES, Unit::Bytes, "Bytes of all weights published.");
    describe_histogram!(CHECKPOINT_SECONDS, seconds, "Time to write a checkpoint to the disk.");
    describe_gauge!(CHECKPOINT_SUCCESS, seconds, "When the last checkpoint was written.");
    describe_gauge!(CHECKPOINT_INTERVAL, seconds, "Time from one checkpoint to the next.");
    describe_counter!(CHECKPOINT_FAILURES, count, "Checkpoints that the disk refused.");
}
