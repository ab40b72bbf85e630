//! The eLSTM's sensitivities, walked step by step: what its exact gradients would cost if they
//! were computed as they are defined (Irie et al. 2023, eq. 8 to 12,
//! <https://arxiv.org/abs/2305.19044>).

use tch::{Device, Kind, Tensor};

use super::wait_for;

/// Where each step's results go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placing {
    /// Over those of the step before: the fastest walk.
    InPlace,
    /// Into new tensors, as the formulas are usually written down.
    New,
}

/// T steps of stored gates, and the sensitivities that walk through them.
pub(super) struct Recursion {
    placing: Placing,
    /// ∂c_t/∂c_{t−1}, ∂c_t by the arguments of z and of f, c_{t−1} and ∂L/∂c_t: `[T, B, N]`.
    factors: Vec<Tensor>,
    z: Vec<Tensor>,
    f: Vec<Tensor>,
    cells: Vec<Tensor>,
    errors: Vec<Tensor>,
    /// `[T, B, D]`.
    x: Vec<Tensor>,
    /// To Z and F, `[B, N, D]`.
    matrices: [Tensor; 2],
    /// To w_z, w_f, b_z and b_f, `[B, N]`.
    vectors: [Tensor; 4],
}

impl Recursion {
    pub(super) fn new(
        [time, batch, hidden, width]: [i64; 4],
        placing: Placing,
        device: Device,
    ) -> Self {
        let like = (Kind::Float, device);
        let steps = |n: i64, value: f64| {
            (0..time).map(|_| Tensor::full([batch, n], value, like)).collect::<Vec<_>>()
        };
        Recursion {
            placing,
            factors: steps(hidden, 0.9),
            z: steps(hidden, 0.1),
            f: steps(hidden, 0.05),
            cells: steps(hidden, 0.3),
            errors: steps(hidden, 0.01),
            x: steps(width, 0.5),
            matrices: [(); 2].map(|()| Tensor::zeros([batch, hidden, width], like)),
            vectors: [(); 4].map(|()| Tensor::zeros([batch, hidden], like)),
        }
    }

    /// T steps of all sensitivities, and the gradient of each step's error through them.
    pub(super) fn walk(&mut self) {
        let sum = |s: &Tensor| s.get(0).zeros_like();
        let mut of_matrices: Vec<Tensor> = self.matrices.iter().map(sum).collect();
        let mut of_vectors: Vec<Tensor> = self.vectors.iter().map(sum).collect();
        tch::no_grad(|| {
            for t in 0..self.x.len() {
                let (a, x, error) = (&self.factors[t], self.x[t].unsqueeze(1), &self.errors[t]);
                let (z, f) = (&self.z[t], &self.f[t]);
                for ((s, effect), gradient) in
                    self.matrices.iter_mut().zip([z, f]).zip(&mut of_matrices)
                {
                    self.placing.advance(s, &a.unsqueeze(2), &effect.unsqueeze(2), &x);
                    *gradient += (&*s * error.unsqueeze(2)).sum_dim_intlist(0, false, None);
                }
                let (c, one) = (&self.cells[t], &self.cells[t].ones_like());
                let effects = [(z, c), (f, c), (z, one), (f, one)];
                for ((s, (effect, seen)), gradient) in
                    self.vectors.iter_mut().zip(effects).zip(&mut of_vectors)
                {
                    self.placing.advance(s, a, effect, seen);
                    *gradient += (&*s * error).sum_dim_intlist(0, false, None);
                }
            }
        });
        of_matrices.iter().chain(&of_vectors).for_each(wait_for);
    }
}

impl Placing {
    /// S to a ⊙ S + e ⊗ x, all of them broadcast to its shape.
    fn advance(self, s: &mut Tensor, factor: &Tensor, effect: &Tensor, seen: &Tensor) {
        match self {
            Placing::InPlace => {
                let _ = s.g_mul_(factor);
                let _ = s.addcmul_(effect, seen);
            }
            Placing::New => *s = factor * &*s + effect * seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_walk_end_at_the_same_sensitivities() {
        let [a, b] = [Placing::InPlace, Placing::New].map(|placing| {
            let mut walk = Recursion::new([4, 2, 3, 5], placing, Device::Cpu);
            walk.walk();
            walk
        });
        // 0.1 · 0.5 · (1 + 0.9 + 0.9² + 0.9³)
        let expected = 0.05 * (1.0 - 0.9f64.powi(4)) / 0.1;
        for (a, b) in a.matrices.iter().chain(&a.vectors).zip(b.matrices.iter().chain(&b.vectors)) {
            assert!((a - b).abs().max().double_value(&[]) < 1e-6);
        }
        assert!((a.matrices[0].double_value(&[1, 2, 3]) - expected).abs() < 1e-6);
    }
}
