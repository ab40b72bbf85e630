//! Groups: the seeds of one hue on one task, and their final scores.

use engram_service::format::number;

use crate::grouping::short_name;
use crate::runs::{ReferenceScores, Run};
use crate::statistics::{Estimate, first_reached, mean, median};

/// A run that took less than this share of its env steps ended early.
const WHOLE: f64 = 0.95;

/// The seeds of one hue on one task.
pub(crate) struct Group<'a> {
    /// Index of its hue.
    pub(crate) hue: usize,
    /// The task without the x axis, in words.
    pub(crate) panel: String,
    /// Key of the x axis, and the group's value.
    pub(crate) x: Option<(String, f64)>,
    /// Its runs, at least one.
    pub(crate) members: Vec<Member<'a>>,
}

/// One run of a group.
pub(crate) struct Member<'a> {
    /// The run.
    pub(crate) run: &'a Run,
    /// Its smoothed curve.
    pub(crate) rows: Vec<(f64, f64)>,
    /// The mean of its last 5 %.
    pub(crate) end: f64,
}

impl Member<'_> {
    /// True if it took clearly fewer env steps than it was to take.
    pub(crate) fn ended_early(&self) -> bool {
        self.run.budget.is_some_and(|budget| self.run.training.env_steps < WHOLE * budget)
    }
}

impl Group<'_> {
    /// The task in words.
    pub(crate) fn task(&self) -> String {
        let Some((key, x)) = &self.x else {
            return self.panel.clone();
        };
        let length = format!("{} {}", short_name(key), number(*x));
        if self.panel.is_empty() { length } else { format!("{}, {length}", self.panel) }
    }

    /// Final scores of its seeds.
    pub(crate) fn ends(&self) -> Vec<f64> {
        self.members.iter().map(|member| member.end).collect()
    }

    /// Their mean, with Student's interval.
    pub(crate) fn end(&self) -> Estimate {
        mean(&self.ends()).expect("a group has members")
    }

    /// Seeds that reached the threshold, and the env steps after which the median seed did; infinity
    /// if most of them did not.
    pub(crate) fn reached(&self, threshold: f64) -> (usize, f64) {
        let after = |member: &Member<'_>| first_reached(&member.rows, threshold);
        let steps: Vec<Option<f64>> = self.members.iter().map(after).collect();
        let count = steps.iter().flatten().count();
        let all: Vec<f64> = steps.iter().map(|steps| steps.unwrap_or(f64::INFINITY)).collect();
        (count, median(&all).expect("a group has members"))
    }

    /// Reference scores of its task.
    pub(crate) fn references(&self) -> ReferenceScores {
        self.members[0].run.references
    }
}
