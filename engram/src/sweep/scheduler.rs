//! Scheduler of tasks: several at once, each in a process of its own: none can end another.
//!
//! A thread for each slot takes the next task, starts it, writes what it says to its log, and waits
//! for its end. All of them send events to [`run`], which shows the progress.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use engram_service::Shutdown;

use super::event::SlotEvent;
use super::executor::{Executor, UNREACHABLE};
use super::plan::SweepTask;
use super::progress_view::ProgressView;

/// Outcome of all tasks.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SweepOutcome {
    /// Indices of tasks that were not finished, each with why.
    pub(crate) failed: Vec<(usize, String)>,
    /// True if somebody stopped the sweep.
    pub(crate) stopped: bool,
}

/// Tasks that wait, and the standard inputs of those that run: closing one stops its run.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<usize>,
    running: Vec<(usize, ChildStdin)>,
    closed: bool,
}

/// Runs all tasks on the slots until they have ended or somebody says to stop.
pub(crate) fn run(
    tasks: &[SweepTask],
    slots: &[Executor],
    view: &mut ProgressView,
    shutdown: &Shutdown,
) -> SweepOutcome {
    let waiting: VecDeque<usize> = (0..tasks.len()).filter(|&i| !tasks[i].is_finished()).collect();
    let queue = Mutex::new(Queue { waiting, ..Queue::default() });
    let (sender, events) = sync_channel(256);
    let mut outcome = SweepOutcome::default();
    std::thread::scope(|scope| {
        for executor in slots {
            let (sender, queue) = (sender.clone(), &queue);
            scope.spawn(move || work(tasks, executor, queue, &sender));
        }
        drop(sender);
        loop {
            match events.recv_timeout(Duration::from_millis(200)) {
                Ok(event) => {
                    if let SlotEvent::Ended(task, Err(why)) = &event
                        && !outcome.stopped
                    {
                        outcome.failed.push((*task, why.clone()));
                    }
                    view.tell(tasks, &event);
                }
                Err(RecvTimeoutError::Timeout) => view.tick(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if shutdown.is_triggered() && !outcome.stopped {
                outcome.stopped = true;
                view.stopping();
                let mut queue = lock(&queue);
                queue.closed = true;
                queue.running.clear();
            }
        }
    });
    if !outcome.stopped {
        let left = lock(&queue).waiting.iter().copied().collect::<Vec<_>>();
        let why = "no machine is left that can be reached";
        outcome.failed.extend(left.into_iter().map(|task| (task, why.to_owned())));
    }
    outcome.failed.sort();
    outcome
}

/// A slot's life.
fn work(
    tasks: &[SweepTask],
    executor: &Executor,
    queue: &Mutex<Queue>,
    events: &SyncSender<SlotEvent>,
) {
    let next = || {
        let mut queue = lock(queue);
        if queue.closed { None } else { queue.waiting.pop_front() }
    };
    while let Some(index) = next() {
        // Who listens outlives the slots; if not, there is nobody to tell.
        let tell = |event| drop(events.send(event));
        tell(SlotEvent::Started(index, executor.host.clone()));
        let ended = train(index, &tasks[index], executor, queue, &tell);
        match ended {
            Ok(Some(code)) if code == UNREACHABLE && executor.host.is_some() => {
                lock(queue).waiting.push_front(index);
                tell(SlotEvent::Lost(index, executor.host.clone().unwrap_or_default()));
                return;
            }
            Ok(code) => tell(SlotEvent::Ended(index, judge(&tasks[index], code))),
            Err(error) => tell(SlotEvent::Ended(index, Err(format!("{error:#}")))),
        }
    }
}

/// Starts a task, keeps what it says, and waits for its end: its exit code.
fn train(
    index: usize,
    task: &SweepTask,
    executor: &Executor,
    queue: &Mutex<Queue>,
    tell: &dyn Fn(SlotEvent),
) -> Result<Option<i32>> {
    let path = task.log();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    if let Some(command) = executor.before(task) {
        copy(command, &file).context("--send")?;
    }
    let mut command = executor.command(task);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(file.try_clone()?)
        // A group of its own: Ctrl-C on the terminal is for the sweep, which then asks the run.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    let stdin = child.stdin.take().expect("standard input is piped");
    {
        let mut queue = lock(queue);
        if !queue.closed {
            queue.running.push((index, stdin));
        }
    }
    let stdout = child.stdout.take().expect("standard output is piped");
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        writeln!(file, "{line}").with_context(|| format!("cannot write {}", path.display()))?;
        tell(SlotEvent::Line(index, line));
    }
    let status = child.wait()?;
    lock(queue).running.retain(|(running, _)| *running != index);
    if status.code() != Some(UNREACHABLE)
        && let Some(command) = executor.after(task)
    {
        copy(command, &file).context("--fetch")?;
    }
    Ok(status.code())
}

fn copy(mut command: Command, log: &File) -> Result<()> {
    let status = command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?)
        .process_group(0)
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().display()))?;
    if !status.success() {
        bail!("{} failed: {status}", command.get_program().display());
    }
    Ok(())
}

/// Verdict on a task that ended: finished, or the reason why not.
fn judge(task: &SweepTask, code: Option<i32>) -> Result<(), String> {
    match code {
        Some(0) if task.is_finished() => Ok(()),
        Some(0) => Err(format!(
            "it ended well, but {} has no score of all its env steps; machines must share --runs, \
             or --fetch must bring it back",
            task.folder.display()
        )),
        Some(code) => Err(last_words(&task.log()).unwrap_or_else(|| format!("exit code {code}"))),
        None => Err("it was killed".into()),
    }
}

/// The last line of a log that says something.
fn last_words(log: &Path) -> Option<String> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().rev().find(|line| !line.trim().is_empty())?;
    Some(line.trim().trim_start_matches("error: ").to_owned())
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    // A slot that panicked has left the queue as good as it was.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
