//! The program `engram-actor`: one actor as a process.

use std::process::ExitCode;

use anyhow::ensure;
use clap::builder::ArgPredicate;
use clap::{Command, CommandFactory, FromArgMatches, Parser};
use engram_actor::{
    ActorConfig, ActorMode, ActorSummary, MAX_UNACKNOWLEDGED, Timeouts, learner_experiment, spawn,
};
use engram_envs::EnvConfig;
use engram_mdp::Seed;
use engram_service::args::{LogArgs, MetricsArgs, SecurityArgs};
use engram_service::config::ActionChoice;
use engram_service::{Address, ConfigArgs, Resolved, Shutdown, failure, logs, process};

/// Steps environments for a learner, with the actions of an inference server.
///
/// Without an EXPERIMENT it takes the learner's.
#[derive(Debug, Parser)]
#[command(name = "engram-actor", version)]
struct ActorCli {
    #[command(flatten)]
    config: ConfigArgs,
    /// The learner: trajectories go there
    #[arg(
        long,
        value_name = "ADDR",
        env = "ENGRAM_LEARNER",
        required_unless_present_any = ["evaluate", "print_config"]
    )]
    learner: Option<Address>,
    /// The inference servers: actions come from there. Several addresses, separated by commas, and
    /// all servers behind a name share the load and stand in for one another
    #[arg(
        long,
        value_name = "ADDR",
        env = "ENGRAM_INFERENCE",
        value_delimiter = ',',
        required_unless_present = "print_config"
    )]
    inference: Vec<Address>,
    /// This actor's number, which no other actor of the run may have. Environments are derived from
    /// the experiment's seed by it. By default the learner gives it a free one
    #[arg(long, value_name = "N", env = "ENGRAM_ACTOR")]
    actor: Option<u32>,
    /// Environments that it steps, in two groups; by default run.envs_per_actor
    #[arg(long, value_name = "N", env = "ENGRAM_ENVS")]
    envs: Option<u32>,
    /// The run it belongs to; by default whichever is being served
    #[arg(long, value_name = "NAME", env = "ENGRAM_RUN")]
    run: Option<String>,
    /// Play so many greedy episodes and leave, instead of training
    #[arg(long, value_name = "EPISODES")]
    evaluate: Option<u32>,
    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    security: SecurityArgs,
    #[command(flatten)]
    logs: LogArgs,
}

// The actor has a thread of its own; this one has the signals and the metrics.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let matches = command().get_matches();
    let program = ActorCli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    program.logs.init(logs::USUAL);
    match act(program).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", failure::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// The command line: an experiment is needed only where there is no learner to ask.
fn command() -> Command {
    ActorCli::command().mut_arg("experiment", |experiment| {
        experiment.required(false).required_unless_present("learner").default_value_if(
            "learner",
            ArgPredicate::IsPresent,
            "",
        )
    })
}

async fn act(program: ActorCli) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals()?;
    let resolved = tokio::select! {
        () = shutdown.triggered() => return Ok(()),
        resolved = program.resolve() => resolved?,
    };
    if program.config.print_config {
        #[expect(clippy::print_stdout, reason = "the flag asks for it")]
        {
            print!("{}", resolved.to_toml());
        }
        return Ok(());
    }
    let config = program.actor_config(&resolved)?;
    let metrics = program.metrics.serve(&program.security.server()?, &shutdown).await?;
    tracing::info!(actor = ?config.actor, envs = config.envs, environment = %config.env.spec(), "starting");

    let actor = spawn(config, shutdown.clone());
    let joined = tokio::task::spawn_blocking(move || actor.join()).await?;
    // Metrics are shown to the end, and not beyond.
    shutdown.trigger();
    if let Some(metrics) = metrics {
        metrics.await?;
    }
    let summary = joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    log_summary(&summary);
    Ok(())
}

impl ActorCli {
    /// The experiment that was named, or the learner's.
    async fn resolve(&self) -> anyhow::Result<Resolved> {
        let config = &self.config;
        let learner = match &self.learner {
            Some(learner) if config.experiment.is_empty() => learner,
            _ => return Ok(config.resolve()?),
        };
        let selection = config.selection();
        let changes = selection.env.is_some() || selection.rl.is_some() || selection.seq.is_some();
        ensure!(
            !changes && selection.set.is_empty(),
            "without an EXPERIMENT the learner's is taken as it is; leave out --env, --rl, --seq \
             and --set, or name the experiment"
        );
        let learner = self.security.client()?.at(learner)?;
        let run_id = self.run.as_deref();
        let seed = process::any_number();
        Ok(learner_experiment(&learner, run_id, seed, Timeouts::STANDARD).await?)
    }

    fn actor_config(&self, resolved: &Resolved) -> anyhow::Result<ActorConfig> {
        let run = resolved.run()?;
        let credentials = self.security.client()?;
        let mode = match (self.evaluate, &self.learner) {
            (Some(episodes), _) => ActorMode::Evaluate { episodes, actions: ActionChoice::Greedy },
            (None, Some(learner)) => ActorMode::Train {
                learner: credentials.at(learner)?,
                unroll_length: run.unroll_length,
                max_unacknowledged: MAX_UNACKNOWLEDGED,
                stagger_steps: run.stagger_steps,
            },
            (None, None) => anyhow::bail!("training needs --learner ADDR"),
        };
        let config = ActorConfig {
            actor: self.actor,
            instance: process::any_number(),
            run_id: self.run.clone(),
            env: EnvConfig::from_table(resolved.table("env").clone())?,
            envs: self.envs.unwrap_or(run.envs_per_actor),
            seed: Seed::new(run.seed),
            inference: self
                .inference
                .iter()
                .map(|at| credentials.at(at))
                .collect::<Result<_, _>>()?,
            mode,
            timeouts: Timeouts::STANDARD,
        };
        config.validate()?;
        Ok(config)
    }
}

fn log_summary(summary: &ActorSummary) {
    let episodes = &summary.episodes;
    if episodes.is_empty() {
        tracing::info!(
            reason = ?summary.reason,
            env_steps = summary.env_steps,
            episodes = summary.episodes_ended,
            interruptions = summary.interruptions,
            "left"
        );
        return;
    }
    let count = episodes.len() as f64;
    let mean = episodes.iter().map(|e| f64::from(e.episode_return)).sum::<f64>() / count;
    let successes = episodes.iter().filter(|e| e.success == Some(true)).count();
    let knows_success = episodes.iter().any(|e| e.success.is_some());
    tracing::info!(
        episodes = episodes.len(),
        mean_return = mean,
        success_rate = knows_success.then(|| successes as f64 / count),
        "evaluated"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<ActorCli, clap::Error> {
        let matches = command().try_get_matches_from(line.split_ascii_whitespace())?;
        ActorCli::from_arg_matches(&matches)
    }

    #[test]
    fn training_needs_a_learner_and_evaluating_does_not() {
        let error = parse("engram-actor recall --inference a:1").unwrap_err().to_string();
        assert!(error.contains("--learner"), "{error}");
        let program =
            parse("engram-actor recall --inference a:1,unix:/b --learner c:2 --actor 3").unwrap();
        assert_eq!(program.inference.len(), 2);
        assert_eq!(program.actor, Some(3));
        assert!(parse("engram-actor recall --inference a:1 --evaluate 100").is_ok());
        assert!(parse("engram-actor recall --learner a:1").is_err());
    }

    #[test]
    fn an_experiment_is_needed_only_without_a_learner() {
        let program = parse("engram-actor --inference a:1 --learner c:2").unwrap();
        assert_eq!(program.config.experiment, "");
        let named = parse("engram-actor recall --inference a:1 --learner c:2").unwrap();
        assert_eq!(named.config.experiment, "recall");
        let error = parse("engram-actor --inference a:1 --evaluate 3").unwrap_err().to_string();
        assert!(error.contains("EXPERIMENT"), "{error}");
    }
}
