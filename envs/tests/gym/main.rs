//! Served environments: against a server that counts, which needs nothing but Python, and against
//! Gymnasium, where a Python has it.

mod support;

mod counting;

mod gymnasium;
