//! Text that was mistyped or damaged: experiments, settings, addresses. It is read, or refused
//! with a reason, and nothing panics.

#[path = "../../proto/tests/support/damage.rs"]
mod damage;

use std::path::{Path, PathBuf};

use damage::{cases, damaged};
use engram_service::Address;
use engram_service::config::{ExperimentSelection, Resolved, names, resolve};
use engram_service::net::Token;
use proptest::prelude::*;

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

fn selection(experiment: &str) -> ExperimentSelection {
    ExperimentSelection {
        experiment: experiment.into(),
        env: None,
        rl: None,
        seq: None,
        set: Vec::new(),
        configs: configs(),
    }
}

/// A complete experiment.
fn resolved() -> Resolved {
    resolve(&selection("main")).expect("a good experiment")
}

/// The files of a kind of part.
fn files(kind: &str) -> Vec<Vec<u8>> {
    let names = names(&configs(), kind).expect("parts");
    let path = |name: String| configs().join(kind).join(format!("{name}.toml"));
    names.into_iter().map(|name| std::fs::read(path(name)).expect("a file")).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

proptest! {
    #![proptest_config(cases(500))]

    /// As they lie in the folder of a run, and come from a learner.
    #[test]
    fn resolved_experiments_do_no_harm(bytes in damaged(vec![resolved().to_toml().into()])) {
        if let Ok(resolved) = Resolved::from_toml(&text(&bytes)) {
            let _ = resolved.run();
            let again = Resolved::from_toml(&resolved.to_toml()).expect("it was read before");
            prop_assert_eq!(again.to_table(), resolved.to_table());
        }
    }

    #[test]
    fn experiment_files_do_no_harm(bytes in damaged(files("experiments"))) {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("damaged.toml");
        std::fs::write(&file, bytes).expect("room on disk");
        let selection = selection(&file.display().to_string());
        if let Err(error) = resolve(&selection) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn settings_do_no_harm(bytes in damaged(vec![
        b"rl.learning_rate=3e-4".into(),
        b"seq.torso.hidden=[64, 64]".into(),
        b"env = \"recall\"".into(),
        b"seq.memory={ name = \"lstm\", hidden = 9 }".into(),
    ])) {
        let mut resolved = resolved();
        let _ = resolved.set(&text(&bytes));
        let _ = resolved.run();
    }

    #[test]
    fn addresses_and_tokens_do_no_harm(bytes in damaged(vec![
        b"127.0.0.1:7001".into(),
        b"http://[::1]:7001/".into(),
        b"unix:///run/engram/learner".into(),
    ])) {
        let text = text(&bytes);
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_eq!(address.to_string().parse::<Address>().expect("it prints"), address);
        }
        let _ = Token::new(&text, "a file");
    }
}
