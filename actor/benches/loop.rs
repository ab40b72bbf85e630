//! Cost of an env step for an actor: CPU time of its thread, over an in-memory pipe and over a Unix
//! socket, with servers that answer at once on another thread.
//!
//! `cargo bench -p engram-actor`, or `-- 200000` for another number of steps per line.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use engram_actor::{ActorConfig, run};
use engram_service::{Address, Exposure, Listener, Shutdown};
use support::inference::{FakeInference, Fault};
use support::learner::{FakeLearner, Mood};

const UNROLL_LENGTH: usize = 20;

fn main() {
    let steps = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(2_000_000);
    println!(
        "env            transport  envs/group  env steps/s  CPU µs/env step  stepping  waiting"
    );
    for (name, env) in [
        ("recall(30, 4)", "name = 'recall'\ndelay = 30\nchoices = 4"),
        ("cartpole", "name = 'cartpole'\nmax_steps = 500\nobserve = 'full'"),
    ] {
        for group in [1, 8, 32, 128] {
            measure(name, env, group, steps, Transport::Memory);
        }
        measure(name, env, 32, steps, Transport::Unix);
    }
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Memory,
    Unix,
}

fn measure(name: &str, env: &str, group: u32, steps: u64, transport: Transport) {
    let shutdown = Shutdown::new();
    let (addresses, receive) = std::sync::mpsc::sync_channel(1);
    let servers = {
        let shutdown = shutdown.clone();
        // One message per group and unroll.
        let messages = (steps / (UNROLL_LENGTH as u64 * u64::from(group))).max(1);
        std::thread::spawn(move || serve(transport, messages, addresses, shutdown))
    };
    let [inference, learner]: [Address; 2] = receive.recv().unwrap();
    let config = ActorConfig {
        envs: 2 * group,
        ..support::config(env, vec![inference], learner, UNROLL_LENGTH)
    };
    let actor = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let summary = runtime.block_on(run(config, Shutdown::new())).unwrap();
        (summary, thread_cpu_seconds())
    });
    let start = Instant::now();
    let (summary, cpu) = actor.join().unwrap();
    let seconds = start.elapsed().as_secs_f64();
    shutdown.trigger();
    servers.join().unwrap();
    let env_steps = summary.env_steps as f64;
    println!(
        "{name:<14} {:<9} {group:>11} {:>12.0} {:>16.3} {:>8.1}% {:>7.1}%",
        format!("{transport:?}").to_lowercase(),
        env_steps / seconds,
        cpu / env_steps * 1e6,
        100.0 * summary.stepping.as_secs_f64() / cpu,
        // Two groups wait.
        50.0 * (summary.waiting_on_inference + summary.waiting_on_learner).as_secs_f64() / seconds,
    );
}

fn serve(
    transport: Transport,
    messages: u64,
    addresses: std::sync::mpsc::SyncSender<[Address; 2]>,
    shutdown: Shutdown,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let directory = std::env::temp_dir().join(format!("engram-bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let listener = async |name: &str| match transport {
            Transport::Memory => Listener::memory(),
            Transport::Unix => {
                let address = Address::Unix(directory.join(name));
                Listener::bind(&address, Exposure::Local).await.unwrap()
            }
        };
        let (inference, learner) = (listener("inference").await, listener("learner").await);
        addresses.send([inference.address().clone(), learner.address().clone()]).unwrap();
        let policy = FakeInference::new(0, Fault::None);
        let mut sink = FakeLearner::new(UNROLL_LENGTH as u32, Mood::Eager);
        (sink.keep, sink.budget) = (false, messages);
        tokio::join!(
            policy.serve(inference, shutdown.clone()),
            sink.serve(learner, shutdown.clone()),
        );
        std::fs::remove_dir_all(&directory).unwrap();
    });
}

/// CPU time of the calling thread, from Linux' scheduler statistics.
fn thread_cpu_seconds() -> f64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: f64 = statistics.split(' ').next().unwrap().parse().unwrap();
    nanoseconds / 1e9
}
