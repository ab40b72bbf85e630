//! Chunk assembler: puts the pieces of one version of the weights together.

use bytes::Bytes;
use engram_proto::limits::{MAX_WEIGHTS_BYTES, WEIGHTS_CHUNK_BYTES};
use engram_proto::v1;
use thiserror::Error;

/// The most memory that is set aside for weights before they come.
const RESERVE: u64 = 64 << 20;

/// Puts pieces together.
#[derive(Debug, Default)]
pub struct ChunkAssembler {
    begun: Option<Begun>,
}

#[derive(Debug)]
struct Begun {
    next: ChunkPosition,
    bytes: Vec<u8>,
}

/// Reason why a piece of weights is not the next one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PieceError {
    /// The whole is empty or too large.
    #[error("version {policy_version} has {total} bytes; 1 to {MAX_WEIGHTS_BYTES} are allowed")]
    Total {
        /// Its version.
        policy_version: u64,
        /// Its bytes.
        total: u64,
    },
    /// The piece is empty, too large, or goes beyond the whole.
    #[error(
        "a piece of {found} bytes came where 1 to {limit} of version {policy_version} were expected"
    )]
    Size {
        /// Its version.
        policy_version: u64,
        /// Its bytes.
        found: usize,
        /// The most it could have had.
        limit: u64,
    },
    /// The piece is another one than the next.
    #[error("{found} came where {expected} was expected")]
    Order {
        /// Position that was expected.
        expected: ChunkPosition,
        /// Position that came.
        found: ChunkPosition,
    },
}

/// A place in some version's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkPosition {
    /// The version.
    pub policy_version: u64,
    /// Its bytes.
    pub total: u64,
    /// The place.
    pub offset: u64,
}

impl std::fmt::Display for ChunkPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ChunkPosition { policy_version, total, offset } = self;
        write!(f, "byte {offset} of {total} of version {policy_version}")
    }
}

impl ChunkAssembler {
    /// True if no version has been begun.
    pub fn is_empty(&self) -> bool {
        self.begun.is_none()
    }

    /// Adds a piece; the last one completes its version. After an error the version that was
    /// begun is gone.
    pub fn push(&mut self, piece: v1::WeightsChunk) -> Result<Option<Bytes>, PieceError> {
        let v1::WeightsChunk { policy_version, total_bytes: total, offset, data, .. } = piece;
        let found = ChunkPosition { policy_version, total, offset };
        let begun = self.begun.take();
        let expected = match &begun {
            Some(begun) => begun.next,
            None => ChunkPosition { offset: 0, ..found },
        };
        if found != expected {
            return Err(PieceError::Order { expected, found });
        }
        if !(1..=MAX_WEIGHTS_BYTES).contains(&total) {
            return Err(PieceError::Total { policy_version, total });
        }
        let limit = (total - offset).min(WEIGHTS_CHUNK_BYTES as u64);
        if !(1..=limit).contains(&(data.len() as u64)) {
            return Err(PieceError::Size { policy_version, found: data.len(), limit });
        }
        let mut bytes = match begun {
            Some(begun) => begun.bytes,
            None if data.len() as u64 == total => return Ok(Some(data)),
            None => Vec::with_capacity(total.min(RESERVE) as usize),
        };
        bytes.extend_from_slice(&data);
        let offset = bytes.len() as u64;
        if offset == total {
            return Ok(Some(bytes.into()));
        }
        self.begun = Some(Begun { next: ChunkPosition { offset, ..found }, bytes });
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(policy_version: u64, total: u64, offset: u64, data: &[u8]) -> v1::WeightsChunk {
        v1::WeightsChunk {
            run_id: "run".into(),
            policy_version,
            total_bytes: total,
            offset,
            data: Bytes::copy_from_slice(data),
        }
    }

    #[test]
    fn pieces_in_order_make_a_whole_and_the_next_version_starts_afresh() {
        let mut assembler = ChunkAssembler::default();
        assert_eq!(assembler.push(piece(3, 5, 0, b"ab")), Ok(None));
        assert_eq!(assembler.push(piece(3, 5, 2, b"c")), Ok(None));
        assert!(!assembler.is_empty());
        assert_eq!(assembler.push(piece(3, 5, 3, b"de")), Ok(Some("abcde".into())));
        assert_eq!(assembler.push(piece(4, 2, 0, b"fg")), Ok(Some("fg".into())));
        assert!(assembler.is_empty());
    }

    #[test]
    fn pieces_that_do_not_fit_are_refused() {
        let after_one = |second| {
            let mut assembler = ChunkAssembler::default();
            assembler.push(piece(3, 5, 0, b"ab")).expect("a good first piece");
            assembler.push(second).expect_err("a bad second piece").to_string()
        };
        let lost = after_one(piece(3, 5, 3, b"de"));
        assert_eq!(
            lost,
            "byte 3 of 5 of version 3 came where byte 2 of 5 of version 3 was expected"
        );
        assert!(after_one(piece(4, 5, 0, b"ab")).contains("byte 0 of 5 of version 4 came"));
        assert!(after_one(piece(3, 6, 2, b"c")).contains("byte 2 of 6"));
        assert!(after_one(piece(3, 5, 2, b"cdef")).contains("a piece of 4 bytes"));
        assert!(after_one(piece(3, 5, 2, b"")).contains("a piece of 0 bytes"));
    }

    #[test]
    fn wholes_that_are_empty_or_too_large_are_refused_before_memory_is_taken() {
        for total in [0, MAX_WEIGHTS_BYTES + 1] {
            let refused = ChunkAssembler::default().push(piece(1, total, 0, b"a"));
            assert_eq!(refused, Err(PieceError::Total { policy_version: 1, total }));
        }
        let huge = vec![0; WEIGHTS_CHUNK_BYTES + 1];
        let refused = ChunkAssembler::default().push(piece(1, 1 << 30, 0, &huge));
        assert!(matches!(refused, Err(PieceError::Size { .. })));
    }

    proptest! {
        /// Whatever comes in whatever order: what is completed is what was said since its begin.
        #[test]
        fn what_is_completed_is_what_was_said(
            pieces in prop::collection::vec(
                (1_u64..3, 0_u64..7, 0_u64..7, prop::collection::vec(any::<u8>(), 0..5), any::<bool>()),
                0..40,
            ),
        ) {
            let mut assembler = ChunkAssembler::default();
            let mut said = Vec::new();
            for (policy_version, total, offset, data, goes_on) in pieces {
                // Half of the pieces go on where the last one ended: others hardly ever fit.
                let offset = if goes_on { said.len() as u64 } else { offset };
                match assembler.push(piece(policy_version, total, offset, &data)) {
                    Err(_) => said.clear(),
                    Ok(None) => said.extend(data),
                    Ok(Some(whole)) => {
                        said.extend(data);
                        prop_assert_eq!(whole.len() as u64, total);
                        prop_assert_eq!(&whole[..], &said[..]);
                        said.clear();
                    }
                }
                prop_assert_eq!(assembler.is_empty(), said.is_empty());
            }
        }

        /// Numbers of any size take no memory before their bytes come.
        #[test]
        fn huge_numbers_are_refused(version: u64, total: u64, offset: u64, data: Vec<u8>) {
            let mut assembler = ChunkAssembler::default();
            let whole = assembler.push(piece(version, total, offset, &data));
            prop_assert!(whole.is_err() || offset == 0);
            let held = assembler.begun.map_or(0, |begun| begun.bytes.capacity() as u64);
            prop_assert!(held <= RESERVE + data.len() as u64);
        }
    }
}
