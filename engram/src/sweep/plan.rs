//! All runs of a sweep: how each is started, and how far it is already.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Parser;
use engram_analysis::{CheckpointChoice, final_evaluation};
use engram_service::config::{ConfigArgs, Resolved, SettingClass, differences};
use toml::{Table, Value};

use super::grid::{self, Point};
use super::spec::SweepSpec;
use crate::train::TrainArgs;

/// One run.
#[derive(Clone, Debug)]
pub(crate) struct SweepTask {
    /// Its name, below the sweep's folder.
    pub(crate) name: String,
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// The arguments of `engram` that train and evaluate it.
    pub(crate) args: Vec<String>,
    /// Env steps that it takes.
    pub(crate) budget: u64,
    /// Warning that names the experiment's overrides which do not apply to it.
    pub(crate) left_out: Option<String>,
    /// Greedy episodes after its training, in each set.
    evaluate: u32,
    /// Those sets.
    sets: usize,
}

/// The arguments of a run, as `engram train` reads them.
#[derive(Parser)]
#[command(name = "engram train", no_binary_name = true)]
struct Train {
    #[command(flatten)]
    args: TrainArgs,
}

/// Every combination with every seed, each checked: mistakes are told before the first run, not
/// after an hour. `flags` are for every `engram train`.
pub(crate) fn plan(spec: &SweepSpec, folder: &Path, flags: &[String]) -> Result<Vec<SweepTask>> {
    let mut tasks = Vec::new();
    for point in grid::points(&spec.vary) {
        for &seed in &spec.seeds {
            let task = SweepTask::new(spec, &point, seed, folder, flags)
                .with_context(|| format!("{point}, seed {seed}"))?;
            tasks.push(task);
        }
    }
    if let Some(twice) =
        (1..tasks.len()).find(|&i| tasks[..i].iter().any(|t| t.name == tasks[i].name))
    {
        bail!("two combinations are called {}; vary them in other words", tasks[twice].name);
    }
    Ok(tasks)
}

impl SweepTask {
    fn new(
        spec: &SweepSpec,
        point: &Point,
        seed: u64,
        sweep: &Path,
        flags: &[String],
    ) -> Result<Self> {
        let name = format!("{}-seed{seed}", point.file_name());
        let mut config = spec.config.clone();
        for (key, value) in point.settings() {
            match key {
                "env" => config.env = Some(value.into()),
                "rl" => config.rl = Some(value.into()),
                "seq" => config.seq = Some(value.into()),
                _ => config.set.push(format!("{key}={value}")),
            }
        }
        config.set.push(format!("run.seed={seed}"));
        let mut args = arguments(&config);
        let own = [
            ("--runs", sweep.display().to_string()),
            ("--run-name", name.clone()),
            ("--evaluate", spec.evaluate.to_string()),
        ];
        args.extend(own.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        args.extend(flags.iter().cloned());
        let train = Train::try_parse_from(&args).map_err(|error| {
            let text = error.to_string();
            anyhow::anyhow!("engram train does not understand its flags: {}", text.trim_end())
        })?;
        let experiment = train.args.experiment()?;
        let task = SweepTask {
            folder: sweep.join(&name),
            name,
            args: std::iter::once("train".to_owned()).chain(args).collect(),
            budget: experiment.run.env_steps,
            left_out: experiment.resolved.left_out(),
            evaluate: spec.evaluate,
            sets: experiment.run.final_eval_sets as usize,
        };
        task.check_folder(&experiment.resolved)?;
        Ok(task)
    }

    /// True once it has been trained to its end and has played its greedy episodes.
    pub(crate) fn is_finished(&self) -> bool {
        final_evaluation::read(&self.folder, CheckpointChoice::Newest).is_some_and(|kept| {
            kept.env_steps >= self.budget
                && kept.episodes >= u64::from(self.evaluate)
                && kept.sets >= self.sets
        })
    }

    /// The file with the output of its process.
    pub(crate) fn log(&self) -> PathBuf {
        let mut name = self.folder.as_os_str().to_owned();
        name.push(".log");
        name.into()
    }

    /// Refuses a folder in which a run with other settings lies.
    fn check_folder(&self, resolved: &Resolved) -> Result<()> {
        let file = self.folder.join("config.toml");
        let Ok(text) = fs::read_to_string(&file) else {
            return Ok(());
        };
        let there: Table =
            text.parse().with_context(|| format!("{} is no TOML", file.display()))?;
        let here = resolved.to_table();
        let fixed = |key: &str| !SettingClass::of(key).may_change_in_sweep();
        if let Some(differs) = differences(&there, &here).iter().find(|found| fixed(&found.key)) {
            let show = |value: &Option<Value>| {
                value.as_ref().map_or_else(|| "not there".to_owned(), Value::to_string)
            };
            bail!(
                "{} holds a run with other settings: `{}` is {} there and {} here; choose another \
                 --name, or remove that folder",
                self.folder.display(),
                differs.key,
                show(&differs.old),
                show(&differs.new),
            );
        }
        Ok(())
    }
}

/// The flags that choose a configuration, once more as words.
fn arguments(config: &ConfigArgs) -> Vec<String> {
    let mut args = vec![config.experiment.clone()];
    let parts = [("--env", &config.env), ("--rl", &config.rl), ("--seq", &config.seq)];
    for (flag, part) in parts {
        args.extend(part.iter().flat_map(|part| [flag.to_owned(), part.clone()]));
    }
    args.extend(config.set.iter().map(|set| format!("--set={set}")));
    args.extend(["--configs".to_owned(), config.configs.display().to_string()]);
    args
}

#[cfg(test)]
mod tests {
    use engram_analysis::Question;

    use super::*;

    fn spec(set: &[&str]) -> SweepSpec {
        SweepSpec {
            name: "s".into(),
            config: ConfigArgs {
                experiment: "main".into(),
                env: None,
                rl: None,
                seq: None,
                set: set.iter().map(ToString::to_string).collect(),
                configs: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs"),
                print_config: false,
            },
            vary: vec!["env.delay=2,3".parse().unwrap(), "seq=lstm,gru".parse().unwrap()],
            seeds: vec![1, 7],
            evaluate: 10,
            question: Question::default(),
        }
    }

    #[test]
    fn every_sweep_in_configs_can_be_run_and_its_question_is_about_it() {
        let configs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../configs");
        for name in engram_service::config::names(&configs, "sweeps").unwrap() {
            let file = configs.join(format!("sweeps/{name}.toml")).display().to_string();
            let configs = configs.display().to_string();
            let spec = super::super::spec::tests::spec_of(&[&file, "--configs", &configs]);
            let tasks = plan(&spec, Path::new("runs/s"), &[])
                .unwrap_or_else(|error| panic!("{file}: {error:#}"));
            assert!(tasks.len() > spec.seeds.len(), "{file}");
            // A sweep whose runs differ in more than it varies compares nothing.
            let left_out = tasks.iter().find_map(|task| task.left_out.as_ref());
            assert!(left_out.is_none_or(|keys| !keys.contains("--set")), "{file}: {left_out:?}");
            let set: Vec<String> = tasks.iter().flat_map(|task| task.args.clone()).collect();
            let question = &spec.question;
            for key in question.hue.iter().chain(&question.panel).chain(&question.x) {
                let varied = |word: &String| {
                    *word == format!("--{key}") || word.starts_with(&format!("--set={key}="))
                };
                assert!(set.iter().any(varied), "{file} asks for {key}, which it does not vary");
            }
        }
    }

    #[test]
    fn every_combination_and_seed_is_a_run_that_train_understands() {
        let tasks = plan(&spec(&["run.env_steps=500"]), Path::new("runs/s"), &[]).unwrap();
        assert_eq!(tasks.len(), 8);
        let last = &tasks[7];
        assert_eq!(last.name, "delay-3-seq-gru-seed7");
        assert_eq!(last.folder, Path::new("runs/s/delay-3-seq-gru-seed7"));
        assert_eq!(last.budget, 500);
        let line = last.args.join(" ");
        assert!(line.starts_with("train main --seq gru --set=run.env_steps=500"), "{line}");
        assert!(line.contains("--set=env.delay=3 --set=run.seed=7"), "{line}");
        assert!(line.ends_with("--run-name delay-3-seq-gru-seed7 --evaluate 10"), "{line}");
    }

    #[test]
    fn mistakes_are_told_before_the_first_run() {
        let refuse = |spec: &SweepSpec, flags: &[&str]| {
            let flags: Vec<String> = flags.iter().map(ToString::to_string).collect();
            format!("{:#}", plan(spec, Path::new("runs/s"), &flags).unwrap_err())
        };
        let error = refuse(&spec(&[]), &["--learner-thread", "2"]);
        assert!(error.contains("delay 2, seq lstm, seed 1"), "{error}");
        assert!(error.contains("--learner-thread"), "{error}");
        let mut other = spec(&[]);
        other.vary[0] = "env.delays=2".parse().unwrap();
        assert!(refuse(&other, &[]).contains("did you mean `env.delay`?"));
        other.vary[0] = "env.delay=2,2".parse().unwrap();
        assert!(refuse(&other, &[]).contains("two combinations are called delay-2-seq-lstm"));
    }

    #[test]
    fn a_run_is_finished_when_it_has_played_after_all_of_its_env_steps() {
        let runs = tempfile::tempdir().unwrap();
        let task = |set: &[&str]| plan(&spec(set), runs.path(), &[]).unwrap().remove(0);
        let first = task(&["run.env_steps=500"]);
        assert!(!first.is_finished());
        fs::create_dir_all(&first.folder).unwrap();
        let score = |steps: u32, episodes: u32| {
            let text = format!("env_steps,episodes,episode_return\n{steps},{episodes},1\n");
            fs::write(first.folder.join(final_evaluation::FILE), text).unwrap();
        };
        score(499, 10);
        assert!(!first.is_finished());
        score(512, 9);
        assert!(!first.is_finished());
        score(512, 10);
        assert!(first.is_finished());
        assert!(!task(&["run.env_steps=600"]).is_finished(), "it is to be trained for longer");
    }

    #[test]
    fn a_folder_with_other_settings_is_refused_unless_only_the_length_differs() {
        let runs = tempfile::tempdir().unwrap();
        let tasks = |set: &[&str]| plan(&spec(set), runs.path(), &[]);
        let first = tasks(&[]).unwrap().remove(0);
        fs::create_dir_all(&first.folder).unwrap();
        let experiment =
            Train::try_parse_from(&first.args[1..]).unwrap().args.experiment().unwrap();
        fs::write(first.folder.join("config.toml"), experiment.resolved.to_toml()).unwrap();
        assert!(tasks(&["run.env_steps=77"]).is_ok());
        let error = format!("{:#}", tasks(&["rl.discount=0.5"]).unwrap_err());
        assert!(error.contains("`rl.discount` is 0.") && error.contains("0.5 here"), "{error}");
    }
}
