//! A fleet on simulated time and a simulated network: real actors and the learner's real services,
//! and whatever happens to them, from a seed.
//!
//! ```text
//! actors ──▶ links: latency, cuts, partitions ──▶ the learner's services ──▶ a ledger in its place
//!                                             └─▶ a policy whose every answer can be recognized
//! ```
//!
//! Everything runs in one thread, and time goes on when nothing else does, so minutes of a fleet take
//! fractions of a second. While faults come and go, and after them, the ledger's invariants hold:
//! nothing is learned from twice, nothing that was acknowledged is lost while the learner lives, the
//! order within a stream is kept. At the end, when all is whole again, everybody is back.
//!
//! `ENGRAM_SIMULATION_SEEDS=10000` simulates more; `ENGRAM_SIMULATION_SEED=N` one alone.

mod ledger;
mod network;
#[path = "../../../actor/tests/support/mod.rs"]
mod support;
mod world;

use std::path::Path;
use std::time::Duration;

use engram_actor::ExitReason;
use engram_learner::LearnerConfig;
use engram_mdp::{Generator, Seed};
use engram_service::config::{ExperimentSelection, resolve};
use rand::RngExt;
use tokio::time::{Instant, sleep};
use world::{ActorHost, LearnerHost, PolicyHost};

/// Decisions per trajectory.
const UNROLL_LENGTH: usize = 5;

/// Trajectories per update.
const BATCH_SIZE: usize = 4;

/// The run.
const RUN: &str = "simulation";

/// Seeds where nobody asks for others.
const SEEDS: u64 = 200;

/// Faults of a simulation.
const FAULTS: u32 = 12;

/// Actors: two that have numbers, and two that the learner numbers.
const NUMBERS: [Option<u32>; 4] = [Some(0), Some(1), None, None];

/// Environments of an actor.
const ENVS: usize = 4;

/// Time within which everybody must be back once all is whole.
const RECOVERY: Duration = Duration::from_secs(300);

fn learner_config() -> LearnerConfig {
    let sets = [
        "run.unroll_length=5",
        "run.queue_trajectories=8",
        "run.policy_lag=1",
        "rl.batch_size=4",
        "rl.minibatches=1",
    ];
    let resolved = resolve(&ExperimentSelection {
        experiment: "recall-20".into(),
        env: None,
        rl: None,
        seq: None,
        set: sets.map(String::from).into(),
        configs: Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs"),
    });
    LearnerConfig::new(resolved.unwrap(), RUN.into(), None, tch::Device::Cpu, 1).unwrap()
}

/// All hosts.
struct Fleet {
    learner: LearnerHost,
    policy: PolicyHost,
    actors: Vec<ActorHost>,
    random: Generator,
}

impl Fleet {
    fn start(seed: Seed) -> Self {
        let (mut learner, mut policy) = (LearnerHost::new(), PolicyHost::new());
        learner.start();
        policy.start();
        let host = |(index, number)| {
            let seed = seed.derive("actor", index as u64);
            ActorHost::new(number, learner.place(), policy.place(), seed)
        };
        let mut actors: Vec<ActorHost> = NUMBERS.into_iter().enumerate().map(host).collect();
        actors.iter_mut().for_each(ActorHost::start);
        Fleet { learner, policy, actors, random: seed.derive("faults", 0).generator() }
    }

    /// Causes a fault; what it was, for people.
    fn fault(&mut self) -> String {
        let random = &mut self.random;
        let who = random.random_range(0..self.actors.len());
        let (to_server, to_actor) = (random.random(), random.random());
        let actor = &mut self.actors[who];
        match random.random_range(0..11) {
            0 => actor.to_learner.cut(),
            1 => actor.to_policy.cut(),
            2 => actor.to_learner.partition(to_server, to_actor),
            3 => actor.to_policy.partition(to_server, to_actor),
            4 => actor.kill(),
            5 => self.learner.crash(),
            6 => self.policy.crash(),
            7 => drop(self.learner.update.send_replace(None)),
            8 => drop(self.learner.update.send_replace(Some(random.random_range(1..2000)))),
            _ => self.learner.save(),
        }
        format!("{who} {to_server} {to_actor}")
    }

    /// Makes everything whole that is not.
    fn heal(&mut self) {
        self.learner.start();
        self.policy.start();
        self.learner.update.send_replace(Some(20));
        for actor in &mut self.actors {
            actor.to_learner.heal();
            actor.to_policy.heal();
            actor.start();
        }
    }

    async fn check(&mut self) {
        for actor in &mut self.actors {
            actor.check().await;
        }
        self.learner.check_bounds();
    }

    async fn live(&mut self) {
        for _ in 0..FAULTS {
            let calm = self.random.random_range(100..20_000);
            sleep(Duration::from_millis(calm)).await;
            self.fault();
            // A second one, sometimes, before the first one is mended.
            if self.random.random() {
                let soon = self.random.random_range(0..5_000);
                sleep(Duration::from_millis(soon)).await;
                self.fault();
            }
            let lasting = self.random.random_range(0..60_000);
            sleep(Duration::from_millis(lasting)).await;
            self.check().await;
            self.heal();
        }
        self.come_back().await;
        self.learner.finish();
        for actor in &mut self.actors {
            assert_eq!(actor.ended().await.reason, ExitReason::Finished);
        }
        self.learner.end().await;
    }

    /// Waits until every environment has sent something to a learner that has just begun.
    async fn come_back(&mut self) {
        self.learner.save();
        self.learner.crash();
        self.learner.start();
        let since = Instant::now();
        let all = self.actors.len() * ENVS;
        while self.learner.taken().1 < all {
            self.check().await;
            let streams = self.learner.taken().1;
            assert!(since.elapsed() < RECOVERY, "only {streams} of {all} streams are back");
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Simulates a fleet; returns how many trajectories were learned from.
fn simulate(seed: u64) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut fleet = Fleet::start(Seed::new(seed));
        fleet.live().await;
        0
    })
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")))
}

#[test]
fn a_fleet_holds_whatever_happens_to_it() {
    let seeds = match number("ENGRAM_SIMULATION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ENGRAM_SIMULATION_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let simulated = std::panic::catch_unwind(|| simulate(seed));
        if let Err(panic) = simulated {
            eprintln!(
                "again: ENGRAM_SIMULATION_SEED={seed} cargo test --workspace --test simulation"
            );
            std::panic::resume_unwind(panic);
        }
    }
}
