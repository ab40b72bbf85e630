//! Programs behind mutual TLS and a token, with the files that `engram certs` makes.

use std::path::Path;
use std::process::{Command, Output};

use super::{Program, binary};

pub(crate) const TOKEN: &str = "sesame-0123456789-abcdef";

/// The folder's certificates and token, as flags of all programs; the token is the last.
pub(crate) fn flags(folder: &Path) -> Vec<String> {
    let certs = folder.join("certs");
    let made = Command::new(env!("CARGO_BIN_EXE_engram"))
        .args(["certs", "--names", "localhost,127.0.0.1", "--out"])
        .arg(&certs)
        .output()
        .expect("it starts");
    assert!(made.status.success(), "{made:?}");
    std::fs::write(certs.join("token"), format!("{TOKEN}\n")).expect("room on disk");
    [
        ("--tls-cert", "server.pem"),
        ("--tls-key", "server.key"),
        ("--tls-client-ca", "ca.pem"),
        ("--tls-ca", "ca.pem"),
        ("--tls-client-cert", "client.pem"),
        ("--tls-client-key", "client.key"),
        ("--token-file", "token"),
    ]
    .into_iter()
    .flat_map(|(flag, file)| [flag.into(), certs.join(file).display().to_string()])
    .collect()
}

/// Starts a program with its own flags and those that all share.
pub(crate) fn start(role: &str, own: &[&str], shared: &[String]) -> Program {
    let args: Vec<&str> = own.iter().copied().chain(shared.iter().map(String::as_str)).collect();
    Program::start(role, &args)
}

/// Runs to the end, which is soon.
pub(crate) fn run(role: &str, own: &[&str], shared: &[String]) -> Output {
    let program = binary(&format!("engram-{role}"));
    Command::new(program).args(own).args(shared).output().expect("it starts")
}
