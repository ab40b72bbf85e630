//! Recording proxy between actors and the learner: it passes everything on, and remembers it.
//!
//! ```text
//! actors ──▶ proxy ────▶ learner        trajectories and reports
//!    ▲                      │
//!    └── inference server ◀─┘           weights and actions: not seen by the proxy
//! ```
//!
//! It can also lose a message or the acknowledgements of some, as a breaking connection does.
//! [`system`] starts the real services around it.

pub(crate) mod system;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engram_actor::MAX_UNACKNOWLEDGED;
use engram_mdp::{StreamId, Trajectory};
use engram_proto::convert::trajectory_from_wire;
use engram_proto::v1::experience_client::ExperienceClient;
use engram_proto::v1::experience_server::{Experience, ExperienceServer};
use engram_proto::v1::{self, push_request, push_response};
use engram_proto::{Registration, WireError};
use engram_service::net::{connect, serve, server_builder};
use engram_service::{Address, Listener, NetError, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Time after which a test fails; machines of tests are slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Messages that may wait on either way through the proxy. Never full: an actor sends no more
/// than it may leave unacknowledged, and hears one answer to each.
const WAY: usize = MAX_UNACKNOWLEDGED + 2;

/// An actor, and the place of its generation among those that the learner has issued to it, from 1.
pub(crate) type Incarnation = (u32, usize);

/// One environment of one incarnation of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamIncarnation {
    pub(crate) stream: StreamId,
    pub(crate) incarnation: usize,
}

/// Fault of a connection, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It breaks with a message that the learner never gets.
    LoseMessage,
    /// It breaks after the learner has acknowledged as much as an actor may leave unacknowledged,
    /// but the actor has heard nothing of it.
    LoseAcknowledgements,
}

/// Recording of everything that passed.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// Trajectories that were passed on to the learner, each once.
    pub(crate) streams: BTreeMap<StreamIncarnation, Vec<Trajectory>>,
    /// Number of trajectories of each that the learner has acknowledged.
    pub(crate) acknowledged: BTreeMap<StreamIncarnation, u64>,
    /// Trajectories that were passed on again.
    pub(crate) repeats: usize,
    /// Registrations, in order.
    pub(crate) registrations: Vec<Incarnation>,
    /// Generations of each actor, in the order in which they came.
    generations: BTreeMap<u32, Vec<u64>>,
    /// Connections of actors that are open now.
    pub(crate) connections: usize,
    /// Events that must not happen.
    violations: Vec<String>,
}

/// The proxy. Its clones share what was seen.
#[derive(Clone)]
pub(crate) struct RecordingProxy {
    learner: Address,
    unroll_length: usize,
    recording: Arc<watch::Sender<Recording>>,
    fault: Arc<Mutex<Option<Fault>>>,
}

impl Recording {
    /// Trajectories of the shortest of the streams of environments `0..envs` of an actor.
    pub(crate) fn shortest(&self, (actor, incarnation): Incarnation, envs: u32) -> usize {
        let length = |env_index| {
            let source = StreamIncarnation { stream: StreamId { actor, env_index }, incarnation };
            self.streams.get(&source).map_or(0, Vec::len)
        };
        (0..envs).map(length).min().expect("an actor has environments")
    }

    /// Trajectories of the longest stream.
    pub(crate) fn longest(&self) -> usize {
        self.streams.values().map(Vec::len).max().unwrap_or(0)
    }

    /// Decisions in everything that was passed on, each counted once.
    pub(crate) fn env_steps(&self) -> u64 {
        self.streams.values().flatten().map(|trajectory| trajectory.env_steps() as u64).sum()
    }

    /// The generation of an incarnation.
    pub(crate) fn generation(&self, (actor, incarnation): Incarnation) -> u64 {
        self.generations[&actor][incarnation - 1]
    }

    /// Takes note of a registered actor.
    fn register(&mut self, actor: u32, generation: u64) -> Incarnation {
        let generations = self.generations.entry(actor).or_default();
        let known = generations.iter().position(|known| *known == generation);
        let place = known.unwrap_or_else(|| {
            generations.push(generation);
            generations.len() - 1
        });
        self.registrations.push((actor, place + 1));
        (actor, place + 1)
    }

    fn take(&mut self, source: StreamIncarnation, trajectory: Trajectory) {
        let stream = self.streams.entry(source).or_default();
        match trajectory.sequence.cmp(&(stream.len() as u64)) {
            Ordering::Equal => stream.push(trajectory),
            Ordering::Less if stream[trajectory.sequence as usize] == trajectory => {
                self.repeats += 1;
            }
            Ordering::Less => {
                let sequence = trajectory.sequence;
                self.violations.push(format!("{source:?}: another number {sequence} than before"));
            }
            Ordering::Greater => {
                let (found, expected) = (trajectory.sequence, stream.len());
                self.violations.push(format!("{source:?}: number {found} instead of {expected}"));
            }
        }
    }
}

impl RecordingProxy {
    pub(crate) fn new(learner: Address, unroll_length: usize) -> Self {
        let (recording, fault) = (Arc::default(), Arc::default());
        RecordingProxy { learner, unroll_length, recording, fault }
    }

    /// Serves until shutdown.
    pub(crate) async fn run(self, listener: Listener, leave: Shutdown) -> Result<(), NetError> {
        let router = server_builder().add_service(ExperienceServer::new(self));
        serve(router, listener, leave).await
    }

    /// The recording so far.
    pub(crate) fn recording(&self) -> watch::Ref<'_, Recording> {
        self.recording.borrow()
    }

    /// The whole recording, once nothing more comes.
    pub(crate) fn into_recording(self) -> Recording {
        self.recording.send_replace(Recording::default())
    }

    /// Waits until what was seen is as wanted.
    pub(crate) async fn until(&self, what: &str, mut wanted: impl FnMut(&Recording) -> bool) {
        let mut recording = self.recording.subscribe();
        let enough = recording.wait_for(|seen| !seen.violations.is_empty() || wanted(seen));
        let Ok(seen) = timeout(PATIENCE, enough).await else { panic!("never: {what}") };
        let seen = seen.expect("the proxy holds the sender");
        assert!(seen.violations.is_empty(), "{:#?}", seen.violations);
    }

    /// Makes the next connection that can suffer it suffer `fault`.
    pub(crate) fn cause(&self, fault: Fault) {
        *self.fault.lock().expect("no panic while locked") = Some(fault);
    }

    fn suffers(&self, fault: Fault) -> bool {
        *self.fault.lock().expect("no panic while locked") == Some(fault)
    }

    fn suffered(&self) {
        *self.fault.lock().expect("no panic while locked") = None;
    }

    fn note(&self, note: impl FnOnce(&mut Recording)) {
        self.recording.send_modify(note);
    }

    fn client(&self) -> ExperienceClient<engram_service::Channel> {
        ExperienceClient::new(connect(&self.learner, "learner"))
    }
}

#[tonic::async_trait]
impl Experience for RecordingProxy {
    type PushStream = ReceiverStream<Result<v1::PushResponse, Status>>;

    async fn push(
        &self,
        request: Request<Streaming<v1::PushRequest>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let mut from_actor = request.into_inner();
        let first = from_actor.message().await?.ok_or(WireError::OutOfOrder("nothing"))?;
        let Some(push_request::Body::Registration(message)) = &first.body else {
            return Err(WireError::OutOfOrder("trajectories first").into());
        };
        let registration = Registration::try_from(message.clone())?;
        let (to_learner, requests) = mpsc::channel(WAY);
        to_learner.try_send(first).expect("there is room for the first message");
        let from_learner = self.client().push(ReceiverStream::new(requests)).await?.into_inner();
        let (to_actor, responses) = mpsc::channel(WAY);
        self.note(|seen| seen.connections += 1);
        let relay = Relay {
            proxy: self.clone(),
            incarnation: (registration.actor, 0),
            registration,
            to_learner: Some(to_learner),
            to_actor,
            sent: Vec::new(),
            unheard: 0,
        };
        tokio::spawn(relay.run(from_actor, from_learner));
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        self.client().report(request).await
    }
}

/// One actor's connection to the learner, through the proxy.
struct Relay {
    proxy: RecordingProxy,
    registration: Registration,
    /// As soon as the learner has registered it.
    incarnation: Incarnation,
    /// Nothing, once the actor has left.
    to_learner: Option<mpsc::Sender<v1::PushRequest>>,
    to_actor: mpsc::Sender<Result<v1::PushResponse, Status>>,
    /// The trajectories of each message so far.
    sent: Vec<Vec<(StreamIncarnation, u64)>>,
    /// Acknowledgements that were kept from the actor.
    unheard: usize,
}

/// The connection breaks.
struct Broken;

impl Relay {
    /// Passes on what either side says. What an actor said before it left still arrives.
    async fn run(
        mut self,
        mut from_actor: Streaming<v1::PushRequest>,
        mut from_learner: Streaming<v1::PushResponse>,
    ) {
        loop {
            let passed = tokio::select! {
                request = from_actor.message(), if self.to_learner.is_some() => match request {
                    Ok(Some(request)) => self.request(request).await,
                    Ok(None) | Err(_) => {
                        self.to_learner = None;
                        Ok(())
                    }
                },
                response = from_learner.message() => match response {
                    Ok(Some(response)) => self.response(response).await,
                    Ok(None) => break,
                    Err(status) => {
                        let _ = self.to_actor.send(Err(status)).await;
                        break;
                    }
                },
            };
            if let Err(Broken) = passed {
                self.proxy.suffered();
                let _ = self.to_actor.send(Err(Status::unavailable("broken"))).await;
                break;
            }
        }
        self.proxy.note(|seen| seen.connections -= 1);
    }

    async fn request(&mut self, request: v1::PushRequest) -> Result<(), Broken> {
        let message = match &request.body {
            Some(push_request::Body::Trajectories(message)) => message,
            Some(push_request::Body::BeginUnroll(_)) => {
                let to_learner = self.to_learner.as_ref().expect("the actor is still here");
                let _ = to_learner.send(request).await;
                return Ok(());
            }
            _ => {
                self.proxy.note(|seen| seen.violations.push("a second registration".into()));
                return Err(Broken);
            }
        };
        if self.proxy.suffers(Fault::LoseMessage) {
            return Err(Broken);
        }
        let (spec, (actor, incarnation)) = (&self.registration.spec, self.incarnation);
        let trajectories: Vec<Trajectory> = message
            .trajectories
            .iter()
            .map(|x| trajectory_from_wire(x.clone(), actor, spec, self.proxy.unroll_length))
            .collect::<Result<_, _>>()
            .expect("actors send trajectories that pass every check");
        let source = |x: &Trajectory| StreamIncarnation { stream: x.stream, incarnation };
        self.sent.push(trajectories.iter().map(|x| (source(x), x.sequence)).collect());
        self.proxy.note(|seen| trajectories.into_iter().for_each(|x| seen.take(source(&x), x)));
        let to_learner = self.to_learner.as_ref().expect("the actor is still here");
        // If the learner has left, its status says why.
        let _ = to_learner.send(request).await;
        Ok(())
    }

    async fn response(&mut self, response: v1::PushResponse) -> Result<(), Broken> {
        if let Some(push_response::Body::Registered(registered)) = &response.body {
            let v1::Registered { actor, generation, .. } = *registered;
            self.proxy.note(|seen| self.incarnation = seen.register(actor, generation));
        }
        if let Some(push_response::Body::Acknowledged(count)) = response.body {
            let newest = count as usize - 1;
            self.proxy.note(|seen| {
                for &(source, sequence) in &self.sent[newest] {
                    let acknowledged = seen.acknowledged.entry(source).or_default();
                    *acknowledged = (*acknowledged).max(sequence + 1);
                }
            });
            if self.proxy.suffers(Fault::LoseAcknowledgements) {
                self.unheard += 1;
                let enough = self.unheard == MAX_UNACKNOWLEDGED;
                return if enough { Err(Broken) } else { Ok(()) };
            }
        }
        // An actor that has left hears nothing more.
        let _ = self.to_actor.send(Ok(response)).await;
        Ok(())
    }
}
