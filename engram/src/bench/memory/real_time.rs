//! Cost of exact gradients: an update by RTRL beside the same one by truncated BPTT, and the parts
//! of the difference.

use std::cell::RefCell;

use anyhow::Result;
use engram_policy::memory::elstm::ElstmConfig;
use engram_policy::memory::gilr::GilrConfig;
use engram_policy::memory::lru::LruConfig;
use engram_policy::slots::SlotIndex;
use engram_policy::{Batched, Carry, Gradient, Inputs, MemoryConfig, StateTable};
use tch::{Device, Kind, Tensor};

use super::workload::Workload;
use crate::bench::timing::{medians, wait_for};

/// R2AC's setting for DMLab: T, B, N, D.
const LARGE: [i64; 4] = [100, 32, 512, 257];
/// Setting of the README's chart.
const SMALL: [i64; 4] = [5, 32, 64, 37];

#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(super) fn run(device: Device, seconds: f64) -> Result<()> {
    println!(
        "Exact gradients: one update, and what RTRL adds to it, ms\n\n\
         {:<8}{:>22}{:>8}{:>8}{:>7}{:>9}{:>9}{:>10}{:>9}{:>9}",
        "layer",
        "T, B, N, D",
        "tbptt",
        "rtrl",
        "ratio",
        "added",
        "forward",
        "backward",
        "(product)",
        "carry"
    );
    for shape in [LARGE, SMALL] {
        for layer in ["elstm", "gilr", "lru"] {
            let [forward, truncated, rtrl_forward, rtrl, product, carry] =
                parts(layer, shape, device, seconds)?;
            let added = rtrl - truncated;
            let of_forward = rtrl_forward - forward;
            println!(
                "{layer:<8}{:>22}{truncated:>8.1}{rtrl:>8.1}{:>7.2}{added:>9.1}{of_forward:>9.1}\
                 {:>9.1}{product:>10.1}{carry:>9.1}",
                format!("{shape:?}"),
                rtrl / truncated,
                added - of_forward,
            );
        }
    }
    println!(
        "\nforward: what each moment does to the sensitivities at the unroll's end. backward: λ, the \
         sum of λ ⊙ S,\nand these sensitivities, of which the batched matrix product alone takes \
         (product). carry: beside the\nupdate, to take the sensitivities of B streams out of their \
         table and to put them back.\n"
    );
    Ok(())
}

/// Milliseconds, which took turns: the forward pass and the whole update, first truncated, then
/// with RTRL; the product in it; taking and putting back what is carried.
fn parts(layer: &str, shape: [i64; 4], device: Device, seconds: f64) -> Result<[f64; 6]> {
    let truncated = Update::new(layer, shape, Gradient::Tbptt, device)?;
    let rtrl = Update::new(layer, shape, Gradient::Rtrl, device)?;
    // So that no number is a zero that would be special.
    rtrl.whole();
    let [time, batch, hidden, width] = shape;
    let numbers = |shape: &[i64]| Tensor::rand(shape, (Kind::Float, device));
    let (features, effects) =
        (numbers(&[time, batch, width + 1]), numbers(&[time, batch, 2 * hidden]));
    let mut sum = numbers(&[batch, width + 1, 2 * hidden]);
    let mut product = || {
        let _ = sum.baddbmm_(&features.permute([1, 2, 0]), &effects.transpose(0, 1));
        wait_for(&sum);
    };
    let rows = SlotIndex::new(&(0..batch).collect::<Vec<_>>(), device);
    let mut table = StateTable::new(&*rtrl.carry.borrow(), device, batch);
    let mut carry = || {
        let taken = table.take(&rows);
        table.put(&rows, &taken);
        wait_for(taken.columns()[0]);
    };
    let times = medians(
        seconds,
        [
            &mut || truncated.forward(),
            &mut || truncated.whole(),
            &mut || rtrl.forward(),
            &mut || rtrl.whole(),
            &mut product,
            &mut carry,
        ],
    );
    Ok(times.map(|time| 1e3 * time))
}

/// One update, again and again: from the same state, with the sensitivities of the last time.
struct Update {
    workload: Workload,
    frames: Inputs,
    core_state: Tensor,
    carry: RefCell<Carry>,
}

impl Update {
    fn new(
        layer: &str,
        [time, batch, hidden, width]: [i64; 4],
        gradient: Gradient,
        device: Device,
    ) -> Result<Self> {
        let workload = Workload::new(memory(layer, hidden, gradient), width, device)?;
        let (frames, core_state) = (workload.frames(time + 1, batch), workload.core_state(batch));
        let carry = RefCell::new(workload.policy.initial_carry(batch));
        Ok(Update { workload, frames, core_state, carry })
    }

    fn forward(&self) {
        let carry = self.carry.borrow().shallow_clone();
        let unrolled = self.workload.forward(&self.frames, &self.core_state, carry);
        wait_for(unrolled.output.value());
    }

    fn whole(&self) {
        let carry = self.carry.replace(Carry::nothing(0));
        let carry = self.workload.update(&self.frames, &self.core_state, carry);
        carry.columns().into_iter().for_each(wait_for);
        self.carry.replace(carry);
    }
}

fn memory(layer: &str, hidden: i64, gradient: Gradient) -> MemoryConfig {
    match layer {
        "elstm" => MemoryConfig::Elstm(ElstmConfig { hidden, gradient, forget_bias: 2.0 }),
        "gilr" => MemoryConfig::Gilr(GilrConfig {
            hidden,
            forget_bias: 2.0,
            feed_forward: false,
            gradient,
        }),
        _ => MemoryConfig::Lru(LruConfig {
            hidden,
            radius: [0.9, 0.999],
            feed_forward: false,
            gradient,
        }),
    }
}
