//! The Docker engine of this machine, and the images that stand for those of registries.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Images that `cargo xtask docker` makes.
pub(crate) const BASE: &str = "engram-test/base";
pub(crate) const PROMETHEUS: &str = "engram-test/prometheus";

/// A Docker engine that has all that a test needs.
pub(crate) struct Engine {
    /// The client's own configuration, where compose and buildx are not the user's.
    config: Option<PathBuf>,
}

impl Engine {
    /// The engine, or why containers cannot be tested here.
    pub(crate) fn find() -> Result<Engine, String> {
        let config = cache().map(|cache| cache.join("docker"));
        let fetched = |config: &PathBuf| config.join("cli-plugins/docker-compose").is_file();
        let engine = Engine { config: config.filter(fetched) };
        engine.ask(&["version"]).map_err(|why| format!("no Docker engine answers ({why})"))?;
        for args in [
            &["compose", "version"][..],
            &["buildx", "version"],
            &["image", "inspect", BASE],
            &["image", "inspect", PROMETHEUS],
        ] {
            engine.ask(args).map_err(|why| format!("run `cargo xtask docker` first ({why})"))?;
        }
        Ok(engine)
    }

    /// Docker's client, ready for arguments.
    pub(crate) fn docker(&self) -> Command {
        let mut command = Command::new("docker");
        command.stdin(Stdio::null()).env("BUILDKIT_PROGRESS", "plain");
        if let Some(config) = &self.config {
            command.env("DOCKER_CONFIG", config);
        }
        command
    }

    /// Output of docker, which must succeed.
    pub(crate) fn run(&self, args: &[&str]) -> String {
        output(self.docker().args(args)).unwrap_or_else(|why| panic!("docker {args:?}: {why}"))
    }

    /// Output of docker, or its last words.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<String, String> {
        output(self.docker().args(args)).map_err(|why| {
            why.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
        })
    }

    /// An image of this build's programs in `/programs`.
    pub(crate) fn import_programs(&self, name: &str) {
        let folder = Path::new(env!("CARGO_BIN_EXE_engram")).parent().expect("it lies in a folder");
        let programs = [
            "engram",
            "engram-actor",
            "engram-evaluator",
            "engram-inference-server",
            "engram-learner",
        ];
        self.import(name, folder, "programs", &programs);
    }

    /// The image of this build's libtorch in `/libtorch`: made once, and kept.
    pub(crate) fn libtorch(&self) -> String {
        let linked = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.libtorch");
        let home = std::env::var_os("LIBTORCH").map_or(linked, PathBuf::from);
        let size = std::fs::metadata(home.join("lib/libtorch_cpu.so")).expect("libtorch").len();
        let name = format!("engram-test/libtorch:{size}");
        if self.ask(&["image", "inspect", &name]).is_err() {
            self.import(&name, &home, "libtorch", &["lib"]);
        }
        name
    }

    /// An image of nothing but `members` of `folder`, below `/at`.
    fn import(&self, name: &str, folder: &Path, at: &str, members: &[&str]) {
        let mut tar = Command::new("tar")
            .args([&format!("--transform=s,^,{at}/,"), "--dereference", "-c", "-C"])
            .arg(folder)
            .args(members)
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar is installed");
        let files = tar.stdout.take().expect("the output is piped");
        let imported = output(self.docker().args(["import", "-", name]).stdin(files));
        imported.unwrap_or_else(|why| panic!("docker import {name}: {why}"));
        assert!(tar.wait().expect("tar ends").success());
    }
}

/// Both outputs of a program: `Ok` where it succeeds.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| error.to_string())?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// The engine; where there is none, everybody is told, whether the test's output is shown or not.
pub(crate) fn engine_or_skip(test: &str) -> Option<Engine> {
    match Engine::find() {
        Ok(engine) => Some(engine),
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
            None
        }
    }
}

/// Cache of `cargo xtask`.
fn cache() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from);
    folder("ENGRAM_CACHE")
        .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("engram")))
        .or_else(|| Some(folder("HOME")?.join(".cache/engram")))
}
