//! Reloaded: what was read from files, and is read again once these change.
//!
//! Nothing runs for it. Whoever wants the value looks at the files, once a second at most, and so
//! does the page of metrics. A new file that does not serve is told once; what was read before stays
//! until the files change again.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::security_error::SecurityError;

/// Value that was read from files.
pub(super) struct Reloaded<T> {
    /// Content of the files, in messages.
    what: &'static str,
    files: Vec<PathBuf>,
    load: Box<dyn Fn() -> Result<T, SecurityError> + Send + Sync>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: T,
    stamps: Vec<Stamp>,
    looked: Instant,
}

/// Look of a file from outside: inode, size, change in seconds and nanoseconds. Nothing for one that
/// is not there.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Least time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Everything in this process that is reloaded, for the page of metrics.
static ALL: Mutex<Vec<Weak<dyn Look>>> = Mutex::new(Vec::new());

trait Look: Send + Sync {
    fn look(&self);
}

/// Looks at all files.
pub(crate) fn look_at_all() {
    let there: Vec<_> = {
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        all.iter().filter_map(Weak::upgrade).collect()
    };
    there.iter().for_each(|one| one.look());
}

impl<T: Clone + Send + 'static> Reloaded<T> {
    /// Reads the files for the first time.
    pub(super) fn read(
        what: &'static str,
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<T, SecurityError> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, SecurityError> {
        // Before they are read: a change meanwhile is found.
        let stamps = stamps(&files);
        let state = State { value: load()?, stamps, looked: Instant::now() };
        let reloaded =
            Arc::new(Reloaded { what, files, load: Box::new(load), state: state.into() });
        let weak: Weak<Self> = Arc::downgrade(&reloaded);
        ALL.lock().unwrap_or_else(PoisonError::into_inner).push(weak);
        Ok(reloaded)
    }

    /// The value, of the files as they are now.
    pub(super) fn current(&self) -> T {
        self.current_at(Instant::now())
    }

    fn current_at(&self, now: Instant) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(state.looked) < INTERVAL {
            return state.value.clone();
        }
        state.looked = now;
        let stamps = stamps(&self.files);
        if stamps != state.stamps {
            state.stamps = stamps;
            match (self.load)() {
                Ok(value) => {
                    tracing::info!("{} was read anew", self.what);
                    state.value = value;
                }
                Err(error) => {
                    tracing::warn!(%error, "{} has changed, the old one stays", self.what)
                }
            }
        }
        state.value.clone()
    }
}

impl<T: Clone + Send + 'static> Look for Reloaded<T> {
    fn look(&self) {
        self.current();
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    files.iter().map(stamp).collect()
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloaded").field("what", &self.what).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_is_read_again_and_a_broken_one_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let file = path.clone();
        let load = move || {
            let refuse = |_| SecurityError::NotPem { path: file.clone(), what: "number" };
            std::fs::read_to_string(&file).unwrap_or_default().parse::<u32>().map_err(refuse)
        };
        let number = Reloaded::read("the number", vec![path.clone()], load).unwrap();
        let start = Instant::now();
        let at = |second: u64| number.current_at(start + Duration::from_secs(second + 1));
        assert_eq!(at(0), 1);
        std::fs::write(&path, "22").unwrap();
        assert_eq!(number.current_at(start), 1, "not looked at all the time");
        assert_eq!(at(1), 22);
        std::fs::write(&path, "none").unwrap();
        assert_eq!(at(2), 22);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(at(3), 22);
        std::fs::write(&path, "333").unwrap();
        assert_eq!(at(4), 333);
        assert!(ALL.lock().unwrap().iter().any(|one| one.strong_count() > 0));
    }
}
