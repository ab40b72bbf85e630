//! Stub.
#![allow(dead_code, unused_variables, clippy::unimplemented)]
use super::*;
use crate::config::*;
use tch::Tensor;
pub(crate) struct Shape {
    pub(crate) inputs: i64,
    pub(crate) width: i64,
    pub(crate) state: i64,
    pub(crate) conv: i64,
    pub(crate) blocks: i64,
}
pub(crate) struct Mamba {}
impl Mamba {
    pub(crate) fn new(
        shape: Shape,
        norm: Norm,
        feed_forward: bool,
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        unimplemented!()
    }
}
impl Memory for Mamba {
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
