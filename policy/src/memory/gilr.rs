//! Stub.
#![allow(dead_code, unused_variables, clippy::unimplemented)]
use super::*;
use crate::config::*;
use tch::Tensor;
pub(crate) struct Gilr {}
impl Gilr {
    pub(crate) fn new(
        inputs: i64,
        hidden: i64,
        forget_bias: f64,
        feed_forward: bool,
        gradient: Gradient,
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        unimplemented!()
    }
}
impl Memory for Gilr {
    fn outputs(&self) -> i64 {
        unimplemented!()
    }
    fn exports_state(&self) -> bool {
        unimplemented!()
    }
    fn initial_state(&self, batch: i64) -> CoreState {
        unimplemented!()
    }
    fn step(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        unimplemented!()
    }
    fn unroll(&self, x: &Tensor, state: &CoreState, resets: &Resets) -> (Tensor, CoreState) {
        unimplemented!()
    }
}
