//! Brings libtorch, once per user, and links `.libtorch` in the checkout to it.
//!
//! 1. A `LIBTORCH` that the user set is verified and linked.
//! 2. What `.libtorch` already points to, or what the cache already holds, is kept if it is right.
//! 3. Else the Python wheels of torch are fetched with pip ([`wheels`]) and compared with what was
//!    published. Nothing else is fetched, since nothing else could be compared. What a build needs
//!    of them is unpacked ([`unpack`]) into a folder beside the final one, checked, and renamed. A
//!    run that was cut off is simply run again.
//!
//! `.cargo/config.toml` points `LIBTORCH` at the link, so plain `cargo build` works afterwards.
//! Once everything is there, set-up says nothing and costs a few calls of `stat`.

mod disk;

mod libtorch;

mod wheels;

mod unpack;

#[cfg(test)]
pub(crate) mod fixture;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

pub(crate) use disk::lock;
pub(crate) use libtorch::Depth;
pub(crate) use wheels::{Failure, fetch_one as fetch_wheel};

use crate::host::Host;
use crate::release::{LibtorchVariant, VERSION};
use crate::setup::disk::remove;
use crate::setup::libtorch::Libtorch;
use crate::setup::unpack::Unpacked;

/// Prefix of a folder that is being unpacked.
const PARTIAL: &str = "partial-";

/// Wish of the caller of set-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// `None`: whatever is linked already, else the CPU.
    pub(crate) device: Option<LibtorchVariant>,
    /// Amount that is read to believe what is there.
    pub(crate) depth: Depth,
}

/// Leaves `.libtorch` linked to a libtorch that fits the wish.
pub(crate) fn run(host: &Host, wish: Wish) -> Result<()> {
    host.require_compiler()?;
    match &host.libtorch {
        Some(path) => adopt(host, path, wish),
        None => provide(host, wish),
    }
}

/// Verifies the libtorch that the user named and links it.
fn adopt(host: &Host, path: &Path, wish: Wish) -> Result<()> {
    let found = match libtorch::inspect(path, wish.depth) {
        Ok(found) => found,
        Err(error) => bail!(
            "LIBTORCH cannot be used: {error:#}. Point it at a libtorch {VERSION}, or unset it and \
             `cargo xtask setup` brings one"
        ),
    };
    if wish.device == Some(LibtorchVariant::Cuda) && found.device == LibtorchVariant::Cpu {
        bail!(
            "LIBTORCH={} has no libtorch_cuda: point it at a CUDA build of {VERSION}, or unset it \
             and `cargo xtask setup --device cuda` brings one",
            path.display()
        );
    }
    link(host, &found)
}

/// Keeps the libtorch that is linked or cached, or fetches one.
fn provide(host: &Host, wish: Wish) -> Result<()> {
    let fits = |found: &Libtorch| wish.device.is_none_or(|device| device == found.device);
    let linked = libtorch::inspect(&host.link(), wish.depth);
    match &linked {
        Ok(found) if fits(found) => return Ok(()),
        Err(error) if host.link().exists() => eprintln!("setup: .libtorch: {error:#}"),
        _ => {}
    }
    let device = wish.device.unwrap_or(LibtorchVariant::Cpu);
    let home = host.cache.join(format!("libtorch-{VERSION}-{}", device.name()));
    let cached = match libtorch::inspect(&home, wish.depth) {
        Ok(found) => found,
        Err(_) => build(host, device, &home)?,
    };
    link(host, &cached)
}

/// Fetches and unpacks libtorch into `home`, alone: other checkouts wait for this one.
fn build(host: &Host, device: LibtorchVariant, home: &Path) -> Result<Libtorch> {
    host.require_platform()?;
    host.require_python()?;
    fs::create_dir_all(&host.cache)
        .with_context(|| format!("cannot create the cache {}", host.cache.display()))?;
    let _alone = lock(&host.cache.join("lock"))?;
    match libtorch::inspect(home, Depth::Full) {
        Ok(found) => return Ok(found),
        Err(error) if home.exists() => eprintln!("setup: {error:#}: set up anew"),
        Err(_) => {}
    }
    host.require_space(&host.cache, device.space())?;
    let downloads = host.cache.join("downloads");
    fs::create_dir_all(&downloads)?;
    eprintln!(
        "setup: libtorch {VERSION} for {} is brought into {}, once",
        device.name(),
        host.cache.display()
    );
    assemble(host, device, &downloads, home)?;
    // What was fetched is unpacked and verified; nothing needs it any more.
    fs::remove_dir_all(&downloads)?;
    libtorch::inspect(home, Depth::Quick)
}

/// Downloads, unpacked beside `home` and renamed. A damaged download is fetched a second time.
fn assemble(host: &Host, device: LibtorchVariant, downloads: &Path, home: &Path) -> Result<()> {
    sweep(&host.cache)?;
    // Named after this process: one that was killed may have left a child that still writes.
    let partial = host.cache.join(format!("{PARTIAL}{}", std::process::id()));
    for attempt in 1..=2 {
        let files = wheels::fetch(host, device, downloads)?;
        eprintln!("setup: unpacking");
        match unpack::unpack(host, device, &files, &partial)? {
            Unpacked::Whole => {
                if device == LibtorchVariant::Cpu {
                    unpack::build_stand_in(host, &partial)?;
                }
                libtorch::seal(&partial, device)?;
                remove(home)?;
                return fs::rename(&partial, home)
                    .with_context(|| format!("cannot create {}", home.display()));
            }
            Unpacked::Damaged(file) if attempt == 1 => {
                eprintln!("setup: {} is damaged: fetched again", file.display());
                fs::remove_file(&file)?;
            }
            Unpacked::Damaged(file) => bail!("{} arrives damaged, twice", file.display()),
        }
    }
    unreachable!("the second attempt returns")
}

/// Removes what set-ups that were cut off left half unpacked.
fn sweep(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Points `.libtorch` at a verified libtorch, in one step, and says so if that is new.
fn link(host: &Host, found: &Libtorch) -> Result<()> {
    let link = host.link();
    let target = fs::canonicalize(&found.path)?;
    if fs::canonicalize(&link).is_ok_and(|now| now == target) {
        return Ok(());
    }
    if link.is_dir() && !link.is_symlink() {
        bail!(
            "{} is a folder, not a link, and not libtorch {VERSION}: move it away",
            link.display()
        );
    }
    let fresh = host.root.join(".libtorch.new");
    remove(&fresh)?;
    symlink(&target, &fresh)?;
    fs::rename(&fresh, &link).with_context(|| format!("cannot link {}", link.display()))?;
    eprintln!(
        "setup: .libtorch is libtorch {} for {} in {}",
        found.version,
        found.device.name(),
        target.display()
    );
    Ok(())
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> Result<()> {
    std::os::unix::fs::symlink(target, link)
        .with_context(|| format!("cannot create the link {}", link.display()))
}

#[cfg(not(unix))]
fn symlink(target: &Path, _link: &Path) -> Result<()> {
    bail!("links are made on Unix only: set LIBTORCH={} yourself", target.display())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::setup::libtorch::library;

    fn wish(device: Option<LibtorchVariant>) -> Wish {
        Wish { device, depth: Depth::Quick }
    }

    fn complaint(host: &Host, wish: Wish) -> String {
        format!("{:#}", run(host, wish).unwrap_err())
    }

    fn linked(host: &Host) -> PathBuf {
        fs::canonicalize(host.link()).unwrap()
    }

    /// A machine on which nothing can be fetched any more.
    fn offline(host: &Host) -> Host {
        Host { python: vec!["/nowhere/python3".into()], ..host.clone() }
    }

    #[test]
    fn from_nothing_it_fetches_unpacks_and_links_and_then_needs_nobody() {
        let (_folder, host) = fixture::published();
        run(&host, Wish::default()).unwrap();
        assert_eq!(linked(&host), host.cache.join("libtorch-2.11.0-cpu"));
        assert!(!host.cache.join("downloads").exists());
        run(&offline(&host), Wish { device: Some(LibtorchVariant::Cpu), depth: Depth::Full })
            .unwrap();
    }

    #[test]
    fn another_checkout_links_what_the_cache_holds() {
        let (folder, host) = fixture::published();
        run(&host, Wish::default()).unwrap();
        let root = folder.path().join("second");
        fs::create_dir(&root).unwrap();
        let second = Host { root, ..offline(&host) };
        run(&second, Wish::default()).unwrap();
        assert_eq!(linked(&second), linked(&host));
    }

    #[test]
    fn what_was_cut_off_is_finished() {
        let (_folder, host) = fixture::published();
        fixture::write(&host.cache, "partial-1/lib/libtorch_cpu.so", "torn");
        fixture::write(&host.cache, "downloads/torch.whl", "torn");
        run(&host, Wish::default()).unwrap();
        run(&offline(&host), Wish { device: None, depth: Depth::Full }).unwrap();
    }

    #[test]
    fn a_cut_library_is_noticed_and_mended() {
        let (_folder, host) = fixture::published();
        run(&host, Wish::default()).unwrap();
        let library = host.link().join("lib").join(library("torch_cpu"));
        fs::write(&library, "short").unwrap();
        assert!(complaint(&offline(&host), Wish::default()).contains("python3"));
        run(&host, Wish::default()).unwrap();
        assert!(fs::metadata(&library).unwrap().len() > 5);
    }

    #[test]
    fn cuda_lies_beside_the_cpu_and_stays_linked_until_the_cpu_is_asked_for() {
        let (_folder, host) = fixture::published();
        run(&host, wish(Some(LibtorchVariant::Cuda))).unwrap();
        let lib = host.cache.join("libtorch-2.11.0-cuda/lib");
        for name in ["libtorch_cuda.so", "libcudnn.so.9", "libtorch.so"] {
            assert!(lib.join(name).is_file(), "{name}");
        }
        run(&host, wish(None)).unwrap();
        assert_eq!(linked(&host), host.cache.join("libtorch-2.11.0-cuda"));
        run(&host, wish(Some(LibtorchVariant::Cpu))).unwrap();
        assert_eq!(linked(&host), host.cache.join("libtorch-2.11.0-cpu"));
        assert!(lib.is_dir());
    }

    #[test]
    fn a_torn_wheel_of_cuda_is_fetched_again() {
        let (_folder, host) = fixture::published();
        fixture::write(&host.cache, "downloads/nvidia-cudnn-cu13.whl", "torn");
        run(&host, wish(Some(LibtorchVariant::Cuda))).unwrap();
        assert!(host.cache.join("libtorch-2.11.0-cuda/lib/libcudnn.so.9").is_file());
    }

    /// One was once told as if pip could not be reached, and an archive that nobody verified was set
    /// up in its place.
    #[test]
    fn a_wheel_that_is_not_the_published_one_ends_the_set_up() {
        for (number, device) in [(0, LibtorchVariant::Cpu), (1, LibtorchVariant::Cuda)] {
            let (folder, mut host) = fixture::published();
            host.wheels[number].sha256 = "0".repeat(64);
            let message = complaint(&host, wish(Some(device)));
            let file = host.wheels[number].file;
            assert!(message.starts_with(&format!("{file} is not the file that was published")));
            assert!(message.contains(&"0".repeat(64)), "{message}");
            assert!(message.contains("PIP_INDEX_URL"), "{message}");
            assert!(!host.link().exists());
            assert!(!host.cache.join("downloads").join(file).exists());
            drop(folder);
        }
    }

    #[test]
    fn a_libtorch_of_the_users_own_comes_first() {
        let (_folder, host) = fixture::published();
        let own = fixture::libtorch("2.11.0+cu130");
        let host = Host { libtorch: Some(own.path().into()), ..offline(&host) };
        run(&host, Wish::default()).unwrap();
        assert_eq!(linked(&host), fs::canonicalize(own.path()).unwrap());
        let message = complaint(&host, wish(Some(LibtorchVariant::Cuda)));
        assert!(message.contains("has no libtorch_cuda"), "{message}");
    }

    #[test]
    fn a_libtorch_of_another_version_is_refused_with_the_remedy() {
        let (_folder, host) = fixture::published();
        let own = fixture::libtorch("2.4.0");
        let message =
            complaint(&Host { libtorch: Some(own.path().into()), ..host }, Wish::default());
        assert!(message.contains("holds libtorch 2.4.0"), "{message}");
        assert!(message.contains("or unset it"), "{message}");
    }

    #[test]
    fn a_folder_in_the_place_of_the_link_is_left_alone() {
        let (_folder, host) = fixture::published();
        fixture::write(&host.root, ".libtorch/mine", "precious");
        assert!(complaint(&host, Wish::default()).contains("move it away"));
        assert!(host.link().join("mine").is_file());
    }

    #[test]
    fn without_pip_nothing_is_set_up_and_both_remedies_are_named() {
        let (folder, host) = fixture::published();
        let script = "if [ \"$2\" = pip ]; then echo 'No module named pip' >&2; exit 1; fi; \
                      exec sh \"$0\" \"$@\"";
        let mut python: Vec<std::ffi::OsString> = ["sh", "-c", script].map(Into::into).into();
        python.push(folder.path().join("python.sh").into());
        let without_pip = Host { python, ..host.clone() };
        let message = complaint(&without_pip, Wish::default());
        assert!(message.contains("python3 has no pip: install it"), "{message}");
        assert!(message.contains("set LIBTORCH to an unpacked libtorch 2.11.0"), "{message}");
        assert!(!host.link().exists() && !host.cache.join("libtorch-2.11.0-cpu").exists());
        run(&host, Wish::default()).unwrap();
    }
}
