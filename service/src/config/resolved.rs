//! Resolved configuration: complete, printable, and itself a file that can be run again.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::table::{self, Assignment, nearest};
use super::toml_error::read_table;
use super::{ConfigError, RunConfig};

/// The three kinds of parts; also directories of `configs/` and sections of the result.
pub const PARTS: [&str; 3] = ["env", "rl", "seq"];

/// Names of the parts that a configuration was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// The environment.
    pub env: String,
    /// The algorithm.
    pub rl: String,
    /// The sequence model.
    pub seq: String,
}

/// A complete configuration, in four sections: `run`, `env`, `rl`, `seq`.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    experiment: String,
    parts: Parts,
    sections: Table,
    /// Overrides for parts that were replaced: keys, and values as written.
    left_out: Vec<(String, String)>,
}

/// The keys of a resolved file.
const KEYS: [&str; 6] = ["experiment", "parts", "run", "env", "rl", "seq"];

impl Resolved {
    /// Reads a text of [`to_toml`](Self::to_toml).
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let file = Path::new("config.toml");
        let resolved = Self::from_document(table::parse(text, file)?, file)?;
        resolved.run()?;
        Ok(resolved)
    }

    /// The resolved configuration as a file that can be run again.
    pub fn to_toml(&self) -> String {
        let body = toml::to_string_pretty(&self.to_table()).expect("tables of TOML print as TOML");
        let name = &self.experiment;
        format!("# The resolved configuration of `{name}`. This file can be run again.\n\n{body}")
    }

    /// The whole configuration as one table, with the experiment's name and those of its parts.
    pub fn to_table(&self) -> Table {
        let mut document = Table::new();
        document.insert("experiment".into(), self.experiment.clone().into());
        let parts = Table::try_from(&self.parts).expect("three strings are a table");
        document.insert("parts".into(), parts.into());
        document.extend(self.sections.clone());
        document
    }

    /// The experiment's name.
    pub fn experiment(&self) -> &str {
        &self.experiment
    }

    /// The experiment's name as the name of a file or folder.
    pub fn file_name(&self) -> String {
        self.experiment.replace('/', "-")
    }

    /// The names of its parts.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// A section as it stands: `run`, `env`, `rl` or `seq`. Any other name is a bug.
    pub fn table(&self, section: &str) -> &Table {
        self.sections
            .get(section)
            .and_then(Value::as_table)
            .expect("a configuration has the sections run, env, rl and seq")
    }

    /// The same, to be changed: what is written there is checked when it is read.
    pub fn table_mut(&mut self, section: &str) -> &mut Table {
        self.sections
            .get_mut(section)
            .and_then(Value::as_table_mut)
            .expect("a configuration has the sections run, env, rl and seq")
    }

    /// A section as its reader's type.
    pub fn section<T: DeserializeOwned>(&self, section: &str) -> Result<T, ConfigError> {
        read_table(section, self.table(section))
    }

    /// The run's own settings, checked.
    pub fn run(&self) -> Result<RunConfig, ConfigError> {
        let run: RunConfig = self.section("run")?;
        run.validate()?;
        Ok(run)
    }

    /// Warning that names the experiment's overrides which do not apply, because their part was
    /// replaced; `None` if all apply.
    pub fn left_out(&self) -> Option<String> {
        let (known, unknown): (Vec<_>, Vec<_>) =
            self.left_out.iter().partition(|(key, _)| table::may_set(&self.sections, key));
        let list = |keys: Vec<&(String, String)>, note: &str| {
            let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            (!keys.is_empty()).then(|| format!("{} ({note})", keys.join(", ")))
        };
        let lists = [
            list(known, "pass them by --set to keep them"),
            list(unknown, "the new part has no such key"),
        ];
        let lists: Vec<_> = lists.into_iter().flatten().collect();
        let experiment = &self.experiment;
        (!lists.is_empty()).then(|| {
            format!(
                "overrides of `{experiment}` are left out, because their part was replaced: {}",
                lists.join("; ")
            )
        })
    }

    /// Sets one key: `section.key=value`, as `--set` does.
    pub fn set(&mut self, text: &str) -> Result<(), ConfigError> {
        let assignment = Assignment::parse(text)?;
        self.left_out.retain(|(key, _)| *key != assignment.key);
        self.assign(assignment, "--set")
    }

    pub(super) fn new(experiment: String, run: Table, parts: Vec<(String, Table)>) -> Self {
        let [env, rl, seq]: [(String, Table); 3] =
            parts.try_into().expect("there are three kinds of parts");
        let mut sections = Table::new();
        sections.insert("run".into(), run.into());
        for (kind, (_, part)) in PARTS.into_iter().zip([&env, &rl, &seq]) {
            sections.insert(kind.into(), part.clone().into());
        }
        let parts = Parts { env: env.0, rl: rl.0, seq: seq.0 };
        Resolved { experiment, parts, sections, left_out: Vec::new() }
    }

    pub(super) fn assign(&mut self, what: Assignment, place: &str) -> Result<(), ConfigError> {
        what.apply(&mut self.sections, place)
    }

    /// Leaves out an override, whose part was replaced.
    pub(super) fn leave_out(&mut self, what: &Assignment) {
        self.left_out.push((what.key.clone(), table::written(&what.value)));
    }

    pub(super) fn replace(&mut self, kind: &'static str, name: String, part: Table) {
        self.sections.insert(kind.into(), part.into());
        match kind {
            "env" => self.parts.env = name,
            "rl" => self.parts.rl = name,
            _ => self.parts.seq = name,
        }
    }

    /// True if a file is a resolved configuration rather than an experiment.
    pub(super) fn is_resolved(document: &Table) -> bool {
        document.contains_key("parts")
    }

    pub(super) fn from_document(mut document: Table, file: &Path) -> Result<Self, ConfigError> {
        let place = file.display().to_string();
        if let Some(key) = document.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(ConfigError::UnknownKey {
                key: key.clone(),
                place,
                nearest: nearest(key, KEYS.into_iter()).map(Into::into),
                known: KEYS.map(String::from).to_vec(),
            });
        }
        let mut take = |key: &str| {
            let missing = ConfigError::MissingKey { key: key.into(), place: place.clone() };
            document.remove(key).ok_or(missing)
        };
        let experiment = match take("experiment")? {
            Value::String(name) => name,
            other => return Err(bad("experiment", &other, "the name of an experiment")),
        };
        let parts = read_table("parts", &into_table("parts", take("parts")?)?)?;
        let mut sections = Table::new();
        for section in ["run", "env", "rl", "seq"] {
            sections.insert(section.into(), into_table(section, take(section)?)?.into());
        }
        Ok(Resolved { experiment, parts, sections, left_out: Vec::new() })
    }
}

fn into_table(key: &str, value: Value) -> Result<Table, ConfigError> {
    match value {
        Value::Table(table) => Ok(table),
        other => Err(bad(key, &other, "a table")),
    }
}

fn bad(key: &str, value: &Value, expected: &str) -> ConfigError {
    ConfigError::BadValue { key: key.into(), value: value.to_string(), expected: expected.into() }
}
