//! Learner's experiment: an actor without one of its own asks the learner for it.

use engram_proto::v1::configuration_client::ConfigurationClient;
use engram_proto::{PROTOCOL_VERSION, v1};
use engram_service::{Address, Backoff, Resolved, net};

use crate::config::Timeouts;
use crate::error::ActorError;
use crate::reconnecting_peer::{Disconnect, ReconnectingPeer};

/// The resolved experiment of the learner at `learner`, which trains `run_id` if that is given.
/// Waits for a learner that is away; `seed` keeps actors out of step meanwhile.
pub async fn learner_experiment(
    learner: &Address,
    run_id: Option<&str>,
    seed: u64,
    timeouts: Timeouts,
) -> Result<Resolved, ActorError> {
    let backoff = Backoff::new(seed);
    let mut peer = ReconnectingPeer::new("learner", vec![learner.clone()], 0, backoff);
    loop {
        match ask(&peer, run_id, timeouts).await {
            Ok(config) => return Ok(Resolved::from_toml(&config)?),
            Err(Disconnect::Fatal(error)) => return Err(error),
            Err(Disconnect::Lost(reason)) => peer.back_off(&reason).await,
            Err(Disconnect::Finished) => unreachable!("an experiment does not end a run"),
        }
    }
}

async fn ask(
    peer: &ReconnectingPeer,
    run_id: Option<&str>,
    timeouts: Timeouts,
) -> Result<String, Disconnect> {
    let mut client = ConfigurationClient::new(peer.channel());
    let request = v1::ResolveRequest {
        protocol_version: PROTOCOL_VERSION,
        run_id: run_id.unwrap_or_default().into(),
    };
    let call = client.resolve(request);
    let answer =
        net::answer(peer.name(), "asking for the experiment", timeouts.answer, call).await?;
    Ok(answer.into_inner().config)
}
