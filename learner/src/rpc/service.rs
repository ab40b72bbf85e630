//! What actors and inference servers talk to.
//!
//! ```text
//! Experience.Push      push::Session         one task per actor, into the queue
//! Experience.Report    here                  episodes, into the ledger
//! Weights.Subscribe    subscribe::Session    one task per subscriber, from the publisher
//! ```
//!
//! Everything foreign is checked before it goes further. A peer that sends nonsense hears what
//! was wrong and loses its stream; nobody else notices.

use std::sync::Arc;

use engram_mdp::{Episode, StreamId};
use engram_policy::PolicyError;
use engram_proto::convert::episode_from_wire;
use engram_proto::limits::{MAX_EPISODES_PER_REPORT, MAX_MESSAGE_BYTES};
use engram_proto::registration::check_protocol;
use engram_proto::v1::experience_server::{Experience, ExperienceServer};
use engram_proto::v1::weights_server::{Weights, WeightsServer};
use engram_proto::{Registration, WireError, v1};
use engram_service::net::Peer;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use crate::rpc::publisher::Newest;
use crate::rpc::queue::Intake;
use crate::rpc::stream_positions::StreamError;
use crate::rpc::{push, subscribe};
use crate::run::channels::{Ledger, Proposal, Terms};
use crate::telemetry::episodes::{ReportId, WINDOW};
use crate::telemetry::metrics::Metrics;

/// How far the whole process is, for its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Trajectories are wanted.
    Training,
    /// The run has had its env steps.
    Finished,
    /// The process ends; the run may go on later.
    Closing,
}

/// The services' ends of what connects them to the learner.
#[derive(Clone, Debug)]
pub(crate) struct Services {
    pub(crate) run_id: String,
    pub(crate) unroll_length: usize,
    pub(crate) terms: watch::Receiver<Option<Terms>>,
    pub(crate) proposals: mpsc::Sender<Proposal>,
    pub(crate) intake: Intake,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) newest: Newest,
    pub(crate) stage: watch::Receiver<Stage>,
    pub(crate) tasks: TaskTracker,
    pub(crate) metrics: Metrics,
}

/// Why a peer is refused.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("{0}")]
    Run(WireError),
    #[error("no policy can be made for this world: {0}")]
    World(PolicyError),
    #[error(
        "an actor that evaluates plays the policy's most likely actions, from which the learner \
         must not learn: only actors that train push trajectories"
    )]
    Evaluating,
    #[error("environment {found} was not registered; this stream speaks for {expected:?}")]
    EnvIndex { expected: std::ops::Range<u32>, found: u32 },
    #[error(
        "the trajectory brings a core_state of {found} numbers; this run's policy exports \
         {expected}: is the inference server of another experiment?"
    )]
    CoreState { expected: usize, found: usize },
    #[error("the message cannot be read: {0}")]
    Unreadable(String),
    #[error("no registration came within {0} s")]
    Silent(u64),
    #[error("the learner is shutting down; come back when it is up again")]
    Closing,
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Wire(error) | Refusal::Run(error) => error.into(),
            Refusal::Stream(StreamError::TooMany { .. }) => Status::resource_exhausted(message),
            Refusal::Stream(StreamError::OlderGeneration { .. })
            | Refusal::World(_)
            | Refusal::Evaluating => Status::failed_precondition(message),
            Refusal::Stream(StreamError::Unregistered(_))
            | Refusal::EnvIndex { .. }
            | Refusal::CoreState { .. }
            | Refusal::Unreadable(_) => Status::invalid_argument(message),
            Refusal::Silent(_) => Status::deadline_exceeded(message),
            Refusal::Closing => Status::unavailable(message),
        }
    }
}

impl Services {
    /// The two gRPC services.
    pub(crate) fn servers(&self) -> (ExperienceServer<Self>, WeightsServer<Self>) {
        let experience = ExperienceServer::new(self.clone());
        let weights = WeightsServer::new(self.clone());
        (experience.max_decoding_message_size(MAX_MESSAGE_BYTES), weights)
    }

    /// Checks a registration against the run. The first actor's world becomes the run's.
    pub(crate) async fn admit(&self, message: v1::Registration) -> Result<Admitted, Refusal> {
        let registration = Registration::try_from(message)?;
        registration.check_run(&self.run_id)?;
        if registration.purpose != engram_proto::Purpose::Train {
            return Err(Refusal::Evaluating);
        }
        let terms = self.terms(&registration).await?;
        registration.check_spec(&terms.spec)?;
        let streams: Vec<StreamId> = registration.streams().collect();
        self.ledger.streams().register(&streams, registration.generation)?;
        Ok(Admitted { registration, terms })
    }

    /// The run's terms; where there are none yet, those of this actor's world.
    async fn terms(&self, registration: &Registration) -> Result<Terms, Refusal> {
        if let Some(terms) = &*self.terms.borrow() {
            return Ok(terms.clone());
        }
        let (refusal, refused) = oneshot::channel();
        let proposal = Proposal { spec: registration.spec.clone(), refusal };
        // One proposal waits while another is looked at. It is not taken any more once there are
        // terms, or when the learner is leaving.
        let _ = self.proposals.send(proposal).await;
        match refused.await {
            Ok(error) => Err(Refusal::World(error)),
            Err(_) => self.terms.borrow().clone().ok_or(Refusal::Closing),
        }
    }

    fn check_run(&self, run_id: &str) -> Result<(), Refusal> {
        if run_id.is_empty() || run_id == self.run_id {
            return Ok(());
        }
        let (served, registered) = (self.run_id.clone(), run_id.to_owned());
        Err(Refusal::Run(WireError::Run { served, registered }))
    }

    fn take_report(&self, report: &v1::ReportRequest) -> Result<(), Refusal> {
        self.check_run(&report.run_id)?;
        let found = report.episodes.len();
        if found > MAX_EPISODES_PER_REPORT {
            let (what, limit) = ("episodes in one report", MAX_EPISODES_PER_REPORT);
            return Err(WireError::TooMany { what, limit, found }.into());
        }
        let episodes: Vec<Episode> =
            report.episodes.iter().map(episode_from_wire).collect::<Result<_, _>>()?;
        let id = ReportId {
            actor: report.actor,
            generation: report.generation,
            sequence: report.sequence,
        };
        let mut ledger = self.ledger.episodes();
        let before = ledger.total();
        ledger.report(id, &episodes);
        let means = ledger.latest(WINDOW);
        self.metrics.episodes(ledger.total() - before, means.episode_return, means.success);
        Ok(())
    }
}

/// An actor that keeps to the run's terms.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) registration: Registration,
    pub(crate) terms: Terms,
}

#[tonic::async_trait]
impl Experience for Services {
    type PushStream = ReceiverStream<Result<v1::PushResponse, Status>>;

    async fn push(
        &self,
        request: Request<Streaming<v1::PushRequest>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let (responses, stream) = mpsc::channel(push::RESPONSES_AHEAD);
        let peer = Peer::of(&request);
        let session =
            push::Session { services: self.clone(), requests: request.into_inner(), responses };
        self.tasks.spawn(session.run(peer));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        self.take_report(request.get_ref())?;
        Ok(Response::new(v1::ReportResponse {}))
    }
}

#[tonic::async_trait]
impl Weights for Services {
    type SubscribeStream = ReceiverStream<Result<v1::WeightsChunk, Status>>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let peer = Peer::of(&request);
        let request = request.into_inner();
        check_protocol(request.protocol_version).map_err(Refusal::from)?;
        self.check_run(&request.run_id)?;
        let (chunks, stream) = mpsc::channel(subscribe::CHUNKS_AHEAD);
        let session = subscribe::Session {
            run_id: self.run_id.clone(),
            newest: self.newest.clone(),
            stage: self.stage.clone(),
            chunks,
        };
        tracing::info!(%peer, "a subscriber of weights came");
        self.tasks.spawn(session.run());
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
