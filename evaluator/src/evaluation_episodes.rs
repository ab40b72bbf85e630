//! Episodes with one version of the weights: an actor and an inference server of their own,
//! on one thread.
//!
//! What comes of them is a function of weights, seed and number, whatever else the machine does:
//! each batch of the server holds the request of one group of environments. They are in no metric
//! of actors and inference servers, which are about training.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use engram_actor::{ActorConfig, ActorMode, ActorSummary, ExitReason, Timeouts};
use engram_envs::EnvConfig;
use engram_inference_server::{BatchLimits, InferenceConfig, WeightsSource};
use engram_mdp::{Score, Seed};
use engram_policy::Device;
use engram_service::config::ActionChoice;
use engram_service::{Address, Listener, Shutdown};
use metrics::NoopRecorder;

use crate::error::EvaluatorError;

/// Silence after which the actor is taken for dead. Both are on one thread, and no environment takes so
/// long for a step.
const LEASE: Duration = Duration::from_secs(3600);

/// Episodes of an evaluation: in which environments, by which actions, and where the policy computes.
#[derive(Clone, Debug)]
pub struct EvaluationEpisodes {
    /// The environment.
    pub env: EnvConfig,
    /// The most environments that are played at once.
    pub envs: u32,
    /// Actions that are taken.
    pub actions: ActionChoice,
    /// Device of the policy.
    pub device: Device,
    /// Threads that one operation of the policy may use on the processor, at least 1.
    pub threads: usize,
}

impl EvaluationEpisodes {
    /// Plays `episodes` episodes with `weights`, in environments that come from `seed`. `None` if
    /// `shutdown` came first.
    pub fn play(
        &self,
        weights: Bytes,
        seed: Seed,
        episodes: u32,
        shutdown: &Shutdown,
    ) -> Result<Option<Score>, EvaluatorError> {
        let _silent = metrics::set_default_local_recorder(&NoopRecorder);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let envs = self.envs.min(episodes);
        let listener = Listener::memory();
        let actor = self.actor(envs, seed, episodes, listener.address().clone());
        let inference = self.inference(envs, weights);
        let played = runtime.block_on(async {
            let ending = Shutdown::new();
            let server = engram_inference_server::run(inference, listener, ending.clone());
            let mut server = pin!(server);
            let played = tokio::select! {
                // Only what it cannot serve ends it early.
                served = &mut server => return served.map(|()| None).map_err(EvaluatorError::from),
                played = engram_actor::run(actor, shutdown.clone()) => played,
            };
            ending.trigger();
            server.await?;
            Ok::<_, EvaluatorError>(Some(played?))
        })?;
        let whole = |played: &ActorSummary| played.reason == ExitReason::Evaluated;
        Ok(played.filter(whole).and_then(|played| Score::of(&played.episodes)))
    }

    fn inference(&self, envs: u32, weights: Bytes) -> InferenceConfig {
        // One group of the actor, as it divides its environments.
        let max_batch_size = envs.div_ceil(2) as usize;
        InferenceConfig {
            run_id: None,
            weights: WeightsSource::Bytes(weights),
            device: self.device,
            threads: self.threads,
            instance: 0,
            batch: BatchLimits { max_batch_size, max_wait: Duration::ZERO }.into(),
            lease: LEASE,
            weights_wait: LEASE,
            max_slots: 1 << 20,
            watchdog: Duration::ZERO,
        }
    }

    fn actor(&self, envs: u32, seed: Seed, episodes: u32, inference: Address) -> ActorConfig {
        ActorConfig {
            actor: Some(0),
            instance: 0,
            run_id: None,
            env: self.env.clone(),
            envs,
            seed,
            inference: vec![inference],
            mode: ActorMode::Evaluate { episodes, actions: self.actions },
            timeouts: Timeouts::STANDARD,
        }
    }
}
