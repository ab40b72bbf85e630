//! `[seq.memory]`: which layer remembers, and how its gradient is found.

use serde::{Deserialize, Serialize};

use super::{MAX_WIDTH, in_range};
use crate::error::PolicyError;

/// The longest context and the most positions that a configuration may ask for.
const MAX_CONTEXT: i64 = 65_536;

/// What remembers. The layers themselves, with their equations, are files of `memory/`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum MemoryConfig {
    /// Nothing does: a feed-forward policy.
    None {},
    /// Long short-term memory, one layer on another.
    Lstm {
        /// Cells of each layer.
        hidden: i64,
        /// Layers.
        layers: i64,
        /// Added to the bias of the forget gates at the start; larger remembers longer.
        forget_bias: f64,
    },
    /// Gated recurrent units, one layer on another.
    Gru {
        /// Cells of each layer.
        hidden: i64,
        /// Layers.
        layers: i64,
        /// Added to the bias of the update gates at the start; larger remembers longer.
        forget_bias: f64,
    },
    /// The LSTM with elementwise recurrence of Irie et al. 2023.
    Elstm {
        /// Cells.
        hidden: i64,
        /// How its gradient is found.
        gradient: Gradient,
        /// Added to the bias of the forget gate at the start; larger remembers longer.
        forget_bias: f64,
    },
    /// The linear recurrent unit of Orvieto et al. 2023.
    Lru {
        /// Complex cells.
        hidden: i64,
        /// The cells' eigenvalues start between these radii, `[smallest, largest]`.
        radius: [f64; 2],
        /// Whether a residual feed-forward layer follows.
        feed_forward: bool,
        /// How its gradient is found.
        gradient: Gradient,
    },
    /// The gated impulse linear recurrence of Martin & Cundy 2018.
    Gilr {
        /// Cells.
        hidden: i64,
        /// Added to the bias of the forget gate at the start; larger remembers longer.
        forget_bias: f64,
        /// Whether a residual feed-forward layer follows.
        feed_forward: bool,
        /// How its gradient is found.
        gradient: Gradient,
    },
    /// An LSTM whose gates see a gated impulse linear recurrence in the place of its own output.
    GilrLstm {
        /// Cells.
        hidden: i64,
        /// Added to the bias of both forget gates at the start; larger remembers longer.
        forget_bias: f64,
        /// Whether a residual feed-forward layer follows.
        feed_forward: bool,
    },
    /// Mamba: selective state spaces (Gu & Dao 2023).
    Mamba {
        /// The width of the residual stream.
        width: i64,
        /// Numbers of state per channel.
        state: i64,
        /// Taps of the causal convolution.
        conv: i64,
        /// Blocks, one after another.
        blocks: i64,
        /// What the weights of B and C, which write to the state and read from it, are multiplied
        /// with at the start. 1 is the authors'; larger lets what is remembered be heard earlier.
        selection_scale: f64,
        /// What is normalized with.
        norm: Norm,
        /// Whether the last block is followed by a residual feed-forward layer, or by a norm and a
        /// linear one.
        feed_forward: bool,
    },
    /// RESeL's `cgpt`: causal attention whose biases (ALiBi) take the place of positions.
    Cgpt {
        /// The width of the residual stream.
        width: i64,
        /// Attention heads, which share the width.
        heads: i64,
        /// Blocks, one after another.
        blocks: i64,
        /// Frames that attention looks back upon, the present one included.
        context_length: i64,
        /// What is normalized with.
        norm: Norm,
        /// Whether attention computes in bfloat16 while training.
        bf16: bool,
    },
    /// GPT-2 as Memory-RL has it, with absolute positions.
    Gpt2 {
        /// The width of the residual stream.
        width: i64,
        /// Attention heads, which share the width.
        heads: i64,
        /// Blocks, one after another.
        blocks: i64,
        /// Frames that attention looks back upon, the present one included.
        context_length: i64,
        /// How a frame's place in its episode is told.
        positions: Positions,
        /// The share of numbers that training sets to zero at the input, in attention, after it,
        /// and after each feed-forward layer.
        dropout: f64,
    },
    /// A causal depthwise convolution over the last few frames.
    Conv1d {
        /// Channels.
        hidden: i64,
        /// Taps: frames that each output sees.
        kernel: i64,
        /// Whether a residual feed-forward layer follows.
        feed_forward: bool,
    },
    /// Layers of any kind, one after another.
    Stack {
        /// From the one that sees the features to the one that the heads see.
        layers: Vec<MemoryConfig>,
    },
}

/// How the gradient of a recurrence is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gradient {
    /// Backpropagation through time, truncated at the unroll's start.
    Tbptt,
    /// Real-time recurrent learning: the layer's own weights get their exact gradient, back to
    /// the beginning of the episode, however short the unrolls are.
    Rtrl,
}

/// What a block normalizes its input with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Mean and variance (Ba et al. 2016).
    Layer,
    /// Root mean square (Zhang & Sennrich 2019).
    Rms,
}

/// How attention is told a frame's place in its episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Sines and cosines of its number, added to its features.
    Sine,
    /// A learned vector per number; from frame `context_length` on, the last of them.
    Learned,
}

impl MemoryConfig {
    /// Checks everything that needs no world to be known.
    pub(super) fn validate(&self) -> Result<(), PolicyError> {
        let hidden = |found: &i64| in_range("memory.hidden", *found, MAX_WIDTH);
        let width = |found: &i64| in_range("memory.width", *found, MAX_WIDTH);
        let blocks = |found: &i64| in_range("memory.blocks", *found, 64);
        match self {
            MemoryConfig::None {} => Ok(()),
            MemoryConfig::Lstm { hidden: cells, layers, forget_bias }
            | MemoryConfig::Gru { hidden: cells, layers, forget_bias } => {
                hidden(cells)?;
                in_range("memory.layers", *layers, 64)?;
                number_in_range("memory.forget_bias", *forget_bias, [-100.0, 100.0])
            }
            MemoryConfig::Elstm { hidden: cells, forget_bias, .. }
            | MemoryConfig::Gilr { hidden: cells, forget_bias, .. }
            | MemoryConfig::GilrLstm { hidden: cells, forget_bias, .. } => {
                hidden(cells)?;
                number_in_range("memory.forget_bias", *forget_bias, [-100.0, 100.0])
            }
            MemoryConfig::Lru { hidden: cells, radius, .. } => {
                hidden(cells)?;
                radius_in_range(*radius)
            }
            MemoryConfig::Mamba {
                width: channels,
                state,
                conv,
                blocks: count,
                selection_scale,
                ..
            } => {
                width(channels)?;
                in_range("memory.state", *state, 4096)?;
                in_range("memory.conv", *conv, 64)?;
                blocks(count)?;
                number_in_range("memory.selection_scale", *selection_scale, [0.01, 100.0])
            }
            MemoryConfig::Cgpt {
                width: channels, heads, blocks: count, context_length, ..
            } => {
                width(channels)?;
                heads_share(*heads, *channels)?;
                blocks(count)?;
                in_range("memory.context_length", *context_length, MAX_CONTEXT)
            }
            MemoryConfig::Gpt2 {
                width: channels,
                heads,
                blocks: count,
                context_length,
                dropout,
                ..
            } => {
                width(channels)?;
                heads_share(*heads, *channels)?;
                blocks(count)?;
                in_range("memory.context_length", *context_length, MAX_CONTEXT)?;
                dropout_in_range(*dropout)
            }
            MemoryConfig::Conv1d { hidden: channels, kernel, .. } => {
                hidden(channels)?;
                in_range("memory.kernel", *kernel, 64)
            }
            MemoryConfig::Stack { layers } => stack(layers),
        }
    }

    /// Whether its own gradient is found by real-time recurrent learning.
    fn learns_in_real_time(&self) -> bool {
        match self {
            MemoryConfig::Elstm { gradient, .. }
            | MemoryConfig::Lru { gradient, .. }
            | MemoryConfig::Gilr { gradient, .. } => *gradient == Gradient::Rtrl,
            MemoryConfig::Stack { layers } => layers.iter().any(Self::learns_in_real_time),
            _ => false,
        }
    }

    /// What `gradient = "rtrl"` leaves truncated, for a reader; `None` where nothing asks for it.
    pub fn truncation(&self) -> Option<String> {
        if !self.learns_in_real_time() {
            return None;
        }
        let below = match self {
            MemoryConfig::Stack { layers } if layers.len() > 1 => {
                "the torso and other memory layers"
            }
            _ => "the torso",
        };
        Some(format!(
            "RTRL gives the recurrent layer's own weights their exact gradient; what lies below it, \
             {below}, learns from within each unroll only"
        ))
    }
}

/// In a stack, only the layer on top can have an exact gradient: what a lower one did before the
/// unroll lives on in the states of those above it, of which it keeps no sensitivities.
fn stack(layers: &[MemoryConfig]) -> Result<(), PolicyError> {
    in_range("number of memory.layers", layers.len() as i64, 64)?;
    for layer in layers {
        if matches!(layer, MemoryConfig::Stack { .. }) {
            let expected = "one list of layers, without stacks inside".into();
            let found = "a stack in a stack".into();
            return Err(PolicyError::Config { key: "memory.layers", found, expected });
        }
        layer.validate()?;
    }
    let below = &layers[..layers.len() - 1];
    if let Some(at) = below.iter().position(MemoryConfig::learns_in_real_time) {
        return Err(PolicyError::Config {
            key: "memory.layers.gradient",
            found: format!("\"rtrl\" in layer {at} of {}", layers.len()),
            expected: "\"tbptt\" in every layer but the last: below another layer, real-time \
                       recurrent learning would not be exact"
                .into(),
        });
    }
    Ok(())
}

fn heads_share(heads: i64, width: i64) -> Result<(), PolicyError> {
    in_range("memory.heads", heads, MAX_WIDTH)?;
    if width % heads == 0 {
        return Ok(());
    }
    let (found, expected) = (heads.to_string(), format!("a divisor of memory.width, {width}"));
    Err(PolicyError::Config { key: "memory.heads", found, expected })
}

fn radius_in_range(radius: [f64; 2]) -> Result<(), PolicyError> {
    let [smallest, largest] = radius;
    if 0.0 <= smallest && smallest < largest && largest < 1.0 {
        return Ok(());
    }
    let expected = "[smallest, largest] with 0 <= smallest < largest < 1".into();
    Err(PolicyError::Config { key: "memory.radius", found: format!("{radius:?}"), expected })
}

fn dropout_in_range(found: f64) -> Result<(), PolicyError> {
    if (0.0..1.0).contains(&found) {
        return Ok(());
    }
    let (found, expected) = (found.to_string(), "at least 0 and less than 1".into());
    Err(PolicyError::Config { key: "memory.dropout", found, expected })
}

fn number_in_range(key: &'static str, found: f64, range: [f64; 2]) -> Result<(), PolicyError> {
    let [least, most] = range;
    if (least..=most).contains(&found) {
        return Ok(());
    }
    let (found, expected) = (found.to_string(), format!("between {least} and {most}"));
    Err(PolicyError::Config { key, found, expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elstm(gradient: Gradient) -> MemoryConfig {
        MemoryConfig::Elstm { hidden: 8, gradient, forget_bias: 0.0 }
    }

    #[test]
    fn rtrl_is_refused_where_it_would_not_be_exact() {
        let (exact, truncated) = (elstm(Gradient::Rtrl), elstm(Gradient::Tbptt));
        let stack = |layers: &[&MemoryConfig]| MemoryConfig::Stack {
            layers: layers.iter().map(|&layer| layer.clone()).collect(),
        };
        assert!(stack(&[&truncated, &exact]).validate().is_ok());
        assert!(stack(&[&truncated, &truncated]).validate().is_ok());
        let message = stack(&[&exact, &truncated]).validate().unwrap_err().to_string();
        assert!(message.contains("layer 0 of 2") && message.contains("exact"), "{message}");
    }

    #[test]
    fn what_rtrl_truncates_is_said() {
        assert_eq!(elstm(Gradient::Tbptt).truncation(), None);
        assert!(elstm(Gradient::Rtrl).truncation().unwrap().contains("the torso, learns"));
        let stacked =
            MemoryConfig::Stack { layers: vec![elstm(Gradient::Tbptt), elstm(Gradient::Rtrl)] };
        assert!(stacked.truncation().unwrap().contains("other memory layers"));
    }

    #[test]
    fn heads_must_share_the_width_and_radii_must_be_in_order() {
        let gpt = |heads| MemoryConfig::Cgpt {
            width: 12,
            heads,
            blocks: 1,
            context_length: 8,
            norm: Norm::Layer,
            bf16: false,
        };
        assert!(gpt(4).validate().is_ok());
        assert!(gpt(5).validate().unwrap_err().to_string().contains("divisor"));
        let lru = |radius| MemoryConfig::Lru {
            hidden: 4,
            radius,
            feed_forward: true,
            gradient: Gradient::Rtrl,
        };
        assert!(lru([0.9, 0.999]).validate().is_ok());
        assert!(lru([0.9, 1.0]).validate().unwrap_err().to_string().contains("memory.radius"));
    }

    #[test]
    fn what_mamba_selects_must_start_above_zero() {
        let mamba = |selection_scale| MemoryConfig::Mamba {
            width: 4,
            state: 2,
            conv: 1,
            blocks: 1,
            selection_scale,
            norm: Norm::Rms,
            feed_forward: false,
        };
        assert!(mamba(4.0).validate().is_ok());
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(mamba(wrong).validate().unwrap_err().to_string().contains("selection_scale"));
        }
    }
}
