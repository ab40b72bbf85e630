//! Flags of a learner: the same in every program that has one. They are no part of an
//! experiment, for what is learned from the same data does not depend on them; save for the
//! weights that a run begins with, which its `meta.json` tells by the command line, and for the
//! final evaluation, which they change in the experiment itself.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use engram_service::{ConfigError, Resolved, format};

/// Flags of a learner.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct LearnerArgs {
    /// The most memory for what the learner carries of streams from one unroll to the next
    #[arg(long, value_name = "SIZE", env = "ENGRAM_STREAM_MEMORY",
          default_value_t = ByteSize::STREAM_MEMORY)]
    pub stream_memory: ByteSize,
    /// The most memory for trajectories that wait to be learned from, or to enter the replay
    #[arg(long, value_name = "SIZE", env = "ENGRAM_QUEUE_MEMORY",
          default_value_t = ByteSize::QUEUE_MEMORY)]
    pub queue_memory: ByteSize,
    /// Begin with weights of another run: its folder, a checkpoint's, or a weights.safetensors
    #[arg(long, value_name = "PATH")]
    pub init_from: Option<PathBuf>,
    /// Parts of those weights to begin with
    #[arg(
        long,
        value_name = "PARTS",
        value_delimiter = ',',
        default_value = "torso",
        requires = "init_from"
    )]
    pub init_parts: Vec<String>,
    /// Episodes in each set of the final evaluation; sets run.final_eval_episodes
    #[arg(long, value_name = "N", env = "ENGRAM_EVALUATE")]
    pub evaluate: Option<u32>,
}

impl LearnerArgs {
    /// Changes what flags change of an experiment.
    pub fn configure(&self, experiment: &mut Resolved) -> Result<(), ConfigError> {
        match self.evaluate {
            Some(episodes) => experiment.set(&format!("run.final_eval_episodes={episodes}")),
            None => Ok(()),
        }
    }
}

impl Default for LearnerArgs {
    fn default() -> Self {
        LearnerArgs {
            stream_memory: ByteSize::STREAM_MEMORY,
            queue_memory: ByteSize::QUEUE_MEMORY,
            init_from: None,
            init_parts: vec!["torso".into()],
            evaluate: None,
        }
    }
}

/// A number of bytes, written as in `512MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Units and their bytes, the largest first.
const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl ByteSize {
    /// Memory that streams may take where nobody says otherwise.
    pub const STREAM_MEMORY: ByteSize = ByteSize(4 << 30);

    /// Memory that the queue of trajectories may take where nobody says otherwise.
    pub const QUEUE_MEMORY: ByteSize = ByteSize(1 << 30);

    /// As a number.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size; write it as in 512MiB or 4GiB");
        let digits = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &text.trim()[digits.len()..];
        let (_, factor) = UNITS
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit) || (unit.is_empty() && *name == "B"))
            .ok_or_else(wrong)?;
        let number: u64 = digits.trim_end().parse().map_err(|_| wrong())?;
        number.checked_mul(factor).map(ByteSize).ok_or_else(wrong)
    }
}

impl std::fmt::Display for ByteSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&format::bytes(self.0 as f64))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        learner: LearnerArgs,
    }

    fn parse(line: &str) -> Result<LearnerArgs, String> {
        let program = Program::try_parse_from(line.split_ascii_whitespace());
        program.map(|program| program.learner).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_that_are_not_given_have_their_defaults() {
        assert_eq!(parse("engram").unwrap(), LearnerArgs::default());
        let given =
            parse("engram --stream-memory 512MiB --init-from runs/a --init-parts torso,memory");
        let given = given.unwrap();
        assert_eq!(given.stream_memory, ByteSize(512 << 20));
        assert_eq!(given.init_parts, ["torso", "memory"]);
        assert!(parse("engram --init-parts memory").unwrap_err().contains("--init-from"));
        assert!(parse("engram --stream-memory 4GB").unwrap_err().contains("4GiB"));
    }

    #[test]
    fn a_size_is_read_as_it_is_shown() {
        for (text, bytes) in [("4 GiB", 4 << 30), ("3 B", 3), ("0 B", 0), ("1023 KiB", 1023 << 10)]
        {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size, size.to_string()), (ByteSize(bytes), text.into()));
        }
        assert_eq!("7".parse(), Ok(ByteSize(7)));
        assert_eq!(ByteSize(1536).to_string(), "1.5 KiB");
        for wrong in ["", "GiB", "-1", "1.5GiB", "99999999999TiB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }
}
