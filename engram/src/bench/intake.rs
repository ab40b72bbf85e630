//! Bytes of trajectories per second into the learner.
//!
//! The trajectories are stale, so that they are received, checked, put in order and queued, but
//! not learned from: what is measured is the intake, not the updates.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use engram_learner::{LearnerConfig, RunSummary};
use engram_mdp::Trajectory;
use engram_proto::v1::experience_client::ExperienceClient;
use engram_proto::{Purpose, Registration, convert, v1};
use engram_service::Shutdown;
use engram_service::net::{Address, connect};
use engram_service::process::cpu_seconds;
use engram_service::progress::ProgressLine;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::stages;
use crate::compute::Compute;
use crate::experiment::Experiment;
use crate::in_process::services::{Thread, join, start};

/// Environments of each client; each message holds a trajectory of every one.
const ENVS: u32 = 32;

/// Messages that may be under way without an acknowledgement.
const WINDOW: u64 = 4;

/// Measures one and four clients over a Unix socket and over TCP, and prints a table.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(experiment: &Experiment, compute: Compute, seconds: f64) -> Result<()> {
    let trajectories = stages::trajectories(experiment, ENVS)?;
    let bytes = message(&trajectories, 0).encoded_len();
    println!(
        "{}: messages of {ENVS} trajectories of {} decisions, {:.1} kB",
        experiment.env.spec(),
        experiment.run.unroll_length,
        bytes as f64 / 1e3
    );
    println!(
        "\n{:<6} {:>8} {:>12} {:>16} {:>18}",
        "over", "clients", "MB/s", "env steps/s", "env steps/CPU-s"
    );
    let folder = tempfile::tempdir()?;
    for (name, address) in
        [("unix", Address::Unix(folder.path().join("learner"))), ("tcp", Address::loopback(0))]
    {
        for clients in [1, 4] {
            let ending = Shutdown::new();
            let (server, address) = start_learner(experiment, compute, &address, &ending)?;
            let cpu = cpu_seconds();
            let start = Instant::now();
            let messages = push(&trajectories, experiment, &address, clients, seconds)?;
            let (elapsed, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
            ending.trigger();
            join("the learner", server)?;
            let per_message: usize = trajectories.iter().map(Trajectory::env_steps).sum();
            let env_steps = messages as f64 * per_message as f64;
            println!(
                "{name:<6} {clients:>8} {:>12.1} {:>16.0} {:>18.0}",
                messages as f64 * bytes as f64 / 1e6 / elapsed,
                env_steps / elapsed,
                env_steps / cpu
            );
        }
    }
    Ok(())
}

/// Starts a learner that finds every trajectory stale.
fn start_learner(
    experiment: &Experiment,
    compute: Compute,
    address: &Address,
    ending: &Shutdown,
) -> Result<(Thread<RunSummary>, Address)> {
    let mut resolved = experiment.resolved.clone();
    resolved.set("run.policy_lag=0")?;
    resolved.set("run.max_policy_lag=0")?;
    let (device, threads) = (compute.device.ready()?, i32::try_from(compute.learner_threads)?);
    let config = LearnerConfig::new(resolved, "bench".into(), None, device, threads)?;
    let ending = ending.clone();
    start("learner-io", address, async move |listener| {
        let (progress, _) = watch::channel(ProgressLine::default());
        Ok(engram_learner::run(config, listener, progress, ending).await?)
    })
}

/// Pushes from so many clients for a while, and returns how many messages were acknowledged.
fn push(
    trajectories: &[Trajectory],
    experiment: &Experiment,
    address: &Address,
    clients: u32,
    seconds: f64,
) -> Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        let tasks: Vec<_> = (0..clients)
            .map(|actor| {
                let stale = trajectories.iter().cloned().map(|mut trajectory| {
                    trajectory.policy_versions.fill(0);
                    trajectory
                });
                let (stale, address) = (stale.collect(), address.clone());
                tokio::spawn(client(stale, experiment.clone(), address, actor, end))
            })
            .collect();
        let mut messages = 0;
        for task in tasks {
            messages += task.await??;
        }
        Ok(messages)
    })
}

async fn client(
    trajectories: Vec<Trajectory>,
    experiment: Experiment,
    address: Address,
    actor: u32,
    end: Instant,
) -> Result<u64> {
    let registration = Registration {
        run_id: None,
        actor,
        any_number: false,
        instance: 0,
        generation: 1,
        env_indices: 0..ENVS,
        spec: experiment.env.spec(),
        purpose: Purpose::Train,
        seed: 0,
    };
    let (sender, requests) = mpsc::channel(2);
    let say = |body| v1::PushRequest { body: Some(body) };
    sender.send(say(v1::push_request::Body::Registration((&registration).into()))).await?;
    let mut client = ExperienceClient::new(connect(&address, "the learner"));
    let mut answers = client.push(ReceiverStream::new(requests)).await?.into_inner();
    answers.message().await?.context("no answer to the registration")?;
    let (mut sent, mut acknowledged) = (0, 0);
    while Instant::now() < end || acknowledged < sent {
        if Instant::now() < end && sent - acknowledged < WINDOW {
            let body = v1::push_request::Body::Trajectories(message(&trajectories, sent));
            sender.send(say(body)).await?;
            sent += 1;
            continue;
        }
        let answer = answers.message().await?.context("the stream ended")?;
        if let Some(v1::push_response::Body::Acknowledged(count)) = answer.body {
            acknowledged = count;
        }
    }
    Ok(acknowledged)
}

/// The same trajectories under another place in their streams.
fn message(trajectories: &[Trajectory], sequence: u64) -> v1::Trajectories {
    let renumbered = trajectories
        .iter()
        .map(|trajectory| v1::Trajectory { sequence, ..convert::trajectory_to_wire(trajectory) });
    v1::Trajectories { trajectories: renumbered.collect() }
}
