//! Service: the part of every Engram process around its work. It knows nothing of reinforcement
//! learning: no tensors, no messages of ours.
//!
//! TLS handshakes are our own (`net/tls.rs`): tonic's lose the count of failed ones and their reasons.
//!
//! ```text
//! before   args        the flags that all programs share
//!          config      an experiment: three parts, overrides, the run's own settings
//!          allocator   mimalloc, for libtorch too
//!          logs        lines for people          progress   one line or bar per interval
//!          format      numbers, sizes and times
//! around   net         addresses, listeners, channels, TLS and tokens, backoff
//!          health      grpc.health.v1        heartbeat   threads that hang
//!          metrics     Prometheus' recorder      metrics_page   its page at /metrics
//!          threads     named, and heard when they panic
//!          process     a number of its own, memory and CPU time
//! after    shutdown    one value that everything waits on
//!          failure     the reason of an end, as a sentence
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod args;

pub mod config;

pub mod allocator;

pub mod logs;

pub mod progress;

pub mod format;

pub mod net;

pub mod health;

pub mod heartbeat;

pub mod metrics;

pub mod metrics_page;

pub mod process;

pub mod threads;

pub mod shutdown;

pub mod failure;

pub use config::{ConfigArgs, ConfigError, ExperimentSelection, Resolved, RunConfig};
pub use net::{
    Address, Backoff, Channel, ClientCredentials, Exposure, Listener, NetError, ServerSecurity,
};
pub use shutdown::Shutdown;
