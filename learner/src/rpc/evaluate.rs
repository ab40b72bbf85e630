//! Evaluations for one evaluator: with their weights, one after the other, and their scores back.

use engram_proto::convert::score_from_wire;
use engram_proto::v1::evaluate_request::Body as Request;
use engram_proto::v1::evaluate_response::Body as Response;
use engram_proto::{Purpose, Registration, WireError, v1};
use engram_service::net::Peer;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::rpc::context::{Context, Stage};
use crate::rpc::evaluation_queue::{Evaluation, PlayedEvaluation, PlayingEvaluation};
use crate::rpc::push::{PATIENCE, is_nonsense};
use crate::rpc::refusal::Refusal;
use crate::rpc::subscribe::pieces;

/// Responses on their way to an evaluator.
pub(crate) const EVALUATIONS_AHEAD: usize = 2;

/// One evaluator's stream.
#[derive(Debug)]
pub(crate) struct EvaluateSession {
    pub(crate) context: Context,
    pub(crate) requests: Streaming<v1::EvaluateRequest>,
    pub(crate) responses: mpsc::Sender<Result<v1::EvaluateResponse, Status>>,
}

/// EvaluateEnd of a session without anybody being at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EvaluateEnd {
    /// The evaluator left.
    Left,
    /// The run is over.
    Finished,
}

impl EvaluateSession {
    /// The whole life of the stream.
    pub(crate) async fn run(mut self, peer: Peer) {
        let last = match self.serve(&peer).await {
            Ok(EvaluateEnd::Left) => return,
            Ok(EvaluateEnd::Finished) => Ok(response(Response::Finished(v1::Finished {}))),
            Err(Refusal::Closing) => Err(Refusal::Closing.into()),
            Err(refusal) => {
                tracing::warn!(%peer, %refusal, "an evaluator was refused");
                Err(refusal.into())
            }
        };
        // Whether the evaluator is still there makes no difference any more.
        let _ = self.responses.send(last).await;
    }

    async fn serve(&mut self, peer: &Peer) -> Result<EvaluateEnd, Refusal> {
        let first = timeout(PATIENCE, self.next()).await;
        let message = match first.map_err(|_| Refusal::Silent(PATIENCE.as_secs()))?? {
            Ok(Request::Registration(message)) => message,
            Ok(Request::Score(_)) => {
                return Err(WireError::OutOfOrder("no registration first").into());
            }
            Err(end) => return Ok(end),
        };
        let registration = Registration::try_from(message)?;
        if registration.purpose != Purpose::Evaluate {
            return Err(Refusal::Training);
        }
        self.context.check(&registration).await?;
        let _present = self.context.evaluations.join();
        tracing::info!(%peer, "an evaluator came");
        let end = self.evaluate_all().await?;
        tracing::info!(%peer, ?end, "an evaluator's stream ended");
        Ok(end)
    }

    /// Answers the registration, and then has evaluations played until an end.
    async fn evaluate_all(&mut self) -> Result<EvaluateEnd, Refusal> {
        let run_id = self.context.run_id.clone();
        let registered = v1::Registered { run_id, ..v1::Registered::default() };
        if !self.respond(Response::Registered(registered)).await {
            return Ok(EvaluateEnd::Left);
        }
        let queue = self.context.evaluations.clone();
        loop {
            let playing = tokio::select! {
                biased;
                early = self.next() => return unasked(early?),
                playing = queue.take() => playing,
            };
            if let Some(end) = self.evaluate(playing).await? {
                return Ok(end);
            }
        }
    }

    /// Has one evaluation played, and hands its score on.
    async fn evaluate(
        &mut self,
        playing: PlayingEvaluation,
    ) -> Result<Option<EvaluateEnd>, Refusal> {
        let Evaluation { ref weights, env_steps, episodes, seed, .. } = *playing.evaluation();
        let policy_version = weights.policy_version;
        let evaluation = v1::Evaluation { episodes, seed, policy_version, env_steps };
        let run_id = self.context.run_id.clone();
        let pieces = pieces(&run_id, weights).map(Response::Weights);
        for message in std::iter::once(Response::Evaluation(evaluation)).chain(pieces) {
            if !self.respond(message).await {
                return Ok(Some(EvaluateEnd::Left));
            }
        }
        let score = match self.next().await? {
            Ok(Request::Score(score)) => score_from_wire(&score, episodes)?,
            other => return unasked(other).map(Some),
        };
        let (kept, is_kept) = oneshot::channel();
        // Nobody keeps it only when the learner ends.
        let played = self.context.played.send(PlayedEvaluation { playing, score, kept }).await;
        played.map_err(|_| Refusal::Closing)?;
        is_kept.await.map(|()| None).map_err(|_| Refusal::Closing)
    }

    /// The next request, or the end of the stream.
    async fn next(&mut self) -> Result<Result<Request, EvaluateEnd>, Refusal> {
        let message = tokio::select! {
            biased;
            stage = self.context.stage.wait_for(Stage::is_end) => {
                return match stage.map(|stage| *stage) {
                    Ok(Stage::Finished) => Ok(Err(EvaluateEnd::Finished)),
                    _ => Err(Refusal::Closing),
                };
            }
            message = self.requests.message() => message,
        };
        match message {
            Ok(Some(v1::EvaluateRequest { body: Some(body) })) => Ok(Ok(body)),
            Ok(Some(v1::EvaluateRequest { body: None })) => Err(WireError::Missing("body").into()),
            Ok(None) => Ok(Err(EvaluateEnd::Left)),
            Err(status) if is_nonsense(&status) => {
                Err(Refusal::Unreadable(status.message().into()))
            }
            Err(_) => Ok(Err(EvaluateEnd::Left)),
        }
    }

    /// `false` if the evaluator has left.
    async fn respond(&self, body: Response) -> bool {
        self.responses.send(Ok(response(body))).await.is_ok()
    }
}

/// The end of a stream, or a message that nobody asked for.
fn unasked(request: Result<Request, EvaluateEnd>) -> Result<EvaluateEnd, Refusal> {
    match request {
        Ok(Request::Registration(_)) => Err(WireError::OutOfOrder("a second registration").into()),
        Ok(Request::Score(_)) => Err(Refusal::Unasked),
        Err(end) => Ok(end),
    }
}

fn response(body: Response) -> v1::EvaluateResponse {
    v1::EvaluateResponse { body: Some(body) }
}
