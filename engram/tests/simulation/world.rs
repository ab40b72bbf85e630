//! The hosts of a simulation: a learner's services, a fake policy, and real actors.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use engram_actor::{ActorConfig, ActorError, ActorSummary};
use engram_learner::config::flags::ByteSize;
use engram_learner::rpc::membership::{Membership, SavedMembership};
use engram_learner::run::detached::DetachedServices;
use engram_learner::{LearnerConfig, rpc::unroll_grants::UnrollGrants};
use engram_mdp::Seed;
use engram_service::net::{serve, server_builder};
use engram_service::{Listener, Shutdown};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::ledger::Ledger;
use crate::network::{Link, Place};
use crate::support::inference::{FakeInference, Fault};
use crate::support::{config, counting};
use crate::{BATCH_SIZE, RUN, UNROLL_LENGTH, learner_config};

/// Numbers of state that the fake policy exports.
const CORE_STATE: usize = 2;

/// Streams that are remembered of absent actors in any case, and streams at most: few, so that
/// actors are forgotten.
const MEMBERSHIP: (usize, usize) = (32, 4);

/// More streams than one policy has in its life: every stream of the simulation has its own number.
const STREAMS_PER_POLICY: u32 = 1000;

/// Learner and what it began with.
pub(crate) struct LearnerHost {
    config: LearnerConfig,
    place: Place,
    life: Option<LearnerLife>,
    checkpoint: (SavedMembership, Ledger),
    /// Milliseconds that an update takes; the learner takes nothing while they are `None`.
    pub(crate) update: watch::Sender<Option<u64>>,
}

/// One life of the learner, from a start to a crash.
struct LearnerLife {
    services: Arc<Mutex<DetachedServices>>,
    ledger: Arc<Mutex<Ledger>>,
    tasks: [JoinHandle<()>; 2],
}

/// Fake policy behind real streams.
pub(crate) struct PolicyHost {
    place: Place,
    number: u32,
    task: Option<JoinHandle<()>>,
}

/// An actor, with a number of its own or without, and its links.
pub(crate) struct ActorHost {
    number: Option<u32>,
    seed: Seed,
    starts: u64,
    pub(crate) to_learner: Link,
    pub(crate) to_policy: Link,
    task: Option<JoinHandle<Result<ActorSummary, ActorError>>>,
}

impl LearnerHost {
    pub(crate) fn new() -> Self {
        LearnerHost {
            config: learner_config(),
            place: Place::default(),
            life: None,
            checkpoint: Default::default(),
            update: watch::Sender::new(Some(20)),
        }
    }

    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Starts it from its checkpoint, if it is down.
    pub(crate) fn start(&mut self) {
        if self.life.is_some() {
            return;
        }
        let (saved, ledger) = self.checkpoint.clone();
        let membership = Membership::new(MEMBERSHIP.0, MEMBERSHIP.1).resuming(saved);
        let spec = actor_config(None, &[]).env.spec();
        let services = DetachedServices::new(&self.config, spec, CORE_STATE, membership);
        let listener = Listener::memory();
        *self.place.lock().unwrap() = Some(listener.address().clone());
        let router = server_builder().add_routes(services.routes.clone());
        let served = async move { serve(router, listener, Shutdown::new()).await.unwrap() };
        let (services, ledger) = (Arc::new(Mutex::new(services)), Arc::new(Mutex::new(ledger)));
        let learned = learn(services.clone(), ledger.clone(), self.update.subscribe());
        let tasks = [tokio::spawn(served), tokio::spawn(learned)];
        self.life = Some(LearnerLife { services, ledger, tasks });
    }

    /// It crashes: what it knows beyond its checkpoint is lost.
    pub(crate) fn crash(&mut self) {
        *self.place.lock().unwrap() = None;
        if let Some(life) = self.life.take() {
            life.tasks.iter().for_each(JoinHandle::abort);
        }
    }

    pub(crate) fn save(&mut self) {
        if let Some(life) = &self.life {
            let membership = life.services.lock().unwrap().membership().save();
            self.checkpoint = (membership, life.ledger.lock().unwrap().checkpoint());
        }
    }

    /// The ledger of a learner that is up.
    pub(crate) fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.life.as_ref().expect("it is up").ledger.lock().unwrap()
    }

    pub(crate) fn finish(&self) {
        self.life.as_ref().expect("it is up").services.lock().unwrap().finish();
    }

    /// An error if its memory grows with what has come and gone.
    pub(crate) fn check_bounds(&mut self) {
        let Some(life) = &mut self.life else { return };
        assert!(!life.tasks[1].is_finished(), "what was taken broke an invariant");
        let members = life.services.lock().unwrap().membership().len();
        assert!(members <= MEMBERSHIP.0, "{members} actors are remembered");
    }

    /// Ends a life whose learner has done all that it will do; its panic goes on here.
    pub(crate) async fn end(&mut self) {
        let Some(life) = self.life.take() else { return };
        let [served, learned] = life.tasks;
        served.abort();
        learned.abort();
        if let Err(error) = learned.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Learns from what comes: batches that wait a second for more, and take their time.
async fn learn(
    services: Arc<Mutex<DetachedServices>>,
    ledger: Arc<Mutex<Ledger>>,
    mut update: watch::Receiver<Option<u64>>,
) {
    // Taken out for good, so that no lock is held while it waits.
    let (mut arrivals, grants): (_, UnrollGrants) = {
        let mut services = services.lock().unwrap();
        let (_, nothing) = engram_learner::rpc::queue::bounded(1, ByteSize::QUEUE_MEMORY);
        (std::mem::replace(&mut services.arrivals, nothing), services.grants.clone())
    };
    for policy_version in 1.. {
        services.lock().unwrap().publish(policy_version);
        let mut batch = Vec::new();
        while batch.len() < BATCH_SIZE {
            update.wait_for(Option::is_some).await.unwrap();
            let take = arrivals.take(&mut batch, 1);
            if timeout(Duration::from_secs(1), take).await.is_err() && !batch.is_empty() {
                break;
            }
        }
        grants.batched(batch.len());
        let count = batch.len();
        batch.drain(..).for_each(|arrival| ledger.lock().unwrap().take(arrival));
        let milliseconds = update.borrow().unwrap_or(1);
        sleep(Duration::from_millis(milliseconds)).await;
        grants.learned(count);
    }
}

impl PolicyHost {
    pub(crate) fn new() -> Self {
        PolicyHost { place: Place::default(), number: 0, task: None }
    }

    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    pub(crate) fn start(&mut self) {
        if self.task.is_some() {
            return;
        }
        self.number += 1;
        let listener = Listener::memory();
        *self.place.lock().unwrap() = Some(listener.address().clone());
        let mut policy = FakeInference::new(STREAMS_PER_POLICY * self.number, Fault::None);
        policy.number_streams = true;
        policy.run = RUN.into();
        policy.lease = Duration::from_secs(60);
        self.task = Some(tokio::spawn(policy.serve(listener, Shutdown::new())));
    }

    pub(crate) fn crash(&mut self) {
        *self.place.lock().unwrap() = None;
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl ActorHost {
    pub(crate) fn new(number: Option<u32>, learner: Place, policy: Place, seed: Seed) -> Self {
        ActorHost {
            number,
            seed,
            starts: 0,
            to_learner: Link::new(learner, seed.derive("to learner", 0)),
            to_policy: Link::new(policy, seed.derive("to policy", 0)),
            task: None,
        }
    }

    /// Starts it, if it is down.
    pub(crate) fn start(&mut self) {
        if self.task.is_some() {
            return;
        }
        let mut config = actor_config(self.number, &[&self.to_policy, &self.to_learner]);
        self.starts += 1;
        config.instance = self.seed.derive("instance", self.starts).number();
        self.task = Some(tokio::spawn(engram_actor::run(config, Shutdown::new())));
    }

    /// Its process is killed.
    pub(crate) fn kill(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.to_learner.cut();
        self.to_policy.cut();
    }

    /// An error if it has ended by itself.
    pub(crate) async fn check(&mut self) {
        if let Some(task) = self.task.take_if(|task| task.is_finished()) {
            panic!("actor {:?} has ended: {:?}", self.number, task.await);
        }
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ActorSummary {
        let task = self.task.take().expect("it is up");
        timeout(Duration::from_secs(600), task).await.expect("it leaves").unwrap().unwrap()
    }
}

fn actor_config(number: Option<u32>, links: &[&Link]) -> ActorConfig {
    let address = |at: usize| match links.get(at) {
        Some(link) => link.address(),
        None => Listener::memory().address().clone(),
    };
    let config = config(&counting(7), vec![address(0)], address(1), UNROLL_LENGTH);
    ActorConfig { actor: number, instance: 0, ..config }
}
