//! Spec of a sweep, from flags or from a file.
//!
//! ```toml
//! experiment = "main"                  # also env, rl and seq, in the place of the experiment's
//! seeds = [1, 2, 3]
//! evaluate = 100                       # greedy episodes after each training
//!
//! [overrides]                          # the same keys as --set
//! "run.unroll_length" = 5
//!
//! [[vary]]                             # settings in one table change together
//! "env.delay" = [20, 50]
//! "run.env_steps" = [500_000, 800_000]
//!
//! [[vary]]
//! seq = ["elstm-small-rtrl", "elstm-small-tbptt"]
//!
//! [plot]                               # may be left out; the flags of `engram plot`
//! x = "env.delay"
//! ```

use std::path::Path;

use anyhow::{Context, Result, bail};
use engram_analysis::Question;
use engram_service::config::{ConfigArgs, assigned, read_table};
use serde::Deserialize;
use toml::Table;

use super::args::SweepArgs;
use super::grid::Axis;

/// Seeds and greedy episodes where flags name none.
const SEEDS: [u64; 3] = [1, 2, 3];
const EVALUATE: u32 = 100;

/// Spec of a sweep.
#[derive(Clone, Debug)]
pub(crate) struct SweepSpec {
    /// A name for its folder.
    pub(crate) name: String,
    /// The experiment, with everything that all runs share.
    pub(crate) config: ConfigArgs,
    /// Axes of the grid.
    pub(crate) vary: Vec<Axis>,
    /// Seeds of every combination.
    pub(crate) seeds: Vec<u64>,
    /// Greedy episodes after each training.
    pub(crate) evaluate: u32,
    /// Question that its charts answer.
    pub(crate) question: Question,
}

/// A sweep's file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecFile {
    experiment: String,
    env: Option<String>,
    rl: Option<String>,
    seq: Option<String>,
    seeds: Vec<u64>,
    evaluate: u32,
    #[serde(default)]
    overrides: Table,
    vary: Vec<Table>,
    #[serde(default)]
    plot: Question,
}

impl SweepSpec {
    /// The spec of a command line.
    pub(crate) fn from_args(args: &SweepArgs) -> Result<Self> {
        let path = Path::new(&args.config.experiment);
        let mut spec = match document(path)? {
            Some(table) => {
                if !args.vary.is_empty() {
                    bail!("{} says what to vary; --vary is for experiments", path.display());
                }
                Self::from_file(args, path, &table)
                    .with_context(|| format!("in {}", path.display()))?
            }
            None => Self::from_flags(args)?,
        };
        if let Some(name) = &args.name {
            spec.name.clone_from(name);
        }
        if let Some(seeds) = &args.seeds {
            spec.seeds.clone_from(seeds);
        }
        spec.evaluate = args.evaluate.unwrap_or(spec.evaluate);
        if args.question != Question::default() {
            spec.question = args.question.clone();
        }
        spec.check()?;
        Ok(spec)
    }

    fn from_flags(args: &SweepArgs) -> Result<Self> {
        if args.vary.is_empty() {
            bail!("nothing is varied; say --vary KEY=VALUE,VALUE,.. or name a sweep's .toml file");
        }
        let keys: Vec<String> = args.vary.iter().map(Axis::short).collect();
        Ok(SweepSpec {
            name: format!("{}-by-{}", stem(Path::new(&args.config.experiment)), keys.join("-")),
            config: args.config.clone(),
            vary: args.vary.clone(),
            seeds: SEEDS.to_vec(),
            evaluate: EVALUATE,
            question: args.question.clone(),
        })
    }

    fn from_file(args: &SweepArgs, path: &Path, table: &Table) -> Result<Self> {
        let file: SpecFile = read_table("sweep", table)?;
        let overrides = assigned(&file.overrides).into_iter();
        let mut set: Vec<String> = overrides.map(|(key, value)| format!("{key}={value}")).collect();
        // What the command line sets is later, and wins.
        set.extend(args.config.set.iter().cloned());
        let flags = &args.config;
        let config = ConfigArgs {
            experiment: file.experiment,
            env: flags.env.clone().or(file.env),
            rl: flags.rl.clone().or(file.rl),
            seq: flags.seq.clone().or(file.seq),
            set,
            ..flags.clone()
        };
        Ok(SweepSpec {
            name: stem(path),
            config,
            vary: file.vary.iter().map(Axis::from_table).collect::<Result<_>>()?,
            seeds: file.seeds,
            evaluate: file.evaluate,
            question: file.plot,
        })
    }

    fn check(&self) -> Result<()> {
        if self.vary.is_empty() || self.seeds.is_empty() {
            bail!("a sweep needs something to vary and at least one seed");
        }
        if self.evaluate == 0 {
            bail!("evaluate is 0; a run is finished when its policy has played, so at least 1");
        }
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        if seeds.windows(2).any(|pair| pair[0] == pair[1]) {
            bail!("a seed is named twice, which would be the same run twice");
        }
        Ok(())
    }
}

/// The file's content if it is a sweep's; `None` if it is an experiment's, or no file.
fn document(path: &Path) -> Result<Option<Table>> {
    if path.extension().is_none_or(|extension| extension != "toml") {
        return Ok(None);
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: Table = text.parse().with_context(|| format!("{} is no TOML", path.display()))?;
    let has = |key: &str| table.contains_key(key);
    // A resolved configuration names its experiment, too, and its parts.
    let sweep = ["experiment", "vary", "seeds", "evaluate"].into_iter().any(has) && !has("parts");
    Ok(sweep.then_some(table))
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        sweep: SweepArgs,
    }

    /// The spec that `engram sweep` with these words asks for.
    pub(crate) fn spec_of(words: &[&str]) -> SweepSpec {
        let words = std::iter::once("sweep").chain(words.iter().copied());
        SweepSpec::from_args(&Flags::try_parse_from(words).unwrap().sweep).unwrap()
    }

    const FILE: &str = "experiment = \"main\"\nseeds = [1, 2]\nevaluate = 10\n\
        [overrides]\n\"run.unroll_length\" = 5\nenv.choices = 4\n\
        [[vary]]\n\"env.delay\" = [2, 3]\n\"run.env_steps\" = [100, 200]\n\
        [[vary]]\nseq = [\"lstm\", \"gru\"]\n[plot]\nx = \"env.delay\"\n";

    fn spec(text: &str, flags: &[&str]) -> Result<SweepSpec> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("short.toml");
        std::fs::write(&file, text).unwrap();
        let file = file.display().to_string();
        let args = ["sweep", &file].into_iter().chain(flags.iter().copied());
        SweepSpec::from_args(&Flags::try_parse_from(args).unwrap().sweep)
    }

    #[test]
    fn a_file_is_a_whole_study_and_flags_win_over_it() {
        let found = spec(FILE, &["--set", "run.unroll_length=7", "--seeds", "5"]).unwrap();
        assert_eq!(found.name, "short");
        assert_eq!(found.config.experiment, "main");
        let set = ["run.unroll_length=5", "env.choices=4", "run.unroll_length=7"];
        assert_eq!(found.config.set, set);
        assert_eq!((found.seeds, found.evaluate), (vec![5], 10));
        assert_eq!(found.question.x.as_deref(), Some("env.delay"));
        let points = super::super::grid::points(&found.vary);
        assert_eq!(points.len(), 4);
        let settings: Vec<_> = points[3].settings().collect();
        assert_eq!(settings, [("env.delay", "3"), ("run.env_steps", "200"), ("seq", "gru")]);
    }

    #[test]
    fn mistakes_in_a_file_are_named_with_what_would_be_right() {
        let refuse =
            |from: &str, to: &str| format!("{:#}", spec(&FILE.replace(from, to), &[]).unwrap_err());
        let error = refuse("evaluate", "evaluat");
        assert!(
            error.contains("short.toml") && error.contains("did you mean `evaluate`?"),
            "{error}"
        );
        let error = refuse("x = \"env", "xx = \"env");
        assert!(error.contains("unknown key `sweep.plot.xx`"), "{error}");
        assert!(refuse("seeds = [1, 2]\n", "").contains("`sweep.seeds` is missing"));
        assert!(refuse("seeds = [1, 2]", "seeds = [1, 1]").contains("twice"));
        assert!(refuse("[100, 200]", "[100]").contains("2 values for `env.delay`"));
        assert!(refuse("[2, 3]", "2").contains("`env.delay`"));
        assert!(refuse("= 10", "= 0").contains("at least 1"));
        assert!(refuse("seeds = [", "seeds = ").contains("no TOML"));
    }

    #[test]
    fn an_experiment_needs_something_to_vary_and_a_file_says_it_itself() {
        let flags = Flags::try_parse_from(["sweep", "main"]).unwrap();
        assert!(SweepSpec::from_args(&flags.sweep).unwrap_err().to_string().contains("--vary"));
        let error = spec(FILE, &["--vary", "seq=lstm"]).unwrap_err().to_string();
        assert!(error.contains("says what to vary"), "{error}");
        let flags = ["sweep", "main", "--vary", "seq=lstm,gru", "--vary", "env.delay=2"];
        let found = SweepSpec::from_args(&Flags::try_parse_from(flags).unwrap().sweep).unwrap();
        assert_eq!((found.name.as_str(), found.seeds.len()), ("main-by-seq-delay", 3));
    }
}
