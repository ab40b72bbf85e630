//! Pythons for the tests, and groups of environments that they serve.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use engram_envs::{EnvConfig, EnvError, VectorEnv};
use engram_mdp::{Observations, Seed};

/// A folder below the system's temporary one, removed in the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("engram-gym-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A Python whose `engram_gym` is the server that counts.
pub(crate) fn counting() -> String {
    here("pythons/counting")
}

/// A Python that has Gymnasium: ENGRAM_TEST_PYTHON or `python3`, with the packages that
/// `cargo xtask test` brings; `None` if it has none.
pub(crate) fn gymnasium() -> Option<String> {
    let python = here("pythons/gymnasium");
    let there = Command::new(&python).args(["-c", "import gymnasium, numpy"]).output();
    if there.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    #[expect(clippy::print_stderr, reason = "nobody must take a skipped test for a passed one")]
    {
        eprintln!(
            "SKIPPED: python3 has no gymnasium; run `cargo xtask test`, or set ENGRAM_TEST_PYTHON"
        );
    }
    None
}

/// A file beside this test.
pub(crate) fn here(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gym").join(name).display().to_string()
}

pub(crate) fn config(python: &str, keys: &str) -> EnvConfig {
    let text = format!("name = 'gym'\npython = '{python}'\n{keys}");
    EnvConfig::from_table(text.parse().expect("TOML")).expect("good keys")
}

pub(crate) fn open(python: &str, keys: &str, rows: u32) -> Result<VectorEnv, EnvError> {
    VectorEnv::open(&config(python, keys).drawn(), 0..rows, Seed::new(7))
}

/// The observations of a group's rows.
pub(crate) fn observations(group: &VectorEnv) -> Vec<Vec<f32>> {
    let Observations::F32(numbers) = &group.frames().observations else { panic!("floats") };
    numbers.chunks(group.spec().observation.len()).map(<[f32]>::to_vec).collect()
}
