//! Experiments made of parts: an environment, an algorithm, a sequence model.
//!
//! `configs/env/*.toml`, `configs/rl/*.toml` and `configs/seq/*.toml` hold complete parts.
//! `configs/experiments/*.toml` name one of each, override single keys, and set the run's own
//! settings. What reproduces somebody's program lies in a folder of its own, as
//! `configs/experiments/memory-rl`:
//!
//! ```toml
//! env = "recall"
//! rl = "vtrace"
//! seq = "lstm"
//!
//! [run]               # see `RunConfig`
//! seed = 1
//!
//! [overrides]         # the same keys as --set
//! "env.delay" = 20
//! ```
//!
//! Later ones win: parts, then the experiment's overrides, then `--set`. An override of a part
//! that the command line has replaced was written for another part, so it is left out, and
//! [`Resolved::left_out`] names it. The result is a [`Resolved`] configuration: complete,
//! printable, and itself a file that can be run again.
//!
//! No key is ever invented: parts are complete, so setting a key that they lack is a mistake, and
//! the error names the nearest one.

mod error;
mod resolved;
mod run;
mod setting;
mod table;
mod toml_error;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

pub use error::ConfigError;
pub use resolved::{PARTS, Parts, Resolved};
pub use run::{ActionChoice, RunConfig};
pub use setting::{Difference, SettingClass, differences};
pub use table::{OPTIONAL, assigned, leaves, nearest, written};
pub use toml_error::read_table;

use table::Assignment;

/// The directory of experiments below `configs/`.
pub const EXPERIMENTS: &str = "experiments";

/// Before an id of Gymnasium, instead of the name of an environment in `configs/env`.
const GYM: &str = "gym:";
/// Before a game of ProcGen, likewise.
const PROCGEN: &str = "procgen:";

/// Choice of an experiment and of changes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentSelection {
    /// The name of an experiment, or the path of a `.toml` file: an experiment, or a run's
    /// resolved `config.toml`.
    pub experiment: String,
    /// Another environment than the experiment's: a name, `gym:` and an id of Gymnasium, `procgen:`
    /// and a game, or the path of a `.toml` file.
    pub env: Option<String>,
    /// Another algorithm than the experiment's.
    pub rl: Option<String>,
    /// Another sequence model than the experiment's.
    pub seq: Option<String>,
    /// `key=value`, where the value is TOML or a bare string; the last one wins.
    pub set: Vec<String>,
    /// Directory of experiments and parts.
    pub configs: PathBuf,
}

/// The flags that choose a configuration.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// Name of an experiment, or path of a .toml file (an experiment, or a run's config.toml)
    #[arg(value_name = "EXPERIMENT")]
    pub experiment: String,
    /// Another environment: a name from configs/env, gym:ID, procgen:GAME, or a .toml file
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,
    /// Another algorithm: a name from configs/rl, or a .toml file
    #[arg(long, value_name = "NAME")]
    pub rl: Option<String>,
    /// Another sequence model: a name from configs/seq, or a .toml file
    #[arg(long, value_name = "NAME")]
    pub seq: Option<String>,
    /// Set one key, as in rl.learning_rate=3e-4; may be given many times, or hold several,
    /// separated by semicolons
    #[arg(long, value_name = "KEY=VALUE", env = "ENGRAM_SET", value_delimiter = ';')]
    pub set: Vec<String>,
    /// Directory of experiments and parts
    #[arg(long, value_name = "DIR", env = "ENGRAM_CONFIGS", default_value = "configs")]
    pub configs: PathBuf,
    /// Print the resolved configuration and leave
    #[arg(long)]
    pub print_config: bool,
}

impl ConfigArgs {
    /// Selection of these flags.
    pub fn selection(&self) -> ExperimentSelection {
        ExperimentSelection {
            experiment: self.experiment.clone(),
            env: self.env.clone(),
            rl: self.rl.clone(),
            seq: self.seq.clone(),
            // A variable that is empty, or ends with a semicolon, sets nothing more.
            set: self.set.iter().filter(|set| !set.trim().is_empty()).cloned().collect(),
            configs: self.configs.clone(),
        }
    }

    /// Resolves the selection.
    pub fn resolve(&self) -> Result<Resolved, ConfigError> {
        resolve(&self.selection())
    }
}

/// Makes one complete configuration of a selection.
pub fn resolve(selection: &ExperimentSelection) -> Result<Resolved, ConfigError> {
    let source = locate(&selection.configs, EXPERIMENTS, &selection.experiment)?;
    let document = read(&source.path)?;
    let mut resolved = if Resolved::is_resolved(&document) {
        let mut resolved = Resolved::from_document(document, &source.path)?;
        for (kind, name) in replacements(selection) {
            let (name, part) = read_part(&selection.configs, kind, name)?;
            resolved.replace(kind, name, part);
        }
        resolved
    } else {
        compose(selection, source, document)?
    };
    for text in &selection.set {
        resolved.set(text)?;
    }
    resolved.run()?;
    Ok(resolved)
}

/// Reads one part of an experiment by itself: the name that it goes by, and its reader's type, with
/// the keys that `set` sets in it.
pub fn part<T: DeserializeOwned>(
    configs: &Path,
    kind: &'static str,
    name: &str,
    set: &[String],
) -> Result<(String, T), ConfigError> {
    let (name, part) = read_part(configs, kind, name)?;
    let mut sections = Table::new();
    sections.insert(kind.into(), part.into());
    for text in set {
        Assignment::parse(text)?.apply(&mut sections, "--set")?;
    }
    let part = sections[kind].as_table().expect("what is set keeps its kind");
    Ok((name, read_table(kind, part)?))
}

/// The names of all experiments ([`EXPERIMENTS`]) or of all parts of a kind ([`PARTS`]), sorted. A
/// file in a folder has the folder's name in front, as in `resel/mamba`.
pub fn names(configs: &Path, kind: &str) -> Result<Vec<String>, ConfigError> {
    let mut names = Vec::new();
    collect_names(&configs.join(kind), "", &mut names)?;
    names.sort();
    Ok(names)
}

fn collect_names(
    directory: &Path,
    prefix: &str,
    names: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let entries = std::fs::read_dir(directory)
        .map_err(|source| ConfigError::Directory { directory: directory.into(), source })?;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = format!("{prefix}{}", stem(&path));
        if path.is_dir() {
            collect_names(&path, &format!("{name}/"), names)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            names.push(name);
        }
    }
    Ok(())
}

/// A file and the name that it goes by.
struct ConfigFile {
    name: String,
    path: PathBuf,
}

fn locate(configs: &Path, kind: &'static str, name: &str) -> Result<ConfigFile, ConfigError> {
    if Path::new(name).extension().is_some_and(|extension| extension == "toml") {
        let path = PathBuf::from(name);
        return Ok(ConfigFile { name: stem(&path), path });
    }
    let path = configs.join(kind).join(format!("{name}.toml"));
    let known = names(configs, kind)?;
    if known.iter().any(|known| known == name) {
        return Ok(ConfigFile { name: name.into(), path });
    }
    Err(ConfigError::UnknownName {
        what: if kind == EXPERIMENTS { "experiment" } else { kind },
        name: name.into(),
        directory: configs.join(kind),
        nearest: nearest(name, known.iter().map(String::as_str)).map(Into::into),
        known,
    })
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { file: path.into(), source })?;
    table::parse(&text, path)
}

fn read_part(
    configs: &Path,
    kind: &'static str,
    name: &str,
) -> Result<(String, Table), ConfigError> {
    if let Some(id) = name.strip_prefix(GYM).filter(|_| kind == "env") {
        return Ok((name.replace(':', "-"), gym(id)));
    }
    if let Some(game) = name.strip_prefix(PROCGEN).filter(|_| kind == "env") {
        return Ok((name.replace(':', "-"), procgen(game)));
    }
    let source = locate(configs, kind, name)?;
    Ok((source.name, read(&source.path)?))
}

/// The environment of Gymnasium with this id, and nothing else.
fn gym(id: &str) -> Table {
    let keys = [("name", "gym"), ("id", id)];
    keys.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

/// This game of ProcGen, with all of its hard levels, as ProcGen itself begins.
fn procgen(game: &str) -> Table {
    let mut keys = Table::new();
    keys.insert("name".into(), "procgen".into());
    keys.insert("game".into(), game.into());
    keys.insert("distribution_mode".into(), "hard".into());
    keys.insert("num_levels".into(), 0.into());
    keys.insert("start_level".into(), 0.into());
    keys
}

/// The parts that the command line puts in the place of the experiment's.
fn replacements(selection: &ExperimentSelection) -> impl Iterator<Item = (&'static str, &str)> {
    PARTS
        .into_iter()
        .zip([&selection.env, &selection.rl, &selection.seq])
        .filter_map(|(kind, name)| Some((kind, name.as_deref()?)))
}

/// Reads an experiment's parts and applies its overrides.
fn compose(
    selection: &ExperimentSelection,
    source: ConfigFile,
    mut document: Table,
) -> Result<Resolved, ConfigError> {
    let file = &source.path;
    check_keys(&document, file)?;
    let mut chosen = Vec::new();
    let mut replaced = Vec::new();
    for kind in PARTS {
        let named = match document.remove(kind) {
            Some(Value::String(name)) => name,
            Some(other) => {
                return Err(ConfigError::BadValue {
                    key: kind.into(),
                    value: other.to_string(),
                    expected: format!(
                        "the name of a file in {}/{kind}",
                        selection.configs.display()
                    ),
                });
            }
            None => {
                return Err(ConfigError::MissingKey { key: kind.into(), place: place(file) });
            }
        };
        let wanted = replacements(selection).find(|(k, _)| *k == kind).map(|(_, name)| name);
        if wanted.is_some_and(|wanted| wanted != named) {
            replaced.push(kind);
        }
        chosen.push(read_part(&selection.configs, kind, wanted.unwrap_or(&named))?);
    }
    let run = section(&mut document, "run", file)?
        .ok_or_else(|| ConfigError::MissingKey { key: "run".into(), place: place(file) })?;
    let overrides = section(&mut document, "overrides", file)?.unwrap_or_default();
    let mut resolved = Resolved::new(source.name, run, chosen);
    for assignment in Assignment::all_in(&overrides) {
        if replaced.iter().any(|kind| assignment.is_in(kind)) {
            resolved.leave_out(&assignment);
            continue;
        }
        resolved.assign(assignment, &format!("[overrides] of {}", file.display()))?;
    }
    Ok(resolved)
}

fn check_keys(document: &Table, file: &Path) -> Result<(), ConfigError> {
    let known = ["env", "rl", "seq", "run", "overrides"];
    match document.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(ConfigError::UnknownKey {
            key: key.clone(),
            place: place(file),
            nearest: nearest(key, known.into_iter()).map(Into::into),
            known: known.map(String::from).to_vec(),
        }),
    }
}

fn section(document: &mut Table, name: &str, file: &Path) -> Result<Option<Table>, ConfigError> {
    match document.remove(name) {
        None => Ok(None),
        Some(Value::Table(table)) => Ok(Some(table)),
        Some(other) => Err(ConfigError::BadValue {
            key: name.into(),
            value: other.to_string(),
            expected: format!("a table, [{name}], in {}", file.display()),
        }),
    }
}

fn place(file: &Path) -> String {
    file.display().to_string()
}
