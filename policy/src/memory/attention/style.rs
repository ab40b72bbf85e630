//! Style of a transformer, and settings of one call.

use tch::{Kind, Tensor};

use super::dropout::Dropout;
use crate::initialization::Initialization;
use crate::normalize::Norm;

/// Choices in which transformers differ.
pub(in crate::memory) struct TransformerStyle {
    pub(in crate::memory) norm: Norm,
    /// Initial values of its linear layers.
    pub(in crate::memory) init: Initialization,
    /// libtorch's name of the approximation to GELU, "none" or "tanh".
    pub(in crate::memory) gelu: &'static str,
    /// True if distance counts against a frame (ALiBi).
    pub(in crate::memory) alibi: bool,
}

/// Settings of one call.
pub(in crate::memory) struct Pass {
    /// Kind that attention computes in; `None` for the network's own.
    pub(in crate::memory) kind: Option<Kind>,
    pub(in crate::memory) dropout: Option<Dropout>,
}

impl Pass {
    /// As acting does.
    pub(in crate::memory) fn plain() -> Self {
        Pass { kind: None, dropout: None }
    }

    /// `x`, or what dropout leaves of it.
    pub(in crate::memory) fn drop_from(&mut self, x: Tensor) -> Tensor {
        match &mut self.dropout {
            Some(dropout) => dropout.apply(&x),
            None => x,
        }
    }
}
