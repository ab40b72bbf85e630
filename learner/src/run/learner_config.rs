//! Configuration that a learner is started with.

use std::path::PathBuf;
use std::time::Duration;

use engram_mdp::Seed;
use engram_policy::PolicyConfig;
use engram_service::{ConfigError, Resolved, RunConfig};
use tch::Device;

use crate::algorithms::RlConfig;
use crate::config::OffPolicyConfig;
use crate::config::flags::LearnerArgs;
use crate::replay::rate_limiter::RateLimiter;
use crate::run::error::LearnerError;
use crate::storage::checkpoint::CheckpointStore;
use crate::storage::run_folder::RunFolder;
use crate::storage::warm_start::{WarmStart, WarmStartError};

/// Configuration of a learner: what to learn, and where.
#[derive(Clone, Debug)]
pub struct LearnerConfig {
    /// The run's name; actors and inference servers of other runs are refused.
    pub run_id: String,
    /// The run's folder. Without one nothing is left behind, and nothing can be resumed.
    pub folder: Option<PathBuf>,
    /// The whole configuration.
    pub resolved: Resolved,
    /// Its run section.
    pub run: RunConfig,
    /// Its algorithm.
    pub rl: RlConfig,
    /// Its sequence model.
    pub policy: PolicyConfig,
    /// Device of the policy.
    pub device: Device,
    /// Threads of tensor operations on the CPU.
    pub threads: i32,
    /// The rest of where and how.
    pub flags: LearnerArgs,
    /// Silence of the training thread after which it counts as hung and ends the process; zero
    /// watches nobody.
    pub watchdog: Duration,
}

impl LearnerConfig {
    /// Reads the learner's sections of a configuration, and checks them. The flags are those of
    /// somebody who gave none, and nobody is watched.
    pub fn new(
        resolved: Resolved,
        run_id: String,
        folder: Option<PathBuf>,
        device: Device,
        threads: i32,
    ) -> Result<Self, LearnerError> {
        let (run, rl): (RunConfig, RlConfig) = (resolved.run()?, resolved.section("rl")?);
        rl.algorithm().validate()?;
        if let Some(parameters) = resolved.table("seq").get("parameters") {
            return Err(LearnerError::Config(ConfigError::BadValue {
                key: "seq.parameters".into(),
                value: parameters.to_string(),
                expected: "a width of the memory, for the learner knows no environments: \
                           `engram train .. --print-config` finds one"
                    .into(),
            }));
        }
        let policy: PolicyConfig = resolved.section("seq")?;
        policy.validate().map_err(LearnerError::Policy)?;
        let flags = LearnerArgs::default();
        Ok(LearnerConfig {
            run_id,
            folder,
            resolved,
            run,
            rl,
            policy,
            device,
            threads,
            flags,
            watchdog: Duration::ZERO,
        })
    }

    /// Refuses what could only fail later, or would be ignored: settings of a replay that do not go
    /// with those of the run or of the sequence model.
    pub fn check(&self) -> Result<(), LearnerError> {
        self.rl.check_model(&self.policy).map_err(LearnerError::Policy)?;
        let RlConfig::Replay(config) = &self.rl else { return Ok(()) };
        let OffPolicyConfig { replay, batch_size, rate_limiter, .. } = config.shared();
        replay.check_batch(batch_size)?;
        RateLimiter::new(rate_limiter, self.run.unroll_length)?;
        Ok(())
    }

    /// The experiment's seed.
    pub(crate) fn seed(&self) -> Seed {
        Seed::new(self.run.seed)
    }

    /// Weights that a new run begins with, where any were asked for.
    pub(crate) fn warm_start(&self) -> Result<Option<WarmStart>, WarmStartError> {
        let path = self.flags.init_from.as_deref();
        path.map(|path| WarmStart::read(path, &self.flags.init_parts)).transpose()
    }

    pub(crate) fn store(&self, folder: &RunFolder) -> CheckpointStore {
        let store = CheckpointStore::new(folder.checkpoints(), self.run.checkpoints_kept);
        store.owned_by(folder.owner().clone())
    }
}
