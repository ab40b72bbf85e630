//! `engram plot`: any set of runs as learning curves, over lengths, as inter-quartile means and as
//! a table. A sweep ends with the same; `engram_analysis` does the work.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use engram_analysis::{Question, ReferenceScores};
use engram_envs::EnvConfig;
use toml::Table;

/// Flags of `engram plot`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlotArgs {
    /// Folders of runs, folders that hold such folders, or progress.csv files
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The folder for charts and tables [default: plots in the first RUN]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    question: Question,
}

/// Draws the runs, and prints the table and where everything is.
pub(crate) fn run(args: &PlotArgs) -> Result<()> {
    let out = args.out.clone().unwrap_or_else(|| {
        let first = &args.runs[0];
        let folder = if first.is_dir() { first.clone() } else { first.with_file_name("") };
        folder.join("plots")
    });
    compare(&args.runs, &args.question, &out)
}

/// Draws all runs in `folders` into the folder `out`; prints the table and where everything is.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn compare(folders: &[PathBuf], question: &Question, out: &Path) -> Result<()> {
    let output = engram_analysis::compare(folders, question, &reference_scores, out)?;
    println!("{}", output.table);
    for file in &output.files {
        println!("{}", file.display());
    }
    Ok(())
}

/// Reference scores of an environment; none for one of another release, which may have other keys.
fn reference_scores(env: &Table) -> ReferenceScores {
    let Ok(env) = EnvConfig::from_table(env.clone()) else { return ReferenceScores::default() };
    ReferenceScores {
        optimum: env.optimum().map(f64::from),
        memoryless: env.memoryless().map(f64::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_runs_becomes_charts_and_tables() {
        let root = tempfile::tempdir().unwrap();
        for (seq, delay, seed) in [("lstm", 5, 1), ("lstm", 9, 1), ("gru", 5, 1), ("gru", 9, 1)] {
            let folder = root.path().join(format!("{seq}-{delay}-{seed}"));
            std::fs::create_dir_all(&folder).unwrap();
            let config = format!(
                "[parts]\nseq = \"{seq}\"\n[run]\nseed = {seed}\nenv_steps = 100\n\
                 [env]\nname = \"recall\"\ndelay = {delay}\nchoices = 2\n"
            );
            std::fs::write(folder.join("config.toml"), config).unwrap();
            let progress = "env_steps,episode_return,success\n50,0.5,0.5\n100,1,1\n";
            std::fs::write(folder.join("progress.csv"), progress).unwrap();
        }
        let out = root.path().join("plots");
        let args = PlotArgs {
            runs: vec![root.path().to_path_buf()],
            out: Some(out.clone()),
            question: Question::default(),
        };
        run(&args).unwrap();
        for name in ["learning-curves", "aggregate", "iqm"] {
            let svg = std::fs::read_to_string(out.join(format!("{name}.svg"))).unwrap();
            assert!(svg.contains("lstm") && svg.contains("gru"), "{name}");
            assert!(out.join(format!("{name}.png")).exists());
        }
        let svg = std::fs::read_to_string(out.join("aggregate.svg")).unwrap();
        assert!(svg.contains("without memory at best") && svg.contains("delay"), "{svg}");
        assert!(out.join("table.csv").exists() && out.join("table.md").exists());
    }
}
