//! `cargo xtask`: everything a developer runs that is not the program itself.
//!
//! | file | is |
//! |---|---|
//! | [`release`] | which libtorch, and where it is published |
//! | [`host`] | the checkout, the cache and the tools of this machine |
//! | [`setup`] | brings libtorch: a LIBTORCH that is set, else Python wheels, else the archive |
//! | [`docker`] | what tests of containers need: compose, buildx, images |
//! | [`packages`] | programs that some tests want from the system |
//! | [`steps`] | train, test, bench, lint: cargo, with libtorch in place |
//! | [`tidy`] | what the compiler cannot check: layers, comments, configs, links |
//!
//! It imports no other crate of the workspace, so it builds within seconds on a machine that has
//! no libtorch yet.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod release;

mod host;

mod setup;

mod docker;

mod packages;

mod steps;

mod tidy;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::host::Host;
use crate::release::Device;
use crate::setup::{Depth, Wish};

const USAGE: &str = "\
Developer commands of Engram.

Usage: cargo xtask <command>

  setup [--device cpu|cuda] [--verify]
                     bring libtorch and link .libtorch to it; instant when it is there
  docker             bring what the tests of containers need: compose, buildx, images; `test` does
  train [args]       train the main experiment and evaluate it; with arguments, `engram train args`
  test  [args]       all tests; ends with the line `N passed, N failed`
  bench [args]       `engram bench`, optimized
  lint               format, tidy, clippy and docs, every warning an error
  ci                 lint, then test
  tidy [--imports]   layers, comments, configs, metrics, links: what the compiler cannot check;
                     --imports prints how many imports and circles each crate has

Where libtorch comes from: LIBTORCH if set; else the Python wheels of torch, through pip; else the
official archive. It is kept in $ENGRAM_CACHE, by default ~/.cache/engram.";

/// One command line, understood.
#[derive(Debug, PartialEq, Eq)]
enum Command {
    Setup(Wish),
    Docker,
    Train(Vec<OsString>),
    Test(Vec<OsString>),
    Bench(Vec<OsString>),
    Lint,
    Ci,
    Tidy,
    Imports,
    Help,
}

fn main() -> ExitCode {
    match parse(std::env::args_os().skip(1)).and_then(run) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    if command == Command::Help {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let host = Host::here()?;
    match command {
        Command::Setup(wish) => setup::run(&host, wish).map(|()| ExitCode::SUCCESS),
        Command::Docker => docker::provide(&host).map(|()| ExitCode::SUCCESS),
        Command::Train(args) => steps::train(&host, args),
        Command::Test(args) => steps::test(&host, args),
        Command::Bench(args) => steps::bench(&host, args),
        Command::Lint => steps::lint(&host),
        Command::Ci => steps::ci(&host),
        Command::Tidy => tidy::run(&host),
        Command::Imports => tidy::print_imports(&host),
        Command::Help => unreachable!("help was answered above"),
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command> {
    let mut args = args.into_iter();
    let Some(name) = args.next() else {
        return Ok(Command::Help);
    };
    let rest: Vec<OsString> = args.collect();
    let command = match name.to_str() {
        Some("setup") => return parse_setup(&rest),
        Some("train") => return Ok(Command::Train(rest)),
        Some("test") => return Ok(Command::Test(rest)),
        Some("bench") => return Ok(Command::Bench(rest)),
        Some("docker") => Command::Docker,
        Some("lint") => Command::Lint,
        Some("ci") => Command::Ci,
        Some("tidy") if rest == ["--imports"] => return Ok(Command::Imports),
        Some("tidy") => Command::Tidy,
        Some("help" | "--help" | "-h") => Command::Help,
        _ => bail!("there is no command {name:?}\n\n{USAGE}"),
    };
    match rest.first() {
        Some(extra) => bail!("`cargo xtask {}` takes no arguments, got {extra:?}", name.display()),
        None => Ok(command),
    }
}

fn parse_setup(args: &[OsString]) -> Result<Command> {
    let mut wish = Wish::default();
    let mut words = args.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        match word.split_once('=').unwrap_or((&word, "")) {
            ("--device", "") => {
                wish.device = Some(parse_device(&words.next().unwrap_or_default())?)
            }
            ("--device", name) => wish.device = Some(parse_device(name)?),
            ("--verify", "") => wish.depth = Depth::Full,
            ("--help" | "-h", "") => return Ok(Command::Help),
            _ => bail!("`cargo xtask setup` knows --device cpu|cuda and --verify, got {word:?}"),
        }
    }
    Ok(Command::Setup(wish))
}

fn parse_device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "cuda" => Ok(Device::Cuda),
        _ => bail!("--device is cpu or cuda, got {name:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn setup_takes_a_device_and_verify() {
        let wish = Wish { device: Some(Device::Cuda), depth: Depth::Full };
        assert_eq!(parsed("setup --device cuda --verify").unwrap(), Command::Setup(wish));
        assert_eq!(parsed("setup --verify --device=cuda").unwrap(), Command::Setup(wish));
        assert_eq!(parsed("setup").unwrap(), Command::Setup(Wish::default()));
    }

    #[test]
    fn arguments_of_train_and_test_pass_through_untouched() {
        let args = vec![OsString::from("tmaze-passive"), "--set".into(), "rl.x=1".into()];
        assert_eq!(parsed("train tmaze-passive --set rl.x=1").unwrap(), Command::Train(args));
        assert_eq!(
            parsed("test -- queue").unwrap(),
            Command::Test(vec!["--".into(), "queue".into()])
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_with_what_would_be() {
        let refusal = |line| parsed(line).unwrap_err().to_string();
        assert!(refusal("setup --device tpu").contains("cpu or cuda"));
        assert!(refusal("setup --device").contains("cpu or cuda"));
        assert!(refusal("setup --gpu").contains("--device cpu|cuda and --verify"));
        assert!(refusal("tidy now").contains("takes no arguments"));
        assert_eq!(parsed("tidy --imports").unwrap(), Command::Imports);
        assert!(refusal("deploy").contains("Usage: cargo xtask"));
    }
}
