//! Several sequences in one row: first-fit decreasing (Johnson 1973, who showed that it takes at
//! most 11/9 of the fewest rows, plus a few).

/// Puts sequences of so many frames into rows of `frames`. Returns the rows: for each the
/// sequences in it, in the order in which they follow one another.
pub(super) fn pack(lengths: &[usize], frames: usize) -> Vec<Vec<usize>> {
    let mut longest_first: Vec<usize> = (0..lengths.len()).collect();
    longest_first.sort_by_key(|&sequence| std::cmp::Reverse(lengths[sequence]));
    let mut rows: Vec<(usize, Vec<usize>)> = Vec::new();
    for sequence in longest_first {
        let length = lengths[sequence];
        assert!(length <= frames, "a sequence of {length} frames in a row of {frames}");
        match rows.iter_mut().find(|(left, _)| *left >= length) {
            Some((left, row)) => {
                *left -= length;
                row.push(sequence);
            }
            None => rows.push((frames - length, vec![sequence])),
        }
    }
    rows.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_is_lost_or_doubled_and_no_row_is_too_long(
            lengths in prop::collection::vec(1_usize..60, 1..80), more in 0_usize..40,
        ) {
            let frames = lengths.iter().max().unwrap() + more;
            let rows = pack(&lengths, frames);
            let mut all: Vec<usize> = rows.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            let used: Vec<usize> =
                rows.iter().map(|row| row.iter().map(|&s| lengths[s]).sum()).collect();
            prop_assert!(used.iter().all(|&used| used <= frames));
            // At most one row is no more than half full, for two such would be one.
            prop_assert!(used.iter().filter(|&&used| 2 * used <= frames).count() <= 1);
            let fewest = lengths.iter().sum::<usize>().div_ceil(frames);
            prop_assert!(rows.len() <= 2 * fewest, "{} rows instead of {}", rows.len(), fewest);
        }
    }

    #[test]
    fn the_longest_come_first_and_the_others_fill_the_gaps() {
        assert_eq!(pack(&[3, 8, 2, 7, 5], 10), [vec![1, 2], vec![3, 0], vec![4]]);
    }
}
