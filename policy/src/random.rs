//! Random numbers as tensors, drawn from Engram's own generators: libtorch's global generator
//! is never used, so that one thread's draws cannot change another's.

use std::f64::consts::TAU;

use engram_mdp::Generator;
use rand::RngExt;
use tch::Tensor;

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

fn count(shape: &[i64]) -> usize {
    shape.iter().product::<i64>() as usize
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;
    use tch::Kind;

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
}
