//! The units for systemd.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::deploy;
use crate::program::programs;
use crate::tools::system;

/// The units, and an instance of each.
const UNITS: [(&str, &str); 4] = [
    ("engram-learner", "recall-30-wide"),
    ("engram-inference-server", "7002"),
    ("engram-actor", "9103"),
    ("engram-evaluator", "9104"),
];

/// Units of systemd's own that ours name.
const TARGETS: [&str; 6] =
    ["basic", "multi-user", "network", "network-online", "shutdown", "sysinit"];

/// The most that a unit may be exposed, of 100; systemd calls up to 20 safe.
const EXPOSURE: &str = "15";

fn folder() -> PathBuf {
    deploy().join("systemd")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).expect("a file")
}

/// A host's file system with our units, and programs that they could start. `drop_ins` are added
/// to each of them.
fn host(drop_ins: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("room on disk");
        std::fs::write(path, text).expect("room on disk");
    };
    for target in TARGETS {
        let text = format!("[Unit]\nDescription={target}\n");
        write(&format!("usr/lib/systemd/system/{target}.target"), &text);
    }
    let system = "etc/systemd/system";
    write(&format!("{system}/engram.target"), &read("engram.target"));
    for (unit, _) in UNITS {
        write(&format!("{system}/{unit}@.service"), &read(&format!("{unit}@.service")));
        for drop_in in drop_ins {
            write(&format!("{system}/{unit}@.service.d/{drop_in}"), &read(drop_in));
        }
        write(&format!("usr/local/bin/{unit}"), "#!/bin/sh\n");
        let program = root.path().join(format!("usr/local/bin/{unit}"));
        make_executable(&program);
    }
    write("etc/engram/engram.env", &read("engram.env"));
    root
}

fn make_executable(program: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let executable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(program, executable).expect("it is ours");
}

/// The variables that a file sets, in `Environment=` or as a file of the environment.
fn variables(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let words = lines.flat_map(|line| {
        let set =
            line.strip_prefix("Environment=").or_else(|| line.strip_prefix("UnsetEnvironment="));
        set.unwrap_or(line).split_ascii_whitespace()
    });
    let ours = words.filter(|word| word.starts_with("ENGRAM_"));
    ours.map(|word| word.split('=').next().unwrap_or(word).to_string()).collect()
}

#[test]
fn every_unit_is_valid_with_and_without_what_may_be_added() {
    for drop_ins in [&[][..], &["insecure.conf"], &["gpu.conf"], &["insecure.conf", "gpu.conf"]] {
        let Some(mut analyze) = system("systemd-analyze", "systemd") else { return };
        let root = host(drop_ins);
        let units = UNITS.map(|(unit, instance)| format!("{unit}@{instance}.service"));
        let output = analyze
            .args(["verify", "--man=no", "--root"])
            .arg(root.path())
            .arg("engram.target")
            .args(units)
            .output()
            .expect("it starts");
        // What it only warns of is wrong as well.
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.trim().is_empty(), "{drop_ins:?}: {said}");
    }
}

#[test]
fn a_unit_with_a_mistake_is_refused() {
    let Some(mut analyze) = system("systemd-analyze", "systemd") else { return };
    let root = host(&[]);
    let path = root.path().join("etc/systemd/system/engram-actor@.service");
    let text = read("engram-actor@.service").replace("PrivateTmp=yes", "PrivateTemp=yes");
    std::fs::write(path, text).expect("room on disk");
    let output = analyze
        .args(["verify", "--man=no", "--root"])
        .arg(root.path())
        .arg("engram-actor@9103.service")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("PrivateTemp"), "{said}");
}

#[test]
fn no_unit_may_do_more_than_it_must() {
    let root = host(&[]);
    for (unit, instance) in UNITS {
        let Some(mut analyze) = system("systemd-analyze", "systemd") else { return };
        let output = analyze
            .args(["security", "--no-pager", "--offline=true", "--threshold", EXPOSURE, "--root"])
            .arg(root.path())
            .arg(format!("{unit}@{instance}.service"))
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn units_set_what_their_programs_read_and_listen_where_these_usually_do() {
    for (unit, instance) in UNITS {
        let program = &programs()[unit];
        let text = read(&format!("{unit}@.service"));
        let set = variables(&text);
        assert!(set.len() >= 5, "{unit}: {set:?}");
        let serves = ["engram-learner", "engram-inference-server"].contains(&unit);
        assert_eq!(text.contains("server.key"), serves, "{unit}: the servers' key is theirs alone");
        for variable in set {
            assert!(program.reads(&variable), "{unit} does not read {variable}");
        }
        // The learner is given an experiment, and the others take it from there.
        let experiment = if unit == "engram-learner" { " %i" } else { "" };
        let start = format!("\nExecStart=/usr/local/bin/{unit}{experiment}\n");
        assert!(text.contains(&start), "{unit}: {start}");
        if let Some(port) = program.usual_port() {
            let listens = format!("ENGRAM_LISTEN=0.0.0.0:{port}");
            assert!(text.replace("%i", instance).contains(&listens), "{unit}: {listens}");
        }
    }
    let somebody = |variable: &str| programs().values().any(|program| program.reads(variable));
    for file in ["insecure.conf", "gpu.conf", "engram.env"] {
        for variable in variables(&read(file)) {
            assert!(somebody(&variable), "{file}: nobody reads {variable}");
        }
    }
}
