//! `engram top`: a run at a glance, in a terminal.

mod screen;
mod source;

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use engram_service::args::SecurityArgs;
use engram_service::{Address, Shutdown};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::text::Text;
use tokio::runtime::Handle;

use self::screen::Sparklines;
use self::source::SnapshotSource;
use super::run_status::RunStatus;
use super::samples::{Between, Snapshot};

/// Flags of `engram top`.
#[derive(Args, Clone, Debug)]
pub(crate) struct TopArgs {
    /// Addresses of metrics, as the programs were given them with --metrics
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
    security: SecurityArgs,
}

/// Shows the run until somebody has seen enough.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &TopArgs, shutdown: &Shutdown) -> Result<()> {
    let runtime = Handle::current();
    let mut source = match &args.prometheus {
        Some(address) => SnapshotSource::prometheus(address),
        None => SnapshotSource::pages(&args.pages, &args.security.client()?)?,
    };
    let every = Duration::from_secs(args.every);
    let mut watch = Watch::default();
    runtime.block_on(async {
        watch.add(source.earlier(every).await?, &source);
        watch.add(source.now().await?, &source);
        anyhow::Ok(())
    })?;
    if args.once || !io::stdout().is_terminal() {
        print!("{}", screen::plain(&watch.screen()));
        return Ok(());
    }
    let shown = ratatui::try_init().map_err(anyhow::Error::from).and_then(|mut terminal| {
        while !shutdown.is_triggered() {
            if show(&mut terminal, &watch.screen(), every, shutdown)? == PageEnd::Leave {
                break;
            }
            // A source that fails for a while is shown as such.
            match runtime.block_on(source.now()) {
                Ok(snapshot) => watch.add(snapshot, &source),
                Err(error) => watch.trouble = Some(format!("{error:#}")),
            }
        }
        Ok(())
    });
    // Whatever can still be given back is.
    let _ = ratatui::try_restore();
    shown
}

/// End of a page's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageEnd {
    /// The next page is due.
    Next,
    /// Somebody has pressed `q`, Escape or Ctrl-C.
    Leave,
}

/// Interval at which signals are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Shows a page until the next one is due, and again where the window changes.
fn show(
    terminal: &mut DefaultTerminal,
    screen: &Text<'_>,
    every: Duration,
    shutdown: &Shutdown,
) -> Result<PageEnd> {
    let next = Instant::now() + every;
    loop {
        terminal.draw(|frame| frame.render_widget(screen, frame.area()))?;
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() || shutdown.is_triggered() {
                return Ok(PageEnd::Next);
            }
            if !event::poll(left.min(LOOK))? {
                continue;
            }
            match event::read()? {
                Event::Resize(..) => break,
                Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                    KeyCode::Char('q') | KeyCode::Esc => return Ok(PageEnd::Leave),
                    KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                        return Ok(PageEnd::Leave);
                    }
                    _ => {}
                },
                _ => {}
            }
        }
    }
}

/// Snapshots and curves so far.
#[derive(Default)]
struct Watch {
    /// Over which rates are taken, the newest last.
    snapshots: VecDeque<Snapshot>,
    curves: Sparklines,
    trouble: Option<String>,
}

impl Watch {
    fn add(&mut self, snapshot: Snapshot, source: &SnapshotSource) {
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

    fn screen(&self) -> Text<'static> {
        screen::draw(&self.status(), &self.curves, self.trouble.as_deref())
    }
}
