//! Priorities of sequences.

use engram_learner::priorities::{Piece, sequence_priorities};
use rand::RngExt;
use tch::{Kind, Tensor};

use crate::{Grid, KINDS, assert_near, rng};

#[test]
fn a_priority_mixes_the_greatest_error_and_the_mean() {
    let mut rng = rng(1);
    let (length, batch) = (12, 5);
    let errors = Grid::random(&[length, batch], -4.0..4.0, &mut rng);
    let mask = Grid::of(&[length, batch], |_| f64::from(u8::from(rng.random_bool(0.7))));
    let pieces: Vec<Piece> = (0..60)
        .map(|_| {
            let first = rng.random_range(0..length);
            let decisions = rng.random_range(1..=length - first);
            Piece { row: rng.random_range(0..batch), first, decisions }
        })
        .collect();
    for eta in [0.0, 0.9, 1.0] {
        for (kind, tolerance) in KINDS {
            let found = sequence_priorities(&errors.tensor(kind), &mask.tensor(kind), &pieces, eta);
            assert_eq!(found.len(), pieces.len());
            for (found, piece) in found.into_iter().zip(&pieces) {
                let sizes: Vec<f64> = (piece.first..piece.first + piece.decisions)
                    .filter(|&t| mask.at(&[t, piece.row]) == 1.0)
                    .map(|t| errors.at(&[t, piece.row]).abs())
                    .collect();
                let greatest = sizes.iter().copied().fold(0.0, f64::max);
                let mean = sizes.iter().sum::<f64>() / sizes.len().max(1) as f64;
                let expected = eta * greatest + (1.0 - eta) * mean;
                assert_near(found, expected, tolerance, &format!("{piece:?}"));
            }
        }
    }
}

#[test]
fn pieces_of_one_row_are_told_apart() {
    let errors = Tensor::from_slice(&[1.0, -3.0, 100.0, 5.0, 7.0]).view([5, 1]);
    let mask = Tensor::from_slice(&[1.0, 1.0, 0.0, 1.0, 1.0]).view([5, 1]);
    let pieces = [
        Piece { row: 0, first: 0, decisions: 3 },
        Piece { row: 0, first: 3, decisions: 2 },
        Piece { row: 0, first: 2, decisions: 1 },
    ];
    let found = sequence_priorities(&errors, &mask, &pieces, 0.5);
    assert_eq!(found, [0.5 * 3.0 + 0.5 * 2.0, 0.5 * 7.0 + 0.5 * 6.0, 0.0]);
}

#[test]
fn an_error_that_is_no_number_is_noticed() {
    let errors = Tensor::from_slice(&[1.0, f64::NAN, 2.0]).view([3, 1]);
    let piece = Piece { row: 0, first: 0, decisions: 3 };
    for eta in [0.0, 0.9, 1.0] {
        assert!(sequence_priorities(&errors, &errors.ones_like(), &[piece], eta)[0].is_nan());
    }
}

#[test]
#[should_panic(expected = "lies outside of 3 decisions in 1 rows")]
fn a_piece_beyond_the_batch_is_a_bug() {
    let errors = Grid::of(&[3, 1], |_| 1.0).tensor(Kind::Float);
    let piece = Piece { row: 0, first: 1, decisions: 3 };
    sequence_priorities(&errors, &errors, &[piece], 0.9);
}
