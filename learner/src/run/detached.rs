//! Detached services: those of a learner, with nobody behind them who learns.
//!
//! A simulation holds the learner's ends instead of the learner's thread, so that what is taken, and
//! when, is in its hands, and all of it happens in one runtime.

use std::sync::Arc;

use engram_mdp::EnvSpec;
use engram_service::Shutdown;
use engram_service::progress::ProgressLine;
use tokio::sync::watch;
use tonic::service::Routes;

use crate::rpc::context::{EnvironmentContract, Stage};
use crate::rpc::membership::Membership;
use crate::rpc::publisher::{Publisher, Weights};
use crate::rpc::queue::Arrivals;
use crate::rpc::service;
use crate::rpc::shared_stats::SharedStats;
use crate::rpc::unroll_grants::UnrollGrants;
use crate::run::channels::{self, LearnerChannels};
use crate::run::learner_config::LearnerConfig;

/// Services without a learner, and the ends of what connects them to it.
#[derive(Debug)]
pub struct DetachedServices {
    /// The gRPC services.
    pub routes: Routes,
    /// Trajectories that were accepted.
    pub arrivals: Arrivals,
    /// Rights to begin unrolls.
    pub grants: UnrollGrants,
    publisher: Publisher,
    stage: watch::Sender<Stage>,
    stats: Arc<SharedStats>,
    /// Kept, so that nobody takes the learner for gone.
    _contract: watch::Sender<Option<EnvironmentContract>>,
}

impl DetachedServices {
    /// Services of a run in this environment, whose policy exports a state of so many numbers, and
    /// which goes on with `membership`.
    pub fn new(
        config: &LearnerConfig,
        spec: EnvSpec,
        core_state_width: usize,
        membership: Membership,
    ) -> Self {
        let stage = watch::Sender::new(Stage::Training);
        let (progress, _) = watch::channel(ProgressLine::default());
        let (context, ends) = channels::connect(config, stage.clone(), progress, Shutdown::new());
        let LearnerChannels { stats, contract, arrivals, grants, publisher, .. } = ends;
        *stats.membership() = membership;
        contract.send_replace(Some(EnvironmentContract { spec, core_state_width }));
        let routes = service::routes(&context);
        DetachedServices { routes, arrivals, grants, publisher, stage, stats, _contract: contract }
    }

    /// Publishes weights of this version, which say nothing.
    pub fn publish(&self, policy_version: u64) {
        self.publisher.publish(Weights { policy_version, bytes: vec![0].into() });
    }

    /// Actors and positions of streams.
    pub fn membership(&self) -> Membership {
        self.stats.membership().clone()
    }

    /// The run has had its env steps: actors leave.
    pub fn finish(&self) {
        self.stage.send_replace(Stage::Finished);
    }
}
