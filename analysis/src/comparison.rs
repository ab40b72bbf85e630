//! Comparison: runs in groups, one for the seeds of each hue on each task.

use std::fmt;

use anyhow::{Result, bail};
use engram_service::format::number;

use crate::chart::ReferenceLine;
use crate::group::{Group, Member};
use crate::grouping::{Grouping, label};
use crate::question::{CheckpointChoice, EpisodeSource, Measure, Question};
use crate::runs::{ReferenceScores, Run};
use crate::statistics::{Estimate, final_mean, moving_average, stratified_iqm};

/// Share of solved episodes, or of the best return, that counts as having learned.
const LEARNED: f64 = 0.95;

/// All runs, as the question groups them.
pub(crate) struct Comparison<'a> {
    /// Settings that make hues, panels and the x axis.
    pub(crate) grouping: Grouping,
    /// Score of an episode.
    pub(crate) measure: Measure,
    /// Episodes that are measured.
    pub(crate) source: EpisodeSource,
    /// Checkpoint whose greedy episodes count.
    pub(crate) checkpoint: CheckpointChoice,
    /// Score that counts as having learned, where one is known.
    pub(crate) threshold: Option<f64>,
    /// Names of the things that are compared, in the order of colors.
    pub(crate) hues: Vec<String>,
    /// In the order of tasks, then hues.
    pub(crate) groups: Vec<Group<'a>>,
    /// Runs without any episode yet.
    pub(crate) empty: Vec<&'a str>,
}

impl<'a> Comparison<'a> {
    /// Groups the runs as the question asks for.
    pub(crate) fn new(runs: &'a [Run], question: &Question) -> Result<Self> {
        let width = question.smooth.unwrap_or(1);
        if width == 0 {
            bail!("a moving average of 0 rows is none; --smooth 1 leaves curves as they are");
        }
        let source = source(runs, question.source)?;
        let measure = measure(runs, source, question.measure)?;
        let mut comparison = Comparison {
            grouping: Grouping::choose(runs, question)?,
            measure,
            source,
            checkpoint: checkpoint(runs, question.checkpoint)?,
            threshold: question.threshold.or_else(|| default_threshold(runs, measure)),
            hues: Vec::new(),
            groups: Vec::new(),
            empty: Vec::new(),
        };
        for run in runs {
            let rows = moving_average(scores(run, source, measure), width);
            match final_mean(&rows) {
                Some(end) => comparison.add(Member { run, rows, end }),
                None => comparison.empty.push(&run.name),
            }
        }
        if comparison.groups.is_empty() {
            bail!("none of the runs holds a finished episode yet");
        }
        comparison.sort();
        Ok(comparison)
    }

    fn add(&mut self, member: Member<'a>) {
        let run = member.run;
        let name = self.grouping.hue_of(run);
        let hue = self.hues.iter().position(|hue| *hue == name).unwrap_or_else(|| {
            self.hues.push(name);
            self.hues.len() - 1
        });
        let panel = label(run, &self.grouping.panel);
        let x = self.grouping.x_of(run).map(|(key, x)| (key.to_owned(), x));
        let twin =
            |group: &&mut Group<'_>| (group.hue, &group.panel, &group.x) == (hue, &panel, &x);
        match self.groups.iter_mut().find(twin) {
            Some(group) => group.members.push(member),
            None => self.groups.push(Group { hue, panel, x, members: vec![member] }),
        }
    }

    fn sort(&mut self) {
        let mut panels: Vec<String> = Vec::new();
        for group in &self.groups {
            if !panels.contains(&group.panel) {
                panels.push(group.panel.clone());
            }
        }
        panels.sort_by(|a, b| natural(a).partial_cmp(&natural(b)).expect("no number is NaN"));
        let position = |group: &Group<'_>| panels.iter().position(|panel| *panel == group.panel);
        let x = |group: &Group<'_>| group.x.as_ref().map_or(0.0, |(_, x)| *x);
        self.groups.sort_by(|a, b| {
            position(a).cmp(&position(b)).then(x(a).total_cmp(&x(b))).then(a.hue.cmp(&b.hue))
        });
    }

    /// Name of the measure, on axes.
    pub(crate) fn measure_name(&self) -> &'static str {
        match self.measure {
            Measure::Return => "episode return",
            Measure::Success => "episodes solved",
        }
    }

    /// Ends of an axis of scores.
    pub(crate) fn range(&self) -> Option<(f64, f64)> {
        (self.measure == Measure::Success).then_some((0.0, 1.0))
    }

    /// Reference lines of these groups: the scores on which all of their environments agree.
    pub(crate) fn reference_lines(&self, groups: &[&Group<'_>]) -> Vec<ReferenceLine> {
        let agreed = |value: &dyn Fn(ReferenceScores) -> Option<f64>| {
            let mut values = groups.iter().map(|group| value(group.references()));
            let first = values.next()??;
            values.all(|value| value == Some(first)).then_some(first)
        };
        let optimum = agreed(&|scores| self.optimum(scores));
        let memoryless = agreed(&|scores| Some(scores.memoryless? * self.optimum(scores)?));
        let line = |label: &str, y: Option<f64>| Some(ReferenceLine { label: label.into(), y: y? });
        let lines = [line("without memory at best", memoryless), line("optimum", optimum)];
        lines.into_iter().flatten().collect()
    }

    fn optimum(&self, scores: ReferenceScores) -> Option<f64> {
        match self.measure {
            Measure::Success => Some(1.0),
            Measure::Return => scores.optimum,
        }
    }

    /// The inter-quartile mean of a hue over all tasks, and over how many; `None` where returns of
    /// its tasks are not on one scale.
    pub(crate) fn over_tasks(&self, hue: usize) -> Option<(Estimate, usize)> {
        let groups: Vec<&Group<'_>> = self.groups.iter().filter(|g| g.hue == hue).collect();
        let scale = |group: &Group<'_>| self.optimum(group.references());
        let one_scale =
            groups.iter().all(|group| scale(group).is_some() && scale(group) == scale(groups[0]));
        if groups.len() > 1 && !one_scale {
            return None;
        }
        let strata: Vec<Vec<f64>> = groups.iter().map(|group| group.ends()).collect();
        Some((stratified_iqm(&strata)?, groups.len()))
    }

    /// Runs that ended early, each with how far it came.
    pub(crate) fn ended_early(&self) -> Vec<String> {
        let members = self.groups.iter().flat_map(|group| &group.members);
        let early = members.filter(|member| member.ended_early());
        early
            .map(|member| {
                let (steps, budget) = (member.run.training.env_steps, member.run.budget);
                format!(
                    "{} at {} of {}",
                    member.run.name,
                    number(steps),
                    number(budget.unwrap_or(0.0))
                )
            })
            .collect()
    }

    /// Notes that a reader of the scores must know, a sentence each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = vec![format!("{}; mean and 95% interval (Student's t) over seeds", self)];
        if !self.grouping.pooled.is_empty() {
            notes.push(format!(
                "taken together although they differ: {}",
                self.grouping.pooled.join(", ")
            ));
        }
        let early = self.ended_early();
        if !early.is_empty() {
            notes.push(format!("ended early (×): {}", few(&early)));
        }
        if !self.empty.is_empty() {
            let empty: Vec<String> = self.empty.iter().map(ToString::to_string).collect();
            notes.push(format!("no finished episode yet: {}", few(&empty)));
        }
        notes
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            EpisodeSource::Training => "episodes of training",
            EpisodeSource::Evaluation => "greedy evaluations",
        })
    }
}

/// The first three of a list and how many more there are: a chart has no room for fifty.
fn few(all: &[String]) -> String {
    match all.len().checked_sub(3) {
        Some(more) if more > 0 => format!("{}, and {more} more", all[..3].join(", ")),
        _ => all.join(", "),
    }
}

/// Text in pieces, so that numbers are in their own order: 5 before 10.
fn natural(text: &str) -> Vec<(String, f64)> {
    let words = text.split(' ').map(|word| word.trim_end_matches(','));
    words
        .map(|word| match word.parse::<f64>() {
            Ok(number) if number.is_finite() => (String::new(), number),
            _ => (word.to_owned(), 0.0),
        })
        .collect()
}

fn scores(run: &Run, source: EpisodeSource, measure: Measure) -> &[(f64, f64)] {
    run.curve(source).map_or(&[], |curve| curve.scores(measure))
}

/// Evaluations where all runs have them.
fn source(runs: &[Run], asked: Option<EpisodeSource>) -> Result<EpisodeSource> {
    let without: Vec<String> = runs
        .iter()
        .filter(|run| run.evaluation.is_none() && !run.training.returns.is_empty())
        .map(|run| run.name.clone())
        .collect();
    match asked {
        Some(EpisodeSource::Evaluation) if !without.is_empty() => bail!(
            "no evaluations while training in {}; --source training draws all runs",
            few(&without)
        ),
        Some(source) => Ok(source),
        None if without.is_empty() => Ok(EpisodeSource::Evaluation),
        None => Ok(EpisodeSource::Training),
    }
}

/// Checkpoint that is asked for, which some run must have.
fn checkpoint(runs: &[Run], asked: Option<CheckpointChoice>) -> Result<CheckpointChoice> {
    let asked = asked.unwrap_or_default();
    if asked == CheckpointChoice::Best && runs.iter().all(|run| run.best.is_none()) {
        bail!(
            "no run has greedy episodes of its best checkpoint: they need run.eval_env_steps and \
             run.final_eval_episodes; --checkpoint newest takes those of the newest weights"
        );
    }
    Ok(asked)
}

/// Solved episodes where all environments can tell.
fn measure(runs: &[Run], source: EpisodeSource, asked: Option<Measure>) -> Result<Measure> {
    let curves = || runs.iter().filter_map(|run| Some((run, run.curve(source)?)));
    let without: Vec<String> = curves()
        .filter(|(_, curve)| curve.success.is_empty() && !curve.returns.is_empty())
        .map(|(run, _)| run.name.clone())
        .collect();
    match asked {
        Some(Measure::Success) if !without.is_empty() => bail!(
            "the environments of {} do not tell whether an episode was solved; use --measure \
             return",
            few(&without)
        ),
        Some(measure) => Ok(measure),
        None if without.is_empty() => Ok(Measure::Success),
        None => Ok(Measure::Return),
    }
}

fn default_threshold(runs: &[Run], measure: Measure) -> Option<f64> {
    if measure == Measure::Success {
        return Some(LEARNED);
    }
    let optimum = runs[0].references.optimum?;
    let same = runs.iter().all(|run| run.references.optimum == Some(optimum));
    (same && optimum > 0.0).then_some(LEARNED * optimum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::tests::run;

    fn grid() -> Vec<Run> {
        let mut runs = Vec::new();
        for delay in ["100", "20"] {
            for (seq, end) in [("lstm", 0.5), ("gpt2", 1.0)] {
                for seed in 0..3 {
                    let settings =
                        [("seq", seq), ("env.delay", delay), ("run.seed", &seed.to_string())];
                    let mut run = run(&format!("{seq}-{delay}-{seed}"), &settings, end);
                    run.references = ReferenceScores { optimum: Some(1.0), memoryless: Some(0.25) };
                    runs.push(run);
                }
            }
        }
        runs
    }

    #[test]
    fn seeds_are_grouped_by_hue_and_task_in_the_order_of_lengths() {
        let runs = grid();
        let found = Comparison::new(&runs, &Question::default()).unwrap();
        assert_eq!(found.hues, ["lstm", "gpt2"]);
        let groups: Vec<(String, usize, usize)> =
            found.groups.iter().map(|g| (g.task(), g.hue, g.members.len())).collect();
        let expected = [("delay 20", 0), ("delay 20", 1), ("delay 100", 0), ("delay 100", 1)]
            .map(|(task, hue)| (task.to_owned(), hue, 3));
        assert_eq!(groups, expected);
        assert_eq!((found.measure, found.source), (Measure::Success, EpisodeSource::Training));
        // The last five of a hundred rows of a line up to 0.5.
        assert!((found.groups[0].end().value - 0.49).abs() < 1e-12);
        assert_eq!(found.groups[1].reached(0.95), (3, 950.0));
        assert_eq!(found.groups[0].reached(0.95), (0, f64::INFINITY));
        let (estimate, tasks) = found.over_tasks(1).unwrap();
        assert!((estimate.value - 0.98).abs() < 1e-12 && tasks == 2, "{estimate:?}");
    }

    #[test]
    fn what_environments_allow_is_drawn_where_they_agree() {
        let mut runs = grid();
        let lines = |runs: &[Run], measure| {
            let question = Question { measure: Some(measure), ..Question::default() };
            let found = Comparison::new(runs, &question).unwrap();
            let groups: Vec<&Group<'_>> = found.groups.iter().collect();
            found.reference_lines(&groups).into_iter().map(|line| line.y).collect::<Vec<_>>()
        };
        assert_eq!(lines(&runs, Measure::Success), [0.25, 1.0]);
        runs.iter_mut().for_each(|run| run.references.optimum = Some(4.0));
        assert_eq!(lines(&runs, Measure::Return), [1.0, 4.0]);
        runs[0].references = ReferenceScores::default();
        assert_eq!(lines(&runs, Measure::Return), [] as [f64; 0]);
    }

    #[test]
    fn returns_of_different_scales_are_not_averaged_over_tasks() {
        let mut runs = grid();
        runs.iter_mut().for_each(|run| run.references = ReferenceScores::default());
        let question = Question { measure: Some(Measure::Return), ..Question::default() };
        let found = Comparison::new(&runs, &question).unwrap();
        assert!(found.over_tasks(0).is_none());
        assert_eq!(found.threshold, None);
    }

    #[test]
    fn runs_that_ended_early_or_have_no_episode_are_named_and_not_dropped() {
        let mut runs = grid();
        runs[0].training.env_steps = 400.0;
        runs[1].training.returns.clear();
        runs[1].training.success.clear();
        let found = Comparison::new(&runs, &Question::default()).unwrap();
        let notes = found.notes().join("\n");
        assert!(notes.contains("ended early (×): lstm-100-0 at 400 of 1k"), "{notes}");
        assert!(notes.contains("no finished episode yet: lstm-100-1"), "{notes}");
        assert_eq!(found.groups[2].members.len(), 2);
    }

    #[test]
    fn evaluations_are_used_where_all_runs_have_them_and_missing_ones_are_named() {
        let mut runs = grid();
        let question = Question { source: Some(EpisodeSource::Evaluation), ..Question::default() };
        let error = Comparison::new(&runs, &question).err().unwrap().to_string();
        assert!(error.contains("lstm-100-0") && error.contains("9 more"), "{error}");
        runs.iter_mut().for_each(|run| run.evaluation = Some(run.training.clone()));
        let found = Comparison::new(&runs, &Question::default()).unwrap();
        assert_eq!(found.source, EpisodeSource::Evaluation);
        runs[3].evaluation.as_mut().unwrap().success.clear();
        let found = Comparison::new(&runs, &Question::default()).unwrap();
        assert_eq!(found.measure, Measure::Return);
    }
}
