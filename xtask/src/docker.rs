//! Requirements of the tests of containers beside a Docker engine, brought once: compose and buildx, from
//! Debian's packages into the cache, and two images, a base of this machine's own distribution
//! (debootstrap) and Prometheus upon it. No registry is asked.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::host::{Host, last_lines};
use crate::packages::{self, Wanted};
use crate::setup;

/// The images, as `engram/tests/containers` names them.
const BASE: &str = "engram-test/base";
const PROMETHEUS: &str = "engram-test/prometheus";

/// Recipe of the base.
const DEBOOTSTRAP: Wanted = Wanted {
    program: "debootstrap",
    package: "debootstrap",
    purpose: "an image that no registry needs to have",
};

/// The first compose that knows `depends_on` with `required`, as `deploy/compose.override.yaml` has.
const COMPOSE: (u32, u32) = (2, 20);

/// Source of a compose and a buildx that are new enough, whatever this machine's release is.
const PLUGINS_SOURCE: &str = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
                              http://deb.debian.org/debian trixie main\n";

/// Prometheus, with the entry point and the user of the image that compose.yaml names.
const PROMETHEUS_IMAGE: &str = "\
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
RUN apt-get update \\
    && apt-get install --yes --no-install-recommends prometheus \\
    && rm -rf /var/lib/apt/lists/* \\
    && install -d -o 65534 -g 65534 /prometheus
USER 65534:65534
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT [\"/bin/prometheus\"]
";

/// Brings what is missing, or says why it cannot.
pub(crate) fn provide(host: &Host) -> Result<()> {
    let engine = said(Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]));
    engine.context("no Docker engine answers")?;
    let home = host.cache.join("docker");
    fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
    let _alone = setup::lock(&home.join("lock"))?;
    let docker = Docker { home };
    if !docker.has_plugins() {
        docker.fetch_plugins().context("cannot bring docker compose and buildx")?;
    }
    if !docker.has_image(BASE) {
        docker.make_base().with_context(|| format!("cannot make the image {BASE}"))?;
    }
    if !docker.has_image(PROMETHEUS) {
        docker.make_prometheus().with_context(|| format!("cannot make the image {PROMETHEUS}"))?;
    }
    Ok(())
}

/// The engine, and the folder of the cache that keeps what it needs.
struct Docker {
    home: PathBuf,
}

impl Docker {
    /// The client, with its own plugins once they are there; the user's configuration until then.
    fn client(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(args).env("DOCKER_BUILDKIT", "1");
        if self.plugins().join("docker-compose").is_file() {
            command.env("DOCKER_CONFIG", &self.home);
        }
        command
    }

    fn plugins(&self) -> PathBuf {
        self.home.join("cli-plugins")
    }

    fn has_plugins(&self) -> bool {
        let compose = said(&mut self.client(&["compose", "version", "--short"]));
        let buildx = said(&mut self.client(&["buildx", "version"]));
        compose.is_ok_and(|version| is_at_least(&version, COMPOSE)) && buildx.is_ok()
    }

    fn has_image(&self, name: &str) -> bool {
        said(&mut self.client(&["image", "inspect", name])).is_ok()
    }

    /// Two packages of another release, unpacked and not installed: this machine stays as it is.
    fn fetch_plugins(&self) -> Result<()> {
        eprintln!("setup: docker compose and buildx are brought into {}", self.home.display());
        let folder = self.home.join("partial");
        let _ = fs::remove_dir_all(&folder);
        for name in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(name))?;
        }
        fs::write(folder.join("sources.list"), PLUGINS_SOURCE)?;
        let apt = |args: &[&str]| {
            let mut command = Command::new("apt-get");
            for (option, name) in [
                ("Dir::Etc::sourcelist", "sources.list"),
                ("Dir::State::lists", "lists"),
                ("Dir::Cache", "cache"),
            ] {
                command.arg("-o").arg(format!("{option}={}", folder.join(name).display()));
            }
            command.args(["-o", "Dir::Etc::sourceparts=-", "-q"]).args(args).current_dir(&folder);
            said(&mut command)
        };
        apt(&["update"])?;
        apt(&["download", "docker-compose", "docker-buildx"])?;
        for file in fs::read_dir(&folder)? {
            let file = file?.path();
            if file.extension() == Some(OsStr::new("deb")) {
                said(Command::new("dpkg-deb").arg("-x").arg(&file).arg(folder.join("root")))?;
            }
        }
        fs::create_dir_all(self.plugins())?;
        for name in ["docker-buildx", "docker-compose"] {
            let from = folder.join("root/usr/libexec/docker/cli-plugins").join(name);
            fs::rename(&from, self.plugins().join(name))?;
        }
        fs::remove_dir_all(&folder)?;
        match self.has_plugins() {
            true => Ok(()),
            false => bail!("what {} holds does not run here", self.plugins().display()),
        }
    }

    /// The same release as this machine's, so that programs built here run there.
    fn make_base(&self) -> Result<()> {
        let release = Release::here()?;
        if !packages::is_root() {
            bail!("debootstrap needs root: run `cargo xtask docker` as root once");
        }
        packages::bring(&[DEBOOTSTRAP]);
        eprintln!("setup: an image of {} is made with debootstrap", release.codename);
        let root = self.home.join("root");
        let _ = fs::remove_dir_all(&root);
        let mut command = Command::new("debootstrap");
        command.arg("--variant=minbase").args(release.components()).arg(&release.codename);
        said(command.arg(&root))?;
        let _ = fs::remove_dir_all(root.join("var/cache/apt/archives"));
        let mut tar = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .args(["-c", "."])
            .stdout(Stdio::piped())
            .spawn()?;
        let files = tar.stdout.take().context("tar's output was piped")?;
        said(self.client(&["import", "-", BASE]).stdin(files))?;
        tar.wait()?;
        fs::remove_dir_all(&root).context("the image's files stay behind")
    }

    fn make_prometheus(&self) -> Result<()> {
        eprintln!("setup: an image of Prometheus is made");
        let base = format!("BASE_IMAGE={BASE}");
        let mut build = self
            .client(&["build", "--quiet", "--tag", PROMETHEUS, "--build-arg", &base, "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let mut input = build.stdin.take().context("the build's input was piped")?;
        input.write_all(PROMETHEUS_IMAGE.as_bytes())?;
        drop(input);
        match build.wait()?.success() {
            true => Ok(()),
            false => bail!("docker build failed"),
        }
    }
}

/// Distribution of this machine.
#[derive(Debug, PartialEq, Eq)]
struct Release {
    id: String,
    codename: String,
}

impl Release {
    fn here() -> Result<Release> {
        let text = fs::read_to_string("/etc/os-release").context("which distribution is this?")?;
        Release::parse(&text)
            .context("an image can be made on Debian and Ubuntu, and this machine is neither")
    }

    fn parse(text: &str) -> Option<Release> {
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
            Some(line.trim_matches('"').to_owned())
        };
        let release = Release { id: value("ID")?, codename: value("VERSION_CODENAME")? };
        ["debian", "ubuntu"].contains(&release.id.as_str()).then_some(release)
    }

    /// Path of its Prometheus.
    fn components(&self) -> Option<&'static str> {
        (self.id == "ubuntu").then_some("--components=main,universe")
    }
}

/// Output of a program; if it failed, its last words.
fn said(command: &mut Command) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| format!("{name} cannot be started"))?;
    if !output.status.success() {
        bail!("{name}: {}", last_lines(&String::from_utf8_lossy(&output.stderr), 3));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// True if a version as programs print it, `v2.26.1` or `2.26.1-4`, is new enough.
fn is_at_least(version: &str, (major, minor): (u32, u32)) -> bool {
    let mut numbers =
        version.trim().trim_start_matches('v').split('.').map(|n| n.parse::<u32>().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(a), Some(b)) => (a, b) >= (major, minor),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(is_at_least("2.26.1-4\n", COMPOSE));
        assert!(is_at_least("v2.20.0", COMPOSE));
        assert!(is_at_least("v10.0.0", COMPOSE));
        assert!(!is_at_least("2.6.1", COMPOSE));
        assert!(!is_at_least("1.29.2", COMPOSE));
        assert!(!is_at_least("docker-compose", COMPOSE));
    }

    #[test]
    fn a_release_is_debian_or_ubuntu_and_has_a_name() {
        let debian = "NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n";
        let release = Release::parse(debian).unwrap();
        assert_eq!((release.codename.as_str(), release.components()), ("bookworm", None));
        let ubuntu = Release::parse("ID=\"ubuntu\"\nVERSION_CODENAME=noble\n").unwrap();
        assert_eq!(ubuntu.components(), Some("--components=main,universe"));
        assert_eq!(Release::parse("ID=fedora\nVERSION_CODENAME=x\n"), None);
        assert_eq!(Release::parse("ID=debian\n"), None);
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error = said(Command::new("sh").args(["-c", "echo why >&2; exit 1"])).unwrap_err();
        assert_eq!(error.to_string(), "sh: why");
        assert!(said(&mut Command::new("/nowhere/docker")).is_err());
    }
}
