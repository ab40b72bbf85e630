//! How much a replayed sequence still has to teach: the priorities of R2D2.
//!
//! Kapturowski et al. 2019, section 2.3, <https://openreview.net/forum?id=r1lyTjAqYX>:
//! `p = η max_t |δ_t| + (1 − η) mean_t |δ_t|`, where a plain mean would level out the one error
//! among many that is worth replaying; their η is 0.9.

use tch::{Device, Kind, Tensor};

/// Where a sequence lies in a batch: several may share a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its row b.
    pub row: usize,
    /// Its first decision t.
    pub first: usize,
    /// How many decisions it has, Last frames counted.
    pub decisions: usize,
}

/// The priority of each of `pieces`, by the TD errors δ of its decisions; both tensors `[T, B]`.
/// Where `mask` is 0 there was no decision; a piece without any has priority 0.
pub fn sequence_priorities(
    td_errors: &Tensor,
    mask: &Tensor,
    pieces: &[Piece],
    eta: f64,
) -> Vec<f64> {
    assert!((0.0..=1.0).contains(&eta), "η lies between 0 and 1, not at {eta}");
    let (length, batch) = td_errors.size2().expect("TD errors are [T, B]");
    assert_eq!(mask.size(), [length, batch], "the mask is [T, B], as TD errors");
    let (length, batch) = (length as usize, batch as usize);
    let both = [td_errors, mask].map(|x| x.detach().flatten(0, 1).to_kind(Kind::Double));
    let both = Tensor::cat(&both, 0).to_device(Device::Cpu);
    let mut host = vec![0.0; both.numel()];
    both.copy_data(&mut host, both.numel());
    let (errors, mask) = host.split_at(length * batch);

    let priority = |piece: &Piece| {
        let Piece { row, first, decisions } = *piece;
        let fits = row < batch && first + decisions <= length;
        assert!(fits, "{piece:?} lies outside of {length} decisions in {batch} rows");
        let cells = (first..first + decisions).map(|t| t * batch + row);
        let (mut count, mut sum, mut greatest) = (0.0_f64, 0.0, 0.0_f64);
        for cell in cells.filter(|&cell| mask[cell] != 0.0) {
            let size = f64::abs(errors[cell]);
            count += 1.0;
            sum += size;
            greatest = greatest.max(size);
        }
        eta * greatest + (1.0 - eta) * sum / count.max(1.0)
    };
    pieces.iter().map(priority).collect()
}
