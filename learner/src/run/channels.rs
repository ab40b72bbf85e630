//! Channels between the calls, that talk to actors, and the learner's thread, which learns.

use std::sync::Arc;

use engram_mdp::Seed;
use engram_service::Shutdown;
use engram_service::progress::ProgressLine;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use crate::algorithms::RlConfig;
use crate::rpc::context::{Context, EnvironmentContract, SpecProposal, Stage};
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
    pub(crate) progress: watch::Sender<ProgressLine>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: Shutdown,
    pub(crate) runtime: Handle,
}

/// The ends of every channel between the calls and the learner.
pub(crate) fn connect(
    config: &LearnerConfig,
    stage: watch::Receiver<Stage>,
    progress: watch::Sender<ProgressLine>,
    shutdown: Shutdown,
) -> (Context, LearnerChannels) {
    let metrics = Metrics::new();
    let stats = Arc::new(SharedStats::default());
    let (contract, known_contract) = watch::channel(None);
    // Full while the learner builds a policy for the first environment: other actors wait for it.
    let (proposer, proposals) = mpsc::channel(1);
    let (intake, arrivals) = queue::bounded(config.run.queue_trajectories);
    let grants = match &config.rl {
        RlConfig::Streams(algorithm) => {
            UnrollGrants::bounded(algorithm.batch_size(), config.run.policy_lag)
        }
        RlConfig::Replay(_) => UnrollGrants::unlimited(),
    };
    let (publisher, newest) = publisher::publisher();
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
        stage,
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
        progress,
        metrics,
        shutdown,
        runtime,
    };
    (context, channels)
}
