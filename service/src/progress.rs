//! Progress of a run: a bar on a terminal, plain lines elsewhere.
//!
//! ```text
//! env steps 1.23M / 3M  41%   23.1k/s   return 0.87   1m 17s left   updates 940   lag 1.3
//! ```

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::format;

/// Progress of a run at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProgressLine {
    /// Env steps taken.
    pub env_steps: u64,
    /// Env steps that the run will take.
    pub budget: u64,
    /// Env steps per second, lately.
    pub steps_per_second: f64,
    /// Episodes that have ended.
    pub episodes: u64,
    /// The mean return of recent episodes, once one has ended.
    pub mean_return: Option<f32>,
    /// The mean return of the latest 100 episodes, once there are as many.
    pub return_of_100: Option<f32>,
    /// The share of recent episodes that solved their task, where the environment can tell.
    pub success: Option<f32>,
    /// Optimizer steps taken.
    pub updates: u64,
    /// The mean policy lag of recent trajectories, in versions.
    pub policy_lag: f32,
}

/// Shows a run's progress on stderr.
pub struct Progress {
    output: ProgressOutput,
    interval: Duration,
    shown: Option<Instant>,
}

enum ProgressOutput {
    Bar(ProgressBar),
    Lines(Box<dyn Write + Send>),
}

/// The bar that log lines must not tear. A process has one terminal.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

impl Progress {
    /// A bar where stderr is a terminal, else lines, at most one per `interval`.
    pub fn new(interval: Duration) -> Self {
        if !io::stderr().is_terminal() {
            return Self::lines(io::stderr(), interval);
        }
        let style = ProgressStyle::with_template("{bar:12.cyan/dim} {wide_msg}")
            .expect("the template is well-formed");
        let bar = ProgressBar::new(1).with_style(style);
        *bar_lock() = Some(bar.clone());
        Progress { output: ProgressOutput::Bar(bar), interval, shown: None }
    }

    /// Lines to a writer, at most one per `interval`.
    pub fn lines(writer: impl Write + Send + 'static, interval: Duration) -> Self {
        Progress { output: ProgressOutput::Lines(Box::new(writer)), interval, shown: None }
    }

    /// Shows a line, unless one was shown less than the interval ago.
    pub fn update(&mut self, line: &ProgressLine) {
        let now = Instant::now();
        if self.shown.is_none_or(|shown| now - shown >= self.interval) {
            self.shown = Some(now);
            self.show(line);
        }
    }

    /// Shows the last line, whatever the interval, and leaves it standing.
    pub fn finish(mut self, line: &ProgressLine) {
        self.show(line);
    }

    fn show(&mut self, line: &ProgressLine) {
        match &mut self.output {
            ProgressOutput::Bar(bar) => {
                bar.set_length(line.budget.max(1));
                bar.set_position(line.env_steps);
                bar.set_message(line.to_string());
            }
            // Nobody may be reading any more; the run goes on.
            ProgressOutput::Lines(writer) => drop(writeln!(writer, "{line}")),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let ProgressOutput::Bar(bar) = &self.output {
            bar.abandon();
            *bar_lock() = None;
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl fmt::Display for ProgressLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (steps, budget) = (self.env_steps as f64, self.budget as f64);
        let percent = (100.0 * steps / budget.max(1.0)).floor();
        write!(f, "env steps {} / {}  {percent}%", format::number(steps), format::number(budget))?;
        write!(f, "   {}/s", format::number(self.steps_per_second))?;
        if let Some(mean_return) = self.mean_return {
            write!(f, "   return {mean_return:.2}")?;
        }
        if let Some(success) = self.success {
            write!(f, "   success {:.0}%", 100.0 * success)?;
        }
        if self.steps_per_second > 0.0 && steps < budget {
            // A wait of centuries saturates.
            let seconds = ((budget - steps) / self.steps_per_second).ceil() as u64;
            write!(f, "   {} left", format::duration(seconds))?;
        }
        write!(f, "   updates {}   lag {:.1}", format::number(self.updates as f64), self.policy_lag)
    }
}

/// Runs `write` while no bar is on the screen.
pub(crate) fn above_bar<T>(write: impl FnOnce() -> T) -> T {
    // Cloned, so that no lock is held while writing.
    let bar = bar_lock().clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

fn bar_lock() -> std::sync::MutexGuard<'static, Option<ProgressBar>> {
    // A panic elsewhere leaves the bar as good as it was.
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LINE: ProgressLine = ProgressLine {
        env_steps: 1_234_000,
        budget: 3_000_000,
        steps_per_second: 23_100.0,
        episodes: 900,
        mean_return: Some(0.871),
        return_of_100: Some(0.902),
        success: Some(0.926),
        updates: 940,
        policy_lag: 1.26,
    };

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(buffer)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_reads_like_a_sentence() {
        assert_eq!(
            LINE.to_string(),
            "env steps 1.23M / 3M  41%   23.1k/s   return 0.87   success 93%   1m 17s left   \
             updates 940   lag 1.3"
        );
        let start = ProgressLine { budget: 500, ..ProgressLine::default() };
        assert_eq!(start.to_string(), "env steps 0 / 500  0%   0/s   updates 0   lag 0.0");
    }

    #[tokio::test(start_paused = true)]
    async fn one_line_per_interval_and_the_last_one_always() {
        let written = Shared::default();
        let mut progress = Progress::lines(written.clone(), Duration::from_secs(2));
        for env_steps in 0..7 {
            progress.update(&ProgressLine { env_steps, ..LINE });
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        progress.finish(&ProgressLine { env_steps: 7, ..LINE });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let steps: Vec<&str> = text.lines().filter_map(|l| l.split(' ').nth(2)).collect();
        assert_eq!(steps, ["0", "2", "4", "6", "7"]);
    }
}
