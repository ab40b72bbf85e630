//! `engram diagnose`: can this memory layer learn to remember? Supervised, without any environment.
//!
//! RL adds exploration, a moving policy and noisy returns to whatever is wrong with a memory. These
//! tasks ask the memory alone: sequences are made at random, some frames ask for a class, and
//! cross-entropy teaches it. In reading order: an [`episode`] shows frames and asks for classes;
//! [`mod@recall`] and [`mod@copy`] are the two kinds of a [`task`], which makes episodes;
//! [`streams`] cut endless episodes into unrolls; a [`trainer`] learns from them; a
//! [`training_run`] trains one [`model`], and the [`report`] compares all runs.
//!
//! The benefit of real-time recurrent learning (Irie et al. 2023,
//! <https://arxiv.org/abs/2305.19044>) shows in minutes. Unrolls have 10 frames. The answer was
//! shown at least 51 frames before the question, so truncated backpropagation never reaches it:
//!
//! ```text
//! engram diagnose recall --against elstm-tbptt,feedforward --seeds 1,2,3 --target 0.99
//! engram diagnose copy --positions --against elstm-tbptt,feedforward --seeds 1,2,3 --target 0.99
//! engram diagnose copy --length 3 --against elstm-tbptt --seeds 1,2,3 --steps 6000000
//! ```
//!
//! With RTRL all seeds solve their task, after 0.8 to 1.4 million frames (recall), 1.8 to 2.4
//! (copying five bits) and 2.6 to 3.5 (three bits without `--positions`). By truncated
//! backpropagation, as without memory, all are still at chance when the budget is used up. Five
//! bits without `--positions` take longer: in one run, 98% of bits and 92% of whole sequences were
//! right after 8 million frames.
//!
//! `--unroll full` learns from whole episodes, which is what a layer without RTRL needs, and what
//! tells a task that is too hard from a truncation that is too short.

mod episode;

mod recall;

mod copy;

mod task;

mod streams;

mod trainer;

mod training_run;

mod model;

mod report;

#[cfg(test)]
mod learning;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use engram_policy::Device;
use engram_service::Shutdown;
use engram_service::progress::Progress;

use model::SequenceModel;
use report::Report;
use task::Task;
use trainer::Steps;
use training_run::{TrainingEnd, TrainingRun, TrainingSettings};

/// Interval between progress lines.
const INTERVAL: Duration = Duration::from_secs(2);

/// Flags of `engram diagnose`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DiagnoseArgs {
    #[command(subcommand)]
    task: TaskArgs,
}

/// Task and its flags.
#[derive(Clone, Debug, Subcommand)]
enum TaskArgs {
    /// Keep the one marked symbol among many like it, and name it at the end
    Recall {
        #[command(flatten)]
        task: recall::RecallTask,
        #[command(flatten)]
        training: TrainingArgs,
    },
    /// Keep bits over a gap of distractors, and say all of them in order
    Copy {
        #[command(flatten)]
        task: copy::CopyTask,
        #[command(flatten)]
        training: TrainingArgs,
    },
}

impl TaskArgs {
    fn split(self) -> (Arc<dyn Task>, TrainingArgs) {
        match self {
            TaskArgs::Recall { task, training } => (Arc::new(task), training),
            TaskArgs::Copy { task, training } => (Arc::new(task), training),
        }
    }
}

/// Flags of every task.
#[derive(Args, Clone, Debug)]
struct TrainingArgs {
    /// The sequence model: a name from configs/seq, or a .toml file
    #[arg(long, value_name = "NAME", default_value = "elstm-rtrl")]
    seq: String,
    /// Train other sequence models the same way
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    against: Vec<String>,
    /// Set one key in every model that has it, as in seq.memory.hidden=64; may be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Folder of sequence models
    #[arg(long, value_name = "DIR", env = "ENGRAM_CONFIGS", default_value = "configs")]
    configs: PathBuf,
    /// Frames of an unroll, where gradients are truncated: a number, or `full` for whole episodes
    #[arg(long, value_name = "N", default_value = "10")]
    unroll: UnrollLimit,
    /// Parallel streams of episodes
    #[arg(long, value_name = "B", default_value = "32")]
    batch: NonZeroUsize,
    /// Frames to learn from, of all streams together
    #[arg(long, value_name = "FRAMES", default_value_t = 4_000_000)]
    steps: u64,
    /// Adam's step size
    #[arg(long, value_name = "RATE", default_value_t = 2e-3)]
    learning_rate: f64,
    /// Gradients longer than this are shortened to it; inf leaves them alone
    #[arg(long, value_name = "NORM", default_value_t = 1.0)]
    max_grad_norm: f64,
    /// One training for each of these seeds
    #[arg(
        long,
        visible_alias = "seed",
        value_name = "N,..",
        value_delimiter = ',',
        default_value = "1"
    )]
    seeds: Vec<u64>,
    /// Stop a training once three rows in a row have reached this accuracy
    #[arg(long, value_name = "ACCURACY")]
    target: Option<f64>,
    /// Folder of tables and charts [default: a folder in runs/diagnose, named after the task]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Device of the network: cpu, cuda, or cuda:N
    #[arg(long, env = "ENGRAM_DEVICE", default_value = "cpu")]
    device: Device,
    /// Threads of one tensor operation
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
}

/// Length of an unroll, at whose ends gradients are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnrollLimit {
    /// After so many frames.
    After(usize),
    /// At the end of the episode.
    Full,
}

impl FromStr for UnrollLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("full", _) => Ok(UnrollLimit::Full),
            (_, Ok(frames @ 1..)) => Ok(UnrollLimit::After(frames)),
            _ => Err("write a number of frames, at least 1, or `full`".into()),
        }
    }
}

/// Trains every model with every seed; prints a table, and writes it with charts and rows.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &DiagnoseArgs, shutdown: &Shutdown) -> Result<()> {
    let (task, training) = args.task.clone().split();
    let settings = training.settings(task)?;
    let models = training.models()?;
    let folder = training.folder(&settings);
    tch::set_num_threads(i32::try_from(training.threads.get())?);
    println!("{}", introduction(&settings));
    let report = train_all(&settings, &models, &training.seeds, &folder, shutdown)?;
    println!("\n{report}");
    let table = folder.join("summary.txt");
    std::fs::write(&table, format!("{}\n\n{report}", introduction(&settings)))
        .with_context(|| format!("cannot write {}", table.display()))?;
    let [chart, _] = report.draw(&folder)?;
    println!("plot  {}", chart.display());
    Ok(())
}

impl TrainingArgs {
    /// The settings that all trainings share, checked.
    fn settings(&self, task: Arc<dyn Task>) -> Result<TrainingSettings> {
        task.check()?;
        let positive = |name: &str, number: f64| match number > 0.0 {
            true => Ok(number),
            false => bail!("--{name} is {number}; it must be above 0"),
        };
        let steps = Steps {
            learning_rate: positive("learning-rate", self.learning_rate)?,
            max_grad_norm: positive("max-grad-norm", self.max_grad_norm)?,
        };
        if !self.learning_rate.is_finite() {
            bail!("--learning-rate is {}; it must be finite", self.learning_rate);
        }
        if let Some(target) = self.target.filter(|target| !(0.0..=1.0).contains(target)) {
            bail!("--target is {target}; it must be between 0 and 1");
        }
        let unroll = match self.unroll {
            UnrollLimit::After(frames) => frames,
            UnrollLimit::Full => task.episode_frames(),
        };
        let batch = self.batch.get();
        let least = (task.episode_frames() * batch) as u64;
        if self.steps < least {
            bail!("--steps is {}; {batch} episodes at once already take {least}", self.steps);
        }
        let (target, device, budget) = (self.target, self.device, self.steps);
        Ok(TrainingSettings { task, unroll, batch, budget, steps, target, device })
    }

    fn models(&self) -> Result<Vec<SequenceModel>> {
        let repeated = |(i, seed): (usize, &u64)| self.seeds[..i].contains(seed);
        if self.seeds.iter().enumerate().any(repeated) {
            bail!("--seeds names a seed twice");
        }
        SequenceModel::all(&self.seq, &self.against, &self.set, &self.configs)
    }

    fn folder(&self, settings: &TrainingSettings) -> PathBuf {
        let named = || {
            let name = format!("{}-unroll{}", settings.task.name(), settings.unroll);
            Path::new("runs/diagnose").join(name)
        };
        self.out.clone().unwrap_or_else(named)
    }
}

/// Trains until everything has been trained, or somebody stops it.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
fn train_all<'a>(
    settings: &'a TrainingSettings,
    models: &'a [SequenceModel],
    seeds: &[u64],
    folder: &Path,
    shutdown: &Shutdown,
) -> Result<Report<'a>> {
    let mut report = Report { settings, trained: Vec::new() };
    for model in models {
        let mut runs: Vec<TrainingRun> = Vec::new();
        for &seed in seeds {
            if shutdown.is_triggered() {
                break;
            }
            let name = format!("{}-seed{seed}", model.name);
            println!("\n{name}");
            let mut progress = Progress::new(INTERVAL);
            let folder = folder.join(name);
            let config = &model.config;
            let run =
                training_run::train(settings, config, seed, &folder, &mut progress, shutdown)?;
            if let Some(row) = run.rows.last() {
                progress.finish(&training_run::line(settings, row));
            }
            if run.end == TrainingEnd::Diverged {
                println!("diverged: a smaller --learning-rate may help");
            }
            runs.push(run);
        }
        if !runs.is_empty() {
            report.trained.push((model, runs));
        }
    }
    Ok(report)
}

/// Description of the task and of the training.
fn introduction(settings: &TrainingSettings) -> String {
    let TrainingSettings { task, unroll, batch, budget, steps, .. } = settings;
    format!(
        "{}: episodes of {} frames; what is asked for was shown {} frames before; chance {:.3}\n\
         {budget} frames in {batch} streams, unrolls of {unroll}, Adam with steps of {}, gradients \
         up to {}",
        task.name(),
        task.episode_frames(),
        task.dependency(),
        task.chance(),
        steps.learning_rate,
        steps.max_grad_norm,
    )
}
