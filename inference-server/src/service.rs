//! The `Inference` service: the dialog on one stream of requests.
//!
//! A registration first; then, for as long as the stream lasts, one observation and its answer.
//! A stream is a `ActSession` that tonic polls: no task of our own, and when the peer leaves, the
//! session is dropped and with it the lease on its slots.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use engram_mdp::{EnvSpec, Frames, Seed};
use engram_proto::convert::frames_from_wire;
use engram_proto::v1::inference_server::Inference;
use engram_proto::v1::{ActRequest, ActResponse, act_request, act_response};
use engram_proto::{Purpose, Registration, WireError, v1};
use engram_service::Shutdown;
use futures_util::stream::try_unfold;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt, once};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::batcher::PushError;
use crate::request_queue::{self, RegisterError, RequestQueue, StreamEnd, StreamLease};
use crate::slots::LeaseError;
use crate::weights::Serving;

/// Wait of a request for weights that the learner has published already.
const WEIGHTS_WAIT: Duration = Duration::from_secs(10);

/// Time that a peer may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(30);

/// Settings of streams.
#[derive(Clone, Copy, Debug)]
pub struct StreamSettings {
    /// Silence after which a stream's slots are taken back.
    pub lease: Duration,
    /// Wait of a registration for the first weights.
    pub weights_wait: Duration,
}

/// The service.
#[derive(Debug)]
pub struct InferenceService {
    queue: Arc<RequestQueue>,
    serving: watch::Receiver<Serving>,
    settings: StreamSettings,
    shutdown: Shutdown,
}

impl InferenceService {
    /// A service of the policy in `serving`, through `queue`.
    pub(crate) fn new(
        queue: Arc<RequestQueue>,
        serving: watch::Receiver<Serving>,
        settings: StreamSettings,
        shutdown: Shutdown,
    ) -> Self {
        InferenceService { queue, serving, settings, shutdown }
    }

    /// A stream's first message, and the lease that it was granted.
    async fn register(
        &self,
        requests: &mut Streaming<ActRequest>,
    ) -> Result<(Registration, v1::Registered, EnvSpec, StreamLease), Status> {
        let registration = greeting(requests).await?;
        let (run_id, spec) = self.served().await?;
        if let Some(run_id) = &run_id {
            registration.check_run(run_id)?;
        }
        registration.check_spec(&spec)?;
        let lease = self.queue.register(&registration)?;
        let run_id = run_id.or_else(|| registration.run_id.clone()).unwrap_or_default();
        let lease_milliseconds = self.settings.lease.as_millis().max(1) as u64;
        let registered = v1::Registered { run_id, lease_milliseconds, ..v1::Registered::default() };
        Ok((registration, registered, spec, lease))
    }

    /// The run and the environment that are served; waits for them, but not forever.
    async fn served(&self) -> Result<(Option<String>, EnvSpec), Status> {
        let mut serving = self.serving.clone();
        let known = serving.wait_for(|serving| matches!(serving, Serving::Policy { .. }));
        if let Ok(Ok(known)) = timeout(self.settings.weights_wait, known).await
            && let Serving::Policy { run_id, spec } = &*known
        {
            return Ok((run_id.clone(), spec.clone()));
        }
        let Serving::Nothing(reason) = &*self.serving.borrow() else {
            return Err(Status::unavailable("the weights came too late; register again"));
        };
        Err(Status::unavailable(format!("there are no weights yet: {reason}")))
    }
}

#[tonic::async_trait]
impl Inference for InferenceService {
    type ActStream = Pin<Box<dyn Stream<Item = Result<ActResponse, Status>> + Send>>;

    async fn act(
        &self,
        request: Request<Streaming<ActRequest>>,
    ) -> Result<Response<Self::ActStream>, Status> {
        let mut requests = request.into_inner();
        let (registration, registered, spec, lease) = tokio::select! {
            registered = self.register(&mut requests) => registered?,
            () = self.shutdown.triggered() => return Err(StreamEnd::ShuttingDown.into()),
        };
        tracing::info!(
            actor = registration.actor,
            generation = registration.generation,
            environments = ?registration.env_indices,
            "a stream registered"
        );
        let session = ActSession {
            requests,
            lease,
            spec,
            purpose: registration.purpose,
            silence: self.settings.lease,
            seed: Seed::new(registration.seed),
            answers: 0,
        };
        let greeting = once(Ok(response(act_response::Body::Registered(registered))));
        Ok(Response::new(Box::pin(greeting.chain(try_unfold(session, ActSession::turn)))))
    }
}

/// One registered stream.
struct ActSession {
    requests: Streaming<ActRequest>,
    lease: StreamLease,
    spec: EnvSpec,
    purpose: Purpose,
    silence: Duration,
    /// Answers draw from the seeds below this one, by number: a stream's answers depend neither on
    /// the requests that share its batches nor on the server.
    seed: Seed,
    answers: u64,
}

impl ActSession {
    /// One observation and its answer; nothing once the peer has left.
    async fn turn(mut self) -> Result<Option<(ActResponse, Self)>, Status> {
        let Some(observe) = self.observation().await? else {
            return Ok(None);
        };
        let rows = self.lease.slots.len();
        let v1::Observe { frames, unroll_start, rank, min_policy_version } = observe;
        let frames = frames.ok_or(WireError::Missing("frames"))?;
        let frames = frames_from_wire(frames, &self.spec, rows)?;
        if min_policy_version > 0 {
            // Weights that come too late are not worth an episode: the answer names its own.
            let newer = self.lease.policy_version(min_policy_version);
            let _ = timeout(WEIGHTS_WAIT, newer).await;
        }
        let answer = self.ask(frames, unroll_start, rank)?;
        let act = self.answer(answer).await?;
        self.answers += 1;
        Ok(act.map(|act| (response(act_response::Body::Act(act)), self)))
    }

    /// The next observation; `None` once the peer has left.
    async fn observation(&mut self) -> Result<Option<v1::Observe>, Status> {
        loop {
            let next = timeout(self.silence, self.requests.message());
            let message = tokio::select! {
                biased;
                end = &mut self.lease.ended => return Err(ended(end)),
                message = next => message.map_err(|_| silent(self.silence))?,
            };
            return match read(message)?.map(|request| request.body) {
                None => Ok(None),
                Some(Some(act_request::Body::Observe(observe))) => Ok(Some(observe)),
                Some(Some(act_request::Body::Waiting(_))) => continue,
                Some(Some(act_request::Body::Registration(_))) => {
                    Err(WireError::OutOfOrder("a second registration").into())
                }
                Some(None) => Err(WireError::Missing("body").into()),
            };
        }
    }

    fn ask(
        &mut self,
        frames: Frames,
        unroll_start: bool,
        rank: u32,
    ) -> Result<oneshot::Receiver<v1::Act>, Status> {
        let (reply, answer) = oneshot::channel();
        let asked = self.lease.ask(request_queue::Request {
            slots: self.lease.slots.clone(),
            fresh: self.answers == 0,
            frames,
            unroll_start,
            purpose: self.purpose,
            rank,
            seed: self.seed.derive("answer", self.answers),
            reply,
        });
        match asked {
            Ok(()) => Ok(answer),
            Err(PushError::InFlight) => {
                Err(Status::invalid_argument(PushError::InFlight.to_string()))
            }
            Err(PushError::Left) => Err(self.why()),
        }
    }

    /// The model thread's answer; `None` if the peer leaves meanwhile.
    async fn answer(
        &mut self,
        mut answer: oneshot::Receiver<v1::Act>,
    ) -> Result<Option<v1::Act>, Status> {
        loop {
            let early = tokio::select! {
                biased;
                act = &mut answer => return self.answered(act).map(Some),
                early = self.requests.message() => read(early)?,
            };
            match early.map(|request| request.body) {
                Some(Some(act_request::Body::Waiting(_))) => {}
                Some(_) => return Err(Status::invalid_argument(PushError::InFlight.to_string())),
                // It will ask no more, but may still want this answer.
                None => return self.answered(answer.await).map(Some),
            }
        }
    }

    fn answered(
        &mut self,
        act: Result<v1::Act, oneshot::error::RecvError>,
    ) -> Result<v1::Act, Status> {
        // A request that is dropped unanswered belongs to a stream that the server ended.
        act.map_err(|_| self.why())
    }

    /// Reason why the server ended this stream.
    fn why(&mut self) -> Status {
        self.lease.ended.try_recv().map_or_else(|_| model_gone(), Status::from)
    }
}

/// The registration that a stream begins with.
async fn greeting(requests: &mut Streaming<ActRequest>) -> Result<Registration, Status> {
    let first = timeout(PATIENCE, requests.message()).await.map_err(|_| {
        let seconds = PATIENCE.as_secs();
        Status::deadline_exceeded(format!("no registration came within {seconds} s"))
    })?;
    match read(first)?.map(|request| request.body) {
        Some(Some(act_request::Body::Registration(registration))) => Ok(registration.try_into()?),
        Some(Some(act_request::Body::Observe(_))) => {
            Err(WireError::OutOfOrder("an observation").into())
        }
        Some(Some(act_request::Body::Waiting(_))) => {
            Err(WireError::OutOfOrder("a sign of life").into())
        }
        Some(None) => Err(WireError::Missing("body").into()),
        None => Err(WireError::OutOfOrder("nothing at all").into()),
    }
}

/// A message read from a stream. One that cannot be read is the peer's fault; a connection
/// that broke is a peer that left, and no error.
fn read(message: Result<Option<ActRequest>, Status>) -> Result<Option<ActRequest>, Status> {
    match message {
        Ok(message) => Ok(message),
        Err(status) => match status.code() {
            Code::Cancelled | Code::Unavailable | Code::Unknown | Code::Aborted => Ok(None),
            _ => Err(Status::invalid_argument(format!(
                "the message cannot be read: {}",
                status.message()
            ))),
        },
    }
}

fn response(body: act_response::Body) -> ActResponse {
    ActResponse { body: Some(body) }
}

fn silent(limit: Duration) -> Status {
    Status::deadline_exceeded(format!(
        "the stream was silent for {} s, and its slots were taken back; register again",
        limit.as_secs_f64()
    ))
}

fn ended(end: Result<StreamEnd, oneshot::error::RecvError>) -> Status {
    end.map_or_else(|_| model_gone(), Status::from)
}

fn model_gone() -> Status {
    Status::unavailable("the inference server's model has ended")
}

impl From<StreamEnd> for Status {
    fn from(end: StreamEnd) -> Self {
        match end {
            StreamEnd::Evicted { .. } => Status::aborted(end.to_string()),
            StreamEnd::ShuttingDown => Status::unavailable(end.to_string()),
        }
    }
}

impl From<RegisterError> for Status {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Lease(error) => error.into(),
            RegisterError::End(end) => end.into(),
        }
    }
}

impl From<LeaseError> for Status {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Superseded { .. } => Status::failed_precondition(error.to_string()),
            LeaseError::Full { .. } => Status::resource_exhausted(error.to_string()),
        }
    }
}
