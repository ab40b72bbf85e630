//! The context of every call: the services' ends of what connects them to the learner.

use std::sync::Arc;

use engram_mdp::{EnvSpec, Seed};
use engram_policy::PolicyError;
use engram_proto::{Registration, WireError, v1};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::rpc::evaluation_queue::{EvaluationQueue, PlayedEvaluation};
use crate::rpc::membership::Claim;
use crate::rpc::publisher::Newest;
use crate::rpc::queue::Intake;
use crate::rpc::ranks::{Rank, Ranks};
use crate::rpc::refusal::Refusal;
use crate::rpc::shared_stats::SharedStats;
use crate::rpc::unroll_grants::UnrollGrants;
use crate::telemetry::metrics::Metrics;

/// The run as calls see it, and their ends of the channels to the learner.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) run_id: String,
    /// The experiment's seed.
    pub(crate) seed: Seed,
    /// The resolved experiment, as TOML.
    pub(crate) config: Arc<str>,
    pub(crate) unroll_length: usize,
    pub(crate) contract: watch::Receiver<Option<EnvironmentContract>>,
    pub(crate) proposals: mpsc::Sender<SpecProposal>,
    pub(crate) intake: Intake,
    pub(crate) grants: UnrollGrants,
    pub(crate) stats: Arc<SharedStats>,
    pub(crate) ranks: Arc<Ranks>,
    pub(crate) newest: Newest,
    pub(crate) evaluations: EvaluationQueue,
    /// Full while scores wait for the disk: their evaluators wait as well.
    pub(crate) played: mpsc::Sender<PlayedEvaluation>,
    pub(crate) stage: watch::Receiver<Stage>,
    pub(crate) tasks: TaskTracker,
    pub(crate) metrics: Metrics,
}

/// Environment contract: what every actor must keep to, once the first one has registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvironmentContract {
    pub(crate) spec: EnvSpec,
    /// Numbers of recurrent state that every trajectory brings.
    pub(crate) core_state_width: usize,
}

/// Spec proposal: an actor's environment, offered to a learner that has none yet.
#[derive(Debug)]
pub(crate) struct SpecProposal {
    pub(crate) spec: EnvSpec,
    /// Why no policy can be made for that environment; dropped once there is a contract.
    pub(crate) refusal: oneshot::Sender<PolicyError>,
}

/// An actor that keeps to the run's contract.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// Its registration, with the number and the generation that it has now.
    pub(crate) registration: Registration,
    pub(crate) contract: EnvironmentContract,
    /// Seed of this incarnation of the actor. A checkpoint knows which were given away.
    pub(crate) seed: Seed,
    /// Its rank, as long as its stream lasts.
    pub(crate) rank: Rank,
    _presence: Presence,
}

/// Presence of an actor, as long as its stream lasts.
#[derive(Debug)]
struct Presence {
    actor: u32,
    stats: Arc<SharedStats>,
    metrics: Metrics,
}

/// Stage of the whole process, for its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Trajectories are wanted.
    Training,
    /// The run has had its env steps; what it has learned is being evaluated.
    Evaluating,
    /// The run is over.
    Finished,
    /// The process ends; the run may go on later.
    Closing,
}

impl Stage {
    /// True if nothing is wanted any more.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Stage::Finished | Stage::Closing)
    }
}

impl Context {
    /// Admits an actor that trains.
    pub(crate) async fn admit(&self, message: v1::Registration) -> Result<Admitted, Refusal> {
        let mut registration = Registration::try_from(message)?;
        if registration.purpose != engram_proto::Purpose::Train {
            return Err(Refusal::Evaluating);
        }
        let contract = self.check(&registration).await?;
        let generation = (registration.generation > 0).then_some(registration.generation);
        let claim = Claim {
            actor: (!registration.any_number || generation.is_some()).then_some(registration.actor),
            any_number: registration.any_number,
            generation,
            instance: registration.instance,
            streams: registration.env_indices.len() as u32,
        };
        let incarnation = self.stats.membership().register(claim)?;
        let (stats, metrics) = (self.stats.clone(), self.metrics.clone());
        let presence = Presence::begin(incarnation.actor, stats, metrics);
        registration.actor = incarnation.actor;
        registration.generation = incarnation.generation;
        let actor = self.seed.derive("actor", incarnation.actor.into());
        let seed = actor.derive("incarnation", incarnation.predecessors);
        let rank = self.ranks.take(incarnation.actor);
        Ok(Admitted { registration, contract, seed, rank, _presence: presence })
    }

    /// Checks a registration against the run. The first one's environment becomes the run's.
    pub(crate) async fn check(
        &self,
        registration: &Registration,
    ) -> Result<EnvironmentContract, Refusal> {
        registration.check_run(&self.run_id)?;
        let contract = self.contract(registration).await?;
        registration.check_spec(&contract.spec)?;
        Ok(contract)
    }

    /// The run's contract; where there is none yet, that of this actor's environment.
    async fn contract(&self, registration: &Registration) -> Result<EnvironmentContract, Refusal> {
        if let Some(contract) = &*self.contract.borrow() {
            return Ok(contract.clone());
        }
        let (refusal, refused) = oneshot::channel();
        let proposal = SpecProposal { spec: registration.spec.clone(), refusal };
        // One proposal waits while another is looked at. It is not taken any more once there is a
        // contract, or when the learner is leaving.
        let _ = self.proposals.send(proposal).await;
        match refused.await {
            Ok(error) => Err(Refusal::Environment(error)),
            Err(_) => self.contract.borrow().clone().ok_or(Refusal::Closing),
        }
    }

    pub(crate) fn check_run(&self, run_id: &str) -> Result<(), Refusal> {
        if run_id.is_empty() || run_id == self.run_id {
            return Ok(());
        }
        let (served, registered) = (self.run_id.clone(), run_id.to_owned());
        Err(Refusal::Run(WireError::Run { served, registered }))
    }
}

impl Presence {
    /// Of an actor that has been registered just now.
    fn begin(actor: u32, stats: Arc<SharedStats>, metrics: Metrics) -> Self {
        metrics.actor_came();
        Presence { actor, stats, metrics }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.stats.membership().depart(self.actor);
        self.metrics.actor_left();
    }
}
