//! Evaluation: greedy episodes with fixed weights.

use anyhow::Result;
use engram_actor::{ActorConfig, ActorMode, ActorSummary, Timeouts};
use engram_inference_server::WeightsSource;
use engram_mdp::Seed;
use engram_service::Shutdown;

use super::services::{Sockets, join, start_inference};
use crate::compute::Compute;
use crate::experiment::Experiment;

/// Plays `episodes` greedy episodes with weights from `weights`, in environments that come from
/// `seed`, and returns them.
pub(crate) fn play(
    experiment: &Experiment,
    seed: Seed,
    weights: WeightsSource,
    episodes: u32,
    compute: Compute,
    shutdown: &Shutdown,
) -> Result<ActorSummary> {
    let (env, run) = (&experiment.env, &experiment.run);
    let sockets = Sockets::new()?;
    let ending = Shutdown::new();
    let at = &sockets.inference;
    let (inference, _) = start_inference(run, "evaluation", weights, compute, at, &ending)?;
    let actor = ActorConfig {
        actor: 0,
        generation: engram_actor::generation_now(),
        run_id: None,
        env: env.clone(),
        envs: episodes.min(run.envs_per_actor),
        seed,
        inference: vec![sockets.inference.clone()],
        mode: ActorMode::Evaluate { episodes },
        timeouts: Timeouts::STANDARD,
    };
    let played = join("the evaluating actor", engram_actor::spawn(actor, shutdown.clone()));
    ending.trigger();
    join("the inference server", inference)?;
    played
}
