//! `engram sweep`: one experiment under every combination of some settings, over several seeds, as
//! charts and a table.
//!
//! In reading order: a [`spec`] comes from flags or a file; a [`plan`] has its runs, each an ordinary
//! `engram train` with a folder of its own below the sweep's; an [`executor`] is a machine that runs
//! them; the [`scheduler`] gives runs to executors, and the [`progress_view`] shows their progress.
//! Re-running a sweep skips finished runs and resumes interrupted ones. It ends with `engram plot`.

mod args;
mod event;
mod executor;
mod grid;
mod plan;
mod progress_view;
mod scheduler;
mod spec;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use engram_service::{Shutdown, failure};

pub(crate) use self::args::{ExecutorArgs, SweepArgs};
use self::executor::quoted;
pub(crate) use self::grid::Axis;
pub(crate) use self::plan::SweepTask;
use self::progress_view::ProgressView;
pub(crate) use self::spec::SweepSpec;
use crate::plot;

/// Trains every combination with every seed that is not finished yet, and draws all of them.
pub(crate) fn run(args: &SweepArgs, shutdown: &Shutdown) -> Result<()> {
    let spec = SweepSpec::from_args(args)?;
    let study =
        Study { spec: &spec, runs: &args.runs, executors: &args.executors, train: &args.train };
    study.run(shutdown).map(drop)
}

/// A sweep and where it runs.
pub(crate) struct Study<'a> {
    /// Spec of its runs.
    pub(crate) spec: &'a SweepSpec,
    /// Folder of runs, in which the sweep has one of its own.
    pub(crate) runs: &'a Path,
    /// Machines.
    pub(crate) executors: &'a ExecutorArgs,
    /// Flags of every `engram train`.
    pub(crate) train: &'a [String],
}

impl Study<'_> {
    /// Trains what is not finished yet, and draws all that is. Returns the runs, of which some are
    /// not finished if this was stopped.
    #[expect(clippy::print_stdout, reason = "this is the command's answer")]
    pub(crate) fn run(&self, shutdown: &Shutdown) -> Result<Vec<SweepTask>> {
        let spec = self.spec;
        let folder = self.runs.join(&spec.name);
        let tasks = plan::plan(spec, &folder, self.train)?;
        let slots = self.executors.slots()?;
        let finished = tasks.iter().filter(|task| task.is_finished()).count();
        let combinations = tasks.len() / spec.seeds.len();
        println!(
            "{combinations} combinations × {} seeds in {}, {finished} finished already",
            spec.seeds.len(),
            folder.display()
        );
        let warnings: BTreeSet<_> =
            tasks.iter().filter_map(|task| task.left_out.as_ref()).collect();
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let mut view = ProgressView::new(&tasks);
        let outcome = scheduler::run(&tasks, &slots, &mut view, shutdown);
        view.finish();
        conclude(spec, &folder, &tasks);
        if outcome.stopped {
            let finished = tasks.iter().filter(|task| task.is_finished()).count();
            println!("stopped with {finished} of {} runs finished; go on with", tasks.len());
            let words: Vec<String> = std::env::args().map(|word| quoted(&word)).collect();
            println!("    {}", words.join(" "));
            return Ok(tasks);
        }
        if outcome.failed.is_empty() {
            return Ok(tasks);
        }
        for (index, why) in &outcome.failed {
            let (name, log) = (&tasks[*index].name, tasks[*index].log());
            println!("failed     {name}: {why}; log {}", log.display());
        }
        let (failed, all) = (outcome.failed.len(), tasks.len());
        bail!("{failed} of {all} runs failed; the same command tries them again")
    }
}

/// Draws the finished runs. If there is nothing to draw, as where runs are shorter than an episode,
/// that is no failure of the sweep.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
fn conclude(spec: &SweepSpec, folder: &Path, tasks: &[SweepTask]) {
    // Not the whole folder: it may hold runs of an earlier, larger sweep of that name.
    let folders: Vec<PathBuf> =
        tasks.iter().filter(|task| task.is_finished()).map(|task| task.folder.clone()).collect();
    if folders.is_empty() {
        return;
    }
    if let Err(error) = plot::compare(&folders, &spec.question, &folder.join("plots")) {
        println!("no charts: {}", failure::sentence(&error));
    }
}
