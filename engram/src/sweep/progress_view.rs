//! Progress view of a sweep: its runs, the progress of each, and the time left.

use std::collections::BTreeMap;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use engram_service::format::duration;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::event::SlotEvent;
use super::plan::SweepTask;

/// Interval between lines of progress where output is no terminal.
const INTERVAL: Duration = Duration::from_secs(60);

/// All runs at a glance: bars on a terminal, else a line for each that starts or ends and one a
/// minute for all.
pub(crate) struct ProgressView {
    total: usize,
    finished: usize,
    failed: usize,
    running: BTreeMap<usize, Running>,
    work: Work,
    bars: Option<MultiProgress>,
    summary: ProgressBar,
    shown: Instant,
}

struct Running {
    bar: ProgressBar,
    since: Instant,
}

/// Env steps of this sweep.
struct Work {
    started: Instant,
    budgets: Vec<f64>,
    shares: Vec<RunShare>,
}

/// Finished share of a run.
#[derive(Clone, Copy, Default)]
struct RunShare {
    /// Share before this sweep took the run up, once the run has said it.
    before: Option<f64>,
    now: f64,
}

impl ProgressView {
    /// A view of tasks, none of which has started.
    pub(crate) fn new(tasks: &[SweepTask]) -> Self {
        let finished = tasks.iter().filter(|task| task.is_finished()).count();
        let bars = stderr().is_terminal().then(MultiProgress::new);
        let summary = bar(&bars);
        ProgressView {
            total: tasks.len(),
            finished,
            failed: 0,
            running: BTreeMap::new(),
            work: Work::new(tasks),
            bars,
            summary,
            shown: Instant::now(),
        }
    }

    /// Takes in an event of a slot.
    pub(crate) fn tell(&mut self, tasks: &[SweepTask], event: &SlotEvent) {
        match event {
            SlotEvent::Started(index, host) => {
                let place = host.as_ref().map_or_else(String::new, |host| format!(" on {host}"));
                let name = &tasks[*index].name;
                if self.bars.is_none() {
                    self.say(&format!("started    {name}{place}"));
                }
                let bar = bar(&self.bars);
                bar.set_message(format!("{name}{place}"));
                self.running.insert(*index, Running { bar, since: Instant::now() });
            }
            SlotEvent::Line(index, line) => {
                let Some(share) = share(line) else { return };
                self.work.at(*index, share);
                if let Some(running) = self.running.get(index) {
                    running.bar.set_message(format!("{}  {line}", tasks[*index].name));
                }
            }
            SlotEvent::Ended(index, ended) => {
                let task = &tasks[*index];
                let seconds = self.remove(*index).as_secs_f64();
                let took = duration(seconds.round() as u64);
                self.work.at(*index, 1.0);
                match ended {
                    Ok(()) => {
                        self.finished += 1;
                        let place = format!("[{}/{}]", self.finished, self.total);
                        self.say(&format!("finished   {} in {took} {place}", task.name));
                    }
                    Err(why) => {
                        self.failed += 1;
                        let log = task.log();
                        self.say(&format!(
                            "ended      {}: {why}; see {}",
                            task.name,
                            log.display()
                        ));
                    }
                }
            }
            SlotEvent::Lost(index, host) => {
                self.remove(*index);
                let name = &tasks[*index].name;
                self.say(&format!("lost       {host} cannot be reached; {name} waits for another"));
            }
        }
        self.tick();
    }

    /// Shows how far everything is, unless that was said lately.
    pub(crate) fn tick(&mut self) {
        if self.bars.is_some() {
            self.summary.set_message(self.summary_line());
        } else if self.shown.elapsed() >= INTERVAL {
            self.shown = Instant::now();
            self.say(&self.summary_line());
        }
    }

    /// Says that runs are asked to end.
    pub(crate) fn stopping(&mut self) {
        let runs = self.running.len();
        self.say(&format!("stopping   {runs} runs write their checkpoints; again leaves at once"));
    }

    /// Takes all bars away.
    pub(crate) fn finish(self) {
        if let Some(bars) = &self.bars {
            // A terminal that is gone has no bars either.
            let _ = bars.clear();
        }
    }

    fn summary_line(&self) -> String {
        let mut line = format!("{} of {} finished", self.finished, self.total);
        if self.failed > 0 {
            line += &format!(", {} failed", self.failed);
        }
        line += &format!(", {} running", self.running.len());
        match self.work.left(self.work.started.elapsed()) {
            Some(left) => format!("{line}, about {} left", duration(left.round() as u64)),
            None => line,
        }
    }

    fn remove(&mut self, index: usize) -> Duration {
        let Some(running) = self.running.remove(&index) else { return Duration::ZERO };
        if let Some(bars) = &self.bars {
            bars.remove(&running.bar);
        }
        running.since.elapsed()
    }

    #[expect(clippy::print_stderr, reason = "progress is for people, beside the answer")]
    fn say(&self, line: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(line)),
            None => eprintln!("{line}"),
        }
    }
}

fn bar(bars: &Option<MultiProgress>) -> ProgressBar {
    let Some(bars) = bars else { return ProgressBar::hidden() };
    let style = ProgressStyle::with_template("{wide_msg}").expect("the template is well-formed");
    bars.add(ProgressBar::new_spinner().with_style(style))
}

impl Work {
    fn new(tasks: &[SweepTask]) -> Self {
        let before = |task: &SweepTask| match task.is_finished() {
            true => RunShare { before: Some(1.0), now: 1.0 },
            false => RunShare::default(),
        };
        Work {
            started: Instant::now(),
            budgets: tasks.iter().map(|task| task.budget as f64).collect(),
            shares: tasks.iter().map(before).collect(),
        }
    }

    fn at(&mut self, index: usize, share: f64) {
        let known = &mut self.shares[index];
        // Where a run first says how far it is, it was there before: it went on. If that is its
        // end, it was so short that it said nothing sooner.
        known.before.get_or_insert(if share < 1.0 { share } else { 0.0 });
        known.now = share;
    }

    /// Seconds left, if the rest goes as fast as what was run in the time that has passed.
    fn left(&self, elapsed: Duration) -> Option<f64> {
        let total = |part: fn(&RunShare) -> f64| -> f64 {
            self.shares.iter().zip(&self.budgets).map(|(share, budget)| budget * part(share)).sum()
        };
        let run = total(|share| share.now - share.before.unwrap_or(share.now));
        let left = total(|share| 1.0 - share.now);
        (run > 0.0).then(|| elapsed.as_secs_f64() * left / run)
    }
}

/// Finished share in a line of progress: `env steps 1.2M / 3.0M  41% …`.
fn share(line: &str) -> Option<f64> {
    let words = line.strip_prefix("env steps ")?.split_whitespace();
    let percent = words.filter_map(|word| word.strip_suffix('%')).next()?;
    Some(percent.parse::<f64>().ok()?.clamp(0.0, 100.0) / 100.0)
}

#[cfg(test)]
mod tests {
    use engram_service::progress::ProgressLine;

    use super::*;

    #[test]
    fn how_far_a_run_is_can_be_read_from_its_progress() {
        let line = ProgressLine {
            env_steps: 250,
            budget: 1_000,
            steps_per_second: 10.0,
            success: Some(0.9),
            ..ProgressLine::default()
        };
        assert_eq!(share(&line.to_string()), Some(0.25));
        assert_eq!(share("finished   800133 env steps"), None);
    }

    #[test]
    fn the_time_left_counts_neither_finished_runs_nor_what_was_there_before() {
        let mut work = Work {
            started: Instant::now(),
            budgets: vec![100.0, 200.0, 100.0],
            shares: vec![
                RunShare { before: Some(1.0), now: 1.0 },
                RunShare::default(),
                RunShare::default(),
            ],
        };
        let minute = Duration::from_secs(60);
        assert_eq!(work.left(minute), None);
        // The second goes on from one half: 50 of its 100 env steps are run, 50 and 100 are left.
        work.at(1, 0.5);
        work.at(1, 0.75);
        assert_eq!(work.left(minute), Some(180.0));
    }
}
