//! `engram plot`: learning curves of any runs in one picture.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::curves::{Curve, draw};

/// Flags of `engram plot`.
#[derive(Args, Clone, Debug)]
pub(crate) struct PlotArgs {
    /// Folders of runs, or progress.csv files
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Where the pictures go, without their endings [default: plots/learning-curve in the first run]
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// What stands above the picture
    #[arg(long, value_name = "TEXT", default_value = "Learning curve")]
    title: String,
}

/// Draws the runs' curves, and prints where the pictures are.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &PlotArgs) -> Result<()> {
    let curves = args.runs.iter().map(|run| Curve::read(run)).collect::<Result<Vec<_>>>()?;
    let stem = args.out.clone().unwrap_or_else(|| {
        let first = &args.runs[0];
        let folder = if first.is_dir() { first.clone() } else { first.with_file_name("") };
        folder.join("plots/learning-curve")
    });
    for path in draw(&curves, &args.title, &stem)? {
        println!("{}", path.display());
    }
    Ok(())
}
