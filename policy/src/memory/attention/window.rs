//! Attention of T frames over a window of M: over the M − 1 frames carried and those unrolled.
//!
//! Frames lie in one line, `[B, M - 1 + T]`, the carried ones first, so that frame t stands at
//! place M − 1 + t. Queries are taken [`CHUNK`] at a time, and each chunk is shown only the keys
//! that its frames could see, M − 1 + CHUNK of them: time and memory grow with T M, not with T².
//!
//! Where an episode begins with the first frame in every environment, nobody sees the frames
//! carried, and they are left out. If moreover no other begins and none outgrows the window, as in
//! whole episodes from a replay, a frame sees all before it: the kernel then needs no mask.
//!
//! The work is libtorch's `scaled_dot_product_attention`, which keeps no attention weights for
//! the backward pass. Dropout needs to have them in the hand, and goes by plain products instead.
//! On one CPU thread, forward and backward, the two differ by less than a tenth from 64 frames of
//! 32 environments to 1000 of 4; a step of 64 environments (W = 128, M = 256) takes the fused
//! kernel 0.4 ms and plain products 2.9. Chunks make 1000 frames with M = 64 five times faster
//! (25 ms instead of 116); chunks of 32 and 128 are no better than those of 64.

use tch::{Device, Kind, Tensor};

use super::Dropout;
use crate::resets::Resets;

/// Queries at a time.
const CHUNK: i64 = 64;

/// Frames that the frames of an unroll see; the same in every block.
pub(super) struct Window {
    /// M.
    context: i64,
    time: i64,
    /// Frames in the line before those unrolled: M − 1, or none where nobody sees them.
    carried: i64,
    /// Kind that attention computes in.
    kind: Kind,
    seen: Seen,
    /// i64 `[N]`: environments in which an episode begins with the first frame.
    begun: Option<Tensor>,
    /// bool `[B, M - 1, 1]`: which of the frames to carry on are of an episode before; `None`
    /// where no episode begins after the first frame.
    ended: Option<Tensor>,
}

/// Keys that a query sees.
enum Seen {
    /// All up to its own.
    All,
    /// Keys of its episode within M.
    Some(Vec<Chunk>),
}

/// Queries that are shown the same keys.
struct Chunk {
    /// The first one, and how many they are, Q.
    queries: [i64; 2],
    /// The place of the first key, and how many they are, K.
    keys: [i64; 2],
    /// Bias that is added to the logits, `[B, h or 1, Q, K]`.
    bias: Tensor,
}

impl Window {
    /// For frames with the numbers `numbers`, i64 `[T, B]`; slopes are `[h, 1, 1]`; attention
    /// computes in `kind`.
    pub(super) fn new(
        context: i64,
        numbers: &Tensor,
        resets: &Resets,
        slopes: Option<&Tensor>,
        kind: Kind,
    ) -> Self {
        Window::in_chunks(CHUNK, context, numbers, resets, slopes, kind)
    }

    fn in_chunks(
        chunk: i64,
        context: i64,
        numbers: &Tensor,
        resets: &Resets,
        slopes: Option<&Tensor>,
        kind: Kind,
    ) -> Self {
        let (time, _) = numbers.size2().expect("numbers have shape [T, B]");
        let device = numbers.device();
        let all_begin = resets.at(0).iter().all(|&first| first);
        let carried = if all_begin { 0 } else { context - 1 };
        let ended = ended(resets, context, device);
        let whole = all_begin && ended.is_none() && time <= context && slopes.is_none();
        let seen = match whole {
            true => Seen::All,
            false => {
                // How far each frame sees back, [B, 1, T, 1].
                let reach = numbers.clamp_max(context - 1).tr().unsqueeze(1).unsqueeze(-1);
                let starts = (0..time).step_by(chunk as usize);
                let chunk = |start: i64| {
                    let queries = chunk.min(time - start);
                    let first = (carried + start - (context - 1)).max(0);
                    let keys = carried + start + queries - first;
                    let reach = reach.narrow(2, start, queries);
                    let bias = bias(&reach, keys, slopes, kind);
                    Chunk { queries: [start, queries], keys: [first, keys], bias }
                };
                Seen::Some(starts.map(chunk).collect())
            }
        };
        let begun = if all_begin { None } else { begun(resets, device) };
        Window { context, time, carried, kind, seen, begun, ended }
    }

    /// Keys or values of the frames carried, `[B, M - 1, W]`, and of those after them,
    /// `[T, B, W]`, in one line: `[B, M - 1 + T, W]`, or `[B, T, W]` where nobody sees the former.
    pub(super) fn extend(&self, carried: &Tensor, new: &Tensor) -> Tensor {
        let (time, batch, width) = new.size3().expect("keys have shape [T, B, W]");
        assert_eq!(time, self.time, "every frame has a key");
        assert_eq!(carried.size(), [batch, self.context - 1, width], "M - 1 frames are carried");
        if self.carried == 0 {
            return new.transpose(0, 1);
        }
        let all = Tensor::cat(&[carried, &new.transpose(0, 1)], 1);
        if let Some(begun) = &self.begun {
            // In place and by rows: nothing else has seen the new line yet, and it may be long.
            let _ = all.narrow(1, 0, self.context - 1).index_fill_(0, begun, 0.0);
        }
        all
    }

    /// Part of `all`, a line of [`extend`](Self::extend), that is carried on: its end,
    /// `[B, M - 1, W]`, with zeros in front where it has not that many.
    pub(super) fn last(&self, all: &Tensor) -> Tensor {
        let before = self.carried + self.time - (self.context - 1);
        let last = match before < 0 {
            true => all.constant_pad_nd([0, 0, -before, 0]),
            false => all.narrow(1, before, self.context - 1),
        };
        match &self.ended {
            Some(ended) => last.masked_fill(ended, 0.0),
            // A copy would be one more for each step of acting.
            None if self.time == 1 || before < 0 => last,
            None => last.copy(),
        }
    }

    /// Queries `[T, B, W]`, keys and values in lines of [`extend`](Self::extend), to what is seen,
    /// `[T, B, W]`.
    pub(super) fn attend(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        heads: i64,
        mut dropout: Option<&mut Dropout>,
    ) -> Tensor {
        let (time, batch, width) = queries.size3().expect("queries have shape [T, B, W]");
        let kind = self.kind;
        let q = queries.view([time, batch, heads, width / heads]).permute([1, 2, 0, 3]);
        let q = q.to_kind(kind); // [B, h, T, W / h]
        let shared = [batch, self.carried + time, heads, width / heads];
        let [k, v] = [keys, values].map(|x| x.view(shared).transpose(1, 2).to_kind(kind));
        let seen = match &self.seen {
            Seen::All => match dropout {
                None => causal(&q, &k, &v),
                Some(dropout) => {
                    let unseen = Tensor::full([time, time], f64::NEG_INFINITY, (kind, q.device()));
                    plain(&q, &k, &v, &unseen.triu(1), |weights| dropout.apply(weights))
                }
            },
            Seen::Some(chunks) => {
                let seen = chunks.iter().map(|Chunk { queries, keys, bias }| {
                    let q = q.narrow(2, queries[0], queries[1]);
                    let [k, v] = [&k, &v].map(|x| x.narrow(2, keys[0], keys[1]));
                    match &mut dropout {
                        None => fused(&q, &k, &v, bias),
                        Some(dropout) => plain(&q, &k, &v, bias, |weights| dropout.apply(weights)),
                    }
                });
                Tensor::cat(&seen.collect::<Vec<_>>(), 2)
            }
        };
        let seen = seen.to_kind(queries.kind());
        seen.permute([2, 0, 1, 3]).reshape([time, batch, width])
    }
}

/// Bias for the logits of Q queries that see `reach` frames back, i64 `[B, 1, Q, 1]`, where
/// they stand at the end of K = `keys` keys: `[B, h or 1, Q, K]`.
fn bias(reach: &Tensor, keys: i64, slopes: Option<&Tensor>, kind: Kind) -> Tensor {
    let (queries, options) = (reach.size()[2], (Kind::Int64, reach.device()));
    let places = Tensor::arange_start(keys - queries, keys, options).unsqueeze(1);
    let distance = places - Tensor::arange(keys, options); // [Q, K]
    let unseen = distance.lt(0).logical_or(&distance.gt_tensor(reach));
    let against = match slopes {
        Some(slopes) => -(slopes * distance.to_kind(slopes.kind())),
        None => distance.zeros_like(),
    };
    against.to_kind(kind).masked_fill(&unseen, f64::NEG_INFINITY)
}

fn begun(resets: &Resets, device: Device) -> Option<Tensor> {
    let first = resets.at(0).iter().enumerate().filter(|(_, first)| **first);
    let rows: Vec<i64> = first.map(|(b, _)| b as i64).collect();
    (!rows.is_empty()).then(|| Tensor::from_slice(&rows).to_device(device))
}

fn ended(resets: &Resets, context: i64, device: Device) -> Option<Tensor> {
    if !(1..resets.time()).any(|t| resets.any_at(t)) {
        return None;
    }
    let ages = resets.ages();
    let last = &ages[ages.len() - resets.batch()..];
    // The newest frame to be carried is the unroll's last one.
    let back = (0..context - 1).rev();
    let ended: Vec<bool> = last
        .iter()
        .flat_map(|age| back.clone().map(move |back| age.is_some_and(|age| age < back)))
        .collect();
    let shape = [resets.batch() as i64, context - 1, 1];
    Some(Tensor::from_slice(&ended).view(shape).to_device(device))
}

fn fused(q: &Tensor, k: &Tensor, v: &Tensor, bias: &Tensor) -> Tensor {
    Tensor::scaled_dot_product_attention(q, k, v, Some(bias), 0.0, false, None, false)
}

/// Attention of queries that see all keys up to their own.
fn causal(q: &Tensor, k: &Tensor, v: &Tensor) -> Tensor {
    Tensor::scaled_dot_product_attention(q, k, v, None::<&Tensor>, 0.0, true, None, false)
}

fn plain(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    bias: &Tensor,
    drop_from: impl FnOnce(&Tensor) -> Tensor,
) -> Tensor {
    let scale = 1.0 / (q.size()[3] as f64).sqrt();
    let logits = (q * scale).matmul(&k.transpose(2, 3)) + bias;
    drop_from(&logits.softmax(-1, q.kind())).matmul(v)
}

#[cfg(test)]
mod tests {
    use engram_mdp::Seed;

    use super::super::DropoutSeeds;
    use super::*;
    use crate::random;

    const HEADS: i64 = 2;
    const WIDTH: i64 = 6;

    /// T frames of B environments over a window of M, in an episode that had begun before.
    struct Setting {
        context: i64,
        resets: Resets,
        numbers: Tensor,
        /// Keys and values carried, then queries, keys and values.
        tensors: [Tensor; 5],
    }

    fn setting(context: i64, time: i64, batch: i64) -> Setting {
        let mut generator = Seed::new(3).generator();
        let first: Vec<bool> = (0..time * batch).map(|row| row % 97 == 50).collect();
        let resets = Resets::new(first, batch as usize);
        let before = Tensor::from_slice(&vec![2i64; batch as usize]);
        let state = crate::state::CoreState::new(batch, vec![before]);
        let mut normal =
            |shape: &[i64]| random::normal(&mut generator, shape).to_kind(Kind::Double);
        let carried = [batch, context - 1, WIDTH];
        let new = [time, batch, WIDTH];
        let tensors = [&carried, &carried, &new, &new, &new].map(|shape| normal(shape));
        let numbers = super::super::numbers(&state, &resets);
        Setting { context, resets, numbers, tensors }
    }

    impl Setting {
        fn window(&self, chunk: i64) -> Window {
            let slopes = Tensor::from_slice(&[0.25, 0.5]).view([HEADS, 1, 1]);
            let (context, resets) = (self.context, &self.resets);
            let kind = Kind::Double;
            Window::in_chunks(chunk, context, &self.numbers, resets, Some(&slopes), kind)
        }

        fn attend(&self, chunk: i64, dropout: Option<&mut Dropout>) -> Tensor {
            let [carried_keys, carried_values, queries, keys, values] = &self.tensors;
            let window = self.window(chunk);
            let keys = window.extend(carried_keys, keys);
            let values = window.extend(carried_values, values);
            window.attend(queries, &keys, &values, HEADS, dropout)
        }
    }

    fn differ(a: &Tensor, b: &Tensor) -> f64 {
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn a_thousand_frames_in_chunks_see_what_they_see_at_once() {
        for context in [1, 9, 200] {
            let setting = setting(context, 1000, 2);
            let whole = setting.attend(1000, None);
            assert!(differ(&setting.attend(CHUNK, None), &whole) < 1e-12);
            assert!(differ(&setting.attend(333, None), &whole) < 1e-12);
        }
    }

    #[test]
    fn plain_products_see_what_the_fused_kernel_sees() {
        let setting = setting(9, 100, 3);
        // Of so small a share nothing is dropped.
        let mut dropout = DropoutSeeds::new(1e-13, Seed::new(1)).next();
        let plain = setting.attend(CHUNK, dropout.as_mut());
        assert!(differ(&plain, &setting.attend(CHUNK, None)) < 1e-10);
    }

    #[test]
    fn rows_that_all_begin_see_what_they_see_beside_one_that_goes_on() {
        for (context, time) in [(1, 3), (9, 5), (9, 9), (9, 100), (200, 150)] {
            let Setting { tensors, .. } = setting(context, time, 3);
            let slopes = Tensor::from_slice(&[0.25, 0.5]).view([HEADS, 1, 1]);
            for slopes in [None, Some(&slopes)] {
                let run = |rows: usize, share: Option<f64>| {
                    let first = (0..time as usize * rows).map(|row| row < 2);
                    let resets = Resets::new(first.collect(), rows);
                    let before = Tensor::from_slice(&vec![2i64; rows]);
                    let state = crate::state::CoreState::new(rows as i64, vec![before]);
                    let numbers = super::super::numbers(&state, &resets);
                    let window = Window::new(context, &numbers, &resets, slopes, Kind::Double);
                    let of_rows = |i: usize| tensors[i].narrow((i > 1).into(), 0, rows as i64);
                    let keys = window.extend(&of_rows(0), &of_rows(3));
                    let values = window.extend(&of_rows(1), &of_rows(4));
                    let mut dropout = share.and_then(|s| DropoutSeeds::new(s, Seed::new(1)).next());
                    let seen = window.attend(&of_rows(2), &keys, &values, HEADS, dropout.as_mut());
                    [seen.narrow(1, 0, 2), window.last(&keys).narrow(0, 0, 2)]
                };
                let beside = run(3, None);
                for found in [run(2, None), run(2, Some(1e-13))] {
                    for (found, beside) in found.iter().zip(&beside) {
                        assert_eq!(found.size(), beside.size());
                        let differs = found.numel() > 0 && differ(found, beside) > 1e-10;
                        assert!(!differs, "M = {context}, T = {time}, {slopes:?}");
                    }
                }
            }
        }
    }
}
