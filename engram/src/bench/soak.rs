//! Resident memory over a long run: it must stay flat.

use anyhow::Result;
use engram_service::Shutdown;
use engram_service::process::resident_bytes;
use engram_service::progress::ProgressLine;
use tokio::sync::watch;

use crate::compute::Compute;
use crate::experiment::Experiment;
use crate::in_process::{self, Job};

/// Rows of the table.
const ROWS: u64 = 20;

/// Trains, and prints the resident memory after every twentieth of the run.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(experiment: &Experiment, compute: Compute, shutdown: &Shutdown) -> Result<()> {
    println!("{}\n\n{:>12} {:>14}", experiment.env.spec(), "env steps", "resident MB");
    let (sender, receiver) = watch::channel(ProgressLine::default());
    let every = (experiment.run.env_steps / ROWS).max(1);
    let observer = std::thread::spawn(move || observe(receiver, every));
    let job = Job::unattended(experiment, "soak", compute);
    in_process::train(&job, sender, shutdown)?;
    if let Ok(Some((low, high))) = observer.join() {
        println!("\nafter the first tenth: lowest {low:.1} MB, highest {high:.1} MB");
    }
    Ok(())
}

/// Prints a row for every `every` env steps; the lowest and highest memory after the second row.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
fn observe(mut lines: watch::Receiver<ProgressLine>, every: u64) -> Option<(f64, f64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    runtime.block_on(async {
        let (mut next, mut seen) = (every, Vec::new());
        while lines.changed().await.is_ok() {
            let env_steps = lines.borrow_and_update().env_steps;
            if env_steps >= next {
                next += every;
                let resident = resident_bytes()? as f64 / 1e6;
                println!("{env_steps:>12} {resident:>14.1}");
                seen.push(resident);
            }
        }
        let steady = seen.get(1..)?;
        let low = steady.iter().copied().fold(f64::INFINITY, f64::min);
        let high = steady.iter().copied().fold(0.0, f64::max);
        Some((low, high))
    })
}
