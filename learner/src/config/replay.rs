//! Replay settings: what is kept, and how it is sampled.

use serde::{Deserialize, Serialize};

use crate::config::flags::ByteSize;
use crate::config::{OutOfRange, is_default, require, share};

/// Capacity and sampling. A feature that is not named is off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayConfig {
    /// The most env steps (decisions) of complete episodes; the oldest are forgotten first.
    pub max_env_steps: u64,
    /// The most bytes that these take, written as in `"4GiB"`: of memory, or of the disk.
    #[serde(with = "size")]
    pub max_bytes: ByteSize,
    /// Part of an episode that a sequence is.
    pub sequences: Sequences,
    /// Place of the sealed segments; `"memory"` if not given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub storage: Storage,
    /// Distribution from which sequences are drawn; uniform if not given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sampling: Sampling,
    /// The recurrent state with which a sequence begins; `"zero"` if not given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub initial_state: InitialState,
    /// True if several sequences may share one row of a batch, one after another; `false` if not
    /// given.
    #[serde(default, skip_serializing_if = "is_default")]
    pub packed: bool,
    /// Decisions that a batch has at least: sequences are drawn beyond `rl.batch_size` until it has
    /// so many. No more are drawn if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_env_steps: Option<u64>,
}

/// Place of sealed segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// In memory. Checkpoints copy them to the disk.
    #[default]
    Memory,
    /// In files of the run's folder, mapped into memory: what is not looked at takes none.
    Disk,
}

/// Distribution from which sequences are drawn, with replacement; the key `name` names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sampling {
    /// Every start is as likely as any other.
    #[default]
    Uniform,
    /// Whole episodes in proportion to their decisions, so that every decision is as likely as any
    /// other.
    ByLength,
    /// Proportional to priorities (Schaul et al. 2016, <https://arxiv.org/abs/1511.05952>).
    Prioritized {
        /// α: a start of priority p is drawn in proportion to `p^α`; 0 is uniform.
        exponent: f64,
        /// β: importance weights are `(N · P)^−β`, divided by the largest of the sample.
        importance: f64,
        /// η: of a sequence's priority, the share of its largest error; the rest is that of their
        /// mean.
        largest_share: f64,
    },
}

/// Part of an episode that a sequence is; the key `name` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sequences {
    /// All of it.
    Episodes,
    /// `length` decisions, or as many as the episode has from its start on.
    Chunks {
        /// Decisions that are learned from.
        length: usize,
        /// Decisions before them that only warm up the recurrent state (Kapturowski et al. 2019,
        /// R2D2, <https://openreview.net/forum?id=r1lyTjAqYX>).
        burn_in: usize,
    },
}

/// The recurrent state with which a sequence begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitialState {
    /// Zeros: the sequence begins with a First frame, wherever in the episode it lies.
    #[default]
    Zero,
    /// The acting policy's state. Sequences begin only where one is stored, at the starts of
    /// unrolls, or where the episode begins.
    Stored,
}

/// The longest chunk with its burn-in: a bound on mistakes.
const LONGEST: usize = 1 << 20;

impl ReplayConfig {
    /// Checks every range, and that the settings go together.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        require(self.max_env_steps >= 1, "replay.max_env_steps", self.max_env_steps, "at least 1")?;
        require(self.max_bytes >= ByteSize(1), "replay.max_bytes", self.max_bytes, "at least 1B")?;
        if let Sampling::Prioritized { exponent, importance, largest_share } = self.sampling {
            share("replay.sampling.exponent", exponent)?;
            share("replay.sampling.importance", importance)?;
            share("replay.sampling.largest_share", largest_share)?;
        }
        if self.sampling == Sampling::ByLength && self.sequences != Sequences::Episodes {
            let range = "for whole episodes; every decision is as likely in chunks that are drawn \
                         uniformly";
            return require(false, "replay.sampling", "\"by_length\"", range);
        }
        if let Sequences::Chunks { length, burn_in } = self.sequences {
            let range = "between 1 and 1048576 decisions";
            require((1..=LONGEST).contains(&length), "replay.sequences.length", length, range)?;
            let within = burn_in <= LONGEST;
            require(within, "replay.sequences.burn_in", burn_in, "at most 1048576 decisions")?;
        }
        if let Some(least) = self.batch_env_steps {
            let range = "between 1 and replay.max_env_steps";
            let within = (1..=self.max_env_steps).contains(&least);
            require(within, "replay.batch_env_steps", least, range)?;
        }
        let stored = self.initial_state == InitialState::Stored;
        if stored && self.sequences == Sequences::Episodes {
            let range = "\"zero\" where replay.sequences are whole episodes, which begin with it";
            return require(false, "replay.initial_state", "\"stored\"", range);
        }
        if self.packed && (stored || self.burn_in() > 0) {
            let range = "false where sequences have a burn-in or a stored state, which a row has \
                         at its beginning only";
            return require(false, "replay.packed", true, range);
        }
        Ok(())
    }

    /// Refuses a replay that could not hold a batch of `sequences` different ones.
    pub fn check_batch(&self, sequences: usize) -> Result<(), OutOfRange> {
        let each = match self.sequences {
            Sequences::Episodes => 1,
            Sequences::Chunks { length, .. } => length as u64,
        };
        let needed = each * sequences as u64;
        let held = self.max_env_steps;
        let found = format!("{held}, and a batch of {sequences} sequences has {needed}");
        let range = "at least rl.batch_size × the length of a sequence";
        require(needed <= held, "replay.max_env_steps", found, range)
    }

    /// Refuses sequences whose first decision is learned from before `frames` observations are known,
    /// which a policy sees side by side.
    pub fn check_frame_stack(&self, frames: u32) -> Result<(), OutOfRange> {
        let Sequences::Chunks { burn_in, .. } = self.sequences else { return Ok(()) };
        let before = frames as usize - 1;
        let known = burn_in >= before || self.initial_state == InitialState::Stored;
        let found = format!("{burn_in}, where the environment's frame_stack is {frames}");
        let range = "at least frame_stack - 1, or replay.initial_state be \"stored\"";
        require(known, "replay.sequences.burn_in", found, range)
    }

    /// True if sequences are single decisions, before which nothing is known.
    pub fn has_no_past(&self) -> bool {
        self.sequences == Sequences::Chunks { length: 1, burn_in: 0 }
            && self.initial_state == InitialState::Zero
    }

    /// Decisions before the ones that are learned from.
    pub fn burn_in(&self) -> usize {
        match self.sequences {
            Sequences::Episodes => 0,
            Sequences::Chunks { burn_in, .. } => burn_in,
        }
    }
}

/// Sizes as people write them.
mod size {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::config::flags::ByteSize;

    pub(super) fn serialize<S: Serializer>(size: &ByteSize, to: S) -> Result<S::Ok, S::Error> {
        let shown = size.to_string();
        match shown.parse() == Ok(*size) {
            true => to.serialize_str(&shown),
            false => to.serialize_str(&format!("{} B", size.bytes())),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ByteSize, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
max_env_steps = 1000000
max_bytes = "4GiB"
storage = "disk"
initial_state = "stored"
packed = false
sampling = { name = "prioritized", exponent = 0.9, importance = 0.6, largest_share = 0.9 }
sequences = { name = "chunks", length = 80, burn_in = 40 }
"#;

    fn parse(text: &str) -> Result<ReplayConfig, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// Error of `validate` for the text above after a change.
    fn refused(from: &str, to: &str) -> String {
        assert!(TEXT.contains(from), "{from}");
        parse(&TEXT.replace(from, to)).unwrap().validate().unwrap_err().to_string()
    }

    #[test]
    fn a_configuration_is_read_and_written_back() {
        let config = parse(TEXT).unwrap();
        config.validate().unwrap();
        assert_eq!(config.max_bytes, ByteSize(4 << 30));
        assert_eq!(config.burn_in(), 40);
        let short =
            "max_env_steps = 8\nmax_bytes = \"1MiB\"\nsequences = { name = \"episodes\" }\n";
        let off = parse(short).unwrap();
        assert_eq!((off.storage, off.sampling), (Storage::Memory, Sampling::Uniform));
        assert_eq!((off.initial_state, off.packed), (InitialState::Zero, false));
        assert!(!toml::to_string(&off).unwrap().contains("packed"), "what is off is not named");
        for bytes in [4 << 30, (4 << 30) + 1, 1536] {
            let config = ReplayConfig { max_bytes: ByteSize(bytes), ..config.clone() };
            assert_eq!(parse(&toml::to_string(&config).unwrap()), Ok(config));
        }
    }

    #[test]
    fn unknown_and_missing_settings_are_refused_by_name() {
        assert!(parse(&format!("size = 3\n{TEXT}")).unwrap_err().contains("size"));
        let without = TEXT.replace("max_env_steps = 1000000", "");
        assert!(parse(&without).unwrap_err().contains("max_env_steps"));
        assert!(parse(&TEXT.replace("burn_in = 40", "burn = 40")).is_err());
        assert!(parse(&TEXT.replace("4GiB", "4GB")).unwrap_err().contains("write it as in"));
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_the_reason() {
        assert!(refused("1000000", "0").contains("rl.replay.max_env_steps is 0"));
        assert!(refused("4GiB", "0B").contains("max_bytes"));
        assert!(refused("exponent = 0.9", "exponent = -0.1").contains("exponent is -0.1"));
        assert!(refused("exponent = 0.9", "exponent = nan").contains("exponent is NaN"));
        assert!(refused("0.6", "1.5").contains("importance is 1.5"));
        assert!(refused("length = 80", "length = 0").contains("length is 0"));
        assert!(refused("packed = false", "packed = true").contains("packed is true"));
        let chunks = "{ name = \"chunks\", length = 80, burn_in = 40 }";
        assert!(refused(chunks, "{ name = \"episodes\" }").contains("whole episodes"));
        let prioritized = "{ name = \"prioritized\", exponent = 0.9, importance = 0.6, \
                           largest_share = 0.9 }";
        let by_length = refused(prioritized, "{ name = \"by_length\" }");
        assert!(by_length.contains("sampling is \"by_length\""), "{by_length}");
        let zero = TEXT.replace("stored", "zero").replace("packed = false", "packed = true");
        assert!(parse(&zero).unwrap().validate().is_err(), "a burn-in is not packed");
        let no_burn_in = parse(&zero.replace("burn_in = 40", "burn_in = 0")).unwrap();
        no_burn_in.validate().unwrap();
    }

    #[test]
    fn a_replay_smaller_than_a_batch_is_refused_with_both_numbers() {
        let config = parse(&TEXT.replace("1000000", "5000")).unwrap();
        config.check_batch(62).unwrap();
        let refused = config.check_batch(63).unwrap_err().to_string();
        assert!(refused.contains("5040") && refused.contains("5000"), "{refused}");
    }
}
