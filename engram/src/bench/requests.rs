//! Requests per second and latency of the inference server, by number of clients.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use engram_inference_server::WeightsSource;
use engram_mdp::{Frames, Seed};
use engram_policy::Policy;
use engram_proto::v1::inference_client::InferenceClient;
use engram_proto::{Purpose, Registration, convert, v1};
use engram_service::Shutdown;
use engram_service::net::{Address, connect};
use engram_service::process::cpu_seconds;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::compute::Compute;
use crate::experiment::Experiment;
use crate::in_process::services::{join, start_inference};

const CLIENTS: [u32; 5] = [1, 4, 16, 64, 256];

/// Measures every number of clients over a Unix socket and over TCP, and prints a table.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(experiment: &Experiment, compute: Compute, seconds: f64) -> Result<()> {
    let spec = experiment.env.spec();
    println!("{spec}: one row per request, one request in flight per client");
    println!(
        "\n{:<6} {:>8} {:>12} {:>10} {:>10} {:>14}",
        "over", "clients", "requests/s", "p50 µs", "p99 µs", "CPU µs/request"
    );
    let seed = Seed::new(experiment.run.seed);
    let policy = Policy::new(&experiment.seq, &spec, seed, tch::Device::Cpu)?;
    let folder = tempfile::tempdir()?;
    for (name, address) in
        [("unix", Address::Unix(folder.path().join("inference"))), ("tcp", Address::loopback(0))]
    {
        let weights = WeightsSource::Bytes(policy.save(1).into());
        let (run, unwatched, ending) = (&experiment.run, Duration::ZERO, Shutdown::new());
        let (server, address) =
            start_inference(run, "bench", weights, compute, &address, unwatched, &ending)?;
        for clients in CLIENTS {
            let row = measure(experiment, &address, clients, seconds)?;
            println!(
                "{name:<6} {clients:>8} {:>12.0} {:>10.0} {:>10.0} {:>14.1}",
                row.rate, row.p50, row.p99, row.cpu
            );
        }
        ending.trigger();
        join("the inference server", server)?;
    }
    Ok(())
}

struct Latency {
    rate: f64,
    p50: f64,
    p99: f64,
    cpu: f64,
}

fn measure(
    experiment: &Experiment,
    address: &Address,
    clients: u32,
    seconds: f64,
) -> Result<Latency> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let cpu = cpu_seconds();
    let start = Instant::now();
    let mut latencies: Vec<f64> = runtime.block_on(async {
        let end = start + Duration::from_secs_f64(seconds);
        let tasks: Vec<_> = (0..clients)
            .map(|actor| tokio::spawn(client(experiment.clone(), address.clone(), actor, end)))
            .collect();
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await??);
        }
        anyhow::Ok(all)
    })?;
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    latencies.sort_by(f64::total_cmp);
    let quantile = |q: f64| 1e6 * latencies[((latencies.len() - 1) as f64 * q) as usize];
    let count = latencies.len() as f64;
    Ok(Latency {
        rate: count / elapsed,
        p50: quantile(0.5),
        p99: quantile(0.99),
        cpu: 1e6 * cpu / count,
    })
}

/// One client: asks until `end`, and returns the seconds that each answer took.
async fn client(
    experiment: Experiment,
    address: Address,
    actor: u32,
    end: Instant,
) -> Result<Vec<f64>> {
    let spec = experiment.env.spec();
    let registration = Registration {
        run_id: None,
        actor,
        any_number: false,
        instance: 0,
        generation: 1 + end.elapsed().as_secs(),
        env_indices: 0..1,
        spec: spec.clone(),
        purpose: Purpose::Train,
        seed: actor.into(),
    };
    let (sender, requests) = mpsc::channel(2);
    let say = |body| v1::ActRequest { body: Some(body) };
    sender.send(say(v1::act_request::Body::Registration((&registration).into()))).await?;
    let mut client = InferenceClient::new(connect(&address, "the inference server"));
    let mut answers = client.act(ReceiverStream::new(requests)).await?.into_inner();
    answers.message().await?.context("no answer to the registration")?;
    let frames = convert::frames_to_wire(&Frames::first(&spec, 1));
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let asked = Instant::now();
        let observe = v1::Observe {
            frames: Some(frames.clone()),
            unroll_start: false,
            ..v1::Observe::default()
        };
        sender.send(say(v1::act_request::Body::Observe(observe))).await?;
        answers.message().await?.context("the stream ended")?;
        latencies.push(asked.elapsed().as_secs_f64());
    }
    Ok(latencies)
}
