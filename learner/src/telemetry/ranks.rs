//! Ranks of a representation: in how many directions the features of frames differ.
//!
//! The numerical rank at a tolerance τ counts the singular values above τ times the largest one of
//! the matrix whose rows are features of frames. It falls where a network collapses (Kumar et al.
//! 2021, <https://arxiv.org/abs/2010.14498>).

use tch::{Kind, Tensor};

/// Columns of [`ranks`], for tolerances of 0.1, 0.01 and 0.001.
pub const RANK_COLUMNS: [&str; 3] = ["rank_1", "rank_2", "rank_3"];

/// Singular values below this share of the largest one do not count.
const TOLERANCES: [f64; 3] = [1e-1, 1e-2, 1e-3];

/// Ranks of features `[T, B, H]` where `mask`, `[T, B]`, is 1.
pub fn ranks(features: &Tensor, mask: &Tensor) -> [f64; 3] {
    let width = *features.size().last().expect("features have a width");
    let rows = features.detach().to_kind(Kind::Double) * mask.unsqueeze(-1);
    let rows = rows.reshape([-1, width]);
    // Eigenvalues of the small square matrix are squares of singular values.
    let squares = rows.tr().matmul(&rows).linalg_eigvalsh("L").clamp_min(0.0);
    let largest = squares.max();
    TOLERANCES.map(|tolerance| {
        let above = squares.gt_tensor(&(&largest * (tolerance * tolerance)));
        above.sum(Kind::Int64).int64_value(&[]) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_counted_by_their_size_where_something_is_learned() {
        let directions = Tensor::from_slice(&[1.0, 0.5, 0.05, 0.005, 0.0005]).diag(0);
        let features = directions.view([5, 1, 5]);
        let mask = Tensor::ones([5, 1], (Kind::Double, tch::Device::Cpu));
        assert_eq!(ranks(&features, &mask), [2.0, 3.0, 4.0]);
        let _ = mask.get(1).fill_(0.0);
        assert_eq!(ranks(&features, &mask), [1.0, 2.0, 3.0]);
        assert_eq!(ranks(&features.zeros_like(), &mask), [0.0, 0.0, 0.0]);
    }
}
