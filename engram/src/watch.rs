//! A run while it goes on, seen from outside.
//!
//! [`samples`] reads pages of metrics, [`prometheus`] asks a Prometheus; [`run_status`] makes of them
//! what one wants to know of a run; the command [`top`] shows that in a terminal.

pub(crate) mod samples;

mod prometheus;

mod run_status;

pub(crate) mod top;
