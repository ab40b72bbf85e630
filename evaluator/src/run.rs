//! The whole life of an evaluator: it plays the evaluations that a learner sends, one at a time.

use bytes::Bytes;
use engram_inference_server::chunk_assembler::ChunkAssembler;
use engram_mdp::{Score, Seed};
use engram_proto::convert::score_to_wire;
use engram_proto::limits::MAX_MESSAGE_BYTES;
use engram_proto::v1::evaluate_request::Body as Request;
use engram_proto::v1::evaluate_response::Body as Response;
use engram_proto::v1::evaluations_client::EvaluationsClient;
use engram_proto::{Purpose, Registration, v1};
use engram_service::{Address, Backoff, NetError, Shutdown, net, process};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::error::EvaluatorError;
use crate::evaluation_episodes::EvaluationEpisodes;

/// Configuration of an evaluator.
#[derive(Clone, Debug)]
pub struct EvaluatorConfig {
    /// The learner, which sends evaluations and takes their scores.
    pub learner: Address,
    /// The run that it trains; `None` means whichever that is.
    pub run_id: Option<String>,
    /// The learner's environment, and where the policy computes.
    pub episodes: EvaluationEpisodes,
}

/// Reason for the end of a stream.
enum EvaluationStreamEnd {
    /// The learner failed, or left for a while.
    Lost(String),
    /// No new stream will mend it.
    Fatal(EvaluatorError),
}

/// A registered stream.
struct EvaluationStream {
    peer: String,
    /// Holds the one score under way.
    requests: mpsc::Sender<v1::EvaluateRequest>,
    responses: Streaming<v1::EvaluateResponse>,
}

/// Plays evaluations until the run is over, or until shutdown. A learner that is lost is waited for.
pub async fn run(mut config: EvaluatorConfig, shutdown: Shutdown) -> Result<(), EvaluatorError> {
    let mut backoff = Backoff::new(process::any_number());
    let mut lost = false;
    loop {
        let mut served = false;
        let ended = tokio::select! {
            biased;
            () = shutdown.triggered() => return Ok(()),
            ended = evaluate_all(&mut config, &mut served, &shutdown) => ended,
        };
        let reason = match ended {
            Ok(()) => return Ok(()),
            Err(EvaluationStreamEnd::Fatal(error)) => return Err(error),
            Err(EvaluationStreamEnd::Lost(reason)) => reason,
        };
        if served {
            backoff.reset();
        }
        if served || !lost {
            tracing::warn!(
                reason,
                "lost the learner at {}; trying until it is back",
                config.learner
            );
        }
        lost = true;
        tokio::select! {
            biased;
            () = shutdown.triggered() => return Ok(()),
            () = backoff.wait() => {}
        }
    }
}

/// Plays on one stream until the run is over.
async fn evaluate_all(
    config: &mut EvaluatorConfig,
    served: &mut bool,
    shutdown: &Shutdown,
) -> Result<(), EvaluationStreamEnd> {
    let (mut stream, run_id) = EvaluationStream::open(config).await?;
    // Another run may have another environment: from now on the learner refuses for it.
    config.run_id = Some(run_id);
    *served = true;
    tracing::info!("registered with {}", stream.peer);
    while let Some((evaluation, weights)) = stream.next().await? {
        let v1::Evaluation { episodes, seed, policy_version, env_steps } = evaluation;
        let (player, stop) = (config.episodes.clone(), shutdown.clone());
        let play = move || player.play(weights, Seed::new(seed), episodes, &stop);
        // Meanwhile the connection is kept alive.
        let played = spawn_blocking(play).await;
        let played = played.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let Some(score) = played.map_err(EvaluationStreamEnd::Fatal)? else { return Ok(()) };
        tracing::info!(
            env_steps,
            policy_version,
            "evaluated: {}",
            score.sentence(config.episodes.actions.episodes(), None)
        );
        stream.tell(&score).await;
    }
    Ok(())
}

impl EvaluationStream {
    /// A registered stream, and the run that is served.
    async fn open(config: &EvaluatorConfig) -> Result<(Self, String), EvaluationStreamEnd> {
        let EvaluatorConfig { learner, run_id, episodes } = config;
        let peer = format!("the learner at {learner}");
        let mut client = EvaluationsClient::new(net::connect(learner, "learner"))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let registration = Registration {
            run_id: run_id.clone(),
            actor: 0,
            any_number: false,
            instance: 0,
            generation: 0,
            env_indices: 0..episodes.envs,
            spec: episodes.env.spec(),
            purpose: Purpose::Evaluate,
            seed: 0,
        };
        let (requests, stream) = mpsc::channel(1);
        send(&requests, Request::Registration((&registration).into())).await;
        let opened = async {
            let mut responses = client.evaluate(ReceiverStream::new(stream)).await?.into_inner();
            let greeting = responses.message().await?;
            Ok((responses, greeting))
        };
        let limit = engram_actor::Timeouts::STANDARD.answer;
        let (responses, greeting) = net::answer(&peer, "registering", limit, opened).await?;
        match greeting.and_then(|greeting| greeting.body) {
            Some(Response::Registered(registered)) => {
                Ok((EvaluationStream { peer, requests, responses }, registered.run_id))
            }
            _ => {
                Err(EvaluationStreamEnd::Lost("the stream did not begin with `registered`".into()))
            }
        }
    }

    /// The next evaluation and its weights; `None` once the run is over.
    async fn next(&mut self) -> Result<Option<(v1::Evaluation, Bytes)>, EvaluationStreamEnd> {
        let evaluation = match self.message().await? {
            Response::Evaluation(evaluation) => evaluation,
            Response::Finished(_) => return Ok(None),
            Response::Registered(_) | Response::Weights(_) => return Err(out_of_order()),
        };
        let mut assembler = ChunkAssembler::default();
        loop {
            let Response::Weights(piece) = self.message().await? else {
                return Err(out_of_order());
            };
            let whole = assembler.push(piece);
            if let Some(weights) =
                whole.map_err(|error| EvaluationStreamEnd::Lost(error.to_string()))?
            {
                return Ok(Some((evaluation, weights)));
            }
        }
    }

    async fn message(&mut self) -> Result<Response, EvaluationStreamEnd> {
        let message = self.responses.message().await.map_err(|status| NetError::Refused {
            peer: self.peer.clone(),
            doing: "evaluating",
            status: Box::new(status),
        });
        let body = message?.and_then(|message| message.body);
        body.ok_or_else(|| EvaluationStreamEnd::Lost("it closed the stream".into()))
    }

    /// Tells the learner a score. If it does not hear it, it has the evaluation played again.
    async fn tell(&self, score: &Score) {
        send(&self.requests, Request::Score(score_to_wire(score))).await;
    }
}

async fn send(requests: &mpsc::Sender<v1::EvaluateRequest>, body: Request) {
    // Of a stream that is over, the next message tells why.
    let _ = requests.send(v1::EvaluateRequest { body: Some(body) }).await;
}

fn out_of_order() -> EvaluationStreamEnd {
    EvaluationStreamEnd::Lost(
        "an evaluation is followed by its weights, and something else came".into(),
    )
}

impl From<NetError> for EvaluationStreamEnd {
    fn from(error: NetError) -> Self {
        match error.is_final() {
            true => EvaluationStreamEnd::Fatal(error.into()),
            false => EvaluationStreamEnd::Lost(error.to_string()),
        }
    }
}
