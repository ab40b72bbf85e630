//! Inference stream: asks an inference server for actions, one stream per group of environments.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use engram_mdp::{Actions, EnvSpec, Frames, Seed};
use engram_proto::WireError;
use engram_proto::convert::{actions_from_wire, floats_from_wire, frames_to_wire};
use engram_proto::limits::MAX_MESSAGE_BYTES;
use engram_proto::v1::inference_client::InferenceClient;
use engram_proto::v1::{self, act_request, act_response};
use engram_service::net;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::actor_identity::ActorIdentity;
use crate::error::ActorError;
use crate::reconnecting_peer::{Disconnect, ReconnectingPeer};

/// Signs of life in the time after which the server takes a silent stream's slots back.
const HEARTBEATS_PER_LEASE: u32 = 3;

/// The policy's answer to the frames of a group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PolicyAnswer {
    /// One action per row.
    pub(crate) actions: Actions,
    /// The log-probability of each.
    pub(crate) log_probs: Vec<f32>,
    /// The version of the weights that chose them.
    pub(crate) policy_version: u64,
    /// Each row's recurrent state before its frame, one after another; empty where it was not
    /// asked for, and where the memory layer exports none.
    pub(crate) core_states: Vec<f32>,
}

/// Connector of one group of environments to the policy: registers, and reconnects.
#[derive(Debug)]
pub(crate) struct InferenceConnector {
    peer: ReconnectingPeer,
    identity: Arc<ActorIdentity>,
    env_indices: Range<u32>,
    answer_within: Duration,
    /// Actions of each stream are drawn from a seed below this one.
    seed: Seed,
    /// Streams so far, over all servers.
    streams: u64,
}

/// A registered stream to the policy.
#[derive(Debug)]
pub(crate) struct InferenceStream {
    peer: String,
    /// Holds the one request under way, and the registration or a sign of life before it.
    requests: mpsc::Sender<v1::ActRequest>,
    responses: Streaming<v1::ActResponse>,
    identity: Arc<ActorIdentity>,
    rows: usize,
    answer_within: Duration,
    /// Interval of signs of life while the group waits for something else.
    heartbeat: Duration,
    /// The newest weights that have answered on this stream.
    policy_version: u64,
}

impl InferenceConnector {
    pub(crate) fn new(
        peer: ReconnectingPeer,
        identity: Arc<ActorIdentity>,
        env_indices: Range<u32>,
        answer_within: Duration,
        seed: Seed,
    ) -> Self {
        InferenceConnector { peer, identity, env_indices, answer_within, seed, streams: 0 }
    }

    /// A registered stream, however long it takes to get one.
    pub(crate) async fn connect(&mut self) -> Result<InferenceStream, ActorError> {
        loop {
            match self.register().await {
                Ok(policy) => {
                    self.streams += 1;
                    return Ok(policy);
                }
                Err(Disconnect::Fatal(error)) => return Err(error),
                Err(Disconnect::Lost(reason)) => self.peer.back_off(&reason).await,
                Err(Disconnect::Finished) => unreachable!("an inference server does not end a run"),
            }
        }
    }

    /// The stream was lost: waits before the next attempt.
    pub(crate) async fn back_off(&mut self, reason: &str) {
        self.peer.back_off(reason).await;
    }

    /// The stream has answered.
    pub(crate) fn served(&mut self) {
        self.peer.served();
    }

    async fn register(&self) -> Result<InferenceStream, Disconnect> {
        let peer = self.peer.name();
        let mut client =
            InferenceClient::new(self.peer.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let (requests, stream) = mpsc::channel(2);
        let registration = v1::Registration {
            seed: self.seed.derive("stream", self.streams).number(),
            ..self.identity.registration(self.env_indices.clone())
        };
        send(&requests, act_request::Body::Registration(registration))?;
        let opened = async {
            let mut responses = client.act(ReceiverStream::new(stream)).await?.into_inner();
            let greeting = responses.message().await?;
            Ok((responses, greeting))
        };
        let (responses, greeting) =
            net::answer(&peer, "registering", self.answer_within, opened).await?;
        let Some(act_response::Body::Registered(registered)) = greeting.and_then(|g| g.body) else {
            return Err(Disconnect::Lost("the stream did not begin with `registered`".into()));
        };
        self.identity.check_run(&peer, registered.run_id).map_err(Disconnect::Fatal)?;
        let heartbeat = match registered.lease_milliseconds {
            0 => Duration::MAX,
            lease => Duration::from_millis(lease) / HEARTBEATS_PER_LEASE,
        };
        tracing::debug!(peer, environments = ?self.env_indices, "registered");
        Ok(InferenceStream {
            peer,
            requests,
            responses,
            identity: self.identity.clone(),
            rows: self.env_indices.len(),
            answer_within: self.answer_within,
            heartbeat,
            policy_version: 0,
        })
    }
}

impl InferenceStream {
    /// Awaits something else than the policy, and keeps the stream's lease meanwhile: the policy's
    /// memory of the episodes in progress is worth more than any wait.
    pub(crate) async fn keep_during<T>(&self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        loop {
            if let Ok(output) = tokio::time::timeout(self.heartbeat, &mut wait).await {
                return output;
            }
            // One that the connection has not taken yet does for the next as well. Whether the
            // stream has ended is found out by the next request.
            if self.requests.capacity() == self.requests.max_capacity() {
                let _ = send(&self.requests, act_request::Body::Waiting(v1::Waiting {}));
            }
        }
    }

    /// Sends `frames` and awaits the actions, by weights of `min_policy_version` or newer.
    /// `unroll_start` asks for the recurrent states before them, too.
    pub(crate) async fn ask(
        &mut self,
        frames: &Frames,
        unroll_start: bool,
        min_policy_version: u64,
    ) -> Result<PolicyAnswer, Disconnect> {
        let frames = Some(frames_to_wire(frames));
        let rank = self.identity.rank();
        let observe = v1::Observe { frames, unroll_start, rank, min_policy_version };
        if send(&self.requests, act_request::Body::Observe(observe)).is_err() {
            // The call is over; its status says why.
            return Err(self.status().await);
        }
        let response = self.responses.message();
        let response =
            net::answer(&self.peer, "asking for actions", self.answer_within, response).await?;
        let act = match response.and_then(|response| response.body) {
            Some(act_response::Body::Act(act)) => act,
            Some(act_response::Body::Registered(_)) => {
                return Err(Disconnect::Lost("it registered the stream twice".into()));
            }
            None => return Err(Disconnect::Lost("it closed the stream".into())),
        };
        let answer = answer(act, &self.identity.spec, self.rows, unroll_start)
            .map_err(|error| Disconnect::Lost(error.to_string()))?;
        // Within an unroll versions only grow. They shrink when the learner was restarted from a
        // checkpoint; then the unroll must not go on.
        if answer.policy_version < self.policy_version {
            let (from, to) = (self.policy_version, answer.policy_version);
            return Err(Disconnect::Lost(format!(
                "the policy went back from version {from} to {to}"
            )));
        }
        self.policy_version = answer.policy_version;
        Ok(answer)
    }

    async fn status(&mut self) -> Disconnect {
        let status = self.responses.message();
        match net::answer(&self.peer, "asking for actions", self.answer_within, status).await {
            Ok(_) => Disconnect::Lost("it closed the stream".into()),
            Err(error) => error.into(),
        }
    }
}

fn send(
    requests: &mpsc::Sender<v1::ActRequest>,
    body: act_request::Body,
) -> Result<(), Disconnect> {
    // Never full: at most a request, and a registration or a sign of life, are under way.
    requests
        .try_send(v1::ActRequest { body: Some(body) })
        .map_err(|_| Disconnect::Lost("it closed the stream".into()))
}

/// Reason why an answer cannot be acted upon.
#[derive(Debug, PartialEq, Error)]
enum AnswerError {
    #[error("it sent bad actions: {0}")]
    Wire(#[from] WireError),
    #[error("it sent `{0}` that are not finite")]
    NotFinite(&'static str),
    #[error("it sent {found} numbers of core states for {rows} environments")]
    CoreStates { rows: usize, found: usize },
}

/// A checked answer for `rows` environments.
fn answer(
    act: v1::Act,
    spec: &EnvSpec,
    rows: usize,
    unroll_start: bool,
) -> Result<PolicyAnswer, AnswerError> {
    let actions = actions_from_wire(&act.actions, spec.action, rows)?;
    let log_probs = floats_from_wire("log_probs", &act.log_probs)?;
    if log_probs.len() != rows {
        let (column, found) = ("log_probs", log_probs.len());
        return Err(WireError::Length { column, expected: rows, found }.into());
    }
    let core_states = floats_from_wire("core_states", &act.core_states)?;
    let found = core_states.len();
    if !found.is_multiple_of(rows) || (found > 0 && !unroll_start) {
        return Err(AnswerError::CoreStates { rows, found });
    }
    for (column, numbers) in [("log_probs", &log_probs), ("core_states", &core_states)] {
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(AnswerError::NotFinite(column));
        }
    }
    Ok(PolicyAnswer { actions, log_probs, policy_version: act.policy_version, core_states })
}
