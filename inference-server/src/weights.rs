//! Weights: their source, and their way to the model thread.
//!
//! A subscription to the learner lasts as long as the server: it is opened again, after a pause
//! that grows and is never in step with others', however often it breaks. Pieces are put together
//! here; their content is checked by the model thread, which loads them. Broken weights are
//! refused and counted, and those in use stay.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use engram_mdp::EnvSpec;
use engram_proto::limits::MAX_MESSAGE_BYTES;
use engram_proto::v1::configuration_client::ConfigurationClient;
use engram_proto::v1::weights_client::WeightsClient;
use engram_proto::{PROTOCOL_VERSION, v1};
use engram_service::net::{self, Address, Backoff, NetError};
use engram_service::{ConfigError, Resolved};
use thiserror::Error;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use crate::batcher::{BatchLimits, BatchOverrides};
use crate::chunk_assembler::{ChunkAssembler, PieceError};
use crate::metrics;
use crate::request_queue::{NewWeights, RequestQueue};

/// Source of weights.
#[derive(Clone, Debug)]
pub enum WeightsSource {
    /// A learner, which sends every newer version.
    Learner(Address),
    /// A file, read once.
    File(PathBuf),
    /// Memory.
    Bytes(Bytes),
}

/// State of the served policy.
#[derive(Clone, Debug, PartialEq)]
pub enum Serving {
    /// There is none yet, for this reason.
    Nothing(String),
    /// There is one.
    Policy {
        /// The run, where the source knows.
        run_id: Option<String>,
        /// The environment that the policy is for.
        spec: EnvSpec,
    },
}

/// Error of weights.
#[derive(Debug, Error)]
pub enum WeightsError {
    /// The file cannot be read.
    #[error("cannot read the weights in {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// They are no weights of this policy.
    #[error("{source_name} sent weights that cannot be used: {reason}")]
    Refused {
        /// Their source.
        source_name: String,
        /// The reason.
        reason: String,
    },
    /// The pieces do not make a whole.
    #[error("the learner's pieces of weights do not fit: {0}")]
    Pieces(#[from] PieceError),
    /// They are of another run.
    #[error(
        "the learner trains run `{found}`, but this server serves run `{served}`; start a server \
         of its own for it"
    )]
    Run {
        /// The run that is served.
        served: String,
        /// The learner's.
        found: String,
    },
    /// The learner's experiment cannot be read.
    #[error("the learner's experiment cannot be read: {0}")]
    Experiment(#[from] ConfigError),
    /// The learner cannot be reached.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The learner ended the subscription.
    #[error("the learner ended the subscription: {}", .0.message())]
    Ended(Box<Status>),
    /// The learner closed the subscription.
    #[error("the learner closed the subscription")]
    Closed,
    /// The rest of some weights does not come.
    #[error("the rest of the weights has not come within {} s", PIECE_LIMIT.as_secs())]
    Silent,
}

/// Limit on the learner's answer, and on the next piece of weights that it began to send.
const PIECE_LIMIT: Duration = Duration::from_secs(30);

/// Hands the source's weights to the model thread, for as long as it has newer ones. Ends for a
/// source that holds only one version; fails if that one cannot be used.
pub(crate) async fn follow(
    source: WeightsSource,
    run_id: Option<String>,
    batch: BatchOverrides,
    instance: u64,
    queue: &RequestQueue,
    serving: &watch::Sender<Serving>,
) -> Result<(), WeightsError> {
    let (name, bytes) = match source {
        WeightsSource::Learner(address) => {
            match subscribe(&address, run_id, batch, instance, queue, serving).await {}
        }
        WeightsSource::File(path) => {
            let read = tokio::fs::read(&path).await;
            let name = path.display().to_string();
            (name, read.map_err(|source| WeightsError::Read { path, source })?.into())
        }
        WeightsSource::Bytes(bytes) => ("the program".into(), bytes),
    };
    hand_over(name, run_id, bytes, queue).await
}

/// Never returns: breaks are told and mended.
async fn subscribe(
    address: &Address,
    run_id: Option<String>,
    batch: BatchOverrides,
    instance: u64,
    queue: &RequestQueue,
    serving: &watch::Sender<Serving>,
) -> Infallible {
    let mut subscription = Subscription {
        client: WeightsClient::new(net::connect(address, "learner"))
            .max_decoding_message_size(MAX_MESSAGE_BYTES),
        configuration: ConfigurationClient::new(net::connect(address, "learner")),
        learner: format!("the learner at {address}"),
        run_id,
        batch,
        backoff: Backoff::new(instance),
    };
    loop {
        let Err(error) = subscription.run(queue).await;
        // A learner that closes is a normal end: of a run, or of a learner that will be back.
        tracing::info!(%error, %address, "no weights for now; trying again");
        serving.send_if_modified(|serving| {
            let nothing = matches!(serving, Serving::Nothing(_));
            if nothing {
                *serving = Serving::Nothing(error.to_string());
            }
            nothing
        });
        subscription.backoff.wait().await;
    }
}

/// The newest weights of the learner at `address`, which trains the run `run_id`: waits until there
/// are some.
pub async fn newest(address: &Address, run_id: &str) -> Result<Bytes, WeightsError> {
    let learner = format!("the learner at {address}");
    let mut client = WeightsClient::new(net::connect(address, "learner"));
    let request =
        v1::SubscribeRequest { protocol_version: PROTOCOL_VERSION, run_id: run_id.into() };
    let call = client.subscribe(request);
    let mut pieces =
        net::answer(&learner, "asking for weights", PIECE_LIMIT, call).await?.into_inner();
    let mut assembler = ChunkAssembler::default();
    loop {
        let piece = next_piece(&mut pieces, &assembler).await?;
        if let Some(bytes) = assembler.push(piece)? {
            return Ok(bytes);
        }
    }
}

struct Subscription {
    client: WeightsClient<net::Channel>,
    configuration: ConfigurationClient<net::Channel>,
    learner: String,
    /// The run that is served; until the first weights tell, perhaps unknown.
    run_id: Option<String>,
    batch: BatchOverrides,
    backoff: Backoff,
}

impl Subscription {
    /// One subscription, until it breaks.
    async fn run(&mut self, queue: &RequestQueue) -> Result<Infallible, WeightsError> {
        self.adopt_batch_limits(queue).await?;
        let request = v1::SubscribeRequest {
            protocol_version: PROTOCOL_VERSION,
            run_id: self.run_id.clone().unwrap_or_default(),
        };
        let call = self.client.subscribe(request);
        let mut pieces = net::answer(&self.learner, "subscribing to weights", PIECE_LIMIT, call)
            .await?
            .into_inner();
        let mut assembler = ChunkAssembler::default();
        loop {
            let piece = next_piece(&mut pieces, &assembler).await?;
            self.check_run(&piece.run_id)?;
            let whole = assembler.push(piece).inspect_err(|_| metrics::weights_refused())?;
            let Some(bytes) = whole else { continue };
            self.backoff.reset();
            match hand_over(self.learner.clone(), self.run_id.clone(), bytes, queue).await {
                Ok(()) => {}
                Err(error) => tracing::error!(%error, "the weights in use stay"),
            }
        }
    }

    /// Adopts the batch limits of the learner's experiment, but for those that are overridden. A
    /// learner that was restarted may bring others.
    async fn adopt_batch_limits(&mut self, queue: &RequestQueue) -> Result<(), WeightsError> {
        if self.batch.are_complete() {
            return Ok(());
        }
        let request = v1::ResolveRequest {
            protocol_version: PROTOCOL_VERSION,
            run_id: self.run_id.clone().unwrap_or_default(),
        };
        let call = self.configuration.resolve(request);
        let answer = net::answer(&self.learner, "asking for the experiment", PIECE_LIMIT, call)
            .await?
            .into_inner();
        let run = Resolved::from_toml(&answer.config)?.run()?;
        let limits = self
            .batch
            .over(BatchLimits { max_batch_size: run.max_batch_size, max_wait: run.max_wait() });
        tracing::info!(limits.max_batch_size, ?limits.max_wait, "batch limits");
        queue.set_limits(limits);
        Ok(())
    }

    /// The first weights tell which run is served; others are refused.
    fn check_run(&mut self, found: &str) -> Result<(), WeightsError> {
        let served = self.run_id.get_or_insert_with(|| found.into());
        if served == found {
            return Ok(());
        }
        metrics::weights_refused();
        Err(WeightsError::Run { served: served.clone(), found: found.into() })
    }
}

/// The next piece. The first one of a version may take forever, the others may not.
async fn next_piece(
    pieces: &mut Streaming<v1::WeightsChunk>,
    assembler: &ChunkAssembler,
) -> Result<v1::WeightsChunk, WeightsError> {
    let next = pieces.message();
    let next = match assembler.is_empty() {
        true => next.await,
        false => timeout(PIECE_LIMIT, next).await.map_err(|_| WeightsError::Silent)?,
    };
    next.map_err(|status| WeightsError::Ended(Box::new(status)))?.ok_or(WeightsError::Closed)
}

/// Hands weights to the model thread and waits until it has tried them.
async fn hand_over(
    source_name: String,
    run_id: Option<String>,
    bytes: Bytes,
    queue: &RequestQueue,
) -> Result<(), WeightsError> {
    metrics::weights_received();
    let (outcome, tried) = oneshot::channel();
    queue.offer(NewWeights { run_id, bytes, outcome });
    match tried.await {
        Ok(Ok(policy_version)) => {
            tracing::debug!(policy_version, "weights loaded");
            Ok(())
        }
        Ok(Err(reason)) => {
            metrics::weights_refused();
            Err(WeightsError::Refused { source_name, reason })
        }
        // Shutting down: nobody tries them any more.
        Err(_) => Ok(()),
    }
}
