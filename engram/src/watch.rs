//! Monitoring of a run from outside, while it goes on.
//!
//! [`samples`] reads pages of metrics, [`prometheus`] asks a Prometheus. [`run_status`] computes
//! the status of a run from them, with its [`bottleneck`]. The command [`top`] shows it.

pub(crate) mod samples;

mod prometheus;

mod bottleneck;

mod run_status;

pub(crate) mod top;
