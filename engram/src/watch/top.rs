//! `engram top`: a run at a glance, in a terminal.

mod screen;
mod source;
mod terminal;

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use engram_service::args::DoorArgs;
use engram_service::{Address, Shutdown};
use tokio::runtime::Handle;

use self::screen::{Curves, Screen};
use self::source::Source;
use self::terminal::Terminal;
use super::run_status::RunStatus;
use super::samples::{Between, Snapshot};

/// Flags of `engram top`.
#[derive(Args, Clone, Debug)]
pub(crate) struct TopArgs {
    /// Where programs show their metrics: the addresses that they were given as --metrics
    #[arg(value_name = "ADDR", required_unless_present = "prometheus")]
    pages: Vec<Address>,
    /// Ask a Prometheus that scrapes them: http://HOST:PORT
    #[arg(long, value_name = "URL", conflicts_with = "pages")]
    prometheus: Option<Address>,
    /// Print one page and end, as is done where stdout is no terminal
    #[arg(long)]
    once: bool,
    /// Seconds from one page to the next
    #[arg(
        long, value_name = "SECONDS", default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    every: u64,
    #[command(flatten)]
    door: DoorArgs,
}

/// Shows the run until somebody has seen enough.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &TopArgs, shutdown: &Shutdown) -> Result<()> {
    let runtime = Handle::current();
    let mut source = match &args.prometheus {
        Some(address) => Source::prometheus(address),
        None => Source::pages(&args.pages, &args.door.keys()?)?,
    };
    let every = Duration::from_secs(args.every);
    let mut watch = Watch::default();
    runtime.block_on(async {
        watch.add(source.earlier(every).await?, &source);
        watch.add(source.now().await?, &source);
        anyhow::Ok(())
    })?;
    if args.once || !io::stdout().is_terminal() {
        print!("{}", watch.screen().plain());
        return Ok(());
    }
    let mut terminal = Terminal::open()?;
    while !shutdown.is_triggered() {
        let next = Instant::now() + every;
        terminal.show(&watch.screen())?;
        while Instant::now() < next && !shutdown.is_triggered() {
            match terminal.wait(next)? {
                terminal::Event::Leave => return Ok(()),
                terminal::Event::Resized => terminal.show(&watch.screen())?,
                terminal::Event::Nothing => {}
            }
        }
        // A source that fails for a while is shown as such.
        match runtime.block_on(source.now()) {
            Ok(snapshot) => watch.add(snapshot, &source),
            Err(error) => watch.trouble = Some(format!("{error:#}")),
        }
    }
    Ok(())
}

/// What has been seen so far.
#[derive(Default)]
struct Watch {
    /// Over which rates are taken, the newest last.
    snapshots: VecDeque<Snapshot>,
    curves: Curves,
    trouble: Option<String>,
}

impl Watch {
    fn add(&mut self, snapshot: Snapshot, source: &Source) {
        let oldest = snapshot.seconds - source.window();
        self.snapshots.push_back(snapshot);
        // One of before the window stays: rates are over all of it.
        while self.snapshots.get(1).is_some_and(|second| second.seconds <= oldest) {
            self.snapshots.pop_front();
        }
        self.trouble = None;
        if self.snapshots.len() > 1 {
            self.curves.add(&self.status());
        }
    }

    fn status(&self) -> RunStatus {
        let (Some(before), Some(now)) = (self.snapshots.front(), self.snapshots.back()) else {
            return RunStatus::default();
        };
        RunStatus::new(Between { before, now })
    }

    fn screen(&self) -> Screen {
        screen::draw(&self.status(), &self.curves, self.trouble.as_deref())
    }
}
