//! Imports go down only, and what a crate must do without it does without.

use crate::tidy::problem::Problem;
use crate::tidy::tree::Tree;

/// A crate, its level, and the crates of ours that it may import. Tests may use whatever lies
/// strictly below.
struct CrateLevel {
    name: &'static str,
    level: u8,
    imports: &'static [&'static str],
}

const LAYERS: [CrateLevel; 13] = [
    CrateLevel { name: "mdp", level: 0, imports: &[] },
    CrateLevel { name: "service", level: 0, imports: &[] },
    CrateLevel { name: "proto", level: 1, imports: &["mdp"] },
    CrateLevel { name: "envs", level: 1, imports: &["mdp"] },
    CrateLevel { name: "envs/wheel", level: 2, imports: &["mdp", "envs"] },
    CrateLevel { name: "policy", level: 1, imports: &["mdp"] },
    CrateLevel { name: "analysis", level: 1, imports: &["mdp", "service"] },
    CrateLevel { name: "actor", level: 2, imports: &["mdp", "envs", "proto", "service"] },
    CrateLevel {
        name: "inference-server",
        level: 2,
        imports: &["mdp", "proto", "policy", "service"],
    },
    CrateLevel { name: "learner", level: 2, imports: &["mdp", "proto", "policy", "service"] },
    CrateLevel {
        name: "evaluator",
        level: 3,
        imports: &["mdp", "envs", "proto", "policy", "service", "actor", "inference-server"],
    },
    CrateLevel {
        name: "engram",
        level: 4,
        imports: &[
            "mdp",
            "service",
            "proto",
            "envs",
            "policy",
            "analysis",
            "actor",
            "inference-server",
            "learner",
            "evaluator",
        ],
    },
    CrateLevel { name: "xtask", level: 0, imports: &[] },
];

/// Libraries that only some crates may use, and why.
const KEPT_OUT: [(&str, &[&str], &str); 3] = [
    (
        "tch",
        &["policy", "inference-server", "learner", "engram"],
        "libtorch is linked by policy and above, and never by the actor",
    ),
    (
        "tonic",
        &["proto", "service", "actor", "inference-server", "learner", "evaluator", "engram"],
        "environments and networks know no gRPC",
    ),
    (
        "engram-envs",
        &["actor", "evaluator", "engram", "envs/wheel"],
        "the learner and the inference server know no environments: actors announce their spec",
    ),
];

/// Checks the manifest of every crate.
pub(crate) fn check(tree: &Tree) -> Vec<Problem> {
    tree.ending("/Cargo.toml").flat_map(|(path, text)| check_manifest(path, text)).collect()
}

fn check_manifest(path: &str, text: &str) -> Vec<Problem> {
    let directory = path.trim_end_matches("/Cargo.toml");
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == directory) else {
        return vec![Problem::error(
            path,
            1,
            "this crate has no level: give it one in ARCHITECTURE.md and xtask/src/tidy/layers.rs",
        )];
    };
    let manifest: toml::Table = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![Problem::error(path, 1, format!("does not parse: {error}"))],
    };
    let mut problems = Vec::new();
    for (section, dependency) in imports(&manifest) {
        let line = 1 + text.lines().position(|line| starts(line, &dependency)).unwrap_or(0);
        if let Some(message) = complaint(layer, section, &dependency) {
            problems.push(Problem::error(path, line, message));
        }
    }
    problems
}

fn complaint(layer: &CrateLevel, section: &str, dependency: &str) -> Option<String> {
    let name = layer.name;
    if section != "dev-dependencies" {
        let kept = KEPT_OUT
            .iter()
            .find(|(library, may, _)| *library == dependency && !may.contains(&name));
        if let Some((_, _, why)) = kept {
            return Some(format!("{name} must not depend on {dependency}: {why}"));
        }
    }
    let target = LAYERS.iter().find(|other| package(other.name) == dependency)?;
    let allowed = match section {
        "dev-dependencies" => target.level < layer.level && target.name != "xtask",
        _ => layer.imports.contains(&target.name),
    };
    match allowed {
        true => None,
        false => Some(format!(
            "{name} (level {}) must not import {} (level {}): it may import {}",
            layer.level,
            target.name,
            target.level,
            if layer.imports.is_empty() { "none of ours".into() } else { layer.imports.join(", ") },
        )),
    }
}

/// Every dependency and the section that names it, those of single platforms too.
fn imports(manifest: &toml::Table) -> Vec<(&'static str, String)> {
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let tables =
        platforms.into_iter().flat_map(|table| table.values()).filter_map(|v| v.as_table());
    let mut found = Vec::new();
    for table in tables.chain([manifest]) {
        for section in ["dependencies", "build-dependencies", "dev-dependencies"] {
            let names = table.get(section).and_then(toml::Value::as_table);
            found.extend(
                names
                    .into_iter()
                    .flat_map(|names| names.keys())
                    .map(|name| (section, name.clone())),
            );
        }
    }
    found
}

fn package(directory: &str) -> String {
    match directory {
        "engram" | "xtask" => directory.into(),
        "envs/wheel" => "engram-envs-python".into(),
        _ => format!("engram-{directory}"),
    }
}

fn starts(line: &str, dependency: &str) -> bool {
    line.trim_start().strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn imports_that_go_down_pass() {
        let actor =
            "[dependencies]\nengram-mdp.workspace = true\nengram-envs = { path = \"../envs\" }";
        assert!(messages("actor/Cargo.toml", actor).is_empty());
        let learner = "[dev-dependencies]\nengram-envs.workspace = true\n";
        assert!(messages("learner/Cargo.toml", learner).is_empty());
    }

    #[test]
    fn level_2_crates_never_import_one_another_not_even_in_tests() {
        for section in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.dependencies"] {
            let text = format!("[package]\n[{section}]\nengram-learner.workspace = true\n");
            let found = messages("actor/Cargo.toml", &text);
            assert_eq!(found.len(), 1, "{section}");
            assert!(
                found[0].starts_with("actor/Cargo.toml:3: actor (level 2) must not import learner")
            );
        }
    }

    #[test]
    fn imports_that_go_up_or_sideways_are_refused() {
        assert_eq!(messages("mdp/Cargo.toml", "[dependencies]\nengram-proto = \"1\"").len(), 1);
        assert_eq!(messages("policy/Cargo.toml", "[dependencies]\nengram-proto = \"1\"").len(), 1);
        assert_eq!(messages("xtask/Cargo.toml", "[dependencies]\nengram-mdp = \"1\"").len(), 1);
    }

    #[test]
    fn libtorch_grpc_and_environments_stay_where_they_belong() {
        let found = messages("actor/Cargo.toml", "[dependencies]\ntch.workspace = true");
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("never by the actor"), "{found:?}");
        let wheel = "[dependencies]\nengram-policy.workspace = true\nengram-envs.workspace = true";
        assert!(messages("envs/wheel/Cargo.toml", wheel)[0].contains("must not import policy"));
        assert_eq!(messages("envs/Cargo.toml", "[dependencies]\ntonic = \"0\"").len(), 1);
        assert_eq!(messages("learner/Cargo.toml", "[dependencies]\nengram-envs = \"0\"").len(), 1);
        assert!(messages("learner/Cargo.toml", "[dependencies]\ntch = \"0\"").is_empty());
    }

    #[test]
    fn a_crate_without_a_level_is_asked_for_one() {
        assert!(messages("utils/Cargo.toml", "")[0].contains("has no level"));
    }
}
