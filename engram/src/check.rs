//! `engram check`: does a device compute, learn and hurry as it should?
//!
//! Every memory layer and every algorithm on the device is held against the CPU, an agent must
//! learn on it, and everything is measured beside the CPU. `doctor` looks at an installation within
//! a second; this takes minutes, and leaves a report.
//!
//! In reading order: [`report`] is what is written, [`scope`] what every part knows; [`parity`] compares numbers, [`learning`] trains,
//! [`speed`] measures.

mod report;

mod scope;

mod parity;

mod learning;

mod speed;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use engram_service::{Shutdown, metrics};

use self::report::{Report, Section};
use self::scope::{Check, Extent, guarded};
use crate::compute::Compute;
use crate::doctor::{self, Finding};

/// Flags of `engram check`.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// Report to write, in Markdown
    #[arg(long, value_name = "FILE", default_value = "report.md")]
    out: PathBuf,
    /// Compare samples only, and measure small networks for a moment: to see that the command works
    #[arg(long)]
    quick: bool,
    /// Seconds of each measurement [default: 3, or 0.05 with --quick]
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// Folder of experiments and parts
    #[arg(long, value_name = "DIR", env = "ENGRAM_CONFIGS", default_value = "configs")]
    configs: PathBuf,
    #[command(flatten)]
    compute: Compute,
}

/// One part of the check.
type Part = fn(&Check<'_>) -> Result<Section>;

/// Checks, prints a line for each section, writes the report, and fails if anything did.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &CheckArgs, shutdown: &Shutdown) -> Result<()> {
    let started = Instant::now();
    let extent = if args.quick { Extent::Quick } else { Extent::Full };
    let device = args.compute.device.ready()?;
    // What cannot be written is better known now than in half an hour.
    let mut report = Report::new(&args.out, device)?;
    tch::set_num_threads(i32::try_from(args.compute.learner_threads)?);
    metrics::install();
    let check = Check {
        configs: &args.configs,
        extent,
        seconds: args.seconds.unwrap_or(if args.quick { 0.05 } else { 3.0 }),
        compute: args.compute,
        device,
        shutdown,
    };
    let parts: [(&str, Part); 9] = [
        ("Machine", machine),
        ("Layers", parity::layers),
        ("Algorithms", parity::algorithms),
        ("Learning", learning::recall),
        ("Stages and whole system, small network", speed::small),
        ("Stages and whole system, deep ResNet", speed::images),
        ("Stages and whole system, deep ResNet in bfloat16", speed::images_in_bf16),
        ("Updates from a replay", speed::replay),
        ("Memory layers", speed::layers),
    ];
    for (title, part) in parts {
        let section = guarded(|| part(&check)).unwrap_or_else(|error| Section {
            failures: vec![format!("{error:#}")],
            ..Section::default()
        });
        println!("{title}: {}", section.summary());
        section.failures.iter().for_each(|failure| println!("  FAIL  {failure}"));
        report.add(title, section, started.elapsed())?;
        if shutdown.is_triggered() {
            bail!("interrupted; {} has what was done", args.out.display());
        }
    }
    println!("{}", args.out.display());
    match report.failures() {
        0 => Ok(()),
        1 => bail!("one check failed; the line marked FAIL and the report say which"),
        n => bail!("{n} checks failed; the lines marked FAIL and the report say which"),
    }
}

/// Machine, as `engram doctor` sees it, with names.
fn machine(check: &Check<'_>) -> Result<Section> {
    let mut rows = vec![
        ["engram", &format!("{} ({})", metrics::VERSION, metrics::REVISION)].map(String::from),
        ["device", &format!("{:?}", check.device)].map(String::from),
    ];
    let mut failures = Vec::new();
    for (what, finding) in doctor::machine() {
        let found = match finding {
            Finding::Well(found) | Finding::Worse { found, .. } => found,
            Finding::Broken { found, remedy } => {
                failures.push(format!("{what}: {found} ({remedy})"));
                found
            }
        };
        rows.push([what.to_owned(), found]);
    }
    rows.push(["name of the processor".into(), processor()]);
    let threads = format!(
        "{} in the learner, {} in the inference server",
        check.compute.learner_threads, check.compute.inference_threads
    );
    rows.push(["threads".into(), threads]);
    if matches!(check.device, tch::Device::Cuda(_)) {
        rows.push(["GPUs".into(), gpus()]);
        let cudnn = if tch::Cuda::cudnn_is_available() { "there" } else { "not there" };
        rows.push(["cuDNN".into(), cudnn.into()]);
        let tf32 = std::env::var("NVIDIA_TF32_OVERRIDE").unwrap_or("not set".into());
        rows.push(["NVIDIA_TF32_OVERRIDE".into(), tf32]);
    }
    let rows = rows.into_iter().map(Vec::from).collect();
    Ok(Section { header: vec!["what", "found"], rows, failures, ..Section::default() })
}

/// The processor's name.
fn processor() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = about.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim().to_owned());
    name.unwrap_or("without a name".into())
}

/// Names, memory and driver of the GPUs.
fn gpus() -> String {
    let query = ["--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"];
    let output = std::process::Command::new("nvidia-smi").args(query).output();
    let names = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match names {
        Ok(names) if !names.is_empty() => names.replace('\n', "; "),
        _ => "nvidia-smi does not tell".into(),
    }
}
