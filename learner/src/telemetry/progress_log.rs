//! Progress log: learning curves in `progress.csv`, and as TensorBoard event files.
//!
//! A row is written every few seconds. A run that is resumed forgets the rows beyond its
//! checkpoint, so that no stretch of the curve is there twice. A disk that refuses a row costs
//! that row, not the run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::durable;
use crate::telemetry::tensorboard::EventFile;

/// Row of the log: named numbers of one moment of a run, `None` where there is none. The first one
/// is `env_steps`. All rows of a run have the same names in the same order.
pub type ProgressLogRow = Vec<(&'static str, Option<f64>)>;

/// Learning curves of one run.
#[derive(Debug)]
pub struct ProgressLog {
    table: ProgressTable,
    events: Option<EventFile>,
    failing: bool,
}

/// CSV file of rows. It is appended to line by line and cut back where a line did not fit.
#[derive(Debug)]
pub struct ProgressTable {
    path: PathBuf,
    file: File,
    length: u64,
    /// Its first line.
    header: Option<Vec<u8>>,
    /// First number of its last row when it was opened.
    last: Option<f64>,
}

impl ProgressLog {
    /// Log in a run's folder, which starts or goes on at `env_steps`.
    pub fn open(folder: &Path, env_steps: u64) -> io::Result<Self> {
        let table = ProgressTable::open(folder.join("progress.csv"), env_steps)?;
        let events = Some(EventFile::create(folder, env_steps, SystemTime::now())?);
        Ok(ProgressLog { table, events, failing: false })
    }

    /// Adds a point to every curve.
    pub fn add(&mut self, row: &ProgressLogRow) {
        let written = self.table.add(row).and_then(|()| self.add_event(row));
        match written {
            Ok(()) => self.failing = false,
            // Said once, not every few seconds.
            Err(_) if self.failing => {}
            Err(error) => {
                let path = self.table.path.display();
                tracing::warn!(%path, %error, "learning curves are not written; training goes on");
                self.failing = true;
            }
        }
    }

    fn add_event(&mut self, row: &ProgressLogRow) -> io::Result<()> {
        let (Some(events), Some((_, Some(env_steps)))) = (&mut self.events, row.first()) else {
            return Ok(());
        };
        let scalars = row[1..].iter().filter_map(|(name, value)| Some((*name, (*value)?)));
        let written = events.scalars(*env_steps as u64, SystemTime::now(), scalars);
        if written.is_err() {
            // What follows half a record cannot be read: TensorBoard keeps what it has.
            self.events = None;
        }
        written
    }
}

impl ProgressTable {
    /// Table at `path`, without the rows beyond `env_steps`, its first column.
    pub fn open(path: PathBuf, env_steps: u64) -> io::Result<Self> {
        let kept = match fs::read_to_string(&path) {
            Ok(text) => rows_up_to(&text, env_steps),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        // Being killed here loses nothing, and neither does a power cut.
        durable::replace(&path, kept.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&path)?;
        let header = kept.split_inclusive('\n').next().map(|line| line.as_bytes().to_vec());
        let last = kept.lines().skip(1).last().and_then(first_number);
        Ok(ProgressTable { path, file, length: kept.len() as u64, header, last })
    }

    /// First number of the last row that was there when the table was opened.
    pub fn last(&self) -> Option<f64> {
        self.last
    }

    /// Adds a row.
    pub fn add(&mut self, row: &ProgressLogRow) -> io::Result<()> {
        let header = line(row.iter().map(|(name, _)| name.to_string()))?;
        if self.header.as_ref() != Some(&header) {
            self.start(header)?;
        }
        let cell = |value: &Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        self.append(&line(row.iter().map(|(_, value)| cell(value)))?)
    }

    /// Begins a table. One with other columns, which another release wrote, is set aside.
    fn start(&mut self, header: Vec<u8>) -> io::Result<()> {
        if self.header.is_some() {
            let aside = self.path.with_extension("csv.old");
            tracing::warn!(path = %aside.display(), "a table with other columns is set aside");
            fs::rename(&self.path, aside)?;
            self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.length = 0;
        }
        self.append(&header)?;
        self.header = Some(header);
        Ok(())
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(line) {
            // Half a line would spoil the next one.
            self.file.set_len(self.length)?;
            return Err(error);
        }
        self.length += line.len() as u64;
        Ok(())
    }
}

/// Line of CSV. A writer of its own for each, so that a line is written whole or not at all.
fn line(cells: impl Iterator<Item = String>) -> io::Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells)?;
    writer.into_inner().map_err(|error| error.into_error())
}

/// Header and complete rows whose first number is at most `env_steps`.
fn rows_up_to(text: &str, env_steps: u64) -> String {
    let mut lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let header = lines.next().unwrap_or_default();
    let rows =
        lines.filter(|line| first_number(line).is_some_and(|steps| steps <= env_steps as f64));
    std::iter::once(header).chain(rows).collect()
}

fn first_number(line: &str) -> Option<f64> {
    line.split(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(env_steps: u32, episode_return: Option<f64>) -> ProgressLogRow {
        vec![("env_steps", Some(env_steps.into())), ("episode_return", episode_return)]
    }

    fn text(folder: &Path) -> String {
        fs::read_to_string(folder.join("progress.csv")).unwrap()
    }

    #[test]
    fn a_resumed_run_forgets_the_rows_beyond_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = ProgressLog::open(folder.path(), 0).unwrap();
        for env_steps in [10, 20, 30] {
            log.add(&row(env_steps, Some(0.5)));
        }
        drop(log);
        let mut resumed = ProgressLog::open(folder.path(), 20).unwrap();
        resumed.add(&row(25, None));
        assert_eq!(text(folder.path()), "env_steps,episode_return\n10,0.5\n20,0.5\n25,\n");
    }

    #[test]
    fn half_a_row_of_a_killed_run_is_cut_off() {
        assert_eq!(rows_up_to("env_steps,a\n10,1\n20", 30), "env_steps,a\n10,1\n");
        assert_eq!(rows_up_to("env_st", 30), "");
        assert_eq!(rows_up_to("", 30), "");
    }

    #[test]
    fn a_table_with_other_columns_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("progress.csv");
        fs::write(&path, "env_steps,score\n10,1\n").unwrap();
        ProgressLog::open(folder.path(), 10).unwrap().add(&row(20, Some(1.0)));
        assert_eq!(text(folder.path()), "env_steps,episode_return\n20,1\n");
        let old = fs::read_to_string(folder.path().join("progress.csv.old")).unwrap();
        assert_eq!(old, "env_steps,score\n10,1\n");
    }
}
