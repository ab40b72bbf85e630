//! Trajectories from one actor: registered, checked, put in order, queued, acknowledged.

use std::sync::Arc;
use std::time::Duration;

use engram_proto::convert::trajectory_from_wire;
use engram_proto::v1::push_request::Body as Request;
use engram_proto::v1::push_response::Body as Response;
use engram_proto::{WireError, v1};
use engram_service::net::Peer;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::{Code, Status, Streaming};

use crate::rpc::context::{Admitted, Context, Stage};
use crate::rpc::queue::{Arrival, Place};
use crate::rpc::refusal::Refusal;
use crate::rpc::stream_positions::{Continuity, Verdict};
use crate::rpc::unroll_grants::StreamGrants;
use crate::telemetry::metric_labels::Dropped;

/// Responses on their way to an actor; one that does not read them is not read from either.
pub(crate) const RESPONSES_AHEAD: usize = 4;

/// Time that a peer may take to say who it is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One actor's stream.
#[derive(Debug)]
pub(crate) struct PushSession {
    pub(crate) context: Context,
    pub(crate) requests: Streaming<v1::PushRequest>,
    pub(crate) responses: mpsc::Sender<Result<v1::PushResponse, Status>>,
}

/// End of a session without anybody being at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionEnd {
    /// The actor left.
    Left,
    /// The run has had its env steps.
    Finished,
}

impl PushSession {
    /// The whole life of the stream.
    pub(crate) async fn run(mut self, peer: Peer) {
        let ended = self.serve(&peer).await;
        let last = match ended {
            Ok(SessionEnd::Left) => return,
            Ok(SessionEnd::Finished) => Ok(response(Response::Finished(v1::Finished {}))),
            Err(Refusal::Closing) => Err(Refusal::Closing.into()),
            Err(refusal) => {
                tracing::warn!(%peer, %refusal, "an actor was refused");
                Err(refusal.into())
            }
        };
        // Whether the actor is still there makes no difference any more.
        let _ = self.responses.send(last).await;
    }

    async fn serve(&mut self, peer: &Peer) -> Result<SessionEnd, Refusal> {
        let first = tokio::time::timeout(PATIENCE, self.next())
            .await
            .map_err(|_| Refusal::Silent(PATIENCE.as_secs()))??;
        let message = match first {
            Ok(Request::Registration(message)) => message,
            Ok(Request::Trajectories(_) | Request::BeginUnroll(_)) => {
                return Err(WireError::OutOfOrder("no registration first").into());
            }
            Err(end) => return Ok(end),
        };
        let admitted = self.context.admit(message).await?;
        let (actor, generation) = (admitted.registration.actor, admitted.registration.generation);
        tracing::info!(%peer, actor, generation, "an actor came");
        let end = self.take_all(&admitted).await?;
        tracing::info!(%peer, actor, ?end, "an actor's stream ended");
        Ok(end)
    }

    /// Answers the registration, and then takes trajectories until an end.
    async fn take_all(&mut self, admitted: &Admitted) -> Result<SessionEnd, Refusal> {
        let registered = v1::Registered {
            run_id: self.context.run_id.clone(),
            unroll_length: self.context.unroll_length as u32,
            lease_milliseconds: 0,
            actor: admitted.registration.actor,
            generation: admitted.registration.generation,
            seed: admitted.seed.number(),
            rank: admitted.rank.number(),
            grants_unrolls: !self.context.grants.are_unlimited(),
        };
        if !self.respond(Response::Registered(registered)).await {
            return Ok(SessionEnd::Left);
        }
        let grants = Arc::new(self.context.grants.stream());
        // Ended with the stream.
        let mut begins = JoinSet::new();
        let mut acknowledged = 0;
        loop {
            let trajectories = match self.next().await? {
                Ok(Request::Trajectories(message)) => message.trajectories,
                Ok(Request::BeginUnroll(message)) => {
                    while begins.try_join_next().is_some() {}
                    begins.spawn(self.grant(grants.clone(), check_begin(message, admitted)?));
                    continue;
                }
                Ok(Request::Registration(_)) => {
                    return Err(WireError::OutOfOrder("a second registration").into());
                }
                Err(end) => return Ok(end),
            };
            for trajectory in trajectories {
                if let Some(end) = self.take(admitted, &grants, trajectory).await? {
                    return Ok(end);
                }
            }
            acknowledged += 1;
            if !self.respond(Response::Acknowledged(acknowledged)).await {
                return Ok(SessionEnd::Left);
            }
        }
    }

    /// Answers a group that wants to begin an unroll, once it may.
    fn grant(
        &self,
        grants: Arc<StreamGrants>,
        v1::BeginUnroll { first_env_index, environments }: v1::BeginUnroll,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (responses, newest) = (self.responses.clone(), self.context.newest.clone());
        async move {
            grants.begin(environments as usize).await;
            let policy_version = newest.version();
            let granted = v1::UnrollGranted { first_env_index, policy_version };
            // Whoever has left gives the grant back with its stream.
            let _ = responses.send(Ok(response(Response::UnrollGranted(granted)))).await;
        }
    }

    /// The next request, or the end of the stream.
    async fn next(&mut self) -> Result<Result<Request, SessionEnd>, Refusal> {
        let stage = &mut self.context.stage;
        let message = tokio::select! {
            biased;
            stage = stage.wait_for(|stage| *stage != Stage::Training) => {
                return match stage.map(|stage| *stage) {
                    Ok(Stage::Evaluating | Stage::Finished) => Ok(Err(SessionEnd::Finished)),
                    _ => Err(Refusal::Closing),
                };
            }
            message = self.requests.message() => message,
        };
        match message {
            Ok(Some(v1::PushRequest { body: Some(body) })) => Ok(Ok(body)),
            Ok(Some(v1::PushRequest { body: None })) => Err(WireError::Missing("body").into()),
            Ok(None) => Ok(Err(SessionEnd::Left)),
            Err(status) if is_nonsense(&status) => {
                Err(Refusal::Unreadable(status.message().into()))
            }
            Err(_) => Ok(Err(SessionEnd::Left)),
        }
    }

    /// Checks one trajectory and queues it, unless it came before. Waits while the queue is full.
    async fn take(
        &self,
        admitted: &Admitted,
        grants: &StreamGrants,
        message: v1::Trajectory,
    ) -> Result<Option<SessionEnd>, Refusal> {
        let Context { metrics, intake, unroll_length, .. } = &self.context;
        let checked = check(message, admitted, *unroll_length);
        let trajectory = checked.inspect_err(|_| metrics.dropped(Dropped::Invalid, 1))?;
        let place = tokio::select! {
            biased;
            place = intake.place(trajectory.bytes()) => place,
            () = self.responses.closed() => return Ok(Some(SessionEnd::Left)),
        };
        let Some(place) = place else { return self.ended().await.map(Some) };
        self.accept(admitted, grants, trajectory, place)?;
        Ok(None)
    }

    /// Puts a trajectory into its place, unless it came before. Accepting and queuing are one: nothing
    /// waits in between, and of two connections of one actor neither overtakes the other.
    fn accept(
        &self,
        admitted: &Admitted,
        grants: &StreamGrants,
        trajectory: engram_mdp::Trajectory,
        place: Place<'_>,
    ) -> Result<(), Refusal> {
        let Context { metrics, stats, .. } = &self.context;
        let generation = admitted.registration.generation;
        let (stream, sequence) = (trajectory.stream, trajectory.sequence);
        let mut membership = stats.membership();
        match membership.accept(stream, generation, sequence)? {
            Verdict::Repeat => {
                grants.refused();
                metrics.dropped(Dropped::Repeat, 1);
            }
            Verdict::Accepted(continuity) => {
                if let Continuity::Gap { missing } = continuity {
                    metrics.gap();
                    tracing::debug!(%stream, missing, "trajectories are missing");
                }
                grants.arrived();
                place.put(Arrival { trajectory, generation });
                metrics.received(1);
            }
        }
        Ok(())
    }

    /// Why nobody takes trajectories any more.
    async fn ended(&self) -> Result<SessionEnd, Refusal> {
        let mut stage = self.context.stage.clone();
        match stage.wait_for(|stage| *stage != Stage::Training).await.map(|stage| *stage) {
            Ok(Stage::Evaluating | Stage::Finished) => Ok(SessionEnd::Finished),
            _ => Err(Refusal::Closing),
        }
    }

    /// `false` if the actor has left.
    async fn respond(&self, body: Response) -> bool {
        self.responses.send(Ok(response(body))).await.is_ok()
    }
}

/// True if a peer sent bytes that are no message, or too many, by what tonic says of them.
pub(crate) fn is_nonsense(status: &Status) -> bool {
    matches!(status.code(), Code::Internal | Code::OutOfRange | Code::InvalidArgument)
}

/// A trajectory that keeps to what its actor has registered and to the run's contract.
fn check(
    message: v1::Trajectory,
    Admitted { registration, contract, .. }: &Admitted,
    unroll_length: usize,
) -> Result<engram_mdp::Trajectory, Refusal> {
    let found = message.env_index;
    if !registration.env_indices.contains(&found) {
        return Err(Refusal::EnvIndex { expected: registration.env_indices.clone(), found });
    }
    let trajectory =
        trajectory_from_wire(message, registration.actor, &contract.spec, unroll_length)?;
    let (expected, found) = (contract.core_state_width, trajectory.core_state.len());
    if expected != found {
        return Err(Refusal::CoreState { expected, found });
    }
    Ok(trajectory)
}

/// A group of environments that its actor has registered.
fn check_begin(
    message: v1::BeginUnroll,
    Admitted { registration, .. }: &Admitted,
) -> Result<v1::BeginUnroll, Refusal> {
    let expected = registration.env_indices.clone();
    let v1::BeginUnroll { first_env_index, environments } = message;
    let last = first_env_index.saturating_add(environments.max(1) - 1);
    let outside = [first_env_index, last].into_iter().find(|env| !expected.contains(env));
    match outside {
        Some(found) => Err(Refusal::EnvIndex { expected, found }),
        None => Ok(message),
    }
}

fn response(body: Response) -> v1::PushResponse {
    v1::PushResponse { body: Some(body) }
}
