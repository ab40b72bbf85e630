//! Prometheus metrics of this process.
//!
//! Crates record with the `metrics` macros, each naming its metrics in its own `metrics.rs`; here
//! are the recorder, its buckets, and the metrics that every process has. Names end in
//! their unit, and the ending chooses a histogram's buckets:
//!
//! | ending | buckets |
//! |---|---|
//! | `_seconds` | 10 µs to 100 s, in steps of 1, 2, 5 |
//! | `_bytes` | 256 B to 256 MiB, in steps of 4 |
//! | `_size`, `_length` | 1 to 65536, in steps of 2 |
//! | `_lag` | 0 to 1000, dense where it matters |
//! | `_return` | -1000 to 1000, in steps of 1, 2, 5 |

#![allow(clippy::disallowed_macros)]

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use metrics_process::Collector;

use crate::threads::spawn_named;

/// Always 1; its labels say which build this is.
const BUILD_INFO: &str = "engram_build_info";

/// Connections and calls refused, by `reason`.
const CONNECTIONS_REFUSED: &str = "engram_connections_refused_total";

/// When the first certificate expires of those that this process shows or trusts, by `role`.
const CERTIFICATE_EXPIRY: &str = "engram_certificate_expiry_timestamp_seconds";

/// The reasons.
const REASONS: [&str; 3] = ["handshake", "timeout", "token"];

/// This build's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The git revision of this build, where `ENGRAM_REVISION` was set when it was built.
pub const REVISION: &str = match option_env!("ENGRAM_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Histograms collect samples until somebody looks; somebody looks this often.
const UPKEEP: Duration = Duration::from_secs(5);

/// Records the metrics of this process from now on. Later calls change nothing.
pub fn install() {
    handle();
}

/// All metrics as Prometheus would read them now.
pub fn snapshot() -> String {
    let handle = handle();
    Collector::default().collect();
    handle.render()
}

/// Notes when the first of the certificates expires that a role needs, where they tell.
pub(crate) fn certificate_expiry(role: &'static str, unix_seconds: Option<i64>) {
    if let Some(seconds) = unix_seconds {
        install();
        metrics::gauge!(CERTIFICATE_EXPIRY, "role" => role).set(seconds as f64);
    }
}

/// Counts a connection or call that was refused.
pub(crate) fn connection_refused(reason: &'static str) {
    metrics::counter!(CONNECTIONS_REFUSED, "reason" => reason).increment(1);
}

fn handle() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let recorder = recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)
            .unwrap_or_else(|_| panic!("a process has one recorder, and it is ours"));
        metrics::describe_gauge!(BUILD_INFO, "Always 1; the labels say which build this is.");
        metrics::gauge!(BUILD_INFO, "version" => VERSION, "revision" => REVISION).set(1.0);
        metrics::describe_counter!(
            CONNECTIONS_REFUSED,
            format!("Connections and calls refused, by reason: {}.", REASONS.join(", "))
        );
        metrics::describe_gauge!(
            CERTIFICATE_EXPIRY,
            "When the first certificate expires of those that this process needs as a server or client."
        );
        for reason in REASONS {
            // There from the start: of a counter that begins with 1 nobody sees that it grew.
            metrics::counter!(CONNECTIONS_REFUSED, "reason" => reason).increment(0);
        }
        Collector::default().describe();
        let upkeep = handle.clone();
        // Lives as long as the recorder: as long as the process.
        spawn_named("metrics", move || {
            loop {
                std::thread::sleep(UPKEEP);
                upkeep.run_upkeep();
            }
        });
        handle
    })
}

fn recorder() -> PrometheusRecorder {
    let sizes: Vec<f64> = (0..=16).map(|power| f64::from(1 << power)).collect();
    let bytes: Vec<f64> = (4..=14).map(|power| 4_f64.powi(power)).collect();
    let positive = one_two_five(-2, 2);
    let returns: Vec<f64> =
        positive.iter().rev().map(|x| -x).chain([0.0]).chain(positive.iter().copied()).collect();
    let lags = [0., 1., 2., 3., 4., 5., 7., 10., 15., 20., 30., 50., 70., 100., 200., 500., 1000.];
    let suffixes: [(&str, &[f64]); 6] = [
        ("_seconds", &one_two_five(-5, 1)),
        ("_bytes", &bytes),
        ("_size", &sizes),
        ("_length", &sizes),
        ("_lag", &lags),
        ("_return", &returns),
    ];
    suffixes
        .into_iter()
        .fold(PrometheusBuilder::new(), |builder, (suffix, buckets)| {
            let suffix = Matcher::Suffix(suffix.into());
            builder.set_buckets_for_metric(suffix, buckets).expect("there are buckets")
        })
        .build_recorder()
}

/// 1, 2 and 5 times each power of ten, and the power after the last.
fn one_two_five(from: i32, to: i32) -> Vec<f64> {
    let decade = |power| [1.0, 2.0, 5.0].map(|digit| format!("{digit}e{power}"));
    let all = (from..=to).flat_map(decade).chain([format!("1e{}", to + 1)]);
    // Parsed, because products of powers of ten carry rounding errors into the labels.
    all.map(|text| text.parse().expect("a number")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_a_name_chooses_the_buckets() {
        install();
        install();
        metrics::histogram!("test_wait_seconds").record(0.0003);
        metrics::histogram!("test_batch_size").record(48.0);
        metrics::histogram!("test_policy_lag").record(0.0);
        metrics::histogram!("test_episode_return").record(-0.3);
        let page = snapshot();
        for line in [
            "test_wait_seconds_bucket{le=\"0.0002\"} 0",
            "test_wait_seconds_bucket{le=\"0.0005\"} 1",
            "test_batch_size_bucket{le=\"32\"} 0",
            "test_batch_size_bucket{le=\"64\"} 1",
            "test_policy_lag_bucket{le=\"0\"} 1",
            "test_episode_return_bucket{le=\"-0.5\"} 0",
            "test_episode_return_bucket{le=\"-0.2\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
        }
    }

    #[test]
    fn every_process_tells_its_build_memory_and_cpu_time() {
        let page = snapshot();
        assert!(page.contains(&format!("engram_build_info{{version=\"{VERSION}\"")), "{page}");
        for line in [
            "# TYPE process_resident_memory_bytes gauge",
            "# TYPE process_cpu_seconds_total gauge",
            "# TYPE process_threads gauge",
        ] {
            assert!(page.contains(line), "{page}");
        }
    }

    #[test]
    fn buckets_have_round_numbers() {
        let buckets = one_two_five(-2, 0);
        assert_eq!(buckets, [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]);
    }
}
