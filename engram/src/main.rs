//! `engram`: train, evaluate, plot, measure, and check an installation, from one command line.
//!
//! In reading order: [`experiment`] is what is trained, and [`equal_parameters`] makes its network as
//! large as others; [`in_process`] starts the learner, the inference server and the actors in this
//! process; [`train`], [`sweep`], [`reproduce`], [`eval`], [`plot`], [`render`], [`diagnose`],
//! [`mod@bench`], [`doctor`], [`check`], [`certs`] and those of [`watch`] are the commands. What
//! several runs say together is read, drawn and put into tables by `engram_analysis`.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod experiment;

mod equal_parameters;

mod compute;

mod in_process;

mod train;

mod sweep;

mod reproduce;

mod eval;

mod plot;

mod render;

mod diagnose;

mod bench;

mod doctor;

mod check;

mod certs;

mod watch;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use engram_service::args::LogArgs;
use engram_service::{Shutdown, allocator, failure, logs};

/// Engram trains agents that must remember: many actors, one inference server, one learner.
#[derive(Debug, Parser)]
#[command(name = "engram", version)]
struct EngramCli {
    #[command(subcommand)]
    command: EngramCommand,
    #[command(flatten)]
    logs: LogArgs,
}

/// Commands.
#[derive(Debug, Subcommand)]
enum EngramCommand {
    /// Train an agent, all in one process; a run that exists is resumed
    Train(Box<train::TrainArgs>),
    /// Train every combination of some settings over several seeds: charts and a table
    Sweep(Box<sweep::SweepArgs>),
    /// Train one column of a published table, and show it beside what was published
    Reproduce(Box<reproduce::ReproduceArgs>),
    /// Play episodes with what a run has learned
    Eval(eval::EvalArgs),
    /// Draw runs: learning curves, results over lengths, inter-quartile means; and a table
    Plot(plot::PlotArgs),
    /// Draw an environment being played, by a run or at random: what is there, what the agent sees
    Render(render::RenderArgs),
    /// Train sequence models on tasks of memory alone, without any environment
    Diagnose(Box<diagnose::DiagnoseArgs>),
    /// Measure the stages of a run and the whole, in ratios
    Bench(bench::BenchArgs),
    /// Check the installation, and say how to mend it
    Doctor(doctor::DoctorArgs),
    /// Compare a device with the CPU, learn on it, measure it, and write a report
    Check(check::CheckArgs),
    /// Watch a run at a glance, from pages of metrics or a Prometheus
    Top(watch::top::TopArgs),
    /// Make the certificates with which several machines speak TLS
    Certs(certs::CertsArgs),
}

#[expect(clippy::print_stderr, reason = "the error is the command's answer")]
fn main() -> ExitCode {
    allocator::keep_big_blocks();
    let cli = EngramCli::parse();
    // Progress is shown by other means; who watches a terminal wants to hear of trouble only.
    cli.logs.init(logs::QUIET);
    match run(&cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", failure::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: &EngramCommand) -> Result<()> {
    // Signals need a runtime that listens while the command works.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("signals")
        .enable_all()
        .build()?;
    let _inside = runtime.enter();
    let shutdown = Shutdown::on_signals()?;
    match command {
        EngramCommand::Train(args) => {
            let _metrics = train::serve_metrics(args, &shutdown)?;
            train::run(args, &shutdown)
        }
        EngramCommand::Sweep(args) => sweep::run(args, &shutdown),
        EngramCommand::Reproduce(args) => reproduce::run(args, &shutdown),
        EngramCommand::Eval(args) => eval::run(args, &shutdown),
        EngramCommand::Plot(args) => plot::run(args),
        EngramCommand::Render(args) => render::run(args, &shutdown),
        EngramCommand::Diagnose(args) => diagnose::run(args, &shutdown),
        EngramCommand::Bench(args) => bench::run(args, &shutdown),
        EngramCommand::Doctor(args) => runtime.block_on(doctor::run(args)),
        EngramCommand::Check(args) => check::run(args, &shutdown),
        EngramCommand::Top(args) => watch::top::run(args, &shutdown),
        EngramCommand::Certs(args) => certs::run(args),
    }
}
