//! Epochs: a learning curve in stretches of equal length, and the best of them.
//!
//! POPGym's tables say the *maximum mean episodic return*: of every trial the best epoch's mean return,
//! and the mean of that over trials (Morad et al. 2023, <https://arxiv.org/abs/2303.01859>).

/// Mean of the rows `(env steps, return)` in each stretch of `length` env steps that has any.
pub fn epochs(rows: &[(f64, f64)], length: f64) -> Vec<f64> {
    assert!(length > 0.0, "an epoch has env steps");
    let number = |steps: f64| (steps / length).ceil();
    let same = |a: &(f64, f64), b: &(f64, f64)| number(a.0) == number(b.0);
    let mean = |rows: &[(f64, f64)]| rows.iter().map(|row| row.1).sum::<f64>() / rows.len() as f64;
    rows.chunk_by(same).map(mean).collect()
}

/// Mean return of the best epoch; `None` without rows.
pub fn best_epoch(rows: &[(f64, f64)], length: f64) -> Option<f64> {
    epochs(rows, length).into_iter().max_by(f64::total_cmp)
}

/// Mean return of the last epoch; `None` without rows.
pub fn last_epoch(rows: &[(f64, f64)], length: f64) -> Option<f64> {
    epochs(rows, length).pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_the_mean_of_its_rows_and_the_best_one_counts() {
        let rows = [(40.0, 0.0), (100.0, 1.0), (101.0, 0.9), (200.0, 0.7), (350.0, 0.2)];
        assert_eq!(epochs(&rows, 100.0), [0.5, 0.8, 0.2]);
        assert_eq!(best_epoch(&rows, 100.0), Some(0.8));
        assert_eq!(last_epoch(&rows, 100.0), Some(0.2));
        assert_eq!(best_epoch(&[], 100.0), None);
    }
}
