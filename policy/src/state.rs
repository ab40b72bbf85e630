//! Core states, and what every set of tensors with a row per environment can do ([`Batched`]).

use tch::{Device, Kind, Tensor};

use crate::error::PolicyError;
use crate::resets::Resets;

/// Tensors `[B, ..]` with a row for each of B environments or streams.
pub trait Batched: Sized {
    /// B: environments or streams.
    fn batch(&self) -> i64;

    /// All tensors, each `[B, ..]`, in a fixed order.
    fn columns(&self) -> Vec<&Tensor>;

    /// Counterpart for `batch` environments, made of `f` of every tensor, in their order.
    fn map(&self, batch: i64, f: impl FnMut(&Tensor) -> Tensor) -> Self;

    /// Numbers per environment in the flat form.
    fn width(&self) -> usize {
        self.columns().into_iter().map(row_width).sum::<i64>() as usize
    }

    /// Zeros for `batch` environments, in these tensors' shapes, kinds and device.
    fn zeros_like(&self, batch: i64) -> Self {
        self.map(batch, |tensor| {
            let mut shape = tensor.size();
            shape[0] = batch;
            Tensor::zeros(shape, (tensor.kind(), tensor.device()))
        })
    }

    /// The rows `rows`, which is i64 `[N]`, for N environments.
    fn index_select(&self, rows: &Tensor) -> Self {
        let batch = rows.size1().expect("rows have shape [N]");
        self.map(batch, |tensor| tensor.index_select(0, rows))
    }

    /// The rows of all `parts`, which are alike, one part after the other.
    fn cat(parts: &[Self]) -> Self {
        let columns: Vec<_> = parts.iter().map(Self::columns).collect();
        let mut numbers = 0..;
        parts[0].map(parts.iter().map(Self::batch).sum(), |_| {
            let column = numbers.next().expect("numbers do not end");
            Tensor::cat(&columns.iter().map(|part| part[column]).collect::<Vec<_>>(), 0)
        })
    }

    /// All numbers, f32 `[B, S]`, to be sent or stored. Three bytes are one number there.
    fn flatten(&self) -> Tensor {
        let batch = self.batch();
        let flat = |tensor: &Tensor| match tensor.kind() {
            Kind::Uint8 => packed(&tensor.reshape([batch, -1])),
            _ => tensor.detach().reshape([batch, row_width(tensor)]).to_kind(Kind::Float),
        };
        match self.columns().as_slice() {
            [] => Tensor::empty([batch, 0], (Kind::Float, Device::Cpu)),
            [only] => flat(only),
            many => Tensor::cat(&many.iter().map(|tensor| flat(tensor)).collect::<Vec<_>>(), 1),
        }
    }

    /// The counterpart whose flat form is `flat`, `[B, S]`, in these shapes and on this device.
    fn unflatten(&self, flat: &Tensor) -> Result<Self, PolicyError> {
        let (batch, width) = flat.size2().expect("flat numbers have shape [B, S]");
        if width as usize != self.width() {
            return Err(PolicyError::CoreState { expected: self.width(), found: width as usize });
        }
        let mut start = 0;
        Ok(self.map(batch, |tensor| {
            let mut shape = tensor.size();
            shape[0] = batch;
            let part = flat.narrow(1, start, row_width(tensor));
            start += row_width(tensor);
            let part = part.to_device(tensor.device());
            match tensor.kind() {
                Kind::Uint8 => unpacked(&part, shape[1..].iter().product()).reshape(shape),
                kind => part.to_kind(kind).reshape(shape),
            }
        }))
    }

    /// A counterpart cut off from the graph that made it.
    fn detach(&self) -> Self {
        self.map(self.batch(), Tensor::detach)
    }

    /// Another handle on the same tensors.
    fn shallow_clone(&self) -> Self {
        self.map(self.batch(), Tensor::shallow_clone)
    }
}

/// Recurrent state of B environments: tensors `[B, ..]`, none where nothing is remembered.
#[derive(Debug)]
pub struct CoreState {
    batch: i64,
    tensors: Vec<Tensor>,
}

impl Batched for CoreState {
    fn batch(&self) -> i64 {
        self.batch
    }

    fn columns(&self) -> Vec<&Tensor> {
        self.tensors.iter().collect()
    }

    fn map(&self, batch: i64, f: impl FnMut(&Tensor) -> Tensor) -> Self {
        CoreState::new(batch, self.tensors.iter().map(f).collect())
    }
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

    /// The tensors themselves.
    pub(crate) fn into_tensors(self) -> Vec<Tensor> {
        self.tensors
    }

    /// A counterpart whose numbers, but for integers, are leaves of a graph to come.
    pub(crate) fn leaves(&self) -> CoreState {
        let leaf = |tensor: &Tensor| tensor.detach().set_requires_grad(tensor.is_floating_point());
        self.map(self.batch, leaf)
    }

    /// The state before step `time` of `resets`: zero where an episode begins there.
    pub(crate) fn begin(&self, resets: &Resets, time: usize) -> CoreState {
        assert_eq!(self.batch, resets.batch() as i64, "a core state of another batch");
        if self.tensors.is_empty() || !resets.any_at(time) {
            return self.shallow_clone();
        }
        self.map(self.batch, |tensor| {
            let mut shape = vec![1; tensor.dim()];
            shape[0] = self.batch;
            let first = resets.first_at(time, tensor.device()).view(shape.as_slice());
            // Not by a product: what was not finite would survive it.
            tensor.masked_fill(&first, 0.0)
        })
    }
}

/// Numbers of a row in its flat form.
fn row_width(tensor: &Tensor) -> i64 {
    let numbers: i64 = tensor.size()[1..].iter().product();
    match tensor.kind() {
        Kind::Uint8 => (numbers + PACKED - 1) / PACKED,
        _ => numbers,
    }
}

/// Bytes that one f32 holds exactly, as a whole number below 2^24.
const PACKED: i64 = 3;

/// Bytes `[B, N]` as f32 `[B, N / 3]`, rounded up.
fn packed(bytes: &Tensor) -> Tensor {
    let missing = (-bytes.size()[1]).rem_euclid(PACKED);
    let whole = bytes.constant_pad_nd([0, missing]).to_kind(Kind::Int);
    let digits = Tensor::from_slice(&[1, 1 << 8, 1 << 16]).to_device(bytes.device());
    let parts = whole.view([bytes.size()[0], -1, PACKED]) * digits;
    let sums = parts.sum_dim_intlist([-1].as_slice(), false, Kind::Int);
    sums.to_kind(Kind::Float)
}

/// The bytes `[B, N]` that were [packed], N of them. What no bytes were packed to is cut to bytes.
fn unpacked(flat: &Tensor, bytes: i64) -> Tensor {
    let places = Tensor::from_slice(&[0, 8, 16]).to_device(flat.device());
    let digits = flat.to_kind(Kind::Int).unsqueeze(-1).bitwise_right_shift(&places);
    digits.bitwise_and(0xff).flatten(1, 2).narrow(1, 0, bytes).to_kind(Kind::Uint8)
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
    fn three_bytes_are_one_number_of_the_flat_form() {
        let bytes: Vec<u8> = (0..2 * 8).map(|i| [0, 255, 7, 128][i % 4]).collect();
        let pictures = Tensor::from_slice(&bytes).view([2, 2, 4]);
        let numbers = Tensor::from_slice(&[0.5f32, -1.0]).view([2, 1]);
        let state = CoreState::new(2, vec![numbers, pictures]);
        let flat = state.flatten();
        assert_eq!((state.width(), flat.size()), (1 + 3, vec![2, 4]));
        let back = state.zeros_like(1).unflatten(&flat).unwrap();
        assert_eq!(back.tensors(), state.tensors());
    }

    #[test]
    fn rows_are_taken_out_in_their_order() {
        let state = numbered(4);
        let rows = Tensor::from_slice(&[3i64, 1]);
        let taken = state.index_select(&rows);
        assert_eq!(taken.flatten(), state.flatten().index_select(0, &rows));
        assert_eq!(state.zeros_like(2).flatten(), taken.flatten().zeros_like());
    }

    #[test]
    fn nothing_remembered_is_a_state_too() {
        let nothing = CoreState::new(2, vec![]);
        assert_eq!((nothing.width(), nothing.flatten().size()), (0, vec![2, 0]));
        assert_eq!(nothing.index_select(&Tensor::from_slice(&[0i64])).batch(), 1);
        assert_eq!(nothing.unflatten(&nothing.flatten()).unwrap().batch(), 2);
    }
}
