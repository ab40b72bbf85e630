//! An inference server whose every answer can be told from every other.
//!
//! In the counting environment frame number `n` is answered with action `n % 4` and log-probability
//! `-(n + 1) / 1024`; its core state is `[server, n]`; the policy version counts the requests of
//! the stream, from a million times the server's number on. Other environments get zeros.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use engram_mdp::{Actions, EnvSpec, Frames, Observations};
use engram_proto::convert::{actions_to_wire, floats_to_wire, frames_from_wire};
use engram_proto::v1::inference_server::{Inference, InferenceServer};
use engram_proto::v1::{self, act_request, act_response};
use engram_proto::{Purpose, Registration, WireError};
use engram_service::net::{serve, server_builder};
use engram_service::{Address, Listener, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Fault of the server.
#[derive(Clone, Debug, Default)]
pub enum Fault {
    #[default]
    None,
    /// Refuses every registration.
    Refuse(Status),
    /// Never answers a registration.
    Deaf,
    /// Each stream ends with an error at this request.
    DieAt(u64),
    /// Each stream's request is left without an answer.
    SilentAt(u64),
    /// An answer lacks an action.
    ShortAt(u64),
    /// The policy goes back to its first version.
    BackAt(u64),
}

/// Events so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub registrations: Vec<Registration>,
    /// Answered requests, over all streams.
    pub answers: u64,
    /// Ranks of the actors that asked.
    pub ranks: BTreeSet<u32>,
}

#[derive(Clone, Debug)]
pub struct FakeInference {
    pub server: u32,
    pub run: String,
    /// If set, the only environment that is welcome.
    pub spec: Option<EnvSpec>,
    /// True if every stream is answered as by a server of its own: `server` and its number.
    pub number_streams: bool,
    /// Silence after which a stream is ended.
    pub lease: Duration,
    pub seen: watch::Sender<Seen>,
    pub fault: Arc<watch::Sender<Fault>>,
}

impl FakeInference {
    pub fn new(server: u32, fault: Fault) -> Self {
        FakeInference {
            server,
            run: super::RUN.into(),
            spec: None,
            number_streams: false,
            lease: Duration::from_secs(3600),
            seen: watch::Sender::default(),
            fault: Arc::new(watch::Sender::new(fault)),
        }
    }

    /// Misbehaves in another way from the next stream on.
    pub fn fault(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Serves in the current runtime, on an in-memory pipe.
    pub fn spawn(&self) -> Address {
        let listener = Listener::memory();
        let address = listener.address().clone();
        tokio::spawn(self.clone().serve(listener, Shutdown::new()));
        address
    }

    pub async fn serve(self, listener: Listener, shutdown: Shutdown) {
        let router = server_builder().add_service(InferenceServer::new(self));
        serve(router, listener, shutdown).await.unwrap();
    }

    /// Waits until what was seen is as wanted.
    pub async fn until(&self, wanted: impl FnMut(&Seen) -> bool) {
        self.seen.subscribe().wait_for(wanted).await.unwrap();
    }

    pub fn answers(&self) -> u64 {
        self.seen.borrow().answers
    }

    async fn register(
        &self,
        requests: &mut Streaming<v1::ActRequest>,
    ) -> Result<Registration, Status> {
        let Some(act_request::Body::Registration(registration)) =
            requests.message().await?.and_then(|request| request.body)
        else {
            return Err(WireError::OutOfOrder("a request").into());
        };
        let registration = Registration::try_from(registration)?;
        registration.check_run(&self.run)?;
        if let Some(spec) = &self.spec {
            registration.check_spec(spec)?;
        }
        self.seen.send_modify(|seen| seen.registrations.push(registration.clone()));
        Ok(registration)
    }

    async fn answer(
        self,
        registration: Registration,
        mut requests: Streaming<v1::ActRequest>,
        responses: mpsc::Sender<Result<v1::ActResponse, Status>>,
    ) -> Option<()> {
        let fault = self.fault.borrow().clone();
        if matches!(fault, Fault::Deaf) {
            responses.closed().await;
        }
        let registered = v1::Registered {
            run_id: self.run.clone(),
            lease_milliseconds: self.lease.as_millis() as u64,
            ..v1::Registered::default()
        };
        let body = Some(act_response::Body::Registered(registered));
        responses.send(Ok(v1::ActResponse { body })).await.ok()?;
        let rows = registration.env_indices.len();
        for request in 0.. {
            let observe = loop {
                let Ok(message) = timeout(self.lease, requests.message()).await else {
                    let _ = responses.send(Err(Status::deadline_exceeded("silent"))).await;
                    return None;
                };
                match message.ok()??.body? {
                    act_request::Body::Observe(observe) => break observe,
                    act_request::Body::Waiting(_) => {}
                    act_request::Body::Registration(_) => panic!("registered twice"),
                }
            };
            let frames = frames_from_wire(observe.frames.unwrap(), &registration.spec, rows);
            let mut act = self.act(&frames.unwrap(), &registration.spec, request);
            if !observe.unroll_start {
                act.core_states.clear();
            }
            match fault {
                Fault::DieAt(at) if at == request => {
                    let _ = responses.send(Err(Status::unavailable("killed"))).await;
                    return None;
                }
                Fault::SilentAt(at) if at == request => responses.closed().await,
                Fault::ShortAt(at) if at == request => act.actions.truncate(4),
                Fault::BackAt(at) if at == request => act.policy_version = 0,
                _ => {}
            }
            // Counted first: whoever holds the answer finds it counted.
            self.seen.send_modify(|seen| {
                seen.answers += 1;
                seen.ranks.insert(observe.rank);
            });
            let body = Some(act_response::Body::Act(act));
            responses.send(Ok(v1::ActResponse { body })).await.ok()?;
        }
        unreachable!("requests are never all counted")
    }

    fn act(&self, frames: &Frames, spec: &EnvSpec, request: u64) -> v1::Act {
        let rows = frames.rows();
        let policy_version = u64::from(self.server) * 1_000_000 + request;
        let (actions, log_probs, core_states) = match &frames.observations {
            Observations::F32(numbers) if spec.name == "counting" => {
                let numbers = || numbers.iter().step_by(3).copied();
                let server = self.server as f32;
                (
                    Actions::Discrete(numbers().map(action_at).collect()),
                    numbers().map(log_prob_at).collect(),
                    numbers().flat_map(|number| [server, number]).collect(),
                )
            }
            _ => (Actions::zeros(spec.action, rows), vec![0.0; rows], vec![0.0; 256 * rows]),
        };
        v1::Act {
            actions: actions_to_wire(&actions),
            log_probs: floats_to_wire(&log_probs),
            policy_version,
            core_states: floats_to_wire(&core_states),
        }
    }
}

/// Answer to the counting environment's frame number `number`.
pub fn action_at(number: f32) -> i32 {
    number as i32 % 4
}

/// And how probable the action is said to be.
pub fn log_prob_at(number: f32) -> f32 {
    -(number + 1.0) / 1024.0
}

#[tonic::async_trait]
impl Inference for FakeInference {
    type ActStream = ReceiverStream<Result<v1::ActResponse, Status>>;

    async fn act(
        &self,
        request: Request<Streaming<v1::ActRequest>>,
    ) -> Result<Response<Self::ActStream>, Status> {
        let mut requests = request.into_inner();
        let mut server = self.clone();
        if let Fault::Refuse(status) = &*self.fault.borrow() {
            return Err(status.clone());
        }
        let registration = self.register(&mut requests).await?;
        assert!(matches!(registration.purpose, Purpose::Train | Purpose::Evaluate));
        if self.number_streams {
            server.server += self.seen.borrow().registrations.len() as u32;
        }
        let (responses, stream) = mpsc::channel(2);
        tokio::spawn(server.answer(registration, requests, responses));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
