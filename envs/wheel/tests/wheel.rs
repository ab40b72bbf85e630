//! The package, loaded by a Python as a wheel would be: it passes its own tests, and shows every
//! environment as Rust does.
//!
//! The library is the one that cargo built beside this program; no maturin is needed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use engram_envs::{EnvConfig, VectorEnv};
use engram_mdp::{ActionSpec, Actions, Ending, Observations, Seed, StepType};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Environments of each kind, and their steps: ten thousand together.
const ROWS: usize = 8;
const STEPS: usize = 1250;

#[test]
fn the_package_passes_its_own_tests() {
    let Some(package) = Package::lay_out() else { return };
    let tests = here("tests").display().to_string();
    let mut command = package.python();
    command.args(["-m", "unittest", "discover", "--start-directory", &tests]);
    let output = command.output().expect("Python");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("Ran 0 tests"), "{said}");
}

#[test]
fn every_environment_is_in_python_what_it_is_in_rust_over_ten_thousand_steps() {
    let Some(package) = Package::lay_out() else { return };
    let worlds = worlds();
    let mut command = package.python();
    command.arg(here("tests/play.py")).args([ROWS.to_string(), STEPS.to_string()]);
    command.args(worlds.iter().map(|(name, _)| name));
    let played = thread::spawn(move || command.output().expect("Python"));
    let expected: Vec<String> =
        worlds.iter().map(|(name, config)| format!("{name} {}", digest(config))).collect();
    let output = played.join().expect("Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = String::from_utf8_lossy(&output.stdout);
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}

/// One configuration of every environment in this process: its first file in `configs/env`.
fn worlds() -> Vec<(String, EnvConfig)> {
    let folder = here("../../configs/env");
    let mut paths = files(&folder);
    paths.sort();
    let mut worlds: Vec<(String, EnvConfig)> = Vec::new();
    let mut missing = EnvConfig::names();
    for path in paths {
        let text = fs::read_to_string(&path).expect("text");
        let config = EnvConfig::from_table(text.parse().expect("TOML")).expect("good keys");
        let environment = config.table()["name"].as_str().expect("a name");
        let Some(at) = missing.iter().position(|name| *name == environment) else { continue };
        missing.remove(at);
        // ProcGen's library may not be here.
        if !config.is_served() && config.ready().is_ok() {
            let name = path.strip_prefix(&folder).expect("in it").with_extension("");
            worlds.push((name.display().to_string(), config));
        }
    }
    assert!(missing.is_empty(), "{missing:?} have no file");
    worlds
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a file").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The digest that `play.py` prints.
fn digest(config: &EnvConfig) -> String {
    let mut group = VectorEnv::new(config, 0..ROWS as u32, Seed::new(7));
    let mut seen = Sha256::new();
    observe(&group, &mut seen);
    for step in 0..STEPS {
        group.step(&actions(group.spec().action, step));
        observe(&group, &mut seen);
        let frames = group.frames();
        frames.previous_rewards.iter().for_each(|reward| seen.update(reward.to_le_bytes()));
        for ending in [Ending::Terminated, Ending::Truncated] {
            let ended = |&step_type: &StepType| u8::from(step_type == StepType::Last(ending));
            seen.update(frames.step_types.iter().map(ended).collect::<Vec<u8>>());
        }
    }
    format!("{:x}", seen.finalize())
}

fn observe(group: &VectorEnv, seen: &mut Sha256) {
    match &group.frames().observations {
        Observations::U8(bytes) => seen.update(bytes),
        Observations::F32(_) => seen.update(group.frames().observations.as_bytes()),
    }
}

/// The actions of `play.py`.
fn actions(spec: ActionSpec, step: usize) -> Actions {
    let turn = |row: usize, column: usize| step * 7 + row * 3 + column * 5 + step * step / 5;
    match spec {
        ActionSpec::Discrete { count } => {
            Actions::Discrete((0..ROWS).map(|row| (turn(row, 0) % count) as i32).collect())
        }
        ActionSpec::Continuous { dimensions } => {
            let number = |at: usize| {
                let turn = turn(at / dimensions, at % dimensions) % 21;
                (turn as f32 - 10.0) / 8.0
            };
            Actions::Continuous((0..ROWS * dimensions).map(number).collect())
        }
    }
}

/// The package in a folder, and the Python that has Gymnasium.
struct Package {
    folder: TempDir,
    python: String,
}

impl Package {
    /// Lays the package out; `None` if there is no Python with Gymnasium.
    fn lay_out() -> Option<Package> {
        let folder = tempfile::tempdir().expect("a folder");
        let package = folder.path().join("engram_envs");
        fs::create_dir(&package).expect("a folder");
        for source in files(&here("python/engram_envs")) {
            if source.extension().is_some_and(|extension| extension == "py") {
                symlink(&source, package.join(source.file_name().expect("a file")))
                    .expect("a link");
            }
        }
        symlink(library(), package.join("_native.abi3.so")).expect("a link");
        let variable = std::env::var("ENGRAM_TEST_PYTHON").ok().filter(|name| !name.is_empty());
        let package = Package { folder, python: variable.unwrap_or_else(|| "python3".into()) };
        let there = package.python().args(["-c", "import gymnasium, numpy"]).output();
        if there.is_ok_and(|output| output.status.success()) {
            return Some(package);
        }
        #[expect(clippy::print_stderr, reason = "nobody must take a skipped test for a passed one")]
        {
            eprintln!(
                "SKIPPED: python3 has no gymnasium; run `cargo xtask test`, or set \
                 ENGRAM_TEST_PYTHON"
            );
        }
        None
    }

    fn python(&self) -> Command {
        let packages = std::env::var_os("ENGRAM_TEST_PACKAGES").map(PathBuf::from);
        let paths = [self.folder.path().to_path_buf()].into_iter().chain(packages);
        let mut command = Command::new(&self.python);
        command.env("PYTHONPATH", std::env::join_paths(paths).expect("paths"));
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// The library, which lies beside this program.
fn library() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    let library = program.with_file_name("libengram_envs_native.so");
    assert!(library.is_file(), "cargo builds {} before this test", library.display());
    library
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
