//! A set of manifests, and whether its parts fit one another and the programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::program::programs;

/// The manifests of one overlay.
pub(crate) struct Cluster<'a> {
    documents: &'a [Value],
    problems: Vec<String>,
}

/// Kinds that make pods.
const WORKLOADS: [&str; 2] = ["Deployment", "StatefulSet"];

/// Files of the secret: those of `engram certs`, and the token.
const DOOR: [&str; 8] = [
    "ca.pem",
    "server.pem",
    "server.key",
    "metrics.pem",
    "metrics.key",
    "client.pem",
    "client.key",
    "token",
];

/// Mistakes in an overlay's manifests.
pub(crate) fn problems(documents: &[Value]) -> Vec<String> {
    let mut cluster = Cluster { documents, problems: Vec::new() };
    for workload in cluster.workloads() {
        cluster.check_pod(workload);
        cluster.check_container(workload);
    }
    cluster.check_services();
    cluster.check_policies();
    cluster.check_scaling();
    cluster.problems
}

impl<'a> Cluster<'a> {
    fn workloads(&self) -> Vec<&'a Value> {
        let kinds = |document: &&Value| WORKLOADS.contains(&text(document, "/kind"));
        self.documents.iter().filter(kinds).collect()
    }

    fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &'a Value> + use<'a> {
        self.documents.iter().filter(move |document| text(document, "/kind") == kind)
    }

    fn expect(&mut self, holds: bool, problem: impl Into<String>) {
        if !holds {
            self.problems.push(problem.into());
        }
    }

    /// Selectors, what Prometheus is told, and that the pod may do nothing that it need not.
    fn check_pod(&mut self, workload: &Value) {
        let name = name(workload);
        let template = &workload["spec"]["template"];
        let labels = &template["metadata"]["labels"];
        let selects = selects(&workload["spec"]["selector"]["matchLabels"], labels);
        self.expect(selects, format!("{name}: its selector does not match its own pods"));
        let annotation = text(template, "/metadata/annotations/prometheus.io~1port");
        let metrics = port(workload, "metrics").map(|port| port.to_string());
        self.expect(
            metrics.as_deref() == Some(annotation),
            format!("{name}: prometheus.io/port is {annotation}, and its port is {metrics:?}"),
        );
        for (place, wanted) in [
            ("/spec/automountServiceAccountToken", Value::from(false)),
            ("/spec/securityContext/runAsNonRoot", true.into()),
            ("/spec/securityContext/seccompProfile/type", "RuntimeDefault".into()),
            ("/spec/containers/0/securityContext/allowPrivilegeEscalation", false.into()),
            ("/spec/containers/0/securityContext/readOnlyRootFilesystem", true.into()),
            ("/spec/containers/0/securityContext/capabilities/drop/0", "ALL".into()),
        ] {
            let found = template.pointer(place);
            self.expect(found == Some(&wanted), format!("{name}: {place} is {found:?}"));
        }
        for place in ["requests/cpu", "requests/memory", "limits/memory"] {
            let there = template.pointer(&format!("/spec/containers/0/resources/{place}"));
            self.expect(there.is_some(), format!("{name}: it has no resources/{place}"));
        }
        let grace = template["spec"]["terminationGracePeriodSeconds"].as_u64();
        self.expect(grace >= Some(30), format!("{name}: it has {grace:?} s to leave"));
    }

    /// The program, its flags and its environment.
    fn check_container(&mut self, workload: &Value) {
        let name = name(workload);
        let container = &workload["spec"]["template"]["spec"]["containers"][0];
        let image = text(container, "/image");
        let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
        let version = env!("CARGO_PKG_VERSION");
        let known = tag == version || tag == format!("{version}-cuda");
        self.expect(known, format!("{name}: the image {image} is not of version {version}"));

        let environment = self.environment(container);
        let probes = ["startupProbe", "livenessProbe", "readinessProbe"];
        let probes = probes.map(|probe| &container[probe]["exec"]["command"]);
        for command in [&container["command"]].into_iter().chain(probes) {
            self.check_command(&name, command, &environment);
        }
        let command = words(&container["command"]);
        let Some(program) = command.first().and_then(|first| programs().get(first)) else {
            return; // Said already.
        };
        let given = environment.contains_key("ENGRAM_EXPERIMENT");
        let wanted = command[0] == "engram-learner";
        self.expect(given == wanted, format!("{name}: ENGRAM_EXPERIMENT is for the learner alone"));
        for (variable, value) in &environment {
            let ours = variable.starts_with("ENGRAM_");
            let used = command.contains(&format!("$({variable})").as_str());
            // What all programs share need not be for each.
            let somebody = programs().values().any(|program| program.reads(variable));
            let own = container["env"].as_array().into_iter().flatten();
            let own = own.into_iter().any(|entry| entry["name"] == variable.as_str());
            let known = if own { program.reads(variable) } else { somebody };
            self.expect(!ours || used || known, format!("{name}: nobody reads {variable}"));
            if let Some(file) = value.strip_prefix("/security/") {
                let mounts = container["volumeMounts"].as_array().into_iter().flatten();
                let mounted = mounts.into_iter().any(|mount| mount["mountPath"] == "/security");
                let known = mounted && DOOR.contains(&file) && holds(workload, file);
                self.expect(known, format!("{name}: {variable} names {value}, which is not there"));
            }
        }
        for (variable, port_name) in [("ENGRAM_LISTEN", "grpc"), ("ENGRAM_METRICS", "metrics")] {
            let said = environment.get(variable).and_then(|value| port_of(value));
            let open = port(workload, port_name);
            self.expect(said == open, format!("{name}: {variable} is {said:?}, its port {open:?}"));
        }
        let usual = program.usual_port();
        let open = port(workload, "grpc");
        self.expect(open == usual, format!("{name}: it listens at {open:?}, usually at {usual:?}"));
        self.check_peers(&name, &environment);
    }

    /// A command's program, and its flags.
    fn check_command(&mut self, name: &str, command: &Value, known: &BTreeMap<String, String>) {
        let words = words(command);
        let Some((first, rest)) = words.split_first() else { return };
        let Some(program) = programs().get(first) else {
            return self.expect(false, format!("{name}: {first} is none of the programs"));
        };
        for word in rest {
            match word.strip_prefix("$(").and_then(|word| word.strip_suffix(')')) {
                Some(variable) => {
                    let there = known.contains_key(variable);
                    self.expect(there, format!("{name}: {variable} is not in its environment"));
                }
                None if word.starts_with("--") => {
                    self.expect(program.has(word), format!("{name}: {first} has no {word}"));
                }
                None => {}
            }
        }
        if let Some(experiment) = known.get("ENGRAM_EXPERIMENT") {
            let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/experiments");
            let there = configs.join(format!("{experiment}.toml")).exists();
            self.expect(there, format!("{name}: there is no experiment {experiment}"));
        }
    }

    /// Whoever is dialed is a service, at a port that it has.
    fn check_peers(&mut self, name: &str, environment: &BTreeMap<String, String>) {
        for variable in ["ENGRAM_LEARNER", "ENGRAM_INFERENCE"] {
            let Some(address) = environment.get(variable) else { continue };
            let service = self
                .of_kind("Service")
                .find(|service| address.split(':').next() == Some(text(service, "/metadata/name")));
            let open = service.and_then(|service| service["spec"]["ports"][0]["port"].as_u64());
            let there = open.is_some() && open == port_of(address);
            self.expect(there, format!("{name}: {variable} is {address}, where no service is"));
        }
    }

    /// A container's environment, that of its ConfigMap included.
    fn environment(&mut self, container: &Value) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        for from in container["envFrom"].as_array().into_iter().flatten() {
            let data = self.config_map(text(from, "/configMapRef/name")).as_object();
            let pairs = data.into_iter().flatten();
            environment.extend(pairs.map(|(key, value)| (key.clone(), as_text(value))));
        }
        for entry in container["env"].as_array().into_iter().flatten() {
            let reference = &entry["valueFrom"]["configMapKeyRef"];
            let value = match reference.is_object() {
                true => &self.config_map(text(reference, "/name"))[text(reference, "/key")],
                false => &entry["value"],
            };
            let variable = as_text(&entry["name"]);
            self.expect(value.is_string(), format!("{variable} has no value: {entry}"));
            environment.insert(variable, as_text(value));
        }
        environment
    }

    /// The pairs of a ConfigMap.
    fn config_map(&mut self, wanted: &str) -> &'a Value {
        let map = self.of_kind("ConfigMap").find(|map| name_is(map, wanted));
        self.expect(map.is_some(), format!("there is no ConfigMap {wanted}"));
        map.map_or(&Value::Null, |map| &map["data"])
    }

    /// Every service has one workload behind it, and names a port of it; a StatefulSet has one.
    fn check_services(&mut self) {
        for service in self.of_kind("Service") {
            let name = name(service);
            let behind = self.selected(&service["spec"]["selector"]);
            self.expect(behind.len() == 1, format!("{name}: {} workloads behind it", behind.len()));
            // A virtual address would hide the servers from the actors.
            let headless = service["spec"]["clusterIP"] == "None";
            self.expect(headless, format!("{name}: it has an address of its own"));
            for entry in service["spec"]["ports"].as_array().into_iter().flatten() {
                let target = text(entry, "/targetPort");
                let open = behind.first().and_then(|workload| port(workload, target));
                let fits = open.is_some() && open == entry["port"].as_u64();
                self.expect(fits, format!("{name}: its port {entry} is not that of its pods"));
            }
        }
        for set in self.of_kind("StatefulSet") {
            let wanted = text(set, "/spec/serviceName");
            let there = self.of_kind("Service").any(|service| name_is(service, wanted));
            self.expect(there, format!("{}: there is no service {wanted}", name(set)));
        }
    }

    /// Budgets and network policies speak of pods that there are, and of ports that these have.
    fn check_policies(&mut self) {
        let budgets: Vec<_> = self.of_kind("PodDisruptionBudget").collect();
        for workload in self.workloads() {
            let labels = &workload["spec"]["template"]["metadata"]["labels"];
            let covers =
                |budget: &&&Value| selects(&budget["spec"]["selector"]["matchLabels"], labels);
            let count = budgets.iter().filter(covers).count();
            self.expect(count == 1, format!("{}: {count} budgets cover it", name(workload)));
        }
        for policy in self.of_kind("NetworkPolicy") {
            let name = name(policy);
            let behind = self.selected(&policy["spec"]["podSelector"]["matchLabels"]);
            self.expect(!behind.is_empty(), format!("{name}: it is for no pod"));
            for rule in policy["spec"]["ingress"].as_array().into_iter().flatten() {
                self.check_ports(&name, &rule["ports"], &behind);
            }
            for rule in policy["spec"]["egress"].as_array().into_iter().flatten() {
                for to in rule["to"].as_array().into_iter().flatten() {
                    if to["podSelector"].is_object() {
                        let behind = self.selected(&to["podSelector"]["matchLabels"]);
                        self.check_ports(&name, &rule["ports"], &behind);
                    }
                }
            }
        }
    }

    fn check_ports(&mut self, name: &str, ports: &Value, workloads: &[&Value]) {
        let open: BTreeSet<u64> =
            workloads.iter().flat_map(|workload| all_ports(workload)).collect();
        for port in ports.as_array().into_iter().flatten() {
            let there = port["port"].as_u64().is_some_and(|port| open.contains(&port));
            self.expect(there, format!("{name}: {port} is a port of none of {open:?}"));
        }
    }

    /// An autoscaler has what to scale, and nobody else counts it.
    fn check_scaling(&mut self) {
        for scaler in self.of_kind("HorizontalPodAutoscaler") {
            let name = name(scaler);
            let target = &scaler["spec"]["scaleTargetRef"];
            let scaled = self.workloads().into_iter().find(|workload| {
                workload["kind"] == target["kind"] && name_is(workload, text(target, "/name"))
            });
            self.expect(scaled.is_some(), format!("{name}: there is no {target}"));
            let counted = scaled.is_some_and(|workload| !workload["spec"]["replicas"].is_null());
            self.expect(!counted, format!("{name}: what it scales has a number of replicas too"));
        }
    }

    fn selected(&self, selector: &Value) -> Vec<&'a Value> {
        let picks = |workload: &&Value| {
            selects(selector, &workload["spec"]["template"]["metadata"]["labels"])
        };
        self.workloads().into_iter().filter(picks).collect()
    }
}

/// True if a pod's secret brings a file: it brings all, or those that it lists.
fn holds(workload: &Value, file: &str) -> bool {
    let secret = &workload["spec"]["template"]["spec"]["volumes"];
    let volumes = secret.as_array().into_iter().flatten();
    let mut secrets = volumes.map(|volume| &volume["secret"]).filter(|secret| secret.is_object());
    secrets.any(|secret| match secret["items"].as_array() {
        Some(items) => items.iter().any(|item| item["path"] == file),
        None => true,
    })
}

/// True if labels have all that a selector asks for. One that asks for nothing selects all.
fn selects(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object().into_iter().flatten();
    wanted.into_iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A port of a workload's pods, by name.
fn port(workload: &Value, name: &str) -> Option<u64> {
    let ports = workload["spec"]["template"]["spec"]["containers"][0]["ports"].as_array()?;
    ports.iter().find(|port| port["name"] == name)?["containerPort"].as_u64()
}

fn all_ports(workload: &Value) -> Vec<u64> {
    let ports = &workload["spec"]["template"]["spec"]["containers"][0]["ports"];
    let ports = ports.as_array().into_iter().flatten();
    ports.filter_map(|port| port["containerPort"].as_u64()).collect()
}

fn port_of(address: &str) -> Option<u64> {
    address.rsplit(':').next()?.parse().ok()
}

fn words(command: &Value) -> Vec<&str> {
    command.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn as_text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

fn name_is(document: &Value, name: &str) -> bool {
    document["metadata"]["name"] == name
}

/// Name of a document in messages.
fn name(document: &Value) -> String {
    format!("{} {}", text(document, "/kind"), text(document, "/metadata/name"))
}
