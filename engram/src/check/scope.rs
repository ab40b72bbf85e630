//! Scope of a check: how much is checked, on which device, and how a part of it may fail.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use anyhow::{Result, anyhow};
use engram_service::Shutdown;
use engram_service::config::{ExperimentSelection, Resolved, resolve};

use crate::compute::Compute;

/// Settings that all parts of a check share.
pub(super) struct Check<'a> {
    pub(super) configs: &'a Path,
    pub(super) extent: Extent,
    pub(super) seconds: f64,
    pub(super) compute: Compute,
    /// The device that is checked, ready.
    pub(super) device: tch::Device,
    pub(super) shutdown: &'a Shutdown,
}

impl Check<'_> {
    /// An experiment whose parts, environment, algorithm and sequence model, are replaced where one
    /// is named.
    pub(super) fn resolve(
        &self,
        experiment: &str,
        parts: [Option<&str>; 3],
        set: &[String],
    ) -> Result<Resolved> {
        let [env, rl, seq] = parts.map(|part| part.map(str::to_owned));
        let (experiment, set) = (experiment.to_owned(), set.to_vec());
        let configs = self.configs.to_path_buf();
        Ok(resolve(&ExperimentSelection { experiment, env, rl, seq, set, configs })?)
    }
}

/// Extent of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Samples, small networks.
    Quick,
    /// Everything.
    Full,
}

/// The result of `work`, whose panics are errors: an operation that a device does not have shall not
/// end the whole check.
pub(super) fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let first = text.and_then(|text| text.lines().next());
            Err(anyhow!("panicked: {}", first.unwrap_or("for no reason that it told")))
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_panic_and_an_error_are_failures_that_say_why() {
        assert_eq!(guarded(|| Ok(3)).unwrap(), 3);
        let why = |work: fn() -> Result<()>| guarded(work).unwrap_err().to_string();
        assert_eq!(why(|| bail!("no such layer")), "no such layer");
        assert_eq!(why(|| panic!("no kernel {}\nframe 1", 7)), "panicked: no kernel 7");
        assert_eq!(why(|| panic!("no kernel")), "panicked: no kernel");
    }
}
