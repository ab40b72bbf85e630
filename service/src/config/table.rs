//! Dotted keys of tables: walking, finding and setting them, naming the nearest.

use std::path::Path;

use toml::{Table, Value};

use super::ConfigError;

/// One key to be set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assignment {
    /// As `section.key`, or deeper; a number is an index into an array.
    pub(super) key: String,
    /// Its new value.
    pub(super) value: Value,
    /// The value as written on a command line, where quotes are rare.
    written: Option<String>,
}

/// Keys that a part may leave out, which switches a feature off. They may be set all the same,
/// where the table that they belong to exists.
pub const OPTIONAL: &[&str] = &[
    "env.module",
    "env.kwargs",
    "env.python",
    "env.address",
    "env.workers",
    "env.step_seconds",
    "env.frame_skip",
    "env.frame_stack",
    "env.grayscale",
    "env.resize",
    "env.clip_reward",
    "env.sticky_actions",
    "env.max_steps",
    "env.observe",
    "env.action_bound",
    "run.eval_actions",
    "rl.ratio_clip",
    "rl.normalize_advantages",
    "rl.value_clip",
    "rl.reward_scale",
    "rl.kl_stop",
    "rl.importance_clip",
    "rl.max_grad_norm",
    "rl.learning_rates",
    "rl.random_shift",
    "rl.reset_updates",
    "rl.log_ranks",
    "rl.freeze",
    "rl.optimizer.weight_decay",
    "rl.target.every",
    "rl.exploration.spread",
    "rl.exploration.action_noise",
    "rl.rate_limiter.slack_env_steps",
    "rl.rate_limiter.turns",
    "rl.replay.storage",
    "rl.replay.sampling",
    "rl.replay.initial_state",
    "rl.replay.packed",
    "rl.replay.batch_env_steps",
    "rl.objective.returns",
    "rl.objective.value_rescaling",
    "rl.objective.policy_delay",
    "rl.objective.critic_learning_rate",
    "rl.objective.critics.target_subset",
    "rl.objective.critics.learning_rate",
    "rl.objective.critics.value_guard",
    "rl.objective.temperature.greatest",
    "seq.parameters",
    "seq.memory.bf16",
    "seq.memory.export_state",
    "seq.embed",
    "seq.embed.observation",
    "seq.embed.previous_action",
    "seq.embed.previous_reward",
    "seq.embed.previous_observation",
    "seq.torso.output",
    "seq.torso.bf16",
    "seq.torso.norm",
    "seq.skip",
    "seq.memory.input",
    "seq.head.action",
];

impl Assignment {
    /// Parses `key=value`, where the value is TOML or a bare string.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        let no_value = || ConfigError::NoValue { text: text.into() };
        let (key, value) = text.split_once('=').ok_or_else(no_value)?;
        let (key, written) = (key.trim(), value.trim());
        if key.is_empty() || written.is_empty() {
            return Err(no_value());
        }
        let value = toml::from_str::<Table>(&format!("value = {written}"))
            .ok()
            .filter(|table| table.len() == 1)
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(written.into()));
        Ok(Assignment { key: key.into(), value, written: Some(written.into()) })
    }

    /// Assignments of a table of overrides, whose keys are dotted with or without quotes. One that
    /// names a variant, `{ name = "..", .. }`, takes the place of another variant, whole.
    pub(super) fn all_in(overrides: &Table) -> Vec<Self> {
        let assign = |(key, value): (String, &Value)| Assignment {
            key,
            value: value.clone(),
            written: None,
        };
        assigned(overrides).into_iter().map(assign).collect()
    }

    /// True if it sets a key of that section.
    pub(super) fn is_in(&self, section: &str) -> bool {
        self.key.split('.').next() == Some(section)
    }

    /// Sets the key to a value of its kind. It must exist already, or be one that may be left out.
    pub(super) fn apply(self, sections: &mut Table, place: &str) -> Result<(), ConfigError> {
        let known: Vec<String> = values(sections).into_iter().map(|(path, _)| path).collect();
        if find(sections, &self.key).is_none()
            && may_be_left_out(sections, &self.key)
            && let Some((table, key)) = self.key.rsplit_once('.')
            && let Some(Value::Table(table)) = find(sections, table)
        {
            table.insert(key.into(), self.value);
            return Ok(());
        }
        let Some(slot) = find(sections, &self.key) else {
            let nearest = nearest_path(&self.key, &known);
            let known = siblings(&self.key, sections);
            return Err(ConfigError::UnknownKey {
                key: self.key,
                place: place.into(),
                nearest,
                known,
            });
        };
        *slot = match (&*slot, self.value) {
            (Value::Float(_), Value::Integer(whole)) => Value::Float(whole as f64),
            (Value::Integer(_), Value::Float(number)) if is_whole(number) => {
                Value::Integer(number as i64)
            }
            (Value::Integer(_), Value::Float(number)) => Value::Float(number),
            (Value::String(_), Value::String(text)) => Value::String(text),
            (Value::String(_), value) => match self.written {
                Some(written) => Value::String(written),
                None => return Err(wrong_kind(self.key, &value, slot)),
            },
            (old, new) if old.same_type(&new) => new,
            (old, new) => return Err(wrong_kind(self.key, &new, old)),
        };
        Ok(())
    }
}

/// True if a key of these sections may be set: it is there, or may be left out.
pub(super) fn may_set(sections: &Table, key: &str) -> bool {
    may_be_left_out(sections, key) || values(sections).iter().any(|(path, _)| path == key)
}

/// True if a part of these sections may leave the key out: those of environments are Gymnasium's.
fn may_be_left_out(sections: &Table, key: &str) -> bool {
    let name = || sections.get("env").and_then(|env| env.get("name")).and_then(Value::as_str);
    OPTIONAL.contains(&key) && (!key.starts_with("env.") || name() == Some("gym"))
}

/// Parses TOML; an error names the line.
pub(super) fn parse(text: &str, file: &Path) -> Result<Table, ConfigError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ConfigError::Syntax {
            file: file.into(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message: error.message().into(),
        }
    })
}

/// The name most like `name`, if any is like it.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    best(known.map(|candidate| (likeness(name, candidate), candidate)))
}

/// Leaves of a table: every value that is no table itself, with its dotted key, in the order of the
/// file. An array is one value.
pub fn leaves(table: &Table) -> Vec<(String, &Value)> {
    let mut all = walk(table, Value::is_table);
    all.retain(|(_, value)| !value.is_table());
    all
}

/// Values that a table of overrides assigns, with their dotted keys: its leaves, where a table that
/// names a variant is one value.
pub fn assigned(overrides: &Table) -> Vec<(String, &Value)> {
    let mut all = walk(overrides, |value| value.is_table() && !names_variant(value));
    all.retain(|(_, value)| !value.is_table() || names_variant(value));
    all
}

fn names_variant(value: &Value) -> bool {
    value.get("name").is_some_and(Value::is_str)
}

/// Value as `--set` takes it: a string without quotes.
pub fn written(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Values of a table at any depth, with their dotted keys, in the order of the file: tables and
/// arrays before what they hold. In an array the key is an index.
pub(super) fn values(table: &Table) -> Vec<(String, &Value)> {
    walk(table, |_| true)
}

fn walk(table: &Table, enter: fn(&Value) -> bool) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    for (key, value) in table {
        collect(key.clone(), value, enter, &mut all);
    }
    all
}

/// The value at a dotted path.
pub(super) fn find<'a>(table: &'a mut Table, path: &str) -> Option<&'a mut Value> {
    let mut segments = path.split('.');
    let first = table.get_mut(segments.next()?)?;
    segments.try_fold(first, |value, segment| match value {
        Value::Table(table) => table.get_mut(segment),
        Value::Array(array) => array.get_mut(segment.parse::<usize>().ok()?),
        _ => None,
    })
}

/// Kind of a value, for people.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "an array",
        Value::Table(_) => "a table",
    }
}

fn collect<'a>(
    path: String,
    value: &'a Value,
    enter: fn(&Value) -> bool,
    all: &mut Vec<(String, &'a Value)>,
) {
    all.push((path.clone(), value));
    match value {
        Value::Table(table) if enter(value) => {
            for (key, value) in table {
                collect(format!("{path}.{key}"), value, enter, all);
            }
        }
        Value::Array(array) if enter(value) => {
            for (index, value) in array.iter().enumerate() {
                collect(format!("{path}.{index}"), value, enter, all);
            }
        }
        _ => {}
    }
}

/// The keys that stand beside an unknown one: those of the deepest table that its path reaches.
fn siblings(key: &str, sections: &Table) -> Vec<String> {
    let mut table = sections;
    for segment in key.split('.') {
        match table.get(segment) {
            Some(Value::Table(inner)) => table = inner,
            _ => break,
        }
    }
    table.keys().cloned().collect()
}

fn nearest_path(key: &str, known: &[String]) -> Option<String> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    best(known.iter().filter(|path| path.contains('.')).map(|path| {
        let whole = likeness(key, path);
        let end = 0.95 * likeness(&last(key), &last(path));
        (whole.max(end), path)
    }))
    .cloned()
}

fn likeness(a: &str, b: &str) -> f64 {
    let contained = a.len() > 2 && b.len() > 2 && (a.contains(b) || b.contains(a));
    let edits = strsim::normalized_damerau_levenshtein(a, b);
    if contained { edits.max(0.7) } else { edits }
}

fn best<T>(scored: impl Iterator<Item = (f64, T)>) -> Option<T> {
    scored
        .filter(|(score, _)| *score >= 0.5)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() <= (1_u64 << 53) as f64
}

fn wrong_kind(key: String, found: &Value, now: &Value) -> ConfigError {
    let expected = format!("{}, as in {now}", kind_of(now));
    ConfigError::BadValue { key, value: found.to_string(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections() -> Table {
        toml::from_str(
            r#"
            [rl]
            learning_rate = 1e-3
            updates = 3
            optimizer = "adam"
            [seq]
            layers = [{ width = 64 }, { width = 128 }]
            [seq.memory]
            kind = "lstm"
            stacked = false
            "#,
        )
        .unwrap()
    }

    fn set(text: &str) -> Result<Table, ConfigError> {
        let mut table = sections();
        Assignment::parse(text)?.apply(&mut table, "--set")?;
        Ok(table)
    }

    #[test]
    fn numbers_fit_themselves_to_the_kind_that_stands_there() {
        assert_eq!(set("rl.learning_rate=1").unwrap()["rl"]["learning_rate"], Value::Float(1.0));
        assert_eq!(set("rl.updates=1e6").unwrap()["rl"]["updates"], Value::Integer(1_000_000));
        assert_eq!(set("rl.learning_rate=3e-4").unwrap()["rl"]["learning_rate"], 3e-4.into());
    }

    #[test]
    fn strings_need_no_quotes_even_where_they_look_like_something_else() {
        for (text, value) in [("rmsprop", "rmsprop"), ("\"sgd\"", "sgd"), ("17", "17")] {
            let table = set(&format!("rl.optimizer={text}")).unwrap();
            assert_eq!(table["rl"]["optimizer"], value.into());
        }
    }

    #[test]
    fn paths_go_into_tables_and_arrays() {
        assert_eq!(
            set("seq.memory.stacked = true").unwrap()["seq"]["memory"]["stacked"],
            true.into()
        );
        assert_eq!(set("seq.layers.1.width=32").unwrap()["seq"]["layers"][1]["width"], 32.into());
        assert_eq!(set("seq.layers=[]").unwrap()["seq"]["layers"], Value::Array(vec![]));
    }

    #[test]
    fn a_wrong_kind_names_key_value_and_what_stands_there() {
        let error = set("rl.learning_rate=fast").unwrap_err().to_string();
        assert_eq!(error, "`rl.learning_rate` is \"fast\"; expected a number, as in 0.001");
        let error = set("seq.memory.stacked=1").unwrap_err().to_string();
        assert_eq!(error, "`seq.memory.stacked` is 1; expected true or false, as in false");
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one() {
        for (text, wanted) in [
            ("rl.lerning_rate=1", "did you mean `rl.learning_rate`?"),
            ("learning_rate=1", "did you mean `rl.learning_rate`?"),
            ("rl.rate=1", "did you mean `rl.learning_rate`?"),
            ("seq.stacked=true", "did you mean `seq.memory.stacked`?"),
            ("rl.zzz=1", "in --set; known: learning_rate, updates, optimizer"),
        ] {
            let error = set(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }

    #[test]
    fn an_assignment_without_a_value_is_refused() {
        for text in ["rl.updates", "rl.updates=", "=3"] {
            assert!(matches!(set(text), Err(ConfigError::NoValue { .. })), "{text}");
        }
    }

    #[test]
    fn overrides_are_dotted_with_or_without_quotes() {
        let table: Table = toml::from_str("\"a.b\" = 1\nc.d.e = 2").unwrap();
        let keys: Vec<String> = Assignment::all_in(&table).into_iter().map(|a| a.key).collect();
        assert_eq!(keys, ["a.b", "c.d.e"]);
    }

    #[test]
    fn an_override_that_names_a_variant_replaces_the_one_before_whole() {
        let mut sections: Table =
            toml::from_str("[seq.init]\nname = \"uniform\"\nbound = 1.0").unwrap();
        let overrides: Table =
            toml::from_str("\"seq.init\" = { name = \"normal\", std = 0.1, bias = 0.0 }").unwrap();
        for assignment in Assignment::all_in(&overrides) {
            assignment.apply(&mut sections, "here").unwrap();
        }
        assert_eq!(sections["seq"]["init"], overrides["seq.init"]);
    }
}
