//! Random numbers as tensors, drawn from Engram's own generators: libtorch's global generator
//! is never used, so that one thread's draws cannot change another's.

use std::f64::consts::TAU;

use engram_mdp::Generator;
use rand::RngExt;
use tch::{Kind, Tensor};

/// Uniform numbers in `[0, 1)`, of shape `shape`, on the CPU.
pub(crate) fn uniform(generator: &mut Generator, shape: &[i64]) -> Tensor {
    let numbers: Vec<f32> = (0..count(shape)).map(|_| generator.random()).collect();
    Tensor::from_slice(&numbers).view(shape)
}

/// Standard normal numbers, of shape `shape`, on the CPU.
pub(crate) fn normal(generator: &mut Generator, shape: &[i64]) -> Tensor {
    let count = count(shape);
    let mut numbers = Vec::with_capacity(count + 1);
    while numbers.len() < count {
        // Box & Muller 1958: two uniform numbers make two normal ones; 1 - u is never zero.
        let (u, v): (f64, f64) = (generator.random(), generator.random());
        let (radius, angle) = ((-2.0 * (1.0 - u).ln()).sqrt(), TAU * v);
        numbers.extend([(radius * angle.cos()) as f32, (radius * angle.sin()) as f32]);
    }
    Tensor::from_slice(&numbers[..count]).view(shape)
}

/// A matrix of `shape[0]` rows, and as many columns as the other sides have together, whose rows are
/// orthonormal, or its columns where these are fewer; of shape `shape`, on the CPU, in double
/// precision. Uniformly distributed among all such matrices (Mezzadri 2007,
/// <https://arxiv.org/abs/math-ph/0609050>).
pub(crate) fn orthogonal(generator: &mut Generator, shape: &[i64]) -> Tensor {
    let (rows, columns) = (shape[0], shape[1..].iter().product::<i64>());
    let tall = [rows.max(columns), rows.min(columns)];
    let (q, r) = Tensor::linalg_qr(&normal(generator, &tall).to_kind(Kind::Double), "reduced");
    let q = q * r.diagonal(0, 0, 1).sign();
    if rows < columns { q.tr() } else { q }.reshape(shape)
}

fn count(shape: &[i64]) -> usize {
    shape.iter().product::<i64>() as usize
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;

    use super::*;

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut generator = Seed::new(1).generator();
        let u = uniform(&mut generator, &[200, 250]);
        let n = normal(&mut generator, &[200, 251]);
        let mean = |x: &Tensor| x.mean(Kind::Double).double_value(&[]);
        assert!((mean(&u) - 0.5).abs() < 0.005);
        assert!(u.min().double_value(&[]) >= 0.0 && u.max().double_value(&[]) < 1.0);
        assert!(mean(&n).abs() < 0.02 && (mean(&n.square()) - 1.0).abs() < 0.03);
        assert!((mean(&n.pow_tensor_scalar(4)) - 3.0).abs() < 0.15);
    }

    #[test]
    fn an_orthogonal_matrix_has_orthonormal_rows_or_columns_of_either_sign() {
        let mut generator = Seed::new(1).generator();
        for shape in [[8, 40], [40, 8], [9, 9]] {
            let q = orthogonal(&mut generator, &shape);
            let product = if shape[0] < shape[1] { q.matmul(&q.tr()) } else { q.tr().matmul(&q) };
            let identity = Tensor::eye(product.size()[0], (Kind::Double, q.device()));
            assert!((product - identity).abs().max().double_value(&[]) < 1e-12);
            assert!(q.get(0).get(0).double_value(&[]).abs() < 0.9);
            assert!(q.mean(Kind::Double).double_value(&[]).abs() < 0.1);
        }
        assert_eq!(orthogonal(&mut generator, &[4, 3, 2, 2]).size(), [4, 3, 2, 2]);
    }
}
