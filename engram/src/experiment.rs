//! An experiment as the whole system reads it: every section as its owner's type, checked.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use engram_envs::EnvConfig;
use engram_evaluator::EvaluationEpisodes;
use engram_learner::RlConfig;
use engram_learner::algorithms::LearnsFromReplay;
use engram_policy::PolicyConfig;
use engram_service::config::{
    ActionChoice, ConfigArgs, ExperimentSelection, Resolved, RunConfig, resolve,
};

use crate::compute::Compute;
use crate::equal_parameters;

/// A complete, checked experiment.
#[derive(Clone, Debug)]
pub(crate) struct Experiment {
    /// The text that it was read from, for the run's folder.
    pub(crate) resolved: Resolved,
    /// The run's own settings.
    pub(crate) run: RunConfig,
    /// The environment.
    pub(crate) env: EnvConfig,
    /// The algorithm.
    pub(crate) rl: RlConfig,
    /// The sequence model.
    pub(crate) seq: PolicyConfig,
}

impl Experiment {
    /// Reads every section, and checks it.
    pub(crate) fn new(resolved: Resolved) -> Result<Self> {
        let resolved = equal_parameters::fitted(resolved)?;
        let env = EnvConfig::from_table(resolved.table("env").clone()).context("in [env]")?;
        let rl: RlConfig = resolved.section("rl")?;
        rl.algorithm().validate()?;
        let seq: PolicyConfig = resolved.section("seq")?;
        seq.validate().and_then(|()| rl.check_model(&seq)).context("in [seq]")?;
        Ok(Experiment { run: resolved.run()?, resolved, env, rl, seq })
    }

    /// Settings of the algorithm, if that learns from a replay.
    pub(crate) fn replay_settings(&self) -> Result<&dyn LearnsFromReplay> {
        match &self.rl {
            RlConfig::Replay(config) => Ok(&**config),
            RlConfig::Streams(_) => bail!("rl.algorithm learns from streams, not from a replay"),
        }
    }

    /// The experiment of a command line.
    pub(crate) fn from_args(args: &ConfigArgs) -> Result<Self> {
        Self::new(args.resolve()?)
    }

    /// The experiment of a run, from its folder, with the keys that `set` sets.
    pub(crate) fn of_run(folder: &Path, set: &[String]) -> Result<Self> {
        let resolved = resolve(&ExperimentSelection {
            experiment: folder.join("config.toml").display().to_string(),
            env: None,
            rl: None,
            seq: None,
            set: set.to_vec(),
            configs: PathBuf::from("configs"),
        })
        .with_context(|| format!("{} is not a run", folder.display()))?;
        Self::new(resolved)
    }

    /// Episodes of an evaluation in its environments.
    pub(crate) fn evaluation_episodes(
        &self,
        actions: ActionChoice,
        compute: Compute,
    ) -> EvaluationEpisodes {
        EvaluationEpisodes {
            env: self.env.clone(),
            envs: self.run.envs_per_actor,
            actions,
            device: compute.device,
            threads: compute.inference_threads,
        }
    }

    /// A name for a run: the experiment, what was replaced in it, and the seed.
    pub(crate) fn run_name(&self, args: &ConfigArgs) -> String {
        let (experiment, parts) = (self.resolved.file_name(), self.resolved.parts());
        let parts = [(&args.env, &parts.env), (&args.rl, &parts.rl), (&args.seq, &parts.seq)];
        let replaced = parts.into_iter().filter(|(replaced, _)| replaced.is_some());
        let names = replaced.map(|(_, name)| format!("-{}", name.replace('/', "-")));
        format!("{experiment}{}-seed{}", names.collect::<String>(), self.run.seed)
    }
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;
    use engram_policy::Policy;

    use super::*;

    const RTRL: &str = "seq.memory={ name = \"elstm\", hidden = 8, forget_bias = 1.0, \
                        gradient = \"rtrl\" }";

    fn configs() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs")
    }

    fn args(experiment: &str, set: &[&str]) -> ConfigArgs {
        ConfigArgs {
            experiment: experiment.into(),
            env: None,
            rl: None,
            seq: None,
            set: set.iter().map(ToString::to_string).collect(),
            configs: configs(),
            print_config: false,
        }
    }

    fn names(kind: &str) -> Vec<String> {
        engram_service::config::names(&configs(), kind).unwrap()
    }

    #[test]
    fn every_experiment_loads_and_its_network_fits_its_environment() {
        let experiments = names("experiments");
        for known in ["main", "memory-rl/tmaze-passive"] {
            assert!(experiments.contains(&known.to_owned()));
        }
        for name in experiments {
            let experiment = Experiment::from_args(&args(&name, &[]))
                .unwrap_or_else(|error| panic!("{name}: {error:#}"));
            // The spec of one that is served is known to its server only, which may not be here.
            if experiment.env.is_served() {
                continue;
            }
            let spec = experiment.env.spec();
            let (outputs, seed) = (experiment.rl.algorithm().outputs(), Seed::new(1));
            let (kind, device) = (tch::Kind::Float, tch::Device::Cpu);
            Policy::with_outputs(&outputs, kind, &experiment.seq, &spec, seed, device)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn every_part_fits_the_main_experiment() {
        for kind in ["env", "rl", "seq"] {
            for name in names(kind) {
                let mut args = args("main", &[]);
                match kind {
                    "env" => args.env = Some(name.clone()),
                    "rl" => args.rl = Some(name.clone()),
                    _ => args.seq = Some(name.clone()),
                }
                if let Err(error) = Experiment::from_args(&args) {
                    // Its memory learns by RTRL, which no replay has, and single transitions have
                    // nothing to remember.
                    let fits = ["elstm-small-tbptt", "feedforward"].into_iter().any(|seq| {
                        args.seq = Some(seq.into());
                        Experiment::from_args(&args).is_ok()
                    });
                    assert!(kind == "rl" && fits, "{kind}/{name}: {error:#}");
                }
            }
        }
    }

    #[test]
    fn a_run_is_named_after_what_makes_it_different() {
        let mut args = args("main", &["run.seed=7"]);
        args.seq = Some("feedforward".into());
        let experiment = Experiment::from_args(&args).unwrap();
        assert_eq!(experiment.run_name(&args), "main-feedforward-seed7");
        let mut args = self::args("memory-rl/tmaze-passive", &[]);
        args.seq = Some("memory-rl/gpt".into());
        let experiment = Experiment::from_args(&args).unwrap();
        assert_eq!(experiment.run_name(&args), "memory-rl-tmaze-passive-memory-rl-gpt-seed1");
    }

    #[test]
    fn mistakes_are_named_with_what_would_be_right() {
        let refuse = |experiment: &str, set: &[&str]| {
            format!("{:#}", Experiment::from_args(&args(experiment, set)).unwrap_err())
        };
        assert!(refuse("mian", &[]).contains("`main`"));
        assert!(refuse("main", &["rl.learning_rat=1"]).contains("learning_rate"));
        assert!(refuse("main", &["rl.discount=1.5"]).contains("rl.discount"));
        assert!(refuse("main", &["env.delay=-3"]).contains("delay"));
        assert!(refuse("main", &["env.name=recal"]).contains("recall"));
        assert!(refuse("main", &["seq.memory.hidden=0"]).contains("hidden"));
        let ignored = refuse("recall-dqn", &[RTRL]);
        assert!(
            ignored.contains("`memory.gradient` of the sequence model is \"rtrl\""),
            "{ignored}"
        );
    }
}
