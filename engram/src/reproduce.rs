//! `engram reproduce`: one column of a published table, trained here and set beside what was
//! published.
//!
//! A [`PublishedTable`] has the scores and the experiment. The runs are those of a sweep over its
//! worlds: the same command goes on where it was stopped. Results stand in `results.json` in the
//! sweep's folder.

mod published;
mod results;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use engram_analysis::Question;
use engram_service::Shutdown;
use engram_service::config::ConfigArgs;

use self::published::PublishedTable;
use self::results::Results;
use crate::sweep::{Axis, ExecutorArgs, Study, SweepSpec};

/// Flags of `engram reproduce`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReproduceArgs {
    /// The table: a file of configs/published, as in popgym
    #[arg(value_name = "TABLE")]
    table: String,
    /// The column: a memory layer of the table, as in gru
    #[arg(long, value_name = "NAME")]
    seq: String,
    /// The level of all worlds
    #[arg(long, value_name = "NAME", default_value = "easy")]
    level: String,
    /// Rows [default: all of that level]
    #[arg(long, value_name = "NAME,NAME..", value_delimiter = ',')]
    worlds: Vec<String>,
    /// Algorithm and its settings, in the place of the experiment's
    #[arg(long, value_name = "NAME")]
    rl: Option<String>,
    /// Set one key, as in run.env_steps=1000000; may be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seeds of each world
    #[arg(long, value_name = "N,N,..", value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
    /// Greedy episodes after each training
    #[arg(long, value_name = "N", default_value_t = 100)]
    evaluate: u32,
    /// Folder of experiments and parts
    #[arg(long, value_name = "DIR", env = "ENGRAM_CONFIGS", default_value = "configs")]
    configs: PathBuf,
    /// Folder of runs
    #[arg(long, value_name = "DIR", env = "ENGRAM_RUNS", default_value = "runs")]
    runs: PathBuf,
    #[command(flatten)]
    executors: ExecutorArgs,
    /// Flags of every engram train, as in -- --device cuda
    #[arg(last = true, value_name = "TRAIN FLAGS")]
    train: Vec<String>,
}

/// Trains what is not finished yet, and shows all that is beside the published scores.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &ReproduceArgs, shutdown: &Shutdown) -> Result<()> {
    let table = PublishedTable::read(&args.configs, &args.table)?;
    let worlds = table.worlds(&args.level, &args.worlds)?;
    let spec = args.spec(&table, &worlds)?;
    let study =
        Study { spec: &spec, runs: &args.runs, executors: &args.executors, train: &args.train };
    let tasks = study.run(shutdown)?;
    let results = Results::of(&table, &args.level, &args.seq, &worlds, &tasks)?;
    let file = args.runs.join(&spec.name).join("results.json");
    println!("\n{}\n{results}", table.source);
    if results.is_empty() {
        bail!("no run is finished yet; the same command goes on");
    }
    results.write(&file)?;
    println!("results    {}", file.display());
    Ok(())
}

impl ReproduceArgs {
    /// The sweep over `worlds`.
    fn spec(&self, table: &PublishedTable, worlds: &[String]) -> Result<SweepSpec> {
        if self.seeds.is_empty() || self.evaluate == 0 {
            bail!("reproduce needs a seed and a greedy episode, at least");
        }
        let envs: Vec<String> = worlds.iter().map(|world| table.part(world)).collect();
        let level = format!("env.level={}", self.level);
        Ok(SweepSpec {
            name: self.name(),
            config: ConfigArgs {
                experiment: table.experiment.clone(),
                env: None,
                rl: self.rl.clone(),
                seq: Some(table.part(&self.seq)),
                set: std::iter::once(level).chain(self.set.iter().cloned()).collect(),
                configs: self.configs.clone(),
                print_config: false,
            },
            vary: vec![format!("env={}", envs.join(",")).parse::<Axis>()?],
            seeds: self.seeds.clone(),
            evaluate: self.evaluate,
            question: Question::default(),
        })
    }

    /// Name of the sweep, which has a folder of its own for every column.
    fn name(&self) -> String {
        let rl = self.rl.iter().cloned();
        let words =
            [self.table.clone(), self.level.clone(), self.seq.clone()].into_iter().chain(rl);
        words.map(|word| word.replace('/', "-")).collect::<Vec<_>>().join("-")
    }
}
