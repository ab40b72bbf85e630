//! What exact gradients cost: an update by RTRL beside the same one by truncated BPTT, and the
//! sensitivities' step-by-step recursion beside the form that `engram_policy` uses.

use anyhow::Result;
use engram_policy::{Gradient, MemoryConfig};
use tch::{Device, Kind, Tensor};

use super::{Bench, medians, wait_for};

/// R2AC's setting for DMLab: T, B, N, D.
const LARGE: [i64; 4] = [100, 32, 512, 257];
/// The setting of the README's first picture.
const SMALL: [i64; 4] = [5, 32, 64, 37];

#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(device: Device, seconds: f64) -> Result<()> {
    println!("Exact gradients: forward and backward pass of one update, ms\n");
    println!(
        "{:<10}{:>26}{:>9}{:>9}{:>8}{:>9}{:>14}{:>8}",
        "layer", "T, B, N, D", "tbptt", "rtrl", "ratio", "price", "step by step", "ratio"
    );
    for shape in [LARGE, SMALL] {
        for layer in ["elstm", "gilr", "lru"] {
            let [time, batch, hidden, width] = shape;
            let [tbptt, rtrl] = [Gradient::Tbptt, Gradient::Rtrl].map(|gradient| {
                let bench = Bench::new(memory(layer, hidden, gradient), width, device)?;
                let (frames, core_state) = (bench.frames(time + 1, batch), bench.core_state(batch));
                let mut carry = bench.policy.initial_carry(batch);
                anyhow::Ok(move || carry = bench.update(&frames, &core_state, &carry))
            });
            let (mut tbptt, mut rtrl) = (tbptt?, rtrl?);
            // Only the eLSTM's recursion is written out below.
            let mut recursion = Recursion::new(shape, device);
            let mut walk = || {
                if layer == "elstm" {
                    recursion.walk()
                }
            };
            let [tbptt, rtrl, walked] =
                medians(seconds, [&mut tbptt, &mut rtrl, &mut walk]).map(|time| 1e3 * time);
            let price = (rtrl - tbptt).max(0.0);
            let stepwise = match layer {
                "elstm" => format!("{walked:>14.1}{:>8.1}", walked / price),
                _ => String::new(),
            };
            let shape = format!("{shape:?}");
            let ratio = rtrl / tbptt;
            println!(
                "{layer:<10}{shape:>26}{tbptt:>9.1}{rtrl:>9.1}{ratio:>8.2}{price:>9.1}{stepwise}"
            );
        }
    }
    println!(
        "\nprice: what RTRL adds to the update. Step by step: the same sensitivities and gradients \
         by\ntheir recursion (Irie et al. 2023, eq. 8 to 12), without the update around it; its \
         ratio is to the price."
    );
    Ok(())
}

fn memory(layer: &str, hidden: i64, gradient: Gradient) -> MemoryConfig {
    match layer {
        "elstm" => MemoryConfig::Elstm { hidden, gradient, forget_bias: 2.0 },
        "gilr" => MemoryConfig::Gilr { hidden, forget_bias: 2.0, feed_forward: false, gradient },
        _ => MemoryConfig::Lru { hidden, radius: [0.9, 0.999], feed_forward: false, gradient },
    }
}

/// The eLSTM's sensitivities, walked in place through T steps of stored gates.
struct Recursion {
    /// ∂c_t/∂c_{t−1}, ∂c_t by the arguments of z and of f, c_{t−1} and ∂L/∂c_t: `[T, B, N]`.
    factors: Vec<Tensor>,
    z: Vec<Tensor>,
    f: Vec<Tensor>,
    cells: Vec<Tensor>,
    errors: Vec<Tensor>,
    /// `[T, B, D]`.
    x: Vec<Tensor>,
    /// Two of `[B, N, D]`, four of `[B, N]`.
    matrices: [Tensor; 2],
    vectors: [Tensor; 4],
}

impl Recursion {
    fn new([time, batch, hidden, width]: [i64; 4], device: Device) -> Self {
        let like = (Kind::Float, device);
        let steps = |n: i64, value: f64| {
            (0..time).map(|_| Tensor::full([batch, n], value, like)).collect::<Vec<_>>()
        };
        Recursion {
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

    fn walk(&mut self) {
        let mut gradients: Vec<Tensor> =
            self.matrices.iter().map(|s| s.get(0).zeros_like()).collect();
        let mut of_vectors: Vec<Tensor> =
            self.vectors.iter().map(|s| s.get(0).zeros_like()).collect();
        tch::no_grad(|| {
            for t in 0..self.x.len() {
                let (a, x, error) = (&self.factors[t], self.x[t].unsqueeze(1), &self.errors[t]);
                let effects = [&self.z[t], &self.f[t]];
                for ((s, effect), gradient) in
                    self.matrices.iter_mut().zip(effects).zip(&mut gradients)
                {
                    let _ = s.g_mul_(&a.unsqueeze(2));
                    let _ = s.addcmul_(&effect.unsqueeze(2), &x);
                    *gradient += (&*s * error.unsqueeze(2)).sum_dim_intlist(0, false, None);
                }
                let [z, f] = effects;
                let immediate = [z * &self.cells[t], f * &self.cells[t], z.copy(), f.copy()];
                for ((s, now), gradient) in
                    self.vectors.iter_mut().zip(&immediate).zip(&mut of_vectors)
                {
                    let _ = s.g_mul_(a);
                    let _ = s.g_add_(now);
                    *gradient += (&*s * error).sum_dim_intlist(0, false, None);
                }
            }
        });
        wait_for(&gradients[1]);
    }
}
