//! Learning: the whole system on the device, until a task of memory is solved.

use anyhow::Result;

use super::report::Section;
use super::scope::{Check, Extent};
use crate::bench::solve::{Goal, until_solved};
use crate::experiment::Experiment;

/// Share of the latest 1000 episodes that must be solved.
const LEVEL: f64 = 0.95;

/// Trains recall in this process: learner and inference server on the device, one actor.
pub(super) fn recall(check: &Check<'_>) -> Result<Section> {
    let (delay, choices, env_steps) = match check.extent {
        Extent::Quick => (2, 2, 200_000),
        Extent::Full => (10, 4, 2_000_000),
    };
    let set = [
        format!("env.delay={delay}"),
        format!("env.choices={choices}"),
        format!("run.env_steps={env_steps}"),
        "run.log_seconds=0.1".into(),
    ];
    let experiment = Experiment::new(check.resolve("recall-30", [None; 3], &set)?)?;
    let solved = until_solved(&experiment, Goal::Share(LEVEL), check.compute, check.shutdown)?;
    let task = experiment.env.spec().to_string();
    let mut section = Section {
        text: format!(
            "`recall-30` with a delay of {delay}, until {:.0} % of the latest 1000 episodes are \
             solved; all in this process.",
            100.0 * LEVEL
        ),
        header: vec!["task", "sequence model", "env steps", "seconds"],
        ..Section::default()
    };
    match solved {
        Some(solved) => section.rows.push(vec![
            task,
            experiment.resolved.parts().seq.clone(),
            solved.env_steps.to_string(),
            format!("{:.1}", solved.seconds),
        ]),
        None => {
            section.failures.push(format!("{task} was not solved within {env_steps} env steps"))
        }
    }
    Ok(section)
}
