//! What a memory carries from one step to the next.

use tch::{Device, Kind, Tensor};

use crate::error::PolicyError;
use crate::resets::Resets;

/// The recurrent state of B environments: tensors of shape `[B, ..]`, none where nothing is
/// remembered.
#[derive(Debug)]
pub struct CoreState {
    batch: i64,
    tensors: Vec<Tensor>,
}

impl CoreState {
    /// The state made of `tensors`, each `[batch, ..]`.
    pub(crate) fn new(batch: i64, tensors: Vec<Tensor>) -> Self {
        for tensor in &tensors {
            assert_eq!(
                tensor.size()[0],
                batch,
                "every tensor of a core state has a row per environment"
            );
        }
        CoreState { batch, tensors }
    }

    /// The state of `batch` environments that remember nothing.
    pub fn nothing(batch: i64) -> Self {
        CoreState::new(batch, Vec::new())
    }

    /// B: environments whose state this is.
    pub fn batch(&self) -> i64 {
        self.batch
    }

    /// The tensors, each `[B, ..]`.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// Numbers per environment.
    pub fn width(&self) -> usize {
        self.tensors.iter().map(row_width).sum::<i64>() as usize
    }

    /// Zeros, in the shape and place of this state, for `batch` environments.
    pub fn zeros_like(&self, batch: i64) -> CoreState {
        let zeros = |tensor: &Tensor| {
            let mut shape = tensor.size();
            shape[0] = batch;
            Tensor::zeros(shape, (tensor.kind(), tensor.device()))
        };
        CoreState::new(batch, self.tensors.iter().map(zeros).collect())
    }

    /// The rows `rows`, which is i64 `[N]`, as a state of N environments.
    pub fn index_select(&self, rows: &Tensor) -> CoreState {
        let batch = rows.size1().expect("rows have shape [N]");
        CoreState { batch, ..self.map(|tensor| tensor.index_select(0, rows)) }
    }

    /// Overwrites the rows `rows`, i64 `[N]` without repetition, with the N rows of `other`.
    pub fn index_copy(&mut self, rows: &Tensor, other: &CoreState) {
        assert_eq!(rows.size(), [other.batch], "one row index per environment");
        assert_eq!(self.tensors.len(), other.tensors.len(), "two states of different memories");
        tch::no_grad(|| {
            for (to, from) in self.tensors.iter_mut().zip(&other.tensors) {
                let _ = to.index_copy_(0, rows, from);
            }
        });
    }

    /// All numbers, f32 `[B, S]`, to be sent or stored.
    pub fn flatten(&self) -> Tensor {
        let Some(first) = self.tensors.first() else {
            return Tensor::empty([self.batch, 0], (Kind::Float, Device::Cpu));
        };
        let flat = |tensor: &Tensor| {
            tensor.detach().reshape([self.batch, row_width(tensor)]).to_kind(Kind::Float)
        };
        match &self.tensors[1..] {
            [] => flat(first),
            _ => Tensor::cat(&self.tensors.iter().map(flat).collect::<Vec<_>>(), 1),
        }
    }

    /// The state whose flat form is `flat`, `[B, S]`, in this state's shapes and place.
    pub fn unflatten(&self, flat: &Tensor) -> Result<CoreState, PolicyError> {
        let (batch, width) = flat.size2().expect("a flat core state has shape [B, S]");
        if width as usize != self.width() {
            return Err(PolicyError::CoreState { expected: self.width(), found: width as usize });
        }
        let mut start = 0;
        let part = |tensor: &Tensor| {
            let mut shape = tensor.size();
            shape[0] = batch;
            let part = flat.narrow(1, start, row_width(tensor));
            start += row_width(tensor);
            part.to_device(tensor.device()).to_kind(tensor.kind()).reshape(shape)
        };
        Ok(CoreState::new(batch, self.tensors.iter().map(part).collect()))
    }

    /// The same numbers, cut off from the graph that made them.
    pub fn detach(&self) -> CoreState {
        self.map(Tensor::detach)
    }

    /// The same numbers, what is not an integer among them as leaves of a graph to come.
    pub(crate) fn leaves(&self) -> CoreState {
        let leaf = |tensor: &Tensor| tensor.detach().set_requires_grad(tensor.is_floating_point());
        self.map(leaf)
    }

    /// The same numbers on `device`.
    pub fn to_device(&self, device: Device) -> CoreState {
        self.map(|tensor| tensor.to_device(device))
    }

    /// Another handle on the same tensors.
    pub fn shallow_clone(&self) -> CoreState {
        self.map(Tensor::shallow_clone)
    }

    /// The state before step `time` of `resets`: zero where an episode begins there.
    pub(crate) fn begin(&self, resets: &Resets, time: usize) -> CoreState {
        assert_eq!(self.batch, resets.batch() as i64, "a core state of another batch");
        if self.tensors.is_empty() || !resets.any_at(time) {
            return self.shallow_clone();
        }
        self.map(|tensor| {
            let mut shape = vec![1; tensor.dim()];
            shape[0] = self.batch;
            let first = resets.first_at(time, tensor.device()).view(shape.as_slice());
            // Not by a product: what was not finite would survive it.
            tensor.masked_fill(&first, 0.0)
        })
    }

    /// All tensors of `parts`, states of the same environments, one after another.
    pub(crate) fn join(batch: i64, parts: Vec<CoreState>) -> CoreState {
        CoreState::new(batch, parts.into_iter().flat_map(|part| part.tensors).collect())
    }

    /// What [`join`](Self::join) joined, where the parts have so many tensors each.
    pub(crate) fn split(&self, counts: impl Iterator<Item = usize>) -> Vec<CoreState> {
        let mut rest = self.tensors.iter();
        let parts = counts
            .map(|count| {
                let tensors: Vec<_> =
                    rest.by_ref().take(count).map(Tensor::shallow_clone).collect();
                assert_eq!(tensors.len(), count, "the parts' tensors are all there");
                CoreState { batch: self.batch, tensors }
            })
            .collect();
        assert!(rest.next().is_none(), "every tensor belongs to a part");
        parts
    }

    /// `f` of every tensor, in their order.
    pub(crate) fn map(&self, f: impl FnMut(&Tensor) -> Tensor) -> CoreState {
        CoreState { batch: self.batch, tensors: self.tensors.iter().map(f).collect() }
    }
}

fn row_width(tensor: &Tensor) -> i64 {
    tensor.size()[1..].iter().product()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(batch: i64) -> CoreState {
        let numbers = Tensor::arange(batch * 7, (Kind::Float, Device::Cpu)).view([batch, 7]);
        let (a, b) = (numbers.narrow(1, 0, 3), numbers.narrow(1, 3, 4).reshape([batch, 2, 2]));
        CoreState::new(batch, vec![a.copy(), b.copy()])
    }

    #[test]
    fn a_state_is_what_its_flat_form_says() {
        let state = numbered(3);
        assert_eq!(state.width(), 7);
        let back = numbered(1).unflatten(&state.flatten()).unwrap();
        assert_eq!(back.tensors(), state.tensors());
        let message = state.unflatten(&Tensor::zeros([3, 6], (Kind::Float, Device::Cpu)));
        assert!(matches!(message, Err(PolicyError::CoreState { expected: 7, found: 6 })));
    }

    #[test]
    fn rows_are_taken_out_and_put_back() {
        let state = numbered(4);
        let rows = Tensor::from_slice(&[3i64, 1]);
        let taken = state.index_select(&rows);
        assert_eq!(taken.flatten(), state.flatten().index_select(0, &rows));
        let mut slots = state.zeros_like(4);
        slots.index_copy(&rows, &taken);
        let expected = state.flatten() * Tensor::from_slice(&[0f32, 1.0, 0.0, 1.0]).unsqueeze(1);
        assert_eq!(slots.flatten(), expected);
    }

    #[test]
    fn nothing_remembered_is_a_state_too() {
        let nothing = CoreState::new(2, vec![]);
        assert_eq!((nothing.width(), nothing.flatten().size()), (0, vec![2, 0]));
        assert_eq!(nothing.index_select(&Tensor::from_slice(&[0i64])).batch(), 1);
        assert_eq!(nothing.unflatten(&nothing.flatten()).unwrap().batch(), 2);
    }
}
