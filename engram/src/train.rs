//! `engram train`: the whole system in one process, then an evaluation and a chart.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use engram_actor::ActorSummary;
use engram_analysis::curves::{Curve, draw};
use engram_learner::rpc::evaluation_queue::CheckpointKind;
use engram_learner::storage::final_evaluation::FinalScore;
use engram_learner::{Ended, LearnerArgs};
use engram_service::args::{MetricsArgs, SecurityArgs, WatchdogArgs};
use engram_service::config::ConfigArgs;
use engram_service::progress::{Progress, ProgressLine};
use engram_service::{RunConfig, Shutdown};
use tokio::sync::watch;

use crate::compute::Compute;
use crate::experiment::Experiment;
use crate::in_process::{self, Job, Trained};

/// Flags of `engram train`.
#[derive(Args, Clone, Debug)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Actors, instead of the experiment's number
    #[arg(long, value_name = "N")]
    actors: Option<u32>,
    #[command(flatten)]
    compute: Compute,
    #[command(flatten)]
    learner: LearnerArgs,
    /// The run's name; a run of that name that exists is resumed [default: experiment and seed]
    #[arg(long, value_name = "NAME", value_parser = engram_service::args::run_name)]
    run_name: Option<String>,
    /// Folder of runs
    #[arg(long, value_name = "DIR", env = "ENGRAM_RUNS", default_value = "runs")]
    runs: PathBuf,
    /// Train other sequence models on the same afterwards, and draw all curves in one chart
    #[arg(long, value_name = "SEQ,SEQ,..", value_delimiter = ',')]
    against: Vec<String>,
    /// Draw the learning curve when training ends
    #[arg(long)]
    plot: bool,
    #[command(flatten)]
    watchdog: WatchdogArgs,
    #[command(flatten)]
    metrics: MetricsArgs,
    #[command(flatten)]
    security: SecurityArgs,
}

impl TrainArgs {
    /// The experiment of these flags.
    pub(crate) fn experiment(&self) -> Result<Experiment> {
        resolve(self, &self.config)
    }
}

/// Trains what was asked for, and what it is to be compared with; says what came of it.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &TrainArgs, shutdown: &Shutdown) -> Result<()> {
    if args.config.print_config {
        print!("{}", resolve(args, &args.config)?.resolved.to_toml());
        return Ok(());
    }
    let experiment = resolve(args, &args.config)?;
    let mut folders = vec![train(args, &args.config, args.run_name.clone(), shutdown)?];
    let mut models = vec![experiment.resolved.parts().seq.clone()];
    for seq in &args.against {
        let other = ConfigArgs { seq: Some(seq.clone()), ..args.config.clone() };
        let name = args.run_name.as_ref().map(|name| format!("{name}-{}", seq.replace('/', "-")));
        println!();
        folders.push(train(args, &other, name, shutdown)?);
        models.push(seq.clone());
    }
    if args.plot {
        let read =
            |(folder, label): (&PathBuf, String)| Ok(Curve { label, ..Curve::read(folder)? });
        let curves = folders.iter().zip(models).map(read).collect::<Result<Vec<_>>>()?;
        let environment = experiment.env.spec().name;
        let title = format!("{environment}, unrolls of {}", experiment.run.unroll_length);
        let [chart, _] = draw(&curves, &title, &folders[0].join("plots/learning-curve"))?;
        println!("\nplot       {}", chart.display());
    }
    Ok(())
}

fn resolve(args: &TrainArgs, config: &ConfigArgs) -> Result<Experiment> {
    let mut resolved = config.resolve()?;
    if let Some(actors) = args.actors {
        resolved.set(&format!("run.actors={actors}"))?;
    }
    args.learner.configure(&mut resolved)?;
    Experiment::new(resolved)
}

/// One training with its evaluation; returns the run's folder.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
fn train(
    args: &TrainArgs,
    config: &ConfigArgs,
    name: Option<String>,
    shutdown: &Shutdown,
) -> Result<PathBuf> {
    let compute = args.compute.checked()?;
    let experiment = resolve(args, config)?;
    let run_id = name.unwrap_or_else(|| experiment.run_name(config));
    let folder = args.runs.join(&run_id);
    experiment.env.try_spec()?;
    println!("{}", introduction(&experiment, &run_id));
    if let Some(warning) = experiment.resolved.left_out() {
        tracing::warn!("{warning}");
    }

    let (sender, receiver) = watch::channel(ProgressLine::default());
    let bar = std::thread::spawn({
        let run = experiment.run.clone();
        move || show(receiver, &run)
    });
    let job = Job {
        experiment: &experiment,
        run_id: &run_id,
        folder: Some(&folder),
        compute,
        learner: args.learner.clone(),
        watchdog: args.watchdog.limit(),
    };
    let trained = in_process::train(&job, sender, shutdown)?;
    bar.join().ok();
    println!("{}", conclusion(&trained));
    for line in evaluated(&trained.summary.final_evaluation, &experiment) {
        println!("evaluated  {line}");
    }
    println!("run        {}", folder.display());
    Ok(folder)
}

/// Description of the run that begins.
fn introduction(experiment: &Experiment, run_id: &str) -> String {
    let parts = experiment.resolved.parts();
    let run = &experiment.run;
    let mut text = format!(
        "{run_id}: {} with {} on {}\n{} env steps, {} actors × {} environments, seed {}",
        parts.seq,
        parts.rl,
        experiment.env.spec(),
        run.env_steps,
        run.actors,
        run.envs_per_actor,
        run.seed,
    );
    if let Some(truncation) = experiment.seq.truncation() {
        text = format!("{text}\n{truncation}");
    }
    text
}

/// Summary of the run: amount, speed, bottleneck.
fn conclusion(trained: &Trained) -> String {
    let summary = &trained.summary;
    let ended = match summary.ended {
        Ended::Finished => "finished",
        Ended::Stopped => "stopped ",
    };
    format!(
        "{ended}   {} env steps, {} updates, {} episodes, {:.0} env steps/s\nbottleneck {}",
        summary.env_steps,
        summary.updates,
        summary.episodes,
        summary.env_steps_per_second,
        bottleneck(trained),
    )
}

/// Scores of the final evaluation, each with what it is of where there are several.
fn evaluated(scores: &[FinalScore], experiment: &Experiment) -> impl Iterator<Item = String> {
    let (optimum, kind) = (experiment.env.optimum(), experiment.run.eval_actions.episodes());
    scores.iter().map(move |of| {
        let sentence = of.score().sentence(kind, optimum);
        let checkpoint = match of.checkpoint {
            _ if scores.len() == 1 => return sentence,
            CheckpointKind::Newest => "newest",
            CheckpointKind::Best => "best",
            CheckpointKind::Both => "newest and best",
        };
        format!("{checkpoint}, {} env steps, set {}: {sentence}", of.env_steps, of.set)
    })
}

/// Bottleneck of the run, and the shares of time spent waiting.
pub(crate) fn bottleneck(trained: &Trained) -> String {
    let shares = &trained.summary.shares;
    let total = |time: fn(&ActorSummary) -> Duration| {
        trained.actors.iter().map(time).sum::<Duration>().as_secs_f64()
    };
    let stepping = total(|actor| actor.stepping);
    let inference = total(|actor| actor.waiting_on_inference);
    let learner = total(|actor| actor.waiting_on_learner);
    let percent = |time: f64| 100.0 * time / (stepping + inference + learner).max(1e-9);
    format!(
        "{}; the learner waited {:.0}% of its time, actors {:.0}% for actions and {:.0}% for the \
         learner",
        shares.bottleneck(),
        100.0 * shares.data_wait,
        percent(inference),
        percent(learner),
    )
}

/// Draws the bar until the learner hangs up.
fn show(mut lines: watch::Receiver<ProgressLine>, run: &RunConfig) {
    let mut progress = Progress::new(run.log_interval());
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
        return;
    };
    runtime.block_on(async {
        while lines.changed().await.is_ok() {
            let line = *lines.borrow_and_update();
            progress.update(&line);
        }
    });
    let line = *lines.borrow();
    progress.finish(&line);
}

/// Serves the metrics of the whole process for as long as the returned runtime lives.
pub(crate) fn serve_metrics(
    args: &TrainArgs,
    shutdown: &Shutdown,
) -> Result<Option<tokio::runtime::Runtime>> {
    if args.config.print_config {
        return Ok(None);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("metrics")
        .enable_all()
        .build()?;
    runtime
        .block_on(args.metrics.serve(&args.security.server()?, shutdown))
        .context("cannot serve metrics")?;
    Ok(Some(runtime))
}
