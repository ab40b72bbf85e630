//! `engram check`, as a user calls it.

use std::path::Path;
use std::process::{Command, Output};

/// Runs it with the configs in `configs`, and a report in `folder`.
fn check(folder: &Path, configs: &str, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_engram"))
        .args(["check", "--out"])
        .arg(folder.join("report.md"))
        .arg("--configs")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(configs))
        .args(args)
        .output()
        .expect("engram starts")
}

#[test]
fn the_cpu_computes_and_learns_what_the_cpu_does_and_a_report_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = check(folder.path(), "../configs", &["--device", "cpu", "--quick"]);
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    let report = std::fs::read_to_string(folder.path().join("report.md")).expect("a report");
    assert!(report.starts_with("# Cpu beside the CPU\n\nNothing failed"), "{report}");
    let titles: Vec<&str> = report.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(titles.len(), 9, "{titles:?}");
    // Every algorithm met some sequence model, and numbers are the same to the last bit.
    let algorithms = report.split("## ").find(|part| part.starts_with("Algorithms"));
    let rows = algorithms.unwrap_or_default().lines().filter(|line| line.starts_with("| "));
    let rows: Vec<Vec<&str>> =
        rows.skip(1).map(|row| row.split('|').map(str::trim).collect()).collect();
    assert!(rows.len() > 20, "{report}");
    assert!(rows.iter().all(|row| row[2] != "0" && row[4] == "0.0e0"), "{report}");
    assert!(report.contains("whole system") && report.contains("noise(1x20x20)"), "{report}");
}

#[test]
fn a_report_that_cannot_be_written_and_configs_that_are_not_there_are_errors() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = check(&folder.path().join("gone"), "../configs", &["--quick"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("report.md"));
    assert!(!output.status.success());
    let output = check(folder.path(), "nowhere", &["--quick"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("FAIL"), "{said}");
}
