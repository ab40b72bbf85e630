//! IMPALA's deep residual network (Espeholt et al. 2018, figure 3,
//! <https://arxiv.org/abs/1802.01561>). One section per number of channels:
//!
//! ```text
//! x ← maxpool_{3×3, stride 2}( conv_{3×3}(x) )
//! x ← x + conv_{3×3}( ReLU( conv_{3×3}( ReLU(x) ) ) )     twice
//! ```
//!
//! then ReLU, a linear layer, and ReLU again. All is padded by one, so that a section halves an
//! image's sides, rounding up.
//!
//! # Speed on a CPU
//!
//! Three quarters of the time are oneDNN's convolutions, near what the processor can do. Beside
//! them it counts that channels stand last in memory all the way, that the allocator keeps blocks
//! of hundreds of megabytes, and that what nobody reads again is overwritten: the ReLU inside of a
//! block and the sum at its end.
//!
//! On one thread images go through in small groups, whose layers fit a cache: that saves 7 % of an
//! update. On several threads it would multiply the moments at which they wait for each other, and
//! where another process wants the same cores, that costs far more. `examples/resnet_update.rs`
//! measures all of this beside plain PyTorch.

use tch::{Device, Tensor};

use crate::error::PolicyError;
use crate::initialization::Initialization;
use crate::mlp::Linear;
use crate::parameters::Parameters;

/// Residual blocks of a section.
const BLOCKS: usize = 2;

/// Bytes that the largest layer of a group of images may take.
const GROUP_BYTES: i64 = 16 << 20;

/// Turns images `[N, C, H, W]` into features `[N, D]`.
pub(super) struct Resnet {
    sections: Vec<Section>,
    linear: Linear,
    /// Numbers that one image takes in the largest layer.
    largest_layer: i64,
}

struct Section {
    convolution: PaddedConvolution,
    blocks: Vec<ResidualBlock>,
}

struct ResidualBlock {
    first: PaddedConvolution,
    second: PaddedConvolution,
}

/// 3×3, with padding: the image keeps its sides.
struct PaddedConvolution {
    weight: Tensor,
    bias: Tensor,
}

impl Resnet {
    pub(super) fn new(
        channels: &[i64],
        features: i64,
        init: Initialization,
        [mut depth, mut height, mut width]: [i64; 3],
        p: &mut Parameters,
    ) -> Result<Self, PolicyError> {
        let mut largest_layer = 0;
        let mut sections = Vec::with_capacity(channels.len());
        for (i, &outputs) in channels.iter().enumerate() {
            if height.max(width) == 1 {
                return Err(PolicyError::Config {
                    key: "torso.channels",
                    found: format!("{} sections", channels.len()),
                    expected: format!(
                        "at most {i}, which leave one pixel of the environment's image"
                    ),
                });
            }
            sections.push(Section::new(&format!("torso.{i}"), depth, outputs, init, p));
            largest_layer = largest_layer.max(outputs * height * width);
            (depth, height, width) = (outputs, (height + 1) / 2, (width + 1) / 2);
        }
        let linear = Linear::new(p, "torso.linear", depth * height * width, features, init);
        Ok(Resnet { sections, linear, largest_layer })
    }

    /// Images `[N, C, H, W]` to `[N, D]`; `pixels` makes floats of some of them.
    pub(super) fn forward(&self, images: &Tensor, pixels: impl Fn(&Tensor) -> Tensor) -> Tensor {
        let groups = images.split(self.group(images), 0);
        let flat: Vec<Tensor> = groups.iter().map(|group| self.flat(pixels(group))).collect();
        let x = match flat.as_slice() {
            [all] => all.shallow_clone(),
            flat => Tensor::cat(flat, 0),
        };
        self.linear.forward_as(&x).relu_()
    }

    /// Number of `images` that go through at a time.
    fn group(&self, images: &Tensor) -> i64 {
        let rows = images.size()[0];
        if images.device() != Device::Cpu || tch::get_num_threads() > 1 {
            return rows;
        }
        let fitting = (GROUP_BYTES / (4 * self.largest_layer)).max(1);
        let groups = (rows + fitting - 1) / fitting;
        (rows + groups - 1) / groups
    }

    /// `[N, C, H, W]` to what the linear layer sees.
    fn flat(&self, mut x: Tensor) -> Tensor {
        for section in &self.sections {
            x = section.convolution.forward(&x);
            x = x.max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false);
            for block in &section.blocks {
                x = block.forward(&x);
            }
        }
        x.relu_().flatten(1, -1)
    }
}

impl Section {
    fn new(
        name: &str,
        inputs: i64,
        outputs: i64,
        init: Initialization,
        p: &mut Parameters,
    ) -> Self {
        let mut convolution = |part: &str, inputs| {
            let (name, shape) = (format!("{name}.{part}"), [outputs, inputs, 3, 3]);
            PaddedConvolution {
                weight: p.weight(format!("{name}.weight"), &shape, init, inputs * 9),
                bias: p.bias(format!("{name}.bias"), outputs, init, inputs * 9),
            }
        };
        let first = convolution("convolution", inputs);
        let block = |i| ResidualBlock {
            first: convolution(&format!("block_{i}.first"), outputs),
            second: convolution(&format!("block_{i}.second"), outputs),
        };
        Section { convolution: first, blocks: (0..BLOCKS).map(block).collect() }
    }
}

impl ResidualBlock {
    fn forward(&self, x: &Tensor) -> Tensor {
        let inside = self.first.forward(&x.relu()).relu_();
        self.second.forward(&inside).g_add_(x)
    }
}

impl PaddedConvolution {
    fn forward(&self, x: &Tensor) -> Tensor {
        let [weight, bias] = [&self.weight, &self.bias].map(|part| part.to_kind(x.kind()));
        x.conv2d(&weight, Some(&bias), [1, 1], [1, 1], [1, 1], 1)
    }
}
