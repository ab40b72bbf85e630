//! Interval stats: sums and means since the last row of the progress log, and the next row.

use std::time::{Duration, Instant};

use crate::telemetry::counters::Counters;
use crate::telemetry::episodes::{Episodes, WINDOW};
use crate::telemetry::metric_labels::UpdatePhase;
use crate::telemetry::progress_log::ProgressLogRow;
use crate::telemetry::time_profile::TimeProfile;
use crate::telemetry::update_stats::UpdateStats;

/// Stats of the time since the last row.
#[derive(Clone, Debug)]
pub struct IntervalStats {
    started: Instant,
    env_steps: u64,
    episodes: u64,
    time_profile: TimeProfile,
    lags: RunningMean,
    stale: u64,
    stats: Vec<(&'static str, RunningMean)>,
}

/// Mean of numbers that come one by one.
#[derive(Clone, Copy, Debug, Default)]
struct RunningMean {
    sum: f64,
    count: u64,
}

impl IntervalStats {
    /// Stats of an interval that starts now, where the run is this far; updates report numbers of
    /// the names `columns`.
    pub fn start(
        now: Instant,
        counters: &Counters,
        episodes: &Episodes,
        columns: &[&'static str],
    ) -> Self {
        IntervalStats {
            started: now,
            env_steps: counters.env_steps,
            episodes: episodes.total(),
            time_profile: TimeProfile::default(),
            lags: RunningMean::default(),
            stale: 0,
            stats: columns.iter().map(|&name| (name, RunningMean::default())).collect(),
        }
    }

    /// Adds an update.
    pub fn updated(&mut self, stats: &UpdateStats) {
        let phases = &stats.phases;
        self.time_profile.spent(UpdatePhase::Forward, phases.forward);
        self.time_profile.spent(UpdatePhase::Backward, phases.backward);
        self.time_profile.spent(UpdatePhase::Optimizer, phases.optimizer);
        for ((column, sum), &(name, value)) in self.stats.iter_mut().zip(&stats.numbers) {
            assert_eq!(*column, name, "an update reports the algorithm's columns");
            sum.add(value);
        }
    }

    /// Adds a trajectory's policy lag.
    pub fn lag(&mut self, versions: u64) {
        self.lags.add(versions as f64);
    }

    /// Adds trajectories dropped because they were stale.
    pub fn stale(&mut self, trajectories: u64) {
        self.stale += trajectories;
    }

    /// Time profile of the interval.
    pub fn time_profile(&mut self) -> &mut TimeProfile {
        &mut self.time_profile
    }

    /// Duration so far.
    pub fn elapsed(&self, now: Instant) -> Duration {
        now.duration_since(self.started)
    }

    /// True if the run went on in it.
    pub fn has_env_steps(&self, counters: &Counters) -> bool {
        counters.env_steps > self.env_steps
    }

    /// Env steps per second.
    pub fn rate(&self, now: Instant, counters: &Counters) -> f64 {
        let elapsed = self.elapsed(now).as_secs_f64();
        if elapsed == 0.0 {
            return 0.0;
        }
        (counters.env_steps - self.env_steps) as f64 / elapsed
    }

    /// Mean policy lag.
    pub fn mean_lag(&self) -> Option<f64> {
        self.lags.mean()
    }

    /// Row of the progress log. Returns are means over the episodes that ended in it, at most
    /// [`WINDOW`] of them.
    pub fn row(&self, now: Instant, counters: &Counters, episodes: &Episodes) -> ProgressLogRow {
        let ended = episodes.total().saturating_sub(self.episodes);
        let means = episodes.latest(usize::try_from(ended).map_or(WINDOW, |n| n.min(WINDOW)));
        let shares = self.time_profile.shares(self.elapsed(now));
        let mut row: ProgressLogRow = vec![
            ("env_steps", Some(counters.env_steps as f64)),
            ("updates", Some(counters.updates as f64)),
            ("policy_version", Some(counters.policy_version as f64)),
            ("seconds", Some(counters.seconds)),
            ("env_steps_per_second", Some(self.rate(now, counters))),
            ("episodes", Some(episodes.total() as f64)),
            ("episode_return", means.episode_return),
            ("success", means.success),
            ("episode_length", means.episode_length),
            ("policy_lag", self.mean_lag()),
            ("stale_trajectories", Some(self.stale as f64)),
            ("non_finite_updates", Some(counters.non_finite_updates as f64)),
        ];
        row.extend(self.stats.iter().map(|&(name, sum)| (name, sum.mean())));
        row.push(("data_wait_share", Some(shares.data_wait)));
        row.extend(UpdatePhase::ALL.map(|phase| (share_name(phase), Some(shares.of(phase)))));
        row
    }
}

impl RunningMean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

fn share_name(phase: UpdatePhase) -> &'static str {
    match phase {
        UpdatePhase::Assemble => "assemble_share",
        UpdatePhase::Forward => "forward_share",
        UpdatePhase::Backward => "backward_share",
        UpdatePhase::Optimizer => "optimizer_share",
        UpdatePhase::Publish => "publish_share",
        UpdatePhase::Checkpoint => "checkpoint_share",
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::{Ending, Episode, Finish};

    use super::*;
    use crate::telemetry::update_stats::Phases;

    fn report(episodes: &mut Episodes, returns: &[f32]) {
        let played: Vec<Episode> = returns
            .iter()
            .map(|&episode_return| Episode {
                env_index: 0,
                env_steps: 10,
                episode_return,
                success: None,
                finish: Finish::Ended(Ending::Truncated),
            })
            .collect();
        episodes.add(&played);
    }

    #[test]
    fn a_row_tells_of_its_own_interval_and_of_nothing_before() {
        let (start, mut episodes) = (Instant::now(), Episodes::default());
        report(&mut episodes, &[100.0]);
        let mut counters = Counters { env_steps: 1_000, ..Counters::default() };
        let mut interval = IntervalStats::start(start, &counters, &episodes, &["loss"]);
        report(&mut episodes, &[1.0, 2.0]);
        counters.env_steps = 1_500;
        for loss in [1.0, 3.0] {
            interval
                .updated(&UpdateStats { numbers: vec![("loss", loss)], phases: Phases::default() });
        }
        interval.lag(0);
        interval.lag(3);
        let row = interval.row(start + Duration::from_secs(2), &counters, &episodes);
        let value = |name| row.iter().find(|(found, _)| *found == name).unwrap().1;
        assert_eq!(row[0], ("env_steps", Some(1_500.0)));
        assert_eq!(value("env_steps_per_second"), Some(250.0));
        assert_eq!(value("episode_return"), Some(1.5));
        assert_eq!(value("success"), None);
        assert_eq!(value("policy_lag"), Some(1.5));
        assert_eq!(value("loss"), Some(2.0));
        assert_eq!(value("data_wait_share"), Some(0.0));
    }
}
