//! The metrics of actors: names, units, help.
//!
//! A group adds up its [`RolloutStats`] and reports them once per unroll, never per step.

#![allow(clippy::disallowed_macros)]

use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use ::metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};
use engram_mdp::Episode;
use tokio::runtime::Handle;

const ENV_STEPS: &str = "engram_env_steps_total";
const ENV_FRAMES: &str = "engram_env_frames_total";
const EPISODES: &str = "engram_episodes_total";
const EPISODE_RETURN: &str = "engram_episode_return";
const STEP_SECONDS: &str = "engram_actor_step_seconds";
const WAIT_SECONDS: &str = "engram_actor_wait_seconds";
const BUSY_SECONDS: &str = "engram_actor_busy_seconds_total";
const INTERRUPTIONS: &str = "engram_actor_interruptions_total";
const CLIPPED_ACTIONS: &str = "engram_actor_clipped_actions_total";
const BROKEN_EPISODES: &str = "engram_actor_broken_episodes_total";
const RECONNECTS: &str = "engram_actor_reconnects_total";
const UNACKNOWLEDGED: &str = "engram_actor_unacknowledged";
const UNREPORTED: &str = "engram_actor_episodes_unreported_total";

/// Registers unit and help of every metric.
pub(crate) fn describe() {
    static DESCRIBED: Once = Once::new();
    DESCRIBED.call_once(|| {
        describe_counter!(ENV_STEPS, "Decisions that environments have acted upon.");
        describe_counter!(ENV_FRAMES, "Emulator frames: env steps times action repeat.");
        describe_counter!(EPISODES, "Episodes that have ended; interrupted ones are not counted.");
        describe_histogram!(EPISODE_RETURN, "Undiscounted returns of the episodes that ended.");
        describe_histogram!(
            STEP_SECONDS,
            Unit::Seconds,
            "Time that a group's environments took to step through one unroll."
        );
        describe_histogram!(
            WAIT_SECONDS,
            Unit::Seconds,
            "Time that a group waited during one unroll, for the peer in the label `on`."
        );
        // A gauge that only grows: the recorder's counters are whole numbers.
        describe_gauge!(BUSY_SECONDS, Unit::Seconds, "Time that actors' threads were at work.");
        describe_counter!(INTERRUPTIONS, "Times that a group lost its policy and was reset.");
        describe_counter!(CLIPPED_ACTIONS, "Decisions whose continuous action was out of range.");
        describe_counter!(
            BROKEN_EPISODES,
            "Episodes cut off because an action was not a number or an environment failed."
        );
        describe_counter!(RECONNECTS, "Attempts to come back to the peer in the label `peer`.");
        describe_gauge!(UNACKNOWLEDGED, "Messages that the learner has not acknowledged yet.");
        describe_counter!(UNREPORTED, "Episodes dropped, because no learner took their report.");
        // There from the start: of a counter that begins with 1 nobody sees that it grew.
        counter!(UNREPORTED).increment(0);
        for peer in ["inference server", "learner"] {
            counter!(RECONNECTS, "peer" => peer).increment(0);
        }
    });
}

/// Statistics of a group's rollouts: counts and times.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RolloutStats {
    pub(crate) env_steps: u64,
    pub(crate) episodes: u64,
    pub(crate) interruptions: u64,
    pub(crate) clipped_actions: u64,
    pub(crate) broken_episodes: u64,
    pub(crate) stepping: Duration,
    pub(crate) waiting_on_inference: Duration,
    pub(crate) waiting_on_learner: Duration,
}

impl RolloutStats {
    /// Adds the counts and times of another.
    pub(crate) fn add(&mut self, other: &RolloutStats) {
        self.env_steps += other.env_steps;
        self.episodes += other.episodes;
        self.interruptions += other.interruptions;
        self.clipped_actions += other.clipped_actions;
        self.broken_episodes += other.broken_episodes;
        self.stepping += other.stepping;
        self.waiting_on_inference += other.waiting_on_inference;
        self.waiting_on_learner += other.waiting_on_learner;
    }
}

/// Metrics of a group.
pub(crate) struct GroupMetrics {
    env_steps: Counter,
    frames: Option<Counter>,
    action_repeat: u64,
    episodes: Counter,
    episode_return: Histogram,
    step_seconds: Histogram,
    wait_on_inference: Histogram,
    wait_on_learner: Histogram,
    interruptions: Counter,
    clipped_actions: Counter,
    broken_episodes: Counter,
    busy: Arc<BusyTime>,
}

impl GroupMetrics {
    /// For an environment with this action repeat; frames are counted only where they are not env
    /// steps. The groups of an actor share `busy`.
    pub(crate) fn new(action_repeat: u32, busy: Arc<BusyTime>) -> Self {
        GroupMetrics {
            env_steps: counter!(ENV_STEPS),
            frames: (action_repeat != 1).then(|| counter!(ENV_FRAMES)),
            action_repeat: action_repeat.into(),
            episodes: counter!(EPISODES),
            episode_return: histogram!(EPISODE_RETURN),
            step_seconds: histogram!(STEP_SECONDS),
            wait_on_inference: histogram!(WAIT_SECONDS, "on" => "inference"),
            wait_on_learner: histogram!(WAIT_SECONDS, "on" => "learner"),
            interruptions: counter!(INTERRUPTIONS),
            clipped_actions: counter!(CLIPPED_ACTIONS),
            broken_episodes: counter!(BROKEN_EPISODES),
            busy,
        }
    }

    /// Reports a group's statistics.
    pub(crate) fn report(&self, stats: &RolloutStats) {
        self.env_steps.increment(stats.env_steps);
        if let Some(frames) = &self.frames {
            frames.increment(stats.env_steps * self.action_repeat);
        }
        self.episodes.increment(stats.episodes);
        self.interruptions.increment(stats.interruptions);
        self.clipped_actions.increment(stats.clipped_actions);
        self.broken_episodes.increment(stats.broken_episodes);
        self.step_seconds.record(stats.stepping);
        self.wait_on_inference.record(stats.waiting_on_inference);
        self.wait_on_learner.record(stats.waiting_on_learner);
        self.busy.report();
    }

    /// Reports an episode that has ended.
    pub(crate) fn report_episode(&self, episode: &Episode) {
        self.episode_return.record(f64::from(episode.episode_return));
    }
}

/// Busy time of an actor's thread, by its runtime's own account: it steps environments,
/// records, packs and unpacks, and is at rest only while all of its groups wait.
pub(crate) struct BusyTime {
    gauge: Gauge,
    reported: Mutex<Duration>,
}

impl BusyTime {
    pub(crate) fn new() -> Self {
        BusyTime { gauge: gauge!(BUSY_SECONDS), reported: Mutex::new(Duration::ZERO) }
    }

    fn report(&self) {
        let busy = Handle::current().metrics().worker_total_busy_duration(0);
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        self.gauge.increment(busy.saturating_sub(*reported).as_secs_f64());
        *reported = busy;
    }
}

/// Messages that wait for the learner's acknowledgement. Several actors of one process share
/// the gauge, so each adds its own changes, and takes its share away when it leaves.
pub(crate) struct UnacknowledgedGauge {
    gauge: Gauge,
    now: usize,
}

impl UnacknowledgedGauge {
    pub(crate) fn new() -> Self {
        UnacknowledgedGauge { gauge: gauge!(UNACKNOWLEDGED), now: 0 }
    }

    pub(crate) fn set(&mut self, now: usize) {
        self.gauge.increment(now as f64 - self.now as f64);
        self.now = now;
    }
}

impl Drop for UnacknowledgedGauge {
    fn drop(&mut self) {
        self.set(0);
    }
}

/// Counts an attempt to come back to a peer.
pub(crate) fn reconnects(peer: &'static str) {
    counter!(RECONNECTS, "peer" => peer).increment(1);
}

/// Counts episodes that no learner will hear of.
pub(crate) fn unreported(episodes: usize) {
    counter!(UNREPORTED).increment(episodes as u64);
}
