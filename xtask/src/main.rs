//! `cargo xtask`: everything a developer runs that is not the program itself.
//!
//! | file | is |
//! |---|---|
//! | [`release`] | which libtorch, and where it is published |
//! | [`host`] | the checkout, the cache and the tools of this machine |
//! | [`setup`] | brings libtorch: a LIBTORCH that is set, else Python wheels |
//! | [`docker`] | what tests of containers need: compose, buildx, images |
//! | [`pip`] | packages of Python, in the cache |
//! | [`gymnasium`] | those that some tests want |
//! | [`procgen`] | the library of ProcGen's games |
//! | [`deny`] | cargo-deny: licenses, sources and known vulnerabilities of dependencies |
//! | [`packages`] | programs that some tests want from the system |
//! | [`pack`] | the programs in one archive, for a machine with PyTorch |
//! | [`steps`] | train, test, bench, pack, lint: cargo, with libtorch in place |
//! | [`tidy`] | what the compiler cannot check: layers, comments, configs, links |
//!
//! It imports no other crate of the workspace, so it builds within seconds on a machine that has
//! no libtorch yet.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod release;

mod host;

mod setup;

mod docker;

mod pip;

mod deny;

mod gymnasium;

mod procgen;

mod packages;

mod pack;

mod steps;

mod tidy;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::host::Host;
use crate::pack::Profile;
use crate::release::LibtorchVariant;
use crate::setup::{Depth, Wish};

const USAGE: &str = "\
Developer commands of Engram.

Usage: cargo xtask <command>

  setup [--device cpu|cuda] [--verify]
                     bring libtorch and link .libtorch to it; instant when it is there
  fetch procgen      bring the library of the environment `procgen`; `test` does
  docker             bring what the tests of containers need: compose, buildx, images; `test` does
  train [args]       train the main experiment and evaluate it; with arguments, `engram train args`
  test  [args]       all tests; ends with the line `N passed, N failed`
  bench [args]       `engram bench`, optimized
  pack  [--profile NAME]
                     the programs and configs in one archive in dist/, for a machine with PyTorch
  lint               format, tidy, cargo-deny, clippy and docs, every warning an error
  ci                 lint, then test
  tidy [--imports]   layers, comments, configs, metrics, links: what the compiler cannot check;
                     --imports prints how many imports and circles each crate has

Where libtorch comes from: LIBTORCH if set; else the Python wheels of torch, through pip, each with
the SHA-256 that it was published with. It is kept in $ENGRAM_CACHE, by default ~/.cache/engram.";

/// One command line, understood.
#[derive(Debug, PartialEq, Eq)]
enum XtaskCommand {
    Setup(Wish),
    FetchProcgen,
    Docker,
    Train(Vec<OsString>),
    Test(Vec<OsString>),
    Bench(Vec<OsString>),
    Pack(Profile),
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

fn run(command: XtaskCommand) -> Result<ExitCode> {
    if command == XtaskCommand::Help {
        println!("{USAGE}");
        return Ok(ExitCode::SUCCESS);
    }
    let host = Host::here()?;
    match command {
        XtaskCommand::Setup(wish) => setup::run(&host, wish).map(|()| ExitCode::SUCCESS),
        XtaskCommand::FetchProcgen => fetch_procgen(&host),
        XtaskCommand::Docker => docker::provide(&host).map(|()| ExitCode::SUCCESS),
        XtaskCommand::Train(args) => steps::train(&host, args),
        XtaskCommand::Test(args) => steps::test(&host, args),
        XtaskCommand::Bench(args) => steps::bench(&host, args),
        XtaskCommand::Pack(profile) => steps::pack(&host, &profile),
        XtaskCommand::Lint => steps::lint(&host),
        XtaskCommand::Ci => steps::ci(&host),
        XtaskCommand::Tidy => tidy::run(&host),
        XtaskCommand::Imports => tidy::print_imports(&host),
        XtaskCommand::Help => unreachable!("help was answered above"),
    }
}

fn fetch_procgen(host: &Host) -> Result<ExitCode> {
    println!("{}", procgen::provide_usable(host)?.display());
    Ok(ExitCode::SUCCESS)
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<XtaskCommand> {
    let mut args = args.into_iter();
    let Some(name) = args.next() else {
        return Ok(XtaskCommand::Help);
    };
    let rest: Vec<OsString> = args.collect();
    let command = match name.to_str() {
        Some("setup") => return parse_setup(&rest),
        Some("train") => return Ok(XtaskCommand::Train(rest)),
        Some("test") => return Ok(XtaskCommand::Test(rest)),
        Some("bench") => return Ok(XtaskCommand::Bench(rest)),
        Some("pack") => return parse_pack(&rest),
        Some("fetch") if rest == ["procgen"] => return Ok(XtaskCommand::FetchProcgen),
        Some("fetch") => bail!("`cargo xtask fetch` knows procgen, got {rest:?}"),
        Some("docker") => XtaskCommand::Docker,
        Some("lint") => XtaskCommand::Lint,
        Some("ci") => XtaskCommand::Ci,
        Some("tidy") if rest == ["--imports"] => return Ok(XtaskCommand::Imports),
        Some("tidy") => XtaskCommand::Tidy,
        Some("help" | "--help" | "-h") => XtaskCommand::Help,
        _ => bail!("there is no command {name:?}\n\n{USAGE}"),
    };
    match rest.first() {
        Some(extra) => bail!("`cargo xtask {}` takes no arguments, got {extra:?}", name.display()),
        None => Ok(command),
    }
}

fn parse_setup(args: &[OsString]) -> Result<XtaskCommand> {
    let mut wish = Wish::default();
    let mut words = args.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        match word.split_once('=').unwrap_or((&word, "")) {
            ("--device", "") => {
                wish.device = Some(parse_device(&words.next().unwrap_or_default())?)
            }
            ("--device", name) => wish.device = Some(parse_device(name)?),
            ("--verify", "") => wish.depth = Depth::Full,
            ("--help" | "-h", "") => return Ok(XtaskCommand::Help),
            _ => bail!("`cargo xtask setup` knows --device cpu|cuda and --verify, got {word:?}"),
        }
    }
    Ok(XtaskCommand::Setup(wish))
}

fn parse_pack(args: &[OsString]) -> Result<XtaskCommand> {
    let words: Vec<_> = args.iter().map(|word| word.to_string_lossy()).collect();
    let words: Vec<&str> = words.iter().flat_map(|word| word.splitn(2, '=')).collect();
    match words[..] {
        [] => Ok(XtaskCommand::Pack(Profile::default())),
        ["--profile", name] if !name.is_empty() => Ok(XtaskCommand::Pack(Profile(name.into()))),
        _ => bail!("`cargo xtask pack` knows --profile NAME, got {args:?}"),
    }
}

fn parse_device(name: &str) -> Result<LibtorchVariant> {
    match name {
        "cpu" => Ok(LibtorchVariant::Cpu),
        "cuda" => Ok(LibtorchVariant::Cuda),
        _ => bail!("--device is cpu or cuda, got {name:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<XtaskCommand> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn setup_takes_a_device_and_verify() {
        let wish = Wish { device: Some(LibtorchVariant::Cuda), depth: Depth::Full };
        assert_eq!(parsed("setup --device cuda --verify").unwrap(), XtaskCommand::Setup(wish));
        assert_eq!(parsed("setup --verify --device=cuda").unwrap(), XtaskCommand::Setup(wish));
        assert_eq!(parsed("setup").unwrap(), XtaskCommand::Setup(Wish::default()));
    }

    #[test]
    fn arguments_of_train_and_test_pass_through_untouched() {
        let args = vec![OsString::from("tmaze-passive"), "--set".into(), "rl.x=1".into()];
        assert_eq!(parsed("train tmaze-passive --set rl.x=1").unwrap(), XtaskCommand::Train(args));
        assert_eq!(
            parsed("test -- queue").unwrap(),
            XtaskCommand::Test(vec!["--".into(), "queue".into()])
        );
    }

    #[test]
    fn pack_takes_a_profile() {
        let dev = XtaskCommand::Pack(Profile("dev".into()));
        assert_eq!(parsed("pack").unwrap(), XtaskCommand::Pack(Profile::default()));
        assert_eq!(parsed("pack --profile dev").unwrap(), dev);
        assert_eq!(parsed("pack --profile=dev").unwrap(), dev);
        for line in ["pack dev", "pack --profile", "pack --profile="] {
            assert!(parsed(line).unwrap_err().to_string().contains("--profile NAME"), "{line}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused_with_what_would_be() {
        let refusal = |line| parsed(line).unwrap_err().to_string();
        assert!(refusal("setup --device tpu").contains("cpu or cuda"));
        assert!(refusal("setup --device").contains("cpu or cuda"));
        assert!(refusal("setup --gpu").contains("--device cpu|cuda and --verify"));
        assert!(refusal("tidy now").contains("takes no arguments"));
        assert_eq!(parsed("tidy --imports").unwrap(), XtaskCommand::Imports);
        assert_eq!(parsed("fetch procgen").unwrap(), XtaskCommand::FetchProcgen);
        assert!(refusal("fetch atari").contains("knows procgen"));
        assert!(refusal("deploy").contains("Usage: cargo xtask"));
    }
}
