//! Services that actors and inference servers talk to.
//!
//! ```text
//! Experience.Push      PushSession           one task per actor, into the queue
//! Experience.Report    here                  episodes, into the shared stats
//! Weights.Subscribe    SubscribeSession      one task per subscriber, from the publisher
//! Evaluations.Evaluate EvaluateSession       one task per evaluator, from the evaluation queue
//! Configuration        here                  the resolved experiment
//! ```
//!
//! Everything foreign is checked before it goes further. A peer that sends nonsense hears what
//! was wrong and loses its stream; nobody else notices.

use engram_mdp::Episode;
use engram_proto::convert::episode_from_wire;
use engram_proto::limits::{MAX_EPISODES_PER_REPORT, MAX_MESSAGE_BYTES};
use engram_proto::registration::check_protocol;
use engram_proto::v1::configuration_server::{Configuration, ConfigurationServer};
use engram_proto::v1::evaluations_server::{Evaluations, EvaluationsServer};
use engram_proto::v1::experience_server::{Experience, ExperienceServer};
use engram_proto::v1::weights_server::{Weights, WeightsServer};
use engram_proto::{WireError, v1};
use engram_service::net::Peer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

use crate::rpc::context::Context;
use crate::rpc::evaluate::{EVALUATIONS_AHEAD, EvaluateSession};
use crate::rpc::push::{PushSession, RESPONSES_AHEAD};
use crate::rpc::refusal::Refusal;
use crate::rpc::subscribe::{CHUNKS_AHEAD, SubscribeSession};
use crate::telemetry::episodes::WINDOW;

/// The gRPC services, in one context.
#[derive(Clone, Debug)]
pub(crate) struct Services(Context);

/// The routes of all services.
pub(crate) fn routes(context: &Context) -> Routes {
    let services = Services(context.clone());
    let experience = ExperienceServer::new(services.clone());
    Routes::new(experience.max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(WeightsServer::new(services.clone()))
        .add_service(EvaluationsServer::new(services.clone()))
        .add_service(ConfigurationServer::new(services))
}

/// Takes note of finished episodes. A report that came before changes nothing; nor does one of an
/// actor that was replaced or forgotten.
fn take_report(context: &Context, report: &v1::ReportRequest) -> Result<(), Refusal> {
    context.check_run(&report.run_id)?;
    let found = report.episodes.len();
    if found > MAX_EPISODES_PER_REPORT {
        let (what, limit) = ("episodes in one report", MAX_EPISODES_PER_REPORT);
        return Err(WireError::TooMany { what, limit, found }.into());
    }
    let episodes: Vec<Episode> =
        report.episodes.iter().map(episode_from_wire).collect::<Result<_, _>>()?;
    let v1::ReportRequest { actor, generation, sequence, .. } = *report;
    if !context.stats.membership().report(actor, generation, sequence) {
        return Ok(());
    }
    let mut stats = context.stats.episodes();
    let before = stats.total();
    stats.add(&episodes);
    let means = stats.latest(WINDOW);
    context.metrics.episodes(stats.total() - before, means.episode_return, means.success);
    Ok(())
}

#[tonic::async_trait]
impl Experience for Services {
    type PushStream = ReceiverStream<Result<v1::PushResponse, Status>>;

    async fn push(
        &self,
        request: Request<Streaming<v1::PushRequest>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let (responses, stream) = mpsc::channel(RESPONSES_AHEAD);
        let peer = Peer::of(&request);
        let session =
            PushSession { context: self.0.clone(), requests: request.into_inner(), responses };
        self.0.tasks.spawn(session.run(peer));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        take_report(&self.0, request.get_ref())?;
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
        self.0.check_run(&request.run_id)?;
        let (chunks, stream) = mpsc::channel(CHUNKS_AHEAD);
        let session = SubscribeSession {
            run_id: self.0.run_id.clone(),
            subscription: self.0.newest.subscribe(),
            stage: self.0.stage.clone(),
            chunks,
        };
        tracing::info!(%peer, "a subscriber of weights came");
        self.0.tasks.spawn(session.run());
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

#[tonic::async_trait]
impl Evaluations for Services {
    type EvaluateStream = ReceiverStream<Result<v1::EvaluateResponse, Status>>;

    async fn evaluate(
        &self,
        request: Request<Streaming<v1::EvaluateRequest>>,
    ) -> Result<Response<Self::EvaluateStream>, Status> {
        let (responses, stream) = mpsc::channel(EVALUATIONS_AHEAD);
        let peer = Peer::of(&request);
        let session =
            EvaluateSession { context: self.0.clone(), requests: request.into_inner(), responses };
        self.0.tasks.spawn(session.run(peer));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

#[tonic::async_trait]
impl Configuration for Services {
    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::ResolveResponse>, Status> {
        let request = request.into_inner();
        check_protocol(request.protocol_version).map_err(Refusal::from)?;
        self.0.check_run(&request.run_id)?;
        let (run_id, config) = (self.0.run_id.clone(), self.0.config.to_string());
        Ok(Response::new(v1::ResolveResponse { run_id, config }))
    }
}
