//! A learner that learns nothing and remembers everything.
//!
//! Its trajectories survive its streams, as in a checkpoint: a repeat is acknowledged and ignored,
//! and a gap is a failure of the test.

use std::collections::BTreeMap;
use std::sync::Arc;

use engram_mdp::{Episode, StreamId, Trajectory};
use engram_proto::convert::{episode_from_wire, trajectory_from_wire};
use engram_proto::registration::check_protocol;
use engram_proto::v1::configuration_server::{Configuration, ConfigurationServer};
use engram_proto::v1::experience_server::{Experience, ExperienceServer};
use engram_proto::v1::{self, push_request, push_response};
use engram_proto::{Registration, WireError};
use engram_service::net::{serve, server_builder};
use engram_service::{Address, Listener, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Behavior of the learner. Changes take effect at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Mood {
    /// Holds and acknowledges whatever comes.
    #[default]
    Eager,
    /// Takes no message: its queue is full.
    Full,
    /// Holds what comes, but its acknowledgements are lost; the stream dies at message number so
    /// many.
    DieUnheardAt(u64),
    /// Says that the run is over.
    Finished,
    /// Is not ready yet.
    Starting,
    /// Refuses everybody, with this code and message.
    Refuse(i32, &'static str),
}

/// Everything that came.
#[derive(Clone, Debug, Default)]
pub struct Held {
    pub registrations: Vec<Registration>,
    pub trajectories: BTreeMap<StreamId, Vec<Trajectory>>,
    /// Trajectories that came again.
    pub repeats: usize,
    /// Trajectories whose predecessor never came.
    pub gaps: usize,
    /// Messages received, over all streams.
    pub messages: u64,
    pub episodes: Vec<Episode>,
    /// The number of the next report that is new.
    pub next_report: u64,
    pub repeated_reports: usize,
}

impl Held {
    /// Trajectories held, over all streams.
    pub fn count(&self) -> usize {
        self.trajectories.values().map(Vec::len).sum()
    }

    fn take(&mut self, trajectory: Trajectory) {
        let stream = self.trajectories.entry(trajectory.stream).or_default();
        match trajectory.sequence.cmp(&(stream.len() as u64)) {
            std::cmp::Ordering::Less => self.repeats += 1,
            std::cmp::Ordering::Equal => stream.push(trajectory),
            std::cmp::Ordering::Greater => self.gaps += 1,
        }
    }
}

#[derive(Clone, Debug)]
pub struct FakeLearner {
    pub run: String,
    pub unroll_length: u32,
    pub held: Arc<watch::Sender<Held>>,
    pub mood: Arc<watch::Sender<Mood>>,
    /// True if trajectories are kept, false if they are counted only.
    pub keep: bool,
    /// The resolved experiment, for actors that have none.
    pub experiment: String,
    /// Finished after so many messages, if it only counts.
    pub budget: u64,
    /// Seed that it gives to every actor.
    pub seed: u64,
    /// Rank that it tells to every actor.
    pub rank: u32,
    /// Unrolls that may begin; `None`: actors need not ask.
    pub grants: Arc<watch::Sender<Option<usize>>>,
}

impl FakeLearner {
    pub fn new(unroll_length: u32, mood: Mood) -> Self {
        FakeLearner {
            run: super::RUN.into(),
            unroll_length,
            held: Arc::default(),
            mood: Arc::new(watch::Sender::new(mood)),
            keep: true,
            experiment: String::new(),
            budget: u64::MAX,
            seed: 7,
            rank: 0,
            grants: Arc::new(watch::Sender::new(None)),
        }
    }

    pub fn mood(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Serves in the current runtime, on an in-memory pipe.
    pub fn spawn(&self) -> Address {
        let listener = Listener::memory();
        let address = listener.address().clone();
        tokio::spawn(self.clone().serve(listener, Shutdown::new()));
        address
    }

    pub async fn serve(self, listener: Listener, shutdown: Shutdown) {
        let router = server_builder()
            .add_service(ExperienceServer::new(self.clone()))
            .add_service(ConfigurationServer::new(self));
        serve(router, listener, shutdown).await.unwrap();
    }

    /// Waits until what is held is as wanted.
    pub async fn until(&self, wanted: impl FnMut(&Held) -> bool) {
        self.held.subscribe().wait_for(wanted).await.unwrap();
    }

    pub fn held(&self) -> Held {
        self.held.borrow().clone()
    }

    /// An error while the mood allows no work.
    fn ready(&self) -> Result<(), Status> {
        match *self.mood.borrow() {
            Mood::Starting => Err(Status::unavailable("still starting")),
            Mood::Refuse(code, message) => Err(Status::new(code.into(), message)),
            _ => Ok(()),
        }
    }

    async fn receive(
        self,
        registration: Registration,
        mut requests: Streaming<v1::PushRequest>,
        responses: mpsc::Sender<Result<v1::PushResponse, Status>>,
    ) -> Option<()> {
        let say = async |body| {
            let response = v1::PushResponse { body: Some(body) };
            responses.send(Ok(response)).await.ok()
        };
        let grants_unrolls = self.grants.borrow().is_some();
        say(push_response::Body::Registered(v1::Registered {
            run_id: self.run.clone(),
            unroll_length: self.unroll_length,
            seed: self.seed,
            rank: self.rank,
            grants_unrolls,
            ..v1::Registered::default()
        }))
        .await?;
        let mut mood = self.mood.subscribe();
        let mut received = 0;
        loop {
            // A full queue takes nothing, but the end of the run is said at once.
            let now = mood.borrow_and_update().clone();
            match now {
                Mood::Finished => {
                    return say(push_response::Body::Finished(v1::Finished {})).await;
                }
                Mood::Full => {
                    mood.changed().await.ok()?;
                    continue;
                }
                Mood::Starting => {
                    let _ = responses.send(Err(Status::unavailable("killed"))).await;
                    return None;
                }
                Mood::Refuse(code, message) => {
                    let _ = responses.send(Err(Status::new(code.into(), message))).await;
                    return None;
                }
                _ => {}
            }
            let request = tokio::select! {
                biased;
                changed = mood.changed() => { changed.ok()?; continue }
                request = requests.message() => request.ok()??,
            };
            let message = match request.body {
                Some(push_request::Body::Trajectories(message)) => message,
                Some(push_request::Body::BeginUnroll(v1::BeginUnroll {
                    first_env_index, ..
                })) => {
                    let mut grants = self.grants.subscribe();
                    let responses = responses.clone();
                    let left = self.grants.clone();
                    tokio::spawn(async move {
                        grants.wait_for(|left| left.is_some_and(|left| left > 0)).await.unwrap();
                        left.send_modify(|left| *left = left.map(|left| left - 1));
                        let granted = v1::UnrollGranted { first_env_index, policy_version: 7 };
                        let body = Some(push_response::Body::UnrollGranted(granted));
                        let _ = responses.send(Ok(v1::PushResponse { body })).await;
                    });
                    continue;
                }
                _ => panic!("registered twice"),
            };
            self.hold(message, &registration);
            received += 1;
            match now {
                Mood::DieUnheardAt(at) if at == received => {
                    let _ = responses.send(Err(Status::unavailable("killed"))).await;
                    return None;
                }
                Mood::DieUnheardAt(_) => {}
                _ => say(push_response::Body::Acknowledged(received)).await?,
            }
        }
    }

    fn hold(&self, message: v1::Trajectories, registration: &Registration) {
        if !self.keep {
            self.held.send_modify(|held| held.messages += 1);
            if self.held.borrow().messages >= self.budget {
                self.mood(Mood::Finished);
            }
            return;
        }
        let spec = &registration.spec;
        let unroll_length = self.unroll_length as usize;
        let check = |trajectory| {
            trajectory_from_wire(trajectory, registration.actor, spec, unroll_length).unwrap()
        };
        let trajectories: Vec<_> = message.trajectories.into_iter().map(check).collect();
        self.held.send_modify(|held| {
            held.messages += 1;
            trajectories.into_iter().for_each(|trajectory| held.take(trajectory));
        });
    }
}

#[tonic::async_trait]
impl Configuration for FakeLearner {
    async fn resolve(
        &self,
        request: Request<v1::ResolveRequest>,
    ) -> Result<Response<v1::ResolveResponse>, Status> {
        self.ready()?;
        check_protocol(request.get_ref().protocol_version)?;
        let config = self.experiment.clone();
        Ok(Response::new(v1::ResolveResponse { run_id: self.run.clone(), config }))
    }
}

#[tonic::async_trait]
impl Experience for FakeLearner {
    type PushStream = ReceiverStream<Result<v1::PushResponse, Status>>;

    async fn push(
        &self,
        request: Request<Streaming<v1::PushRequest>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        self.ready()?;
        let mut requests = request.into_inner();
        let Some(push_request::Body::Registration(registration)) =
            requests.message().await?.and_then(|request| request.body)
        else {
            return Err(WireError::OutOfOrder("trajectories").into());
        };
        let registration = Registration::try_from(registration)?;
        registration.check_run(&self.run)?;
        self.held.send_modify(|held| held.registrations.push(registration.clone()));
        let (responses, stream) = mpsc::channel(2);
        tokio::spawn(self.clone().receive(registration, requests, responses));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let report = request.into_inner();
        assert_eq!(report.run_id, self.run);
        let episodes: Vec<_> =
            report.episodes.iter().map(|episode| episode_from_wire(episode).unwrap()).collect();
        let ready = self.ready();
        self.held.send_modify(|held| match report.sequence.cmp(&held.next_report) {
            std::cmp::Ordering::Less => held.repeated_reports += 1,
            std::cmp::Ordering::Equal => {
                held.next_report += 1;
                if self.keep {
                    held.episodes.extend(episodes);
                }
            }
            std::cmp::Ordering::Greater => panic!("report {} was lost", held.next_report),
        });
        // Taken, but nobody hears of it.
        ready?;
        Ok(Response::new(v1::ReportResponse {}))
    }
}
