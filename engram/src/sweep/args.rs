//! Flags of `engram sweep`.

use std::path::PathBuf;

use clap::Args;
use engram_analysis::Question;
use engram_service::config::ConfigArgs;

use super::grid::Axis;

/// Flags of `engram sweep`. The experiment may be a sweep's file, which says what to vary itself.
#[derive(Args, Clone, Debug)]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// A setting and its values, as in env.delay=20,50 or seq=lstm,gru; settings that change
    /// together are joined, as in run.unroll_length+rl.batch_size=1+128,5+32; may be given many
    /// times
    #[arg(long, value_name = "KEY=V,V,..")]
    pub(super) vary: Vec<Axis>,
    /// Seeds of each combination [default: the file's, or 1,2,3]
    #[arg(long, value_name = "N,N,..", value_delimiter = ',')]
    pub(super) seeds: Option<Vec<u64>>,
    /// Greedy episodes after each training [default: the file's, or 100]
    #[arg(long, value_name = "N")]
    pub(super) evaluate: Option<u32>,
    /// The sweep's name [default: the file's, or experiment and the settings' names]
    #[arg(long, value_name = "NAME", value_parser = engram_service::args::run_name)]
    pub(super) name: Option<String>,
    /// Folder of runs
    #[arg(long, value_name = "DIR", env = "ENGRAM_RUNS", default_value = "runs")]
    pub(super) runs: PathBuf,
    #[command(flatten)]
    pub(super) executors: ExecutorArgs,
    #[command(flatten)]
    pub(super) question: Question,
    /// Flags of every engram train, as in -- --device cuda
    #[arg(last = true, value_name = "TRAIN FLAGS")]
    pub(super) train: Vec<String>,
}

/// Flags that say on which machines a sweep runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExecutorArgs {
    /// Runs at once, on each machine
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) jobs: usize,
    /// Other machines, which run everything instead of this one
    #[arg(long, value_name = "HOST,HOST..", value_delimiter = ',')]
    pub(super) on: Vec<String>,
    /// The command that runs a shell script, its last word, on {host}
    #[arg(long, value_name = "COMMAND", default_value = "ssh -o BatchMode=yes {host}")]
    pub(super) ssh: String,
    /// The directory there from which runs start, with the same configs/ [default: this one]
    #[arg(long, value_name = "DIR", requires = "on")]
    pub(super) directory: Option<String>,
    /// The engram program there [default: the path of this one]
    #[arg(long, value_name = "PATH", requires = "on")]
    pub(super) program: Option<String>,
    /// For machines that do not share --runs: the command that copies the folder {local} of a run
    /// that goes on to {remote} on {host}
    #[arg(long, value_name = "COMMAND", requires = "on")]
    pub(super) send: Option<String>,
    /// The command that copies it back, as in "rsync -a {host}:{remote}/ {local}/"
    #[arg(long, value_name = "COMMAND", requires = "on")]
    pub(super) fetch: Option<String>,
}
