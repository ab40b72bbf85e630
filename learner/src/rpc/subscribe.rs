//! Weights, in pieces, to one subscriber: the newest at once, then every newer version.

use engram_proto::limits::WEIGHTS_CHUNK_BYTES;
use engram_proto::v1;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::rpc::context::Stage;
use crate::rpc::publisher::{Subscription, Weights};
use crate::rpc::refusal::Refusal;

/// Pieces on their way to a subscriber; when it is slower, newer weights overtake those that have
/// not begun.
pub(crate) const CHUNKS_AHEAD: usize = 2;

/// One subscriber.
#[derive(Debug)]
pub(crate) struct SubscribeSession {
    pub(crate) run_id: String,
    pub(crate) subscription: Subscription,
    pub(crate) stage: watch::Receiver<Stage>,
    pub(crate) chunks: mpsc::Sender<Result<v1::WeightsChunk, Status>>,
}

impl SubscribeSession {
    /// Sends weights until the subscriber leaves or the process ends. What was published last is
    /// sent even then.
    pub(crate) async fn run(mut self) {
        loop {
            let weights = tokio::select! {
                biased;
                () = self.chunks.closed() => return,
                Some(weights) = self.subscription.next() => weights,
                _ = self.stage.wait_for(Stage::is_end) => break,
            };
            for chunk in pieces(&self.run_id, &weights) {
                if self.chunks.send(Ok(chunk)).await.is_err() {
                    return;
                }
            }
        }
        let ended = *self.stage.borrow();
        if ended == Stage::Closing {
            // Whether the subscriber is still there makes no difference any more.
            let _ = self.chunks.send(Err(Refusal::Closing.into())).await;
        }
    }
}

/// One version of the weights, cut without copying.
pub(crate) fn pieces<'a>(
    run_id: &'a str,
    weights: &'a Weights,
) -> impl Iterator<Item = v1::WeightsChunk> + 'a {
    let total = weights.bytes.len();
    (0..total).step_by(WEIGHTS_CHUNK_BYTES).map(move |offset| v1::WeightsChunk {
        run_id: run_id.to_owned(),
        policy_version: weights.policy_version,
        total_bytes: total as u64,
        offset: offset as u64,
        data: weights.bytes.slice(offset..total.min(offset + WEIGHTS_CHUNK_BYTES)),
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn pieces_join_to_the_whole() {
        let bytes: Bytes = (0..WEIGHTS_CHUNK_BYTES * 2 + 7).map(|i| (i % 251) as u8).collect();
        let weights = Weights { policy_version: 3, bytes };
        let mut whole = Vec::new();
        for piece in pieces("recall", &weights) {
            assert_eq!(piece.offset, whole.len() as u64);
            assert!(piece.data.len() <= WEIGHTS_CHUNK_BYTES);
            assert_eq!(piece.total_bytes, weights.bytes.len() as u64);
            whole.extend_from_slice(&piece.data);
        }
        assert_eq!(whole, weights.bytes);
    }
}
