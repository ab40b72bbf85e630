//! `engram-evaluator`: evaluates a run while it trains, and at its end.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use engram_actor::{Timeouts, learner_experiment};
use engram_envs::EnvConfig;
use engram_evaluator::{EvaluationEpisodes, EvaluatorConfig, run};
use engram_policy::Device;
use engram_service::args::{LogArgs, MetricsArgs, SecurityArgs};
use engram_service::{Address, Shutdown, allocator, failure, logs, process};

/// Plays greedy episodes with the weights that a learner sends, and tells it their scores.
///
/// The experiment, and with it what is played and when, is the learner's. Several evaluators share
/// the evaluations of a run.
#[derive(Debug, Parser)]
#[command(name = "engram-evaluator", version)]
struct EvaluatorCli {
    /// The learner
    #[arg(long, value_name = "ADDR", env = "ENGRAM_LEARNER")]
    learner: Address,
    /// The run to evaluate; by default whichever the learner trains
    #[arg(long, value_name = "NAME", env = "ENGRAM_RUN")]
    run: Option<String>,
    /// Device of the policy: cpu, cuda or cuda:n
    #[arg(long, env = "ENGRAM_DEVICE", default_value = "cpu")]
    device: Device,
    /// Threads that one operation of the policy may use on the processor
    #[arg(long, value_name = "N", env = "ENGRAM_THREADS", default_value_t = 1)]
    threads: usize,
    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    security: SecurityArgs,
    #[command(flatten)]
    logs: LogArgs,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    allocator::keep_big_blocks();
    let arguments = EvaluatorCli::parse();
    arguments.logs.init(logs::USUAL);
    match evaluate(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", failure::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

async fn evaluate(arguments: EvaluatorCli) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals().context("cannot hear signals")?;
    arguments.device.ready()?;
    let learner = arguments.security.client()?.at(&arguments.learner)?;
    let metrics = arguments.metrics.serve(&arguments.security.server()?, &shutdown).await?;
    let (run_id, seed) = (arguments.run.as_deref(), process::any_number());
    let asked = learner_experiment(&learner, run_id, seed, Timeouts::STANDARD);
    let resolved = tokio::select! {
        () = shutdown.triggered() => return Ok(()),
        resolved = asked => resolved?,
    };
    let settings = resolved.run()?;
    if settings.eval_env_steps == 0 && settings.final_eval_episodes == 0 {
        tracing::info!(
            "this run asks for no evaluation: run.eval_env_steps and run.final_eval_episodes are 0"
        );
    }
    let env = EnvConfig::from_table(resolved.table("env").clone())?;
    env.try_spec()?;
    let episodes = EvaluationEpisodes {
        env,
        envs: settings.envs_per_actor,
        actions: settings.eval_actions,
        device: arguments.device,
        threads: arguments.threads,
    };
    let config = EvaluatorConfig { learner, run_id: arguments.run, episodes };
    let ended = run(config, shutdown.clone()).await;
    // Metrics are shown to the end, and not beyond.
    shutdown.trigger();
    if let Some(metrics) = metrics {
        metrics.await?;
    }
    ended?;
    tracing::info!("the evaluator leaves");
    Ok(())
}
