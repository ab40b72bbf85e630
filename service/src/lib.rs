//! What every Engram process does around its work. It knows nothing of reinforcement learning:
//! no tensors, no messages of ours.
//!
//! ```text
//! before   args        the flags that all programs share
//!          config      an experiment: three parts, overrides, the run's own settings
//!          allocator   mimalloc, for libtorch too
//!          logs        what people read          progress   one line or bar per interval
//!          format      numbers, sizes and times
//! around   net         addresses, listeners, channels, locked doors, backoff
//!          health      grpc.health.v1            metrics    Prometheus at /metrics
//!          threads     named, and heard when they panic
//!          process     memory and CPU time
//! after    shutdown    one value that everything waits on
//!          failure     why the program ended, as a sentence
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

pub mod metrics;

pub mod process;

pub mod threads;

pub mod shutdown;

pub mod failure;

pub use config::{ConfigArgs, ConfigError, Resolved, RunConfig, Selection};
pub use net::{Address, Backoff, Channel, Door, Exposure, Keys, Listener, NetError};
pub use shutdown::Shutdown;
