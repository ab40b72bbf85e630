//! Channels between the calls, that talk to actors, and the learner's thread, which learns.

use std::sync::Arc;

use engram_mdp::Seed;
use engram_service::progress::ProgressLine;
use engram_service::{RunConfig, Shutdown};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use crate::algorithms::RlConfig;
use crate::config::rate_limiter::Pace;
use crate::rpc::context::{Context, EnvironmentContract, SpecProposal, Stage};
use crate::rpc::evaluation_queue::{EvaluationQueue, PlayedEvaluation};
use crate::rpc::publisher::{self, Newest, Publisher};
use crate::rpc::queue::{self, Arrivals};
use crate::rpc::ranks::Ranks;
use crate::rpc::shared_stats::SharedStats;
use crate::rpc::unroll_grants::UnrollGrants;
use crate::run::learner_config::LearnerConfig;
use crate::telemetry::metrics::Metrics;

/// The learner's ends.
#[derive(Debug)]
pub(crate) struct LearnerChannels {
    pub(crate) stats: Arc<SharedStats>,
    pub(crate) contract: watch::Sender<Option<EnvironmentContract>>,
    pub(crate) proposals: mpsc::Receiver<SpecProposal>,
    pub(crate) arrivals: Arrivals,
    pub(crate) grants: UnrollGrants,
    pub(crate) publisher: Publisher,
    pub(crate) newest: Newest,
    pub(crate) evaluations: EvaluationQueue,
    pub(crate) played: mpsc::Receiver<PlayedEvaluation>,
    pub(crate) stage: watch::Sender<Stage>,
    pub(crate) progress: watch::Sender<ProgressLine>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
    pub(crate) runtime: Handle,
}

/// The ends of every channel between the calls and the learner.
pub(crate) fn connect(
    config: &LearnerConfig,
    stage: watch::Sender<Stage>,
    progress: watch::Sender<ProgressLine>,
    shutdown: Shutdown,
) -> (Context, LearnerChannels) {
    let metrics = Metrics::new();
    let stats = Arc::new(SharedStats::default());
    let (contract, known_contract) = watch::channel(None);
    // Full while the learner builds a policy for the first environment: other actors wait for it.
    let (proposer, proposals) = mpsc::channel(1);
    let (intake, arrivals) =
        queue::bounded(config.run.queue_trajectories, config.flags.queue_memory);
    let grants = match &config.rl {
        RlConfig::Streams(algorithm) => {
            let batch_size = algorithm.batch_size();
            if let Some(advice) = waiting_environments(&config.run, batch_size) {
                tracing::warn!("{advice}");
            }
            UnrollGrants::bounded(batch_size, config.run.policy_lag)
        }
        RlConfig::Replay(config) => match config.shared().rate_limiter.pace {
            Pace::Slack { .. } => UnrollGrants::unlimited(),
            Pace::Turns => UnrollGrants::one_group_at_a_time(),
        },
    };
    let (publisher, newest) = publisher::publisher();
    let evaluations = EvaluationQueue::new(metrics.clone());
    // Full while the disk takes a score.
    let (player, played) = mpsc::channel(1);
    let context = Context {
        run_id: config.run_id.clone(),
        seed: Seed::new(config.run.seed),
        config: config.resolved.to_toml().into(),
        unroll_length: config.run.unroll_length,
        contract: known_contract,
        proposals: proposer,
        intake,
        grants: grants.clone(),
        stats: stats.clone(),
        ranks: Ranks::new(config.rl.exploring_actors()),
        newest: newest.clone(),
        evaluations: evaluations.clone(),
        played: player,
        stage: stage.subscribe(),
        tasks: TaskTracker::new(),
        metrics: metrics.clone(),
    };
    let runtime = tokio::runtime::Handle::current();
    let channels = LearnerChannels {
        stats,
        contract,
        proposals,
        arrivals,
        grants,
        publisher,
        newest,
        evaluations,
        played,
        stage,
        progress,
        metrics,
        shutdown,
        runtime,
    };
    (context, channels)
}

/// Advice where one process starts more environments than the lag that is allowed keeps busy.
fn waiting_environments(run: &RunConfig, batch_size: usize) -> Option<String> {
    let environments = u64::from(run.actors) * u64::from(run.envs_per_actor);
    let batches = run.policy_lag.saturating_add(1);
    let playing = batches.saturating_mul(batch_size as u64);
    let needed = environments.div_ceil(batches);
    (environments > playing).then(|| {
        format!(
            "{environments} environments do not fit a lag of run.policy_lag = {}: {playing} of them \
             play at a time, the others wait; set rl.batch_size to {needed} (with more \
             rl.minibatches), a larger run.policy_lag, or fewer environments",
            run.policy_lag
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::resolved;

    #[test]
    fn environments_that_would_wait_are_told_with_numbers_that_fit() {
        let run = |policy_lag: u64| {
            let lag = format!("run.policy_lag={policy_lag}");
            resolved(&["run.actors=1", "run.envs_per_actor=64", &lag]).run().unwrap()
        };
        assert_eq!(waiting_environments(&run(1), 32), None);
        let advice = waiting_environments(&run(1), 16).unwrap();
        assert!(advice.contains("64 environments") && advice.contains("32 of them"), "{advice}");
        assert!(advice.contains("rl.batch_size to 32"), "{advice}");
        assert!(waiting_environments(&run(1000), 16).is_none());
    }
}
