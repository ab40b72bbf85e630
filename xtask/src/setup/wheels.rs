//! The Python wheels of torch and of NVIDIA's libraries, through pip.
//!
//! The wheel of torch is asked for by its own Python version, so any Python can fetch it. Each wheel
//! is known by its SHA-256, those of CUDA too. One that pip brings with another SHA-256 ends the
//! set-up.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Error, Result, anyhow};

use crate::host::{Host, last_lines, megabytes};
use crate::release::{LibtorchVariant, VERSION, Wheel};
use crate::setup::disk::remove;
use crate::setup::libtorch;

/// Reason for which a wheel did not come.
#[derive(Debug)]
pub(crate) enum Failure {
    /// There is no pip, or it reaches no such wheel: why, and the remedy.
    OutOfReach(String),
    /// It came and was wrong, or could not be kept.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Final(error)
    }
}

/// All wheels for `device`, in `to`. What is there already is not fetched again.
pub(crate) fn fetch(host: &Host, device: LibtorchVariant, to: &Path) -> Result<Vec<PathBuf>> {
    let wanted =
        |wheel: &&Wheel| device == LibtorchVariant::Cuda || wheel.device == LibtorchVariant::Cpu;
    let wheels: Vec<&Wheel> = host.wheels.iter().filter(wanted).collect();
    for wheel in &wheels {
        fetch_one(host, wheel, to).map_err(|failure| match failure {
            Failure::OutOfReach(why) => anyhow!(
                "libtorch cannot be fetched: {why}\nOr set LIBTORCH to an unpacked libtorch \
                 {VERSION} that you trust"
            ),
            Failure::Final(error) => error,
        })?;
    }
    Ok(wheels.iter().map(|wheel| to.join(wheel.file)).collect())
}

/// One wheel, in `to`, if it is the published one.
pub(crate) fn fetch_one(host: &Host, wheel: &Wheel, to: &Path) -> Result<(), Failure> {
    let file = to.join(wheel.file);
    if file.exists() {
        if libtorch::digest(&file).is_ok_and(|(_, sum)| sum == wheel.sha256) {
            return Ok(());
        }
        eprintln!("setup: {} is damaged: fetched again", wheel.file);
        fs::remove_file(&file).context("cannot remove it")?;
    }
    eprintln!("setup: fetching {} ({})", wheel.requirement, megabytes(wheel.size));
    let mut tags = vec!["--no-deps"];
    tags.extend(wheel.tags);
    pip(host, std::slice::from_ref(&wheel.requirement), &tags, to)?;
    let (_, found) = libtorch::digest(&file).context("pip brought nothing")?;
    if found == wheel.sha256 {
        return Ok(());
    }
    fs::remove_file(&file).context("cannot remove it")?;
    Err(Failure::Final(anyhow!(
        "{} is not the file that was published: its SHA-256 is {found}, and that one's {}. Nothing is \
         set up from it. It came from the index that pip asks: look at PIP_INDEX_URL, pip.conf and \
         the proxy",
        wheel.file,
        wheel.sha256
    )))
}

/// One download with pip; a connection that breaks gets a second chance.
fn pip(host: &Host, what: &[String], options: &[&str], to: &Path) -> Result<(), Failure> {
    // pip's temporary files belong beside the result: /tmp may be too small for them.
    let temporary = to.join("tmp");
    remove(&temporary)?;
    fs::create_dir_all(&temporary).context("cannot write the cache")?;
    let mut said = String::new();
    for _attempt in 1..=2 {
        let output = host
            .python()
            .args(["-m", "pip", "download", "--only-binary=:all:", "--no-cache-dir"])
            .args(["--no-input", "--disable-pip-version-check"])
            .args(options)
            .arg("--dest")
            .arg(to)
            .args(what)
            .env("TMPDIR", &temporary)
            .env("PIP_REQUIRE_VIRTUALENV", "0")
            .stdout(if io::stdout().is_terminal() { Stdio::inherit() } else { Stdio::null() })
            .stderr(Stdio::piped())
            .spawn()
            .and_then(std::process::Child::wait_with_output)
            .context("python3 cannot be started")?;
        if output.status.success() {
            return Ok(());
        }
        said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !said.contains("onnection") && !said.contains("timed out") {
            break;
        }
    }
    Err(explain(&said, to))
}

/// Words of pip, and the remedy.
fn explain(said: &str, to: &Path) -> Failure {
    let quote = last_lines(said, 3);
    if said.contains("No module named pip") {
        return Failure::OutOfReach(
            "python3 has no pip: install it (Debian and Ubuntu: apt install python3-pip; else \
             python3 -m ensurepip)"
                .into(),
        );
    }
    if said.contains("No space left on device") || said.contains("Disk quota exceeded") {
        return Failure::Final(anyhow!(
            "the disk is full: pip cannot write to {}. Make room, or set ENGRAM_CACHE to a folder \
             on another disk",
            to.display()
        ));
    }
    if said.contains("No matching distribution") && !said.contains("onnection") {
        return Failure::OutOfReach(format!(
            "pip finds no such wheel in its index: if PIP_INDEX_URL or pip.conf names a mirror, it \
             must carry torch {VERSION}. pip said:\n{quote}"
        ));
    }
    Failure::OutOfReach(format!(
        "pip cannot download: check the network, or name a proxy (HTTPS_PROXY) or a mirror \
         (PIP_INDEX_URL). pip said:\n{quote}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(said: &str) -> String {
        match explain(said, Path::new("/cache")) {
            Failure::OutOfReach(why) => why,
            Failure::Final(error) => error.to_string(),
        }
    }

    #[test]
    fn each_failure_of_pip_has_its_remedy() {
        assert!(message("/usr/bin/python3: No module named pip\n").contains("python3-pip"));
        assert!(message("ERROR: [Errno 28] No space left on device").contains("ENGRAM_CACHE"));
        let mirror = message("ERROR: No matching distribution found for torch==2.11.0");
        assert!(mirror.contains("must carry torch 2.11.0"), "{mirror}");
        let network = message("WARNING: Retrying\nERROR: connection refused by proxy\n");
        assert!(
            network.contains("HTTPS_PROXY") && network.contains("refused by proxy"),
            "{network}"
        );
    }

    #[test]
    fn an_index_out_of_reach_is_a_network_failure_not_a_missing_wheel() {
        let said = "WARNING: Retrying after connection broken by 'NewConnectionError'\n\
                    ERROR: No matching distribution found for torch==2.11.0\n";
        assert!(message(said).contains("check the network"));
    }

    #[test]
    fn a_full_disk_is_final_and_an_absence_is_not() {
        let is_final = |said| matches!(explain(said, Path::new("/")), Failure::Final(_));
        assert!(is_final("No space left on device"));
        assert!(!is_final("No module named pip"));
        assert!(!is_final(""));
    }
}
