//! Stub.
#![allow(dead_code, unused_variables, clippy::unimplemented)]
use super::*;
use crate::config::*;
use tch::Tensor;
pub(crate) struct Cgpt {}
impl Cgpt {
    pub(crate) fn new(
        shape: super::attention::Shape,
        norm: Norm,
        bf16: bool,
        name: &str,
        p: &mut Parameters,
    ) -> Self {
        unimplemented!()
    }
}
impl Memory for Cgpt {
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
