//! Report of a check: Markdown, written anew after every section, so that what was found stays
//! whatever happens later.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

/// Report that grows by sections.
pub(super) struct Report {
    path: PathBuf,
    title: String,
    sections: Vec<(String, Section)>,
}

/// Part of a report: a text, a table, and what failed.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// Method and tolerances.
    pub(super) text: String,
    /// Names of the columns.
    pub(super) header: Vec<&'static str>,
    /// Rows of the table.
    pub(super) rows: Vec<Vec<String>>,
    /// A sentence for each failure.
    pub(super) failures: Vec<String>,
}

impl Section {
    /// The section in half a line.
    pub(super) fn summary(&self) -> String {
        let rows = self.rows.len();
        let rows = format!("{rows} row{}", if rows == 1 { "" } else { "s" });
        match self.failures.len() {
            0 => format!("ok, {rows}"),
            failed => format!("{failed} failed, {rows}"),
        }
    }
}

impl Report {
    /// An empty one, which is written, so that a path that cannot be is known.
    pub(super) fn new(path: &Path, device: tch::Device) -> Result<Report> {
        let title = format!("{device:?} beside the CPU");
        let report = Report { path: path.into(), title, sections: Vec::new() };
        report.write(Duration::ZERO)?;
        Ok(report)
    }

    /// Adds a section, `elapsed` since the beginning.
    pub(super) fn add(&mut self, title: &str, section: Section, elapsed: Duration) -> Result<()> {
        self.sections.push((title.into(), section));
        self.write(elapsed)
    }

    /// Number of failures in all sections.
    pub(super) fn failures(&self) -> usize {
        self.sections.iter().map(|(_, section)| section.failures.len()).sum()
    }

    fn write(&self, elapsed: Duration) -> Result<()> {
        fs::write(&self.path, self.markdown(elapsed))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn markdown(&self, elapsed: Duration) -> String {
        let mut page = format!("# {}\n\n", self.title);
        let failed = match self.failures() {
            0 => "Nothing failed".to_owned(),
            n => format!("**{n} failed**"),
        };
        let _ = writeln!(page, "{failed}, after {:.0} s.", elapsed.as_secs_f64());
        for (title, section) in &self.sections {
            let _ = write!(page, "\n## {title}\n\n");
            if !section.text.is_empty() {
                let _ = write!(page, "{}\n\n", section.text);
            }
            for failure in &section.failures {
                let _ = writeln!(page, "- **Failed:** {failure}");
            }
            if !section.failures.is_empty() && !section.rows.is_empty() {
                page.push('\n');
            }
            if !section.rows.is_empty() {
                let _ = writeln!(page, "| {} |", section.header.join(" | "));
                let _ = writeln!(page, "|{}", "---|".repeat(section.header.len()));
                for row in &section.rows {
                    let _ = writeln!(page, "| {} |", row.join(" | "));
                }
            }
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_failures_and_names_them_above_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.md");
        let mut report = Report::new(&path, tch::Device::Cuda(0)).unwrap();
        let section = Section {
            text: "Tolerance 1e-9.".into(),
            header: vec!["layer", "error"],
            rows: vec![vec!["lstm".into(), "1e-3".into()]],
            failures: vec!["lstm: off by 1e-3".into()],
        };
        assert_eq!(section.summary(), "1 failed, 1 row");
        report.add("Layers", section, Duration::from_secs(7)).unwrap();
        let expected = "# Cuda(0) beside the CPU\n\n**1 failed**, after 7 s.\n\n## Layers\n\n\
                        Tolerance 1e-9.\n\n- **Failed:** lstm: off by 1e-3\n\n\
                        | layer | error |\n|---|---|\n| lstm | 1e-3 |\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(report.failures(), 1);
    }

    #[test]
    fn a_path_that_cannot_be_written_is_an_error_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone/report.md");
        let error = Report::new(&path, tch::Device::Cpu).err().unwrap();
        assert!(format!("{error:#}").contains("report.md"), "{error:#}");
    }
}
