//! Flags and variables of a program, from its own `--help`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// Flags and environment variables of a program.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// Its `--help`.
    help: String,
}

/// The programs that are deployed, by name.
pub(crate) fn programs() -> &'static BTreeMap<&'static str, Program> {
    static PROGRAMS: OnceLock<BTreeMap<&'static str, Program>> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let names =
            ["engram-learner", "engram-inference-server", "engram-actor", "engram-evaluator"];
        names.into_iter().map(|name| (name, Program::ask(name))).collect()
    })
}

impl Program {
    fn ask(name: &str) -> Self {
        let path = Path::new(env!("CARGO_BIN_EXE_engram")).with_file_name(name);
        let output = Command::new(&path).arg("--help").output();
        let output = output.unwrap_or_else(|error| {
            panic!("{}: {error}; run `cargo build --workspace` first", path.display())
        });
        assert!(output.status.success(), "{output:?}");
        Program { help: String::from_utf8(output.stdout).expect("help is text") }
    }

    /// True if it reads an environment variable.
    pub(crate) fn reads(&self, variable: &str) -> bool {
        // The token's text stands in no help: it is a secret, and never a flag.
        variable == "ENGRAM_TOKEN" || self.help.contains(&format!("[env: {variable}="))
    }

    /// True if it has a flag.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.help.split_ascii_whitespace().any(|word| word == flag)
    }

    /// The port at which it listens where nobody says otherwise.
    pub(crate) fn usual_port(&self) -> Option<u64> {
        let at = self.help.find("[env: ENGRAM_LISTEN=")?;
        let (_, default) = self.help[at..].split_once("[default: ")?;
        default.split(']').next()?.rsplit(':').next()?.parse().ok()
    }
}

#[test]
fn a_program_tells_its_variables_flags_and_port() {
    let learner = &programs()["engram-learner"];
    assert!(learner.reads("ENGRAM_LISTEN") && !learner.reads("ENGRAM_LISTENS"));
    assert!(learner.has("--healthcheck") && !learner.has("--healthy"));
    assert_eq!(learner.usual_port(), Some(7001));
    assert_eq!(programs()["engram-inference-server"].usual_port(), Some(7002));
    assert_eq!(programs()["engram-actor"].usual_port(), None);
}
