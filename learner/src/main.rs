//! `engram-learner`: turns the trajectories of actors into weights.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{CommandFactory, FromArgMatches, Parser};
use engram_learner::{LearnerArgs, LearnerConfig, LearnerError, RunSummary};
use engram_policy::Device;
use engram_service::args::{self, LogArgs, MetricsArgs, SecurityArgs, WatchdogArgs};
use engram_service::progress::{Progress, ProgressLine};
use engram_service::{
    Address, ConfigArgs, Listener, Shutdown, allocator, failure, health, logs, process,
};
use tokio::sync::watch;

/// Turns the trajectories of actors into weights, and sends them to inference servers.
///
/// Killed and started again with the same run name, it goes on from the last checkpoint.
#[derive(Debug, Parser)]
#[command(name = "engram-learner", version)]
struct LearnerCli {
    #[command(flatten)]
    config: ConfigArgs,
    /// Address for actors and inference servers: host:port or unix:/path
    #[arg(long, value_name = "ADDR", env = "ENGRAM_LISTEN", default_value = "127.0.0.1:7001")]
    listen: Address,
    /// The run's name, which is also its folder's; the experiment's name, if not given
    #[arg(long, value_name = "NAME", env = "ENGRAM_RUN_NAME", value_parser = args::run_name)]
    run_name: Option<String>,
    /// Folder of runs
    #[arg(long, value_name = "DIR", env = "ENGRAM_RUNS", default_value = "runs")]
    runs: PathBuf,
    /// Device of the policy: cpu, cuda or cuda:N
    #[arg(long, env = "ENGRAM_DEVICE", default_value = "cpu")]
    device: Device,
    /// Threads of tensor operations on the CPU
    #[arg(long, value_name = "N", env = "ENGRAM_THREADS", default_value_t = 1,
          value_parser = clap::value_parser!(i32).range(1..=1024))]
    threads: i32,
    #[command(flatten)]
    learner: LearnerArgs,
    /// Ask the learner at --listen whether it is serving, and leave; needs no experiment
    #[arg(long)]
    healthcheck: bool,
    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    watchdog: WatchdogArgs,
    #[command(flatten)]
    security: SecurityArgs,
    #[command(flatten)]
    logs: LogArgs,
}

fn main() -> ExitCode {
    allocator::keep_big_blocks();
    process::open_as_many_files_as_allowed();
    let runtime = tokio::runtime::Runtime::new().expect("the system has room for threads");
    match runtime.block_on(serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", failure::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> anyhow::Result<()> {
    let arguments = LearnerCli::from_command_line();
    arguments.logs.init(logs::USUAL);
    if arguments.healthcheck {
        let address = arguments.security.client()?.at(&arguments.listen.from_here())?;
        return health::check(&address).await.context("the learner is not healthy");
    }
    let mut resolved = arguments.config.resolve()?;
    arguments.learner.configure(&mut resolved)?;
    if arguments.config.print_config {
        print_config(&resolved.to_toml());
        return Ok(());
    }
    if let Some(warning) = resolved.left_out() {
        tracing::warn!("{warning}");
    }
    let name = arguments.run_name.clone().unwrap_or_else(|| resolved.file_name());
    let folder = Some(arguments.runs.join(&name));
    let (device, threads) = (arguments.device.ready()?, arguments.threads);
    let config = LearnerConfig {
        flags: arguments.learner,
        watchdog: arguments.watchdog.limit(),
        ..LearnerConfig::new(resolved, name, folder, device, threads)?
    };
    let shutdown = Shutdown::on_signals().context("cannot hear signals")?;
    let security = arguments.security.server()?;
    let metrics = arguments.metrics.serve(&security, &shutdown).await?;
    let listener = Listener::secured(&security, &arguments.listen).await?;
    let summary = learn(config, listener, shutdown.clone()).await?;
    // The metrics are served as long as there is something to measure.
    shutdown.trigger();
    if let Some(metrics) = metrics {
        metrics.await.context("the metrics panicked")?;
    }
    tell(&summary);
    Ok(())
}

impl LearnerCli {
    /// A check of the health is the one thing that needs no experiment.
    fn from_command_line() -> Self {
        let command = Self::command().mut_arg("experiment", |experiment| {
            experiment.required(false).required_unless_present("healthcheck").default_value_if(
                "healthcheck",
                "true",
                "none",
            )
        });
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// Learns, and shows how far it is.
async fn learn(
    config: LearnerConfig,
    listener: Listener,
    shutdown: Shutdown,
) -> Result<RunSummary, LearnerError> {
    let mut shown = Progress::new(config.run.log_interval());
    let (progress, mut news) = watch::channel(ProgressLine::default());
    let show = async {
        while news.changed().await.is_ok() {
            shown.update(&news.borrow_and_update());
        }
        let last = *news.borrow();
        // A run that never began has nothing to show.
        if last.budget > 0 {
            shown.finish(&last);
        }
    };
    let learning = engram_learner::run(config, listener, progress, shutdown);
    tokio::join!(learning, show).0
}

fn tell(summary: &RunSummary) {
    let checkpoint = summary.checkpoint.as_ref().map(|path| path.display().to_string());
    tracing::info!(
        ended = ?summary.ended,
        env_steps = summary.env_steps,
        updates = summary.updates,
        episodes = summary.episodes,
        mean_return = summary.means.episode_return,
        success = summary.means.success,
        env_steps_per_second = summary.env_steps_per_second.round(),
        checkpoint,
        "the learner leaves"
    );
}

#[expect(clippy::print_stdout, reason = "the configuration is what was asked for")]
fn print_config(text: &str) {
    print!("{text}");
}
