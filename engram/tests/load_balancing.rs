//! Load balancing: two inference servers behind one name. The actors divide themselves over
//! both, and lose neither the run nor what it has learned when either is killed. The servers are
//! real programs; the actors live here, since a test can give them a name that no resolver knows.

mod support;

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::Path;
use std::thread::JoinHandle;

use engram_actor::{
    ActorConfig, ActorError, ActorMode, ActorSummary, ExitReason, MAX_UNACKNOWLEDGED, Timeouts,
    spawn,
};
use engram_envs::EnvConfig;
use engram_mdp::Seed;
use engram_service::net::Resolver;
use engram_service::{Address, Shutdown, process};
use support::{Program, address, progress, resolved, wait_for};

/// Recall over two blank frames, and small batches.
const SET: [&str; 6] = [
    "env.delay=2",
    "env.choices=2",
    "run.unroll_length=10",
    "run.queue_trajectories=64",
    "rl.batch_size=16",
    "run.env_steps=250000",
];

/// Environments of an actor, half of them in each of its groups.
const ENVS: u32 = 16;

const ACTORS: u32 = 3;

fn learner(folder: &Path) -> Program {
    let runs = folder.join("runs").display().to_string();
    let own = ["--runs", &runs, "--run-name", "run", "--listen", "127.0.0.1:0"];
    Program::of("main", &SET, "learner", &own)
}

fn server(at: &str, learner: &str) -> Program {
    let metrics = "127.0.0.1:0";
    let args = ["--listen", at, "--learner", learner, "--metrics", metrics];
    Program::start("inference-server", &args)
}

/// One server on each of two addresses, at the same port.
fn two_servers(learner: &str) -> ([Program; 2], u16) {
    loop {
        let mut first = server("127.0.0.1:0", learner);
        let at = address(&first.line("listens"));
        let port = at.rsplit(':').next().expect("a port").parse().expect("a number");
        // The port may be taken on the other address: then another one.
        if TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), port)).is_ok() {
            let mut second = server(&format!("127.0.0.2:{port}"), learner);
            second.line("listens");
            return ([first, second], port);
        }
    }
}

/// Actors that know the servers by one name.
fn actors(
    learner: &str,
    port: u16,
    leave: &Shutdown,
) -> Vec<JoinHandle<Result<ActorSummary, ActorError>>> {
    let resolved = resolved("main", &SET);
    let run = resolved.run().expect("a run's settings");
    // A resolver that tells everybody the same.
    let both: Vec<IpAddr> = [2, 1].map(|last| Ipv4Addr::new(127, 0, 0, last).into()).to_vec();
    let resolver = Resolver::from_lookup(move |_| Ok(both.clone()));
    let name = Address::Tcp { host: "inference-server".into(), port };
    let config = |actor| ActorConfig {
        actor: Some(actor),
        instance: process::any_number().wrapping_add(actor.into()),
        run_id: None,
        env: EnvConfig::from_table(resolved.table("env").clone()).expect("an environment"),
        envs: ENVS,
        seed: Seed::new(run.seed),
        inference: vec![name.resolved_by(resolver.clone())],
        mode: ActorMode::Train {
            learner: learner.parse().expect("an address"),
            unroll_length: run.unroll_length,
            max_unacknowledged: MAX_UNACKNOWLEDGED,
            stagger_steps: run.stagger_steps,
        },
        timeouts: Timeouts::STANDARD,
    };
    (0..ACTORS).map(|actor| spawn(config(actor), leave.clone())).collect()
}

#[test]
fn actors_spread_over_the_servers_of_a_name_and_learn_although_each_is_killed_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut learner = learner(folder.path());
    let learner_metrics = learner.metrics();
    let learner_at = address(&learner.line("serving"));
    let ([mut first, mut second], port) = two_servers(&learner_at);
    let (first_metrics, second_metrics) = (first.metrics(), second.metrics());
    let leave = Shutdown::new();
    let actors = actors(&learner_at, port, &leave);

    // Of every actor one group is at each of them.
    let half = f64::from(ACTORS * ENVS / 2);
    for metrics in [&first_metrics, &second_metrics] {
        wait_for(metrics, "engram_inference_slots", |slots| slots == half);
        wait_for(metrics, "engram_inference_rows_total", |rows| rows > 5_000.0);
    }

    // One is killed: the other has all of them.
    let steps = "engram_learner_env_steps_total";
    first.kill();
    wait_for(&second_metrics, "engram_inference_slots", |slots| slots == 2.0 * half);
    let before = wait_for(&learner_metrics, steps, |_| true);
    wait_for(&learner_metrics, steps, |now| now > before + 10_000.0);

    // It comes back, and the other one is killed.
    let mut first = server(&format!("127.0.0.1:{port}"), &learner_at);
    let first_metrics = first.metrics();
    wait_for(&first_metrics, "engram_policy_version", |version| version > 0.0);
    second.kill();
    wait_for(&first_metrics, "engram_inference_slots", |slots| slots == 2.0 * half);

    assert!(learner.ended().success(), "{}", learner.log());
    for actor in actors {
        let summary = actor.join().expect("no actor panics").expect("no actor fails");
        assert_eq!(summary.reason, ExitReason::Finished);
        assert!(summary.interruptions >= 2, "both of its groups lost their server: {summary:?}");
    }
    let returns = progress(&folder.path().join("runs/run"), "episode_return");
    let last = returns.last().expect("episodes have ended");
    assert!(*last > 0.95, "the optimum is 1, chance is 0.5: {returns:?}");
}
