//! ProcGen's library and its pictures, for the environment `procgen`: they lie in its Python package,
//! which is fetched for the Python that it was built for, and needs none.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::host::{Host, last_lines};
use crate::packages;
use crate::pip::{self, Package};

/// The variable that tells programs and tests of the folder. In the cache they find it without.
pub(crate) const VARIABLE: &str = "ENGRAM_PROCGEN";

const REQUIREMENT: &str = "procgen==0.10.7";
/// SHA-256 of the wheel for Linux on x86-64 and Python 3.10.
const SHA256: &str = "4b594d14e42f0f2166e59a9e294477b906eb99c90c3343b570b7124cbc865f53";
/// The package of Debian with glib, which the library needs.
const GLIB: &str = "libglib2.0-0";

/// The folder of the library, which is fetched if it is not there. pip checks its digest.
pub(crate) fn provide(host: &Host) -> Result<PathBuf> {
    if host.platform != "linux-x86_64-gnu" {
        bail!("ProcGen is published for linux-x86_64-gnu, and not for {}", host.platform);
    }
    fs::create_dir_all(&host.cache)
        .with_context(|| format!("cannot create {}", host.cache.display()))?;
    let pinned = host.cache.join("procgen.txt");
    fs::write(&pinned, format!("{REQUIREMENT} --hash=sha256:{SHA256}\n"))
        .with_context(|| format!("cannot write {}", pinned.display()))?;
    let pinned = pinned.display().to_string();
    let options = [
        "--no-deps",
        "--platform=manylinux2014_x86_64",
        "--python-version=3.10",
        "--implementation=cp",
        "--abi=cp310",
        "--require-hashes",
        "--requirement",
        &pinned,
    ];
    let package = Package { requirement: REQUIREMENT, options: Some(&options), size: "36 MB" };
    Ok(pip::provide(host, &package)?.join("procgen/data"))
}

/// The same, and what it needs of the system; an error if it cannot be loaded.
pub(crate) fn provide_usable(host: &Host) -> Result<PathBuf> {
    let folder = provide(host)?;
    let loaded = load(host, &folder).or_else(|_| {
        packages::install(GLIB);
        load(host, &folder)
    });
    loaded.map(|()| folder)
}

fn load(host: &Host, folder: &Path) -> Result<()> {
    let script = "import ctypes, sys; ctypes.CDLL(sys.argv[1])";
    let library = folder.join("prebuilt/libenv.so");
    let output = host.python().args(["-c", script]).arg(&library).output()?;
    if !output.status.success() {
        let said = last_lines(&String::from_utf8_lossy(&output.stderr), 1);
        bail!("{} cannot be loaded: {said} (Debian: apt install {GLIB})", library.display());
    }
    Ok(())
}
