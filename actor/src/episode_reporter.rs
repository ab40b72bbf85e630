//! Episode reporter: reports finished episodes to the learner, in batches.
//!
//! Reports are for people and plots, so no environment ever waits for them: what the learner does
//! not take is kept up to a limit, and then the oldest is dropped and counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engram_mdp::Episode;
use engram_proto::convert::episode_to_wire;
use engram_proto::v1;
use engram_proto::v1::experience_client::ExperienceClient;
use engram_service::{Channel, Shutdown, net};
use tokio::sync::Notify;

use crate::actor_identity::{ActorIdentity, Incarnation};
use crate::config::Timeouts;
use crate::error::ActorError;
use crate::metrics;
use crate::reconnecting_peer::{Disconnect, ReconnectingPeer};

/// Episodes that may wait; beyond them the oldest is dropped.
const WAITING: usize = 65_536;

/// Episodes that are worth a report before its time has come, and the most that one holds.
const BATCH: usize = 4_096;

/// First pause before a report, as a share of the interval between reports. Pauses double: a run
/// that is shorter than the interval is reported too.
const FIRST_PAUSE: u32 = 64;

/// Buffer of episodes that no report has held yet.
#[derive(Debug, Default)]
pub(crate) struct EpisodeBuffer {
    episodes: Mutex<VecDeque<Episode>>,
    /// There are enough for a report.
    enough: Notify,
}

/// Reporter of finished episodes.
pub(crate) struct EpisodeReporter {
    pub(crate) peer: ReconnectingPeer,
    pub(crate) identity: Arc<ActorIdentity>,
    pub(crate) buffer: Arc<EpisodeBuffer>,
    pub(crate) timeouts: Timeouts,
}

impl EpisodeBuffer {
    /// Adds episodes, in the order in which they were left.
    pub(crate) fn add(&self, episodes: &[Episode]) {
        let mut waiting = self.episodes.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(episodes.iter().cloned());
        let excess = waiting.len().saturating_sub(WAITING);
        if excess > 0 {
            waiting.drain(..excess);
            metrics::unreported(excess);
        }
        if waiting.len() >= BATCH {
            self.enough.notify_one();
        }
    }

    /// Takes the oldest ones, as many as fit into a report.
    fn take(&self) -> Vec<Episode> {
        let mut waiting = self.episodes.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(BATCH);
        waiting.drain(..count).collect()
    }

    fn has_batch(&self) -> bool {
        self.episodes.lock().unwrap_or_else(PoisonError::into_inner).len() >= BATCH
    }
}

impl EpisodeReporter {
    /// Reports until `leave` is triggered, and then the rest, if the learner takes it quickly.
    pub(crate) async fn run(mut self, leave: Shutdown) -> Result<(), ActorError> {
        let mut sequence = 0;
        // A report that the learner may or may not have taken: it keeps its number.
        let mut pending = None;
        tokio::select! {
            biased;
            () = leave.triggered() => {}
            reported = self.report(&mut sequence, &mut pending) => reported?,
        }
        let farewell = async {
            let mut client = self.client();
            while let Some(request) = self.next(&mut sequence, &mut pending) {
                self.send(&mut client, request).await?;
                pending = None;
            }
            Ok::<_, Disconnect>(())
        };
        match tokio::time::timeout(self.timeouts.farewell, farewell).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => {
                let left = pending.map_or(0, |report| report.episodes.len());
                metrics::unreported(left);
                tracing::info!(left, "the learner did not take the last report");
            }
        }
        Ok(())
    }

    async fn report(
        &mut self,
        sequence: &mut u64,
        pending: &mut Option<v1::ReportRequest>,
    ) -> Result<(), ActorError> {
        let mut client = self.client();
        let mut pause = self.timeouts.report / FIRST_PAUSE;
        loop {
            if !self.buffer.has_batch() {
                let enough = self.buffer.enough.notified();
                let _ = tokio::time::timeout(pause, enough).await;
            }
            let Some(request) = self.next(sequence, pending) else { continue };
            pause = (2 * pause).min(self.timeouts.report);
            match self.send(&mut client, request).await {
                Ok(()) => {
                    *pending = None;
                    self.peer.served();
                }
                Err(Disconnect::Fatal(error)) => return Err(error),
                Err(Disconnect::Lost(reason)) => {
                    self.peer.back_off(&reason).await;
                    client = self.client();
                }
                Err(Disconnect::Finished) => unreachable!("a report does not end a run"),
            }
        }
    }

    /// The report to send now: the one that was not taken, or a new one. None before the run is
    /// known, and where there is nothing to report.
    fn next<'a>(
        &self,
        sequence: &mut u64,
        pending: &'a mut Option<v1::ReportRequest>,
    ) -> Option<&'a v1::ReportRequest> {
        if pending.is_none() {
            let run_id = self.identity.run_id()?.to_owned();
            let Incarnation { actor, generation } = self.identity.incarnation()?;
            let episodes = self.buffer.take();
            if episodes.is_empty() {
                return None;
            }
            *pending = Some(v1::ReportRequest {
                run_id,
                actor,
                generation,
                sequence: *sequence,
                episodes: episodes.iter().map(episode_to_wire).collect(),
            });
            *sequence += 1;
        }
        pending.as_ref()
    }

    fn client(&self) -> ExperienceClient<Channel> {
        ExperienceClient::new(self.peer.channel())
    }

    async fn send(
        &self,
        client: &mut ExperienceClient<Channel>,
        request: &v1::ReportRequest,
    ) -> Result<(), Disconnect> {
        let limit: Duration = self.timeouts.answer;
        let call = client.report(request.clone());
        net::answer(self.peer.name(), "reporting episodes", limit, call).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Finish;

    use super::*;

    #[test]
    fn the_oldest_episodes_make_room_for_new_ones() {
        let buffer = EpisodeBuffer::default();
        let episode = |env_steps| Episode {
            env_index: 0,
            env_steps,
            episode_return: 0.0,
            success: None,
            finish: Finish::Interrupted,
        };
        for env_steps in 0..WAITING as u32 + 10 {
            buffer.add(&[episode(env_steps)]);
        }
        let mut taken = Vec::new();
        while buffer.has_batch() {
            taken.extend(buffer.take());
        }
        assert_eq!(taken.len(), WAITING);
        assert_eq!(taken[0].env_steps, 10);
        assert!(buffer.take().is_empty());
    }
}
