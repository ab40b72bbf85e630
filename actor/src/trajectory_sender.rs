//! Trajectory sender: one stream per actor to the learner.
//!
//! ```text
//! groups ──▶ inbox ──▶ unacknowledged ──▶ learner
//!                            ▲ └── sent again on every new stream
//!                            └── shortened by acknowledgements
//! ```
//!
//! Both queues are bounded. When the learner does not acknowledge, they fill, and the groups wait;
//! that may take long and is no fault. A learner that is dead rather than busy is noticed by the
//! connection's keepalive, and waited for: it may be on its way back from a checkpoint.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use engram_mdp::{Seed, Trajectory};
use engram_proto::convert::trajectory_to_wire;
use engram_proto::limits::MAX_MESSAGE_BYTES;
use engram_proto::v1::experience_client::ExperienceClient;
use engram_proto::v1::{self, push_request, push_response};
use engram_service::{NetError, Shutdown, net};
use prost::Message;
use tokio::sync::{SetOnce, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::actor_identity::{ActorIdentity, Incarnation};
use crate::error::ActorError;
use crate::metrics::UnacknowledgedGauge;
use crate::reconnecting_peer::{Disconnect, ReconnectingPeer};

/// Trajectories that complete together share messages of up to so many bytes.
const MESSAGE_BYTES: usize = 1 << 20;

/// Bytes that surround a trajectory in its message: tags and lengths.
const ENVELOPE_BYTES: usize = 64;

/// Messages that wait for room among the unacknowledged ones; a group beyond them waits itself.
pub(crate) const INBOX: usize = 1;

/// Groups of an actor.
const GROUPS: usize = 2;

/// Sender of one actor's trajectories.
pub(crate) struct TrajectorySender {
    peer: ReconnectingPeer,
    identity: Arc<ActorIdentity>,
    settings: SenderSettings,
    inbox: mpsc::Receiver<Outgoing>,
    /// Seed that the learner has given the actor, once there is one.
    seed: Arc<SetOnce<Seed>>,
    /// Sent, but not acknowledged: sent again on the next stream.
    unacknowledged: VecDeque<v1::Trajectories>,
    /// Groups that wait for the right to begin an unroll: asked for again on the next stream.
    beginning: Vec<(v1::BeginUnroll, oneshot::Sender<u64>)>,
    gauge: UnacknowledgedGauge,
}

/// Request of a group to the learner.
pub(crate) enum Outgoing {
    /// Trajectories that are complete.
    Trajectories(v1::Trajectories),
    /// The wish to begin an unroll, answered with the oldest weights that may act in it.
    BeginUnroll(v1::BeginUnroll, oneshot::Sender<u64>),
}

/// Answer of the learner on a stream.
enum LearnerAnswer {
    /// So many messages more are acknowledged.
    Acknowledged(usize),
    /// A group may begin its unroll.
    Granted(v1::UnrollGranted),
}

/// Settings of a trajectory sender.
#[derive(Clone, Debug)]
pub(crate) struct SenderSettings {
    /// All environments of the actor.
    pub(crate) env_indices: Range<u32>,
    /// Decisions per trajectory.
    pub(crate) unroll_length: usize,
    /// The most messages without an acknowledgement.
    pub(crate) max_unacknowledged: usize,
    /// Limit on the learner's answer to a registration.
    pub(crate) answer_within: Duration,
}

/// A registered stream.
struct RegisteredStream {
    peer: String,
    /// True if groups ask before each unroll.
    grants_unrolls: bool,
    /// Has room for everything that may be unacknowledged, and for the wishes of all groups.
    requests: mpsc::Sender<v1::PushRequest>,
    responses: Streaming<v1::PushResponse>,
    /// Messages sent on this stream, and how many of them were acknowledged.
    sent: u64,
    acknowledged: u64,
}

impl TrajectorySender {
    pub(crate) fn new(
        peer: ReconnectingPeer,
        identity: Arc<ActorIdentity>,
        settings: SenderSettings,
        inbox: mpsc::Receiver<Outgoing>,
        seed: Arc<SetOnce<Seed>>,
    ) -> Self {
        let unacknowledged = VecDeque::with_capacity(settings.max_unacknowledged);
        TrajectorySender {
            peer,
            identity,
            settings,
            inbox,
            seed,
            unacknowledged,
            beginning: Vec::new(),
            gauge: UnacknowledgedGauge::new(),
        }
    }

    /// Sends trajectories until the learner says that the run is over, or until `leave` is
    /// triggered.
    pub(crate) async fn run(mut self, leave: Shutdown) -> Result<(), ActorError> {
        tokio::select! {
            biased;
            () = leave.triggered() => Ok(()),
            sent = self.send_all() => sent,
        }
    }

    async fn send_all(&mut self) -> Result<(), ActorError> {
        loop {
            let end = match self.register().await {
                Ok(stream) => self.push(stream).await,
                Err(end) => end,
            };
            match end {
                Disconnect::Finished => return Ok(()),
                Disconnect::Lost(reason) => self.peer.back_off(&reason).await,
                Disconnect::Fatal(error) => return Err(error),
            }
        }
    }

    /// One attempt to get a registered stream.
    async fn register(&mut self) -> Result<RegisteredStream, Disconnect> {
        let peer = self.peer.name();
        let mut client = ExperienceClient::new(self.peer.channel());
        let (requests, stream) = mpsc::channel(self.settings.max_unacknowledged + 1 + GROUPS);
        let registration = self.identity.registration(self.settings.env_indices.clone());
        send(&requests, push_request::Body::Registration(registration))?;
        let opened = async {
            let mut responses = client.push(ReceiverStream::new(stream)).await?.into_inner();
            let greeting = responses.message().await?;
            Ok((responses, greeting))
        };
        let (responses, greeting) =
            net::answer(&peer, "registering", self.settings.answer_within, opened).await?;
        let registered = match greeting.and_then(|greeting| greeting.body) {
            Some(push_response::Body::Registered(registered)) => registered,
            Some(push_response::Body::Finished(_)) => return Err(Disconnect::Finished),
            _ => return Err(Disconnect::Lost("the stream did not begin with `registered`".into())),
        };
        self.identity.check_run(&peer, registered.run_id).map_err(Disconnect::Fatal)?;
        let expected = registered.unroll_length as usize;
        if expected != self.settings.unroll_length {
            let found = self.settings.unroll_length;
            return Err(Disconnect::Fatal(ActorError::UnrollLength { peer, expected, found }));
        }
        let v1::Registered { actor, generation, .. } = registered;
        if !self.identity.becomes(Incarnation { actor, generation }) {
            let unacknowledged = self.unacknowledged.len();
            tracing::warn!(
                unacknowledged,
                "{peer} has forgotten this actor, which goes on as a new one: what was sent without \
                 an answer may have been learned from, and is not sent again"
            );
            self.unacknowledged.clear();
        }
        self.identity.set_rank(registered.rank);
        // Later ones are for later processes: environments go on.
        let _ = self.seed.set(Seed::new(registered.seed));
        tracing::info!(run = self.identity.run_id(), actor, "registered with {peer}");
        let grants_unrolls = registered.grants_unrolls;
        Ok(RegisteredStream { peer, grants_unrolls, requests, responses, sent: 0, acknowledged: 0 })
    }

    /// Sends on one stream for as long as it lasts: first the messages that earlier streams left
    /// unacknowledged, then new ones.
    async fn push(&mut self, mut stream: RegisteredStream) -> Disconnect {
        for message in &self.unacknowledged {
            stream.send(message.clone());
        }
        for (request, reply) in std::mem::take(&mut self.beginning) {
            self.begin(&stream, request, reply);
        }
        loop {
            self.gauge.set(self.unacknowledged.len());
            let room = self.unacknowledged.len() < self.settings.max_unacknowledged;
            tokio::select! {
                biased;
                answer = stream.answer() => match answer {
                    Ok(LearnerAnswer::Acknowledged(newly)) => {
                        self.unacknowledged.drain(..newly);
                        self.peer.served();
                    }
                    Ok(LearnerAnswer::Granted(granted)) => self.granted(granted),
                    Err(end) => return end,
                },
                message = self.inbox.recv(), if room => match message {
                    Some(Outgoing::Trajectories(message)) => {
                        self.unacknowledged.push_back(message.clone());
                        stream.send(message);
                    }
                    Some(Outgoing::BeginUnroll(request, reply)) => {
                        self.begin(&stream, request, reply);
                    }
                    None => return Disconnect::Finished,
                },
            }
        }
    }
}

impl TrajectorySender {
    /// Asks the learner for a group's unroll, or grants it where the learner leaves that to us.
    fn begin(
        &mut self,
        stream: &RegisteredStream,
        request: v1::BeginUnroll,
        reply: oneshot::Sender<u64>,
    ) {
        if stream.grants_unrolls {
            // If the stream has ended, its answer says so, and the next one asks again.
            let _ = send(&stream.requests, push_request::Body::BeginUnroll(request));
            self.beginning.push((request, reply));
        } else {
            let _ = reply.send(0);
        }
    }

    /// Tells the group that it may begin its unroll.
    fn granted(&mut self, granted: v1::UnrollGranted) {
        let v1::UnrollGranted { first_env_index, policy_version } = granted;
        let group =
            |(request, _): &(v1::BeginUnroll, _)| request.first_env_index == first_env_index;
        if let Some(waiting) = self.beginning.iter().position(group) {
            let (_, reply) = self.beginning.swap_remove(waiting);
            // A group that has left wants no answer.
            let _ = reply.send(policy_version);
        }
    }
}

impl RegisteredStream {
    /// Sends a message. If the stream has ended, its [`answer`](Self::answer) says so.
    fn send(&mut self, message: v1::Trajectories) {
        self.sent += 1;
        let _ = send(&self.requests, push_request::Body::Trajectories(message));
    }

    /// Awaits an answer. May be dropped.
    async fn answer(&mut self) -> Result<LearnerAnswer, Disconnect> {
        let refused = |status| NetError::Refused {
            peer: self.peer.clone(),
            doing: "sending trajectories",
            status: Box::new(status),
        };
        let response = self.responses.message().await.map_err(refused)?;
        match response.and_then(|response| response.body) {
            Some(push_response::Body::Acknowledged(count)) => {
                if !(self.acknowledged..=self.sent).contains(&count) {
                    let (acknowledged, sent) = (self.acknowledged, self.sent);
                    return Err(Disconnect::Lost(format!(
                        "it acknowledged {count} messages after {acknowledged}, but {sent} were sent"
                    )));
                }
                let newly = count - self.acknowledged;
                self.acknowledged = count;
                Ok(LearnerAnswer::Acknowledged(newly as usize))
            }
            Some(push_response::Body::UnrollGranted(granted)) => {
                Ok(LearnerAnswer::Granted(granted))
            }
            Some(push_response::Body::Finished(_)) => Err(Disconnect::Finished),
            Some(push_response::Body::Registered(_)) => {
                Err(Disconnect::Lost("it registered the stream twice".into()))
            }
            None => Err(Disconnect::Lost("it closed the stream".into())),
        }
    }
}

fn send(
    requests: &mpsc::Sender<v1::PushRequest>,
    body: push_request::Body,
) -> Result<(), Disconnect> {
    requests
        .try_send(v1::PushRequest { body: Some(body) })
        .map_err(|_| Disconnect::Lost("it closed the stream".into()))
}

/// The messages that carry trajectories which were completed together, in order.
pub(crate) fn messages(trajectories: &[Trajectory]) -> Result<Vec<v1::Trajectories>, ActorError> {
    let mut messages = Vec::with_capacity(1);
    let mut message = v1::Trajectories { trajectories: Vec::with_capacity(trajectories.len()) };
    let mut bytes = 0;
    for trajectory in trajectories {
        let trajectory = trajectory_to_wire(trajectory);
        let len = trajectory.encoded_len() + ENVELOPE_BYTES;
        if len > MAX_MESSAGE_BYTES {
            return Err(ActorError::Oversized { found: len, limit: MAX_MESSAGE_BYTES });
        }
        if bytes + len > MESSAGE_BYTES && !message.trajectories.is_empty() {
            messages.push(std::mem::take(&mut message));
            bytes = 0;
        }
        bytes += len;
        message.trajectories.push(trajectory);
    }
    messages.push(message);
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use engram_mdp::{Actions, Frames, Observations, StepType, StreamId};

    use super::*;

    fn trajectory(env_index: u32, observation_bytes: usize) -> Trajectory {
        Trajectory {
            stream: StreamId { actor: 0, env_index },
            sequence: 0,
            frames: Frames {
                observations: Observations::U8(vec![0; 2 * observation_bytes]),
                previous_actions: Actions::Discrete(vec![0, 0]),
                previous_rewards: vec![0.0, 0.0],
                step_types: vec![StepType::First, StepType::Mid],
            },
            log_probs: vec![0.0],
            policy_versions: vec![0],
            core_state: Vec::new(),
        }
    }

    fn env_indices(message: &v1::Trajectories) -> Vec<u32> {
        message.trajectories.iter().map(|trajectory| trajectory.env_index).collect()
    }

    #[test]
    fn trajectories_share_messages_of_a_mebibyte_and_keep_their_order() {
        let small: Vec<_> = (0..32).map(|env_index| trajectory(env_index, 100)).collect();
        let together = messages(&small).unwrap();
        assert_eq!(together.len(), 1);
        assert_eq!(env_indices(&together[0]), (0..32).collect::<Vec<_>>());

        let images: Vec<_> = (0..8).map(|env_index| trajectory(env_index, 200 << 10)).collect();
        let split = messages(&images).unwrap();
        assert_eq!(
            split.iter().flat_map(env_indices).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 5, 6, 7]
        );
        assert!(split.iter().all(|message| message.encoded_len() <= MESSAGE_BYTES));
        assert_eq!(split.len(), 4);
    }

    #[test]
    fn a_trajectory_beyond_a_mebibyte_travels_alone_and_one_beyond_the_limit_not_at_all() {
        let mixed = [trajectory(0, 10), trajectory(1, 1 << 20), trajectory(2, 10)];
        let split: Vec<_> = messages(&mixed).unwrap().iter().map(env_indices).collect();
        assert_eq!(split, [[0], [1], [2]]);
        let error = messages(&[trajectory(0, MAX_MESSAGE_BYTES / 2)]).unwrap_err();
        assert!(error.to_string().contains("shorten unroll_length"), "{error}");
    }
}
