//! `engram doctor`: is this installation healthy, and if not, how is it mended?

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use engram_mdp::Seed;
use engram_policy::{Device, DeviceError, Policy};
use engram_service::config::{ConfigArgs, EXPERIMENTS, names};
use engram_service::net::{Address, Exposure, Listener};

use crate::experiment::Experiment;

/// Flags of `engram doctor`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorArgs {
    /// Folder of experiments and parts
    #[arg(long, value_name = "DIR", env = "ENGRAM_CONFIGS", default_value = "configs")]
    configs: PathBuf,
    /// Folder of runs
    #[arg(long, value_name = "DIR", env = "ENGRAM_RUNS", default_value = "runs")]
    runs: PathBuf,
}

/// Finding about one thing.
pub(crate) enum Finding {
    /// It works.
    Well(String),
    /// It works, but not as well as it could.
    Worse { found: String, remedy: String },
    /// It does not work.
    Broken { found: String, remedy: String },
}

use Finding::{Broken, Well, Worse};

/// Checks everything, prints a line for each, and fails if anything is broken.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) async fn run(args: &DoctorArgs) -> Result<()> {
    let rest = [
        ("open files", open_files()),
        ("network", network().await),
        ("configs", configs(&args.configs)),
        ("runs", writable(&args.runs)),
    ];
    let mut broken = 0;
    for (name, finding) in machine().into_iter().chain(rest) {
        let (mark, found, remedy) = match finding {
            Well(found) => ("ok  ", found, None),
            Worse { found, remedy } => ("hint", found, Some(remedy)),
            Broken { found, remedy } => {
                broken += 1;
                ("FAIL", found, Some(remedy))
            }
        };
        println!("{mark}  {name:<12} {found}");
        if let Some(remedy) = remedy {
            println!("      {:<12} → {remedy}", "");
        }
    }
    match broken {
        0 => Ok(()),
        1 => bail!("one thing is broken; the line marked FAIL says how to mend it"),
        n => bail!("{n} things are broken; the lines marked FAIL say how to mend them"),
    }
}

/// Findings about what computes: libtorch, the processor, accelerators.
pub(crate) fn machine() -> [(&'static str, Finding); 4] {
    [
        ("libtorch", libtorch()),
        ("arithmetic", arithmetic()),
        ("accelerator", accelerator()),
        ("processor", processor()),
    ]
}

/// Checks that the libtorch of this process is the version that it was built against.
fn libtorch() -> Finding {
    const WANTED: &str = "2.11.0";
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let loaded = maps.lines().find_map(|line| {
        let path = line.split_whitespace().last()?;
        path.ends_with("libtorch_cpu.so").then(|| PathBuf::from(path))
    });
    let Some(library) = loaded else {
        return Broken {
            found: "libtorch_cpu.so is not loaded".into(),
            remedy: "run `cargo xtask setup`, or set LD_LIBRARY_PATH to libtorch's lib".into(),
        };
    };
    let version = library.parent().and_then(Path::parent).and_then(version_of);
    let place = library.display();
    match version.as_deref().map(str::trim) {
        Some(version) if version.split('+').next() == Some(WANTED) => {
            Well(format!("{version} at {place}"))
        }
        Some(version) => Broken {
            found: format!("{version} at {place}, but this program was built for {WANTED}"),
            remedy: "run `cargo xtask setup`, and build again".into(),
        },
        None => Well(format!("at {place} (no build-version file beside it)")),
    }
}

/// The version that a libtorch or a Python package of torch in this folder says it is.
fn version_of(folder: &Path) -> Option<String> {
    if let Ok(version) = std::fs::read_to_string(folder.join("build-version")) {
        return Some(version);
    }
    let python = std::fs::read_to_string(folder.join("version.py")).ok()?;
    let version = python.lines().find_map(|line| line.strip_prefix("__version__ = "))?;
    Some(version.trim_matches(['\'', '"']).to_owned())
}

/// Checks that a product of matrices is right.
fn arithmetic() -> Finding {
    let ones = tch::Tensor::ones([64, 64], (tch::Kind::Float, tch::Device::Cpu));
    let sum = ones.matmul(&ones).sum(tch::Kind::Double).double_value(&[]);
    if sum == 64.0 * 64.0 * 64.0 {
        let (mkl, threads) = (tch::utils::has_mkl(), tch::get_num_threads());
        return Well(format!("products are right; MKL: {mkl}, {threads} threads"));
    }
    Broken {
        found: format!("64³ ones add up to {sum}"),
        remedy: "libtorch is damaged: run `cargo xtask setup --verify`".into(),
    }
}

fn accelerator() -> Finding {
    match Device::Cuda(0).ready() {
        Ok(_) => Well(format!(
            "{} CUDA device(s); `engram check --device cuda` compares them with the CPU and measures them",
            tch::Cuda::device_count()
        )),
        Err(DeviceError::NoLibrary(_)) => Well("libtorch is the CPU's: networks run there".into()),
        Err(DeviceError::NoDriver) => Well("none: networks run on the CPU".into()),
        Err(error) => Broken {
            found: error.to_string(),
            remedy: "run `cargo xtask setup --device cuda`, and look at nvidia-smi".into(),
        },
    }
}

fn processor() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    #[cfg(target_arch = "x86_64")]
    if !std::arch::is_x86_feature_detected!("avx2") {
        return Worse {
            found: format!("{cores} cores, without AVX2"),
            remedy: "networks will be several times slower than on a newer processor".into(),
        };
    }
    Well(format!("{cores} cores"))
}

/// Each connection and each file takes one.
fn open_files() -> Finding {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    match soft {
        Some(limit) if limit < 1024 => Worse {
            found: format!("at most {limit}"),
            remedy: "a learner with many actors needs more: `ulimit -n 65536`".into(),
        },
        Some(limit) => Well(format!("at most {limit}")),
        None => Well("no limit known".into()),
    }
}

async fn network() -> Finding {
    if let Err(error) = Listener::bind(&Address::loopback(0), Exposure::Local).await {
        return Broken {
            found: format!("cannot listen on loopback: {error}"),
            remedy: "bring the loopback interface up: `ip link set lo up`".into(),
        };
    }
    Well("loopback can be listened on".into())
}

/// Checks that every experiment can be resolved, and a network be built for its environment, where that
/// is not served elsewhere.
fn configs(configs: &Path) -> Finding {
    let Ok(names) = names(configs, EXPERIMENTS) else {
        return Broken {
            found: format!("there is no {}", configs.join(EXPERIMENTS).display()),
            remedy: "run from the repository's root, or pass --configs DIR".into(),
        };
    };
    for name in &names {
        if let Err(error) = check_experiment(name, configs) {
            return Broken {
                found: format!("experiment `{name}`: {error:#}"),
                remedy: "correct the file that the message names".into(),
            };
        }
    }
    Well(format!("{} experiments: {}", names.len(), names.join(", ")))
}

fn check_experiment(name: &str, configs: &Path) -> Result<()> {
    let args = ConfigArgs {
        experiment: name.into(),
        env: None,
        rl: None,
        seq: None,
        set: Vec::new(),
        configs: configs.into(),
        print_config: false,
    };
    let experiment = Experiment::from_args(&args)?;
    // The spec of one that is served is known to its server only, which may not be here.
    if experiment.env.is_served() {
        return Ok(());
    }
    let (spec, outputs) = (experiment.env.spec(), experiment.rl.algorithm().outputs());
    let (kind, device) = (tch::Kind::Float, tch::Device::Cpu);
    Policy::with_outputs(&outputs, kind, &experiment.seq, &spec, Seed::new(1), device)?;
    Ok(())
}

fn writable(runs: &Path) -> Finding {
    let attempt = std::fs::create_dir_all(runs).and_then(|()| {
        let probe = runs.join(".doctor");
        std::fs::write(&probe, b"")?;
        std::fs::remove_file(probe)
    });
    match attempt {
        Ok(()) => Well(format!("{} can be written", runs.display())),
        Err(error) => Broken {
            found: format!("{} cannot be written: {error}", runs.display()),
            remedy: "pass --runs DIR, or change the folder's owner".into(),
        },
    }
}
