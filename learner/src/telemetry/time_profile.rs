//! Time profile: the learner's time by phase, and its bottleneck.

use std::time::Duration;

use crate::telemetry::metric_labels::UpdatePhase;

/// Time by phase, and time spent waiting for data.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TimeProfile {
    waited: Duration,
    phases: [Duration; UpdatePhase::ALL.len()],
}

/// Bottleneck of the learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LearnerBottleneck {
    /// The learner waits for trajectories: actors or the inference server are slower.
    Data,
    /// The learner waits for the batch thread.
    Assembly,
    /// The updates themselves.
    Updates,
}

/// Shares of the learner's time. The batch thread works beside it: its share is
/// of its own time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TimeShares {
    /// Waiting for a batch.
    pub data_wait: f64,
    /// By phase, in the order of [`UpdatePhase::ALL`].
    pub phases: [f64; UpdatePhase::ALL.len()],
}

impl TimeProfile {
    /// Adds a wait for data.
    pub fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Adds a phase's time.
    pub fn spent(&mut self, phase: UpdatePhase, time: Duration) {
        self.phases[phase as usize] += time;
    }

    /// Adds the times of another profile.
    pub fn add(&mut self, other: &TimeProfile) {
        self.waited += other.waited;
        for (sum, time) in self.phases.iter_mut().zip(other.phases) {
            *sum += time;
        }
    }

    /// Shares of `elapsed`.
    pub fn shares(&self, elapsed: Duration) -> TimeShares {
        let share = |time: Duration| match elapsed.as_secs_f64() {
            0.0 => 0.0,
            elapsed => time.as_secs_f64() / elapsed,
        };
        TimeShares { data_wait: share(self.waited), phases: self.phases.map(share) }
    }
}

impl TimeShares {
    /// Share of a phase.
    pub fn of(&self, phase: UpdatePhase) -> f64 {
        self.phases[phase as usize]
    }

    /// Bottleneck of the learner: where it waits for less than half of its time, itself.
    pub fn bottleneck(&self) -> LearnerBottleneck {
        match self.data_wait {
            ..0.5 => LearnerBottleneck::Updates,
            _ if self.of(UpdatePhase::Assemble) > 0.5 => LearnerBottleneck::Assembly,
            _ => LearnerBottleneck::Data,
        }
    }
}

impl std::fmt::Display for LearnerBottleneck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            LearnerBottleneck::Data => "data (actors or inference)",
            LearnerBottleneck::Assembly => "batch assembly",
            LearnerBottleneck::Updates => "updates",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_learner_that_waits_is_held_up_by_whom_it_waits_for() {
        let mut profile = TimeProfile::default();
        profile.spent(UpdatePhase::Forward, SECOND);
        assert_eq!(profile.shares(SECOND * 2).bottleneck(), LearnerBottleneck::Updates);
        profile.waited(SECOND * 9);
        assert_eq!(profile.shares(SECOND * 10).bottleneck(), LearnerBottleneck::Data);
        profile.spent(UpdatePhase::Assemble, SECOND * 8);
        assert_eq!(profile.shares(SECOND * 10).bottleneck(), LearnerBottleneck::Assembly);
        assert_eq!(profile.shares(SECOND * 10).of(UpdatePhase::Forward), 0.1);
    }

    #[test]
    fn no_time_at_all_has_no_shares() {
        assert_eq!(TimeProfile::default().shares(Duration::ZERO), TimeShares::default());
    }
}
