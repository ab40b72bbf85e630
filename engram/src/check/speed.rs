//! Speed: stages, the whole system, updates and layers, on the device and on the CPU.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use engram_policy::Device;
use engram_service::Shutdown;
use engram_service::progress::ProgressLine;
use tokio::sync::watch;

use super::report::Section;
use super::scope::{Check, Extent};
use crate::bench::memory::layers as memory;
use crate::bench::{offpolicy, stages};
use crate::compute::Compute;
use crate::experiment::Experiment;
use crate::in_process::{self, Job};

/// More than any measurement takes: its seconds end it.
const ENDLESS: u64 = 1 << 40;
/// Updates after which a run is warm: the first ones load kernels.
const WARM_UPDATES: u64 = 3;

/// `recall-30-wide`: 512 environments, MLP 64, LSTM 128.
pub(super) fn small(check: &Check<'_>) -> Result<Section> {
    let mut set = vec![];
    if check.extent == Extent::Quick {
        set = settings(&["run.envs_per_actor=32", "rl.batch_size=32", "rl.minibatches=2"]);
    }
    stages(check, "recall-30-wide", [None; 3], &set)
}

/// IMPALA's deep ResNet and an LSTM on frames of Atari's size.
pub(super) fn images(check: &Check<'_>) -> Result<Section> {
    images_in(check, false)
}

/// The same in bfloat16.
pub(super) fn images_in_bf16(check: &Check<'_>) -> Result<Section> {
    images_in(check, true)
}

fn images_in(check: &Check<'_>, bf16: bool) -> Result<Section> {
    let mut set = settings(&[
        "run.envs_per_actor=256",
        "run.max_batch_size=256",
        "run.queue_trajectories=256",
        "run.unroll_length=20",
        "run.policy_lag=15",
    ]);
    set.push(format!("seq.torso.bf16={bf16}"));
    if check.extent == Extent::Quick {
        set.extend(settings(&[
            "run.envs_per_actor=4",
            "run.unroll_length=5",
            "rl.batch_size=2",
            "env.height=20",
            "env.width=20",
        ]));
    }
    let parts = [Some("noise"), Some("impala"), Some("resnet-lstm")];
    stages(check, "recall-30-wide", parts, &set)
}

fn settings(set: &[&str]) -> Vec<String> {
    set.iter().map(ToString::to_string).collect()
}

/// Env steps per second of acting alone, of updates alone, and of the whole system.
fn stages(
    check: &Check<'_>,
    name: &str,
    parts: [Option<&str>; 3],
    set: &[String],
) -> Result<Section> {
    let mut set = set.to_vec();
    set.extend([format!("run.env_steps={ENDLESS}"), "run.log_seconds=0.1".into()]);
    let experiment = Experiment::new(check.resolve(name, parts, &set)?)?;
    let (run, parts) = (&experiment.run, experiment.resolved.parts());
    let rows = run.envs_per_group();
    let mut columns = Vec::new();
    for device in check.devices() {
        let ready = device.ready()?;
        let acting = stages::forward(&experiment, rows, check.seconds, ready)?.throughput();
        let updating = stages::updating(&experiment, check.seconds, ready)?.throughput();
        let compute = Compute { device, ..check.compute };
        let whole = whole(&experiment, compute, check.seconds, check.shutdown)?;
        columns.push([acting, updating, whole]);
    }
    let names = [
        format!("acting, {rows} rows"),
        format!("updates, batch of {}", experiment.rl.algorithm().batch_size()),
        "whole system".to_owned(),
    ];
    let rows = names.into_iter().enumerate().map(|(i, name)| {
        let rates: Vec<f64> = columns.iter().map(|column| column[i]).collect();
        row(name, &rates, |rate| format!("{rate:.0}"), |device, cpu| device / cpu)
    });
    Ok(Section {
        text: format!(
            "Env steps/s. {} with {} and {}, unroll {}, {} × {} environments; learner and inference \
             server share the device.",
            experiment.env.spec(),
            parts.seq,
            parts.rl,
            run.unroll_length,
            run.actors,
            run.envs_per_actor
        ),
        header: check.header("stage"),
        rows: rows.collect(),
        failures: vec![],
    })
}

/// Env steps per second of the whole system once it is warm, for a while.
fn whole(
    experiment: &Experiment,
    compute: Compute,
    seconds: f64,
    shutdown: &Shutdown,
) -> Result<f64> {
    let (sender, lines) = watch::channel(ProgressLine::default());
    let (stop, outer) = (Shutdown::new(), shutdown.clone());
    let stopping = stop.clone();
    let observer = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let rate = runtime.block_on(async {
            tokio::select! {
                () = outer.triggered() => None,
                rate = rate(lines, Duration::from_secs_f64(seconds)) => rate,
            }
        });
        stopping.trigger();
        rate
    });
    let job = Job::unattended(experiment, "check", compute);
    in_process::train(&job, sender, &stop)?;
    observer.join().ok().flatten().context("the run ended before it was measured")
}

/// Env steps per second over at least so long, from the first warm moment on.
async fn rate(mut lines: watch::Receiver<ProgressLine>, long: Duration) -> Option<f64> {
    let mut first = None;
    while lines.changed().await.is_ok() {
        let line = *lines.borrow_and_update();
        if line.updates < WARM_UPDATES {
            continue;
        }
        let (begun, env_steps) = *first.get_or_insert((Instant::now(), line.env_steps));
        if begun.elapsed() >= long && line.env_steps > env_steps {
            return Some((line.env_steps - env_steps) as f64 / begun.elapsed().as_secs_f64());
        }
    }
    None
}

/// Deep Q-learning on whole episodes.
pub(super) fn replay(check: &Check<'_>) -> Result<Section> {
    let corridors: &[usize] = match check.extent {
        Extent::Quick => &[4],
        Extent::Full => &[50, 250],
    };
    let mut rows = Vec::new();
    for &corridor in corridors {
        let times = check.each_device(|device| {
            offpolicy::update_times(check.configs, corridor, device, check.seconds)
        })?;
        for (i, (network, _)) in times[0].iter().enumerate() {
            let name = format!("{network}, {} decisions", corridor + 1);
            let times: Vec<f64> = times.iter().map(|times| times[i].1).collect();
            rows.push(row(name, &times, |time| format!("{time:.2}"), |device, cpu| cpu / device));
        }
    }
    Ok(Section {
        text: "Deep Q-learning, 64 whole episodes per update, ms.".into(),
        header: check.header("network"),
        rows,
        failures: vec![],
    })
}

/// A step and an update of every layer.
pub(super) fn layers(check: &Check<'_>) -> Result<Section> {
    let count = if check.extent == Extent::Quick { 2 } else { usize::MAX };
    let times = check.each_device(|device| memory::measure(count, device, check.seconds / 3.0))?;
    let mut rows = Vec::new();
    for (i, layer) in times[0].iter().enumerate() {
        let of = |time: fn(&memory::LayerTimes) -> f64| {
            times.iter().map(|times| 1e3 * time(&times[i])).collect::<Vec<_>>()
        };
        let ratio = |device: f64, cpu: f64| cpu / device;
        let [acting, update] = ["a step", "an update"]
            .map(|what| format!("{}, {} parameters: {what}", layer.name, layer.parameters));
        rows.push(row(acting, &of(|times| times.acting), |time| format!("{time:.3}"), ratio));
        rows.push(row(update, &of(|times| times.update), |time| format!("{time:.2}"), ratio));
    }
    let [time, batch] = memory::UPDATE;
    Ok(Section {
        text: format!(
            "Milliseconds: a step of acting for {} environments, and an update by an unroll of \
             {time} frames for {batch}.",
            memory::ACTING
        ),
        header: check.header("layer"),
        rows,
        failures: vec![],
    })
}

/// A row of numbers, the CPU's last, and how much faster the device is, if it is another one.
fn row(
    name: String,
    numbers: &[f64],
    shown: impl Fn(f64) -> String,
    ratio: impl Fn(f64, f64) -> f64,
) -> Vec<String> {
    let mut row = vec![name];
    row.extend(numbers.iter().map(|&number| shown(number)));
    if let &[device, cpu] = numbers {
        row.push(format!("{:.2}", ratio(device, cpu)));
    }
    row
}

impl Check<'_> {
    /// The device, and the CPU if that is another one.
    fn devices(&self) -> Vec<Device> {
        match self.compute.device {
            Device::Cpu => vec![Device::Cpu],
            device => vec![device, Device::Cpu],
        }
    }

    fn each_device<T>(&self, measure: impl Fn(tch::Device) -> Result<T>) -> Result<Vec<T>> {
        self.devices().into_iter().map(|device| measure(device.ready()?)).collect()
    }

    fn header(&self, first: &'static str) -> Vec<&'static str> {
        match self.compute.device {
            Device::Cpu => vec![first, "CPU"],
            Device::Cuda(_) => vec![first, "CUDA", "CPU", "times as fast"],
        }
    }
}
