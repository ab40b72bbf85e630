//! The metrics of inference servers: names, units, help.

#![allow(clippy::disallowed_macros)]

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

const REQUESTS: &str = "engram_inference_requests_total";
const ROWS: &str = "engram_inference_rows_total";
const BATCH_SIZE: &str = "engram_inference_batch_size";
const QUEUE: &str = "engram_inference_queue_seconds";
const FORWARD: &str = "engram_inference_forward_seconds";
const STREAMS: &str = "engram_inference_streams";
const SLOTS: &str = "engram_inference_slots";
const EVICTIONS: &str = "engram_inference_evictions_total";
const POLICY_VERSION: &str = "engram_policy_version";
const WEIGHTS_RECEIVED: &str = "engram_weights_received_total";
const WEIGHTS_REFUSED: &str = "engram_weights_refused_total";

/// Registers unit and help of every metric.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_counter!(REQUESTS, Unit::Count, "Requests answered, one per group of environments.");
    describe_counter!(ROWS, Unit::Count, "Actions chosen, one per environment and request.");
    describe_histogram!(BATCH_SIZE, Unit::Count, "Rows of a batch.");
    describe_histogram!(QUEUE, Unit::Seconds, "How long a batch's oldest request had waited.");
    describe_histogram!(FORWARD, Unit::Seconds, "A batch's time on the model thread.");
    describe_gauge!(STREAMS, Unit::Count, "Registered streams.");
    describe_gauge!(SLOTS, Unit::Count, "Leased slots of recurrent state.");
    describe_counter!(EVICTIONS, Unit::Count, "Streams that a newer one replaced.");
    describe_gauge!(POLICY_VERSION, Unit::Count, "The version of the weights in use.");
    describe_counter!(WEIGHTS_RECEIVED, Unit::Count, "Weights that arrived whole.");
    describe_counter!(WEIGHTS_REFUSED, Unit::Count, "Weights that could not be used.");
    // There from the start: of a counter that begins with 1 nobody sees that it grew.
    for name in [EVICTIONS, WEIGHTS_RECEIVED, WEIGHTS_REFUSED] {
        counter!(name).increment(0);
    }
    streams(0, 0);
}

/// Numbers of registered streams and of leased slots.
pub(crate) fn streams(streams: usize, slots: usize) {
    gauge!(STREAMS).set(streams as f64);
    gauge!(SLOTS).set(slots as f64);
}

/// So many streams were replaced by another.
pub(crate) fn evicted(streams: usize) {
    counter!(EVICTIONS).increment(streams as u64);
}

/// Weights arrived whole.
pub(crate) fn weights_received() {
    counter!(WEIGHTS_RECEIVED).increment(1);
}

/// Weights, or pieces of them, could not be used.
pub(crate) fn weights_refused() {
    counter!(WEIGHTS_REFUSED).increment(1);
}

/// Metrics of the model thread, once per batch.
#[derive(Debug)]
pub(crate) struct ModelMetrics {
    requests: Counter,
    rows: Counter,
    batch_size: Histogram,
    queue: Histogram,
    forward: Histogram,
    policy_version: Gauge,
}

impl ModelMetrics {
    pub(crate) fn new() -> Self {
        ModelMetrics {
            requests: counter!(REQUESTS),
            rows: counter!(ROWS),
            batch_size: histogram!(BATCH_SIZE),
            queue: histogram!(QUEUE),
            forward: histogram!(FORWARD),
            policy_version: gauge!(POLICY_VERSION, "role" => "inference"),
        }
    }

    /// A batch was answered.
    pub(crate) fn batch(&self, requests: usize, rows: usize, queue: Duration, forward: Duration) {
        self.requests.increment(requests as u64);
        self.rows.increment(rows as u64);
        self.batch_size.record(rows as f64);
        self.queue.record(queue.as_secs_f64());
        self.forward.record(forward.as_secs_f64());
    }

    /// Other weights are in use.
    pub(crate) fn policy_version(&self, version: u64) {
        self.policy_version.set(version as f64);
    }
}
