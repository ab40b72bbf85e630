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
//! `ENGRAM_SIMULATION_SEEDS=10000` simulates more, `ENGRAM_SIMULATION_SEEDS=5000..10000` the second
//! half of these; `ENGRAM_SIMULATION_SEED=N` one alone.

#![allow(clippy::unwrap_used)]

mod ledger;
mod network;
#[path = "../../../actor/tests/support/mod.rs"]
mod support;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
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

/// Command that repeats a simulation.
const COMMAND: &str = "cargo test --workspace --test simulation";

/// Seeds where nobody asks for others.
const SEEDS: Range<u64> = 0..200;

/// And one that broke a rule once: something was learned from twice.
const FOUND: u64 = 5586;

/// Seeds that are simulated twice.
const REPEATED: u64 = 6;

/// Faults of a simulation.
const FAULTS: u32 = 12;

/// Actors: two that have numbers, and two that the learner numbers.
const NUMBERS: [Option<u32>; 4] = [Some(0), Some(1), None, None];

/// Time after which a server knows that nobody is there any more.
const KEEPALIVE: Duration = Duration::from_secs(40);

/// Actors that come and go while another one is away: enough for it to be forgotten.
const VISITORS: usize = 8;

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
    faults: BTreeMap<&'static str, u64>,
}

/// Account of a fleet's life.
#[derive(Debug, Default, PartialEq)]
struct Story {
    /// Trajectories that the learner took.
    taken: usize,
    /// Digest of what these were.
    digest: u64,
    /// Faults by their kinds.
    faults: BTreeMap<&'static str, u64>,
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
        let random = seed.derive("faults", 0).generator();
        Fleet { learner, policy, actors, random, faults: BTreeMap::new() }
    }

    /// Causes a fault.
    async fn fault(&mut self) {
        let random = &mut self.random;
        let who = random.random_range(0..self.actors.len());
        let (to_server, to_actor) = (random.random(), random.random());
        let actor = &mut self.actors[who];
        let fault = match random.random_range(0..13) {
            0 => {
                actor.to_learner.cut();
                "an actor's connection to the learner is cut"
            }
            1 => {
                actor.to_policy.cut();
                "an actor's connection to the policy is cut"
            }
            2 => {
                actor.to_learner.partition(to_server, to_actor);
                partitioned(to_server, to_actor)
            }
            3 => {
                actor.to_policy.partition(to_server, to_actor);
                partitioned(to_server, to_actor)
            }
            4 => {
                actor.kill();
                "an actor is killed"
            }
            5 => {
                self.learner.crash();
                "the learner is killed, and goes on from its last checkpoint"
            }
            6 => {
                self.policy.crash();
                "the inference server is killed"
            }
            7 => {
                self.learner.update.send_replace(None);
                "the learner stops learning"
            }
            8 => {
                self.learner.update.send_replace(Some(random.random_range(1..2000)));
                "the learner becomes slower, or faster"
            }
            9 => {
                self.forget(who).await;
                "an actor is away until it is forgotten"
            }
            _ => {
                self.learner.save();
                "none: a checkpoint is written"
            }
        };
        *self.faults.entry(fault).or_default() += 1;
    }

    /// An actor is away while others come and go, until the learner does not know it any more. It
    /// still says things, or hears nothing of what was taken.
    async fn forget(&mut self, who: usize) {
        let to_server = self.random.random();
        self.actors[who].to_learner.partition(to_server, true);
        sleep(KEEPALIVE).await;
        for _ in 0..VISITORS {
            let seed = Seed::new(self.random.random());
            let (learner, policy) = (self.learner.place(), self.policy.place());
            let mut visitor = ActorHost::new(None, learner, policy, seed);
            visitor.start();
            sleep(Duration::from_secs(2)).await;
            visitor.kill();
        }
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

    async fn live(mut self) -> Story {
        for _ in 0..FAULTS {
            let calm = self.random.random_range(100..20_000);
            sleep(Duration::from_millis(calm)).await;
            self.fault().await;
            // A second one, sometimes, before the first one is mended.
            if self.random.random() {
                let soon = self.random.random_range(0..5_000);
                sleep(Duration::from_millis(soon)).await;
                self.fault().await;
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
        let (taken, digest) = self.learner.ledger().digest();
        self.learner.end().await;
        Story { taken, digest, faults: self.faults }
    }

    /// Waits until every environment has sent something to a learner that has just begun.
    async fn come_back(&mut self) {
        self.learner.save();
        self.learner.crash();
        self.learner.start();
        let since = Instant::now();
        let all = self.actors.len() * ENVS;
        while self.learner.ledger().streams() < all {
            self.check().await;
            let streams = self.learner.ledger().streams();
            assert!(since.elapsed() < RECOVERY, "only {streams} of {all} streams are back");
            sleep(Duration::from_secs(1)).await;
        }
    }
}

/// Kind of a partition.
fn partitioned(to_server: bool, to_actor: bool) -> &'static str {
    match (to_server, to_actor) {
        (true, true) => "nothing comes through, both ways",
        (true, false) => "nothing comes through to a server",
        (false, true) => "nothing comes through to an actor",
        (false, false) => "none: a partition of neither way",
    }
}

/// Simulates a fleet.
fn simulate(seed: u64) -> Story {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { Fleet::start(Seed::new(seed)).live().await })
}

/// Seeds that somebody asks for: `N` of them, or `A..B`.
fn asked() -> Option<Range<u64>> {
    let text = |variable| std::env::var(variable).ok();
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"));
    if let Some(one) = text("ENGRAM_SIMULATION_SEED") {
        return Some(number(&one)..number(&one) + 1);
    }
    let many = text("ENGRAM_SIMULATION_SEEDS")?;
    let (first, end) = many.split_once("..").unwrap_or(("0", &many));
    Some(number(first)..number(end))
}

#[test]
fn a_fleet_holds_whatever_happens_to_it() {
    let seeds = match asked() {
        Some(seeds) => seeds.collect(),
        None => SEEDS.chain([FOUND]).collect::<Vec<_>>(),
    };
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Story::default());
    let simulate_all = || {
        loop {
            let Some(&seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            let story = std::panic::catch_unwind(|| simulate(seed)).unwrap_or_else(|panic| {
                eprintln!("again: ENGRAM_SIMULATION_SEED={seed} {COMMAND}");
                std::panic::resume_unwind(panic)
            });
            let mut all = all.lock().unwrap();
            all.taken += story.taken;
            story
                .faults
                .into_iter()
                .for_each(|(kind, n)| *all.faults.entry(kind).or_default() += n);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        (0..threads).for_each(|_| drop(scope.spawn(simulate_all)));
    });
    let Story { taken, faults, .. } = all.into_inner().unwrap();
    println!("fleets: {}\ntrajectories learned from: {taken}\n{faults:#?}", seeds.len());
}

#[test]
fn a_seed_repeats_itself() {
    let once: Vec<_> = (0..REPEATED).map(simulate).collect();
    assert!(once.iter().all(|story| story.taken > 100), "{once:?}");
    assert_eq!((0..REPEATED).map(simulate).collect::<Vec<_>>(), once);
    assert!(once.windows(2).all(|pair| pair[0] != pair[1]));
}
