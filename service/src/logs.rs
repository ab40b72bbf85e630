//! Logs, for people: one line per event on stderr, above the progress bar if there is one.
//!
//! `RUST_LOG` wins over the level given; see `tracing_subscriber::EnvFilter` for its language.

use std::fmt;
use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::progress;

/// Level of programs that run unwatched: their life cycle, and whatever went wrong.
pub const USUAL: LevelFilter = LevelFilter::INFO;

/// Level of a program whose progress is shown by other means: only what went wrong.
pub const QUIET: LevelFilter = LevelFilter::WARN;

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: time of day (UTC), level, message, fields.
    Text,
    /// For machines: one JSON object per line.
    Json,
}

/// Starts logging. A process that already logs goes on as it did.
pub fn init(format: LogFormat, level: LevelFilter) {
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| AboveBar);
    let started = match format {
        LogFormat::Text => builder
            .compact()
            .with_target(false)
            .with_timer(TimeOfDay)
            .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}

/// Hours, minutes and seconds of UTC: a log is read on the day that it was written, and the run's
/// `meta.json` knows the day.
struct TimeOfDay;

impl FormatTime for TimeOfDay {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        w.write_str(&time_of_day(now.as_secs()))
    }
}

/// Stderr, with the progress bar out of the way. The subscriber writes an event at a time.
struct AboveBar;

impl Write for AboveBar {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        progress::above_bar(|| io::stderr().write_all(buffer))?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn time_of_day(seconds: u64) -> String {
    let (minutes, second) = (seconds / 60, seconds % 60);
    format!("{:02}:{:02}:{second:02}Z", minutes / 60 % 24, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_day_is_that_of_utc() {
        assert_eq!(time_of_day(0), "00:00:00Z");
        assert_eq!(time_of_day(86_400 * 365 + 3_600 * 13 + 62), "13:01:02Z");
    }

    #[test]
    fn logging_may_be_started_twice() {
        init(LogFormat::Text, LevelFilter::ERROR);
        init(LogFormat::Json, LevelFilter::ERROR);
    }
}
