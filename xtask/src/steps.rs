//! The steps that are cargo with libtorch in place: train, test, bench, lint and ci.

use std::env;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};

use crate::deny;
use crate::docker;
use crate::gymnasium;
use crate::host::Host;
use crate::pack::{self, Profile};
use crate::packages;
use crate::procgen;
use crate::setup::{self, Wish};
use crate::tidy;

/// The experiment that `cargo xtask train` runs when it is given no other.
const MAIN_EXPERIMENT: &str = "main";

/// Runs that follow it: the same agent with truncated gradients and one without memory on the same
/// task, episodes to tell how good all are, and a chart of their learning curves.
const MAIN_FLAGS: &str = "--against elstm-small-tbptt,feedforward --evaluate 100 --plot";

/// Measurements that start the programs beside `engram`.
const WHOLE_PROGRAMS: [&str; 4] = ["scaling", "recovery", "fleet", "weights"];

/// Trains, evaluates and plots the main experiment; or `engram train` with other arguments.
pub(crate) fn train(host: &Host, args: Vec<OsString>) -> Result<ExitCode> {
    setup::run(host, Wish::default())?;
    let mut command = cargo(host);
    command.args(words("run --package engram --bin engram -- train"));
    match args.is_empty() {
        true => command.arg(MAIN_EXPERIMENT).args(words(MAIN_FLAGS)),
        false => command.args(args),
    };
    become_it(&mut command)
}

/// Measures, with the optimized build.
pub(crate) fn bench(host: &Host, args: Vec<OsString>) -> Result<ExitCode> {
    setup::run(host, Wish::default())?;
    if args.iter().any(|word| WHOLE_PROGRAMS.iter().any(|name| word == name)) {
        let build = "build --release --locked --bins --package engram-learner \
                     --package engram-inference-server --package engram-actor";
        let built = cargo(host).args(words(build)).status()?;
        if !built.success() {
            return Ok(exit_code(built.code()));
        }
    }
    let run = "run --release --package engram --bin engram -- bench";
    become_it(cargo(host).args(words(run)).args(args))
}

/// Builds the programs, and packs them for a machine that has PyTorch.
pub(crate) fn pack(host: &Host, profile: &Profile) -> Result<ExitCode> {
    setup::run(host, Wish::default())?;
    let built = cargo(host)
        .args(words("build --workspace --bins --locked --profile"))
        .arg(&profile.0)
        .args(atari())
        .status()?;
    if !built.success() {
        return Ok(exit_code(built.code()));
    }
    pack::pack(host, profile)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the tests; the last line adds them up.
pub(crate) fn test(host: &Host, args: Vec<OsString>) -> Result<ExitCode> {
    setup::run(host, Wish::default())?;
    packages::bring(&packages::OF_TESTS);
    let mut command = cargo(host);
    command.args(["test", "--locked", "--no-fail-fast"]);
    // Without, the tests of served environments say that they were skipped.
    match gymnasium::provide(host) {
        Ok(packages) => _ = command.env(gymnasium::VARIABLE, packages),
        Err(error) => eprintln!("setup: Gymnasium cannot be tested: {error:#}"),
    }
    match procgen::provide_usable(host) {
        Ok(folder) => _ = command.env(procgen::VARIABLE, folder),
        Err(error) => eprintln!("setup: ProcGen cannot be tested: {error:#}"),
    }
    let chosen = |word: &OsString| word == "-p" || word.to_string_lossy().starts_with("--package");
    if !args.iter().any(chosen) {
        command.arg("--workspace").args(atari());
        // Without, those tests say that they were skipped.
        if let Err(error) = docker::provide(host) {
            eprintln!("setup: containers cannot be tested: {error:#}");
        }
    }
    let mut child = command
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo test cannot be started")?;
    let output = child.stdout.take().expect("the output was piped");
    let mut sum = stream(BufReader::new(output), io::stdout().lock())?;
    let code = child.wait()?;
    if !code.success() && sum.failed == 0 {
        // The build broke, or a test program died before it could count.
        sum.failed = 1;
    }
    println!("\n{} passed, {} failed", sum.passed, sum.failed);
    Ok(exit_code(code.code()))
}

/// Format, tidy, what cargo-deny says of dependencies, clippy and docs. All are run, and one that
/// failed decides the exit.
pub(crate) fn lint(host: &Host) -> Result<ExitCode> {
    let mut failed = Vec::new();
    step("cargo fmt --check", &mut failed, || {
        component(host, "fmt", "rustfmt", words("--all --check"))
    })?;
    step("cargo xtask tidy", &mut failed, || Ok(tidy::run(host)? == ExitCode::SUCCESS))?;
    step("cargo deny check", &mut failed, || deny::check(host))?;
    setup::run(host, Wish::default())?;
    step("cargo clippy", &mut failed, || {
        let atari = atari().join(" ");
        let args = format!("--workspace --all-targets --locked {atari} -- --deny warnings");
        component(host, "clippy", "clippy", args.split_whitespace())
    })?;
    step("cargo doc", &mut failed, || {
        let status = cargo(host)
            .args(words("doc --workspace --no-deps --locked"))
            .args(atari())
            .env("RUSTDOCFLAGS", "--deny warnings")
            .status()?;
        Ok(status.success())
    })?;
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("lint: failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

/// Everything that must pass before a change is taken.
pub(crate) fn ci(host: &Host) -> Result<ExitCode> {
    let lint = lint(host)?;
    let test = test(host, Vec::new())?;
    Ok(if lint == ExitCode::SUCCESS { test } else { lint })
}

/// The tests of all test programs, added up.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sum {
    passed: u64,
    failed: u64,
}

impl Sum {
    /// Takes in one line of output; only `test result:` lines count.
    fn add(&mut self, line: &str) {
        let line = without_colors(line);
        let Some(counts) = line.trim_start().strip_prefix("test result: ") else {
            return;
        };
        let count = |what: &str| -> u64 {
            let words: Vec<&str> =
                counts.split([' ', ';']).filter(|word| !word.is_empty()).collect();
            words
                .windows(2)
                .find(|pair| pair[1] == what)
                .map_or(0, |pair| pair[0].parse().unwrap_or(0))
        };
        self.passed += count("passed");
        self.failed += count("failed");
    }
}

/// Passes the output of the tests on, line by line, and adds up.
fn stream(mut from: impl BufRead, mut to: impl Write) -> io::Result<Sum> {
    let mut sum = Sum::default();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        sum.add(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(sum)
}

fn without_colors(line: &str) -> String {
    let mut pieces = line.split("\u{1b}[");
    let first = pieces.next().unwrap_or_default().to_string();
    pieces.fold(first, |text, piece| text + piece.split_once('m').map_or("", |(_, rest)| rest))
}

/// Announces a step and notes its name when it fails.
fn step(
    name: &'static str,
    failed: &mut Vec<&'static str>,
    run: impl FnOnce() -> Result<bool>,
) -> Result<()> {
    eprintln!("==> {name}");
    if !run()? {
        failed.push(name);
    }
    Ok(())
}

/// Runs a cargo subcommand that rustup may not have installed: then says so and goes on.
fn component<'a>(
    host: &Host,
    subcommand: &str,
    component: &str,
    args: impl Iterator<Item = &'a str>,
) -> Result<bool> {
    let there = cargo(host).args([subcommand, "--help"]).output()?.status.success();
    if !there {
        eprintln!("skipped: not installed (rustup component add {component})");
        return Ok(true);
    }
    let status = cargo(host).arg(subcommand).args(args).status()?;
    Ok(status.success())
}

/// Arguments that add Atari to the whole workspace, where CMake can build its emulator (a minute).
/// Without, its tests are left out.
fn atari() -> &'static [&'static str] {
    packages::bring(&packages::OF_ATARI);
    match packages::is_there("cmake") {
        true => &["--features", "engram-envs/atari"],
        false => &[],
    }
}

/// Cargo, in the checkout, such that programs find libtorch wherever the target folder lies.
fn cargo(host: &Host) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&host.root);
    if host.libtorch.is_none() {
        // Cargo sets it again from .cargo/config.toml; inherited, it would look like the user's own
        // and torch-sys would be built a second time.
        command.env_remove("LIBTORCH");
    }
    let mut paths = vec![host.link().join("lib")];
    paths.extend(env::var_os("LD_LIBRARY_PATH").iter().flat_map(env::split_paths));
    if let Ok(joined) = env::join_paths(paths) {
        command.env("LD_LIBRARY_PATH", joined);
    }
    command
}

/// The words of a command line without quotes.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(' ')
}

/// Ends this program by becoming another, so that signals and the exit status are that one's own.
#[cfg(unix)]
fn become_it(command: &mut Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).context("cargo cannot be started")
}

#[cfg(not(unix))]
fn become_it(command: &mut Command) -> Result<ExitCode> {
    Ok(exit_code(command.status().context("cargo cannot be started")?.code()))
}

fn exit_code(code: Option<i32>) -> ExitCode {
    code.map_or(ExitCode::FAILURE, |code| ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_all_test_programs_are_added_up_and_passed_on() {
        let output = "running 2 tests\ntest a ... ok\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
            test result: FAILED. 10 passed; 3 failed; 0 ignored; 0 measured; 7 filtered out\n\
            not a test result: ok. 100 passed; 100 failed\n";
        let mut seen = Vec::new();
        let sum = stream(output.as_bytes(), &mut seen).unwrap();
        assert_eq!(sum, Sum { passed: 12, failed: 3 });
        assert_eq!(seen, output.as_bytes());
    }

    #[test]
    fn colors_do_not_hide_a_result() {
        let mut sum = Sum::default();
        sum.add("test result: \u{1b}[32mok\u{1b}[m. 4 passed; 0 failed; 0 ignored");
        assert_eq!(sum, Sum { passed: 4, failed: 0 });
    }
}
