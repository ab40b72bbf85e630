//! Statistics over runs: means, inter-quartile means, and their intervals.
//!
//! Pure functions of numbers. Intervals are of 95 %: Student's t where seeds are repeats of one
//! experiment, a stratified bootstrap where several tasks are taken together (Agarwal et al. 2021,
//! <https://arxiv.org/abs/2108.13264>).

use std::fmt;

use engram_mdp::Seed;
use rand::RngExt;

/// A number and the interval that holds the true one in 95 % of all cases.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// The interval's ends; none where there is only one number to judge by.
    pub interval: Option<(f64, f64)>,
}

impl Estimate {
    /// In words, as in `0.870 ± 0.050`.
    pub fn plus_minus(&self) -> String {
        match self.interval {
            Some((low, high)) => format!("{:.3} ± {:.3}", self.value, (high - low) / 2.0),
            None => format!("{:.3}", self.value),
        }
    }
}

/// As in `0.870 [0.750, 0.940]`.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.value)?;
        match self.interval {
            Some((low, high)) => write!(f, " [{low:.3}, {high:.3}]"),
            None => Ok(()),
        }
    }
}

/// Resamples of a bootstrap.
const RESAMPLES: usize = 2_000;

/// The mean of independent numbers with the interval of Student's t; `None` of none.
pub fn mean(values: &[f64]) -> Option<Estimate> {
    let count = values.len() as f64;
    let value = average(values)?;
    if values.len() == 1 {
        return Some(Estimate { value, interval: None });
    }
    let variance = values.iter().map(|x| (x - value).powi(2)).sum::<f64>() / (count - 1.0);
    let half = student_t(values.len() - 1) * (variance / count).sqrt();
    Some(Estimate { value, interval: Some((value - half, value + half)) })
}

/// The mean of the middle half: a quarter of the numbers, rounded down, is left out at either end.
/// Of fewer than four numbers it is the mean. `None` of none.
pub fn interquartile_mean(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted.len() / 4;
    average(&sorted[cut..sorted.len() - cut])
}

/// The inter-quartile mean over all runs of all tasks, with the percentile interval of a bootstrap
/// that draws seeds anew within each task. `strata` holds the scores of each task's seeds.
/// The same scores give the same interval. `None` if there are no scores; no interval where no task
/// has two seeds.
pub fn stratified_iqm(strata: &[Vec<f64>]) -> Option<Estimate> {
    let value = interquartile_mean(&strata.concat())?;
    if strata.iter().all(|scores| scores.len() < 2) {
        return Some(Estimate { value, interval: None });
    }
    let mut generator = Seed::new(0).derive("bootstrap", strata.len() as u64).generator();
    let mut means: Vec<f64> = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        let drawn: Vec<f64> = strata
            .iter()
            .flat_map(|scores| std::iter::repeat_n(scores, scores.len()))
            .map(|scores| scores[generator.random_range(0..scores.len())])
            .collect();
        means.extend(interquartile_mean(&drawn));
    }
    means.sort_by(f64::total_cmp);
    let interval = Some((quantile(&means, 0.025), quantile(&means, 0.975)));
    Some(Estimate { value, interval })
}

/// The middle number, or the mean of the two in the middle; `None` of none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// Every row's y with the mean of itself and the up to `width - 1` rows before it.
pub fn moving_average(rows: &[(f64, f64)], width: usize) -> Vec<(f64, f64)> {
    assert!(width > 0, "an average of no rows is none");
    let smooth = |(i, &(x, _)): (usize, &(f64, f64))| {
        let window = &rows[(i + 1).saturating_sub(width)..=i];
        (x, window.iter().map(|(_, y)| y).sum::<f64>() / window.len() as f64)
    };
    rows.iter().enumerate().map(smooth).collect()
}

/// The value at `x` on the straight line between its neighbors; `None` outside of the rows. Rows
/// are in the order of x.
pub fn interpolate(rows: &[(f64, f64)], x: f64) -> Option<f64> {
    let after = rows.partition_point(|&(at, _)| at < x);
    let &(right, above) = rows.get(after)?;
    if right == x {
        return Some(above);
    }
    let &(left, below) = rows.get(after.checked_sub(1)?)?;
    Some(below + (above - below) * (x - left) / (right - left))
}

/// The mean of the last 5 % of the rows, rounded up: what a run came to. `None` of no rows.
pub fn final_mean(rows: &[(f64, f64)]) -> Option<f64> {
    let count = rows.len().div_ceil(20);
    let last: Vec<f64> = rows[rows.len() - count..].iter().map(|&(_, y)| y).collect();
    average(&last)
}

/// The first x at which the rows are at `threshold` or above.
pub fn first_reached(rows: &[(f64, f64)], threshold: f64) -> Option<f64> {
    rows.iter().find(|&&(_, y)| y >= threshold).map(|&(x, _)| x)
}

fn average(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The `share` quantile of sorted numbers, between neighbors on the straight line.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

/// The t below which Student's distribution has 97.5 %: 95 % lie within ± t.
fn student_t(degrees: usize) -> f64 {
    // At one degree it is 12.7, and it falls from there.
    let (mut low, mut high) = (0.0, 16.0);
    for _ in 0..60 {
        let t = (low + high) / 2.0;
        if within(t, degrees) < 0.95 { low = t } else { high = t }
    }
    (low + high) / 2.0
}

/// The share of Student's distribution within ± t: Abramowitz and Stegun 1964, 26.7.3 and 26.7.4.
fn within(t: f64, degrees: usize) -> f64 {
    let theta = (t / (degrees as f64).sqrt()).atan();
    let (sine, cosine) = theta.sin_cos();
    let odd = degrees % 2 == 1;
    // For odd degrees cos + 2/3 cos^3 + ..., for even ones 1 + 1/2 cos^2 + ...
    let mut term = if odd { cosine } else { 1.0 };
    let mut sum = 0.0;
    let mut power = if odd { 1 } else { 0 };
    while power + 2 <= degrees {
        sum += term;
        term *= cosine * cosine * (power + 1) as f64 / (power + 2) as f64;
        power += 2;
    }
    if odd { (theta + sine * sum) * std::f64::consts::FRAC_2_PI } else { sine * sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64, tolerance: f64) {
        assert!((found - expected).abs() <= tolerance, "{found} instead of {expected}");
    }

    #[test]
    fn the_t_of_every_table_is_found() {
        // From the printed tables, e.g. Abramowitz and Stegun 1964, table 26.10.
        let table = [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)];
        for (degrees, t) in table {
            near(student_t(degrees), t, 5e-4);
        }
        near(student_t(10_000), 1.960, 5e-4);
    }

    #[test]
    fn a_mean_of_three_seeds_has_a_wide_interval_and_of_one_none() {
        // Mean 2, standard deviation 1: 2 ± 4.3027 / sqrt(3).
        let found = mean(&[1.0, 2.0, 3.0]).unwrap();
        let (low, high) = found.interval.unwrap();
        near(found.value, 2.0, 1e-12);
        near(low, 2.0 - 2.484_138, 1e-5);
        near(high, 2.0 + 2.484_138, 1e-5);
        assert_eq!(mean(&[5.0]), Some(Estimate { value: 5.0, interval: None }));
        assert_eq!(mean(&[]), None);
        assert_eq!(mean(&[1.0; 3]).unwrap().interval, Some((1.0, 1.0)));
    }

    #[test]
    fn the_inter_quartile_mean_forgets_the_best_and_the_worst_quarter() {
        assert_eq!(interquartile_mean(&[100.0, 1.0, 2.0, -50.0]), Some(1.5));
        // Nine numbers: two are left out at either end.
        let nine = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 0.0, -90.0];
        assert_eq!(interquartile_mean(&nine), Some(5.0));
        assert_eq!(interquartile_mean(&[0.0, 3.0, 9.0]), Some(4.0));
        assert_eq!(interquartile_mean(&[]), None);
    }

    // The exact distribution of the resampled inter-quartile mean, by going through all resamples:
    //
    //     from itertools import product
    //     def iqm(xs):
    //         xs = sorted(xs); cut = len(xs) // 4; xs = xs[cut:len(xs) - cut]
    //         return sum(xs) / len(xs)
    //     def interval(*tasks):
    //         draws = [list(product(t, repeat=len(t))) for t in tasks]
    //         means = sorted(iqm(sum(map(list, d), [])) for d in product(*draws))
    //         at = lambda q: means[round(q * (len(means) - 1))]
    //         return iqm(sum(tasks, [])), at(0.025), at(0.975)
    //     print(interval([0.2, 0.5, 0.9], [0.1, 0.4, 1.0, 0.7]))
    //     print(interval([0.0, 1.0, 3.0, 7.0, 8.0]))
    const TWO_TASKS: (f64, f64, f64) = (0.54, 0.26, 0.82);
    const ONE_TASK: (f64, f64, f64) = (11.0 / 3.0, 1.0 / 3.0, 23.0 / 3.0);

    #[test]
    fn the_bootstrap_comes_near_the_exact_distribution_of_resamples() {
        let (value, low, high) = TWO_TASKS;
        let two = [vec![0.2, 0.5, 0.9], vec![0.1, 0.4, 1.0, 0.7]];
        let found = stratified_iqm(&two).unwrap();
        near(found.value, value, 1e-9);
        near(found.interval.unwrap().0, low, 0.03);
        near(found.interval.unwrap().1, high, 0.03);
        let (value, low, high) = ONE_TASK;
        let found = stratified_iqm(&[vec![0.0, 1.0, 3.0, 7.0, 8.0]]).unwrap();
        near(found.value, value, 1e-9);
        near(found.interval.unwrap().0, low, 0.35);
        near(found.interval.unwrap().1, high, 0.35);
    }

    #[test]
    fn seeds_are_drawn_within_their_task_alone() {
        // All seeds of a task agree: whatever is drawn, the mean of both tasks stays.
        let found = stratified_iqm(&[vec![0.0; 3], vec![1.0; 3]]).unwrap();
        assert_eq!(found, Estimate { value: 0.5, interval: Some((0.5, 0.5)) });
        let single = stratified_iqm(&[vec![0.2], vec![0.4]]).unwrap();
        assert_eq!(single.interval, None);
        assert_eq!(stratified_iqm(&[]), None);
    }

    #[test]
    fn the_median_is_in_the_middle_and_infinity_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[f64::INFINITY, 1.0, f64::INFINITY]), Some(f64::INFINITY));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_moving_average_looks_back_only() {
        let rows = [(1.0, 4.0), (2.0, 0.0), (4.0, 2.0)];
        assert_eq!(moving_average(&rows, 1), rows);
        assert_eq!(moving_average(&rows, 2), [(1.0, 4.0), (2.0, 2.0), (4.0, 1.0)]);
        assert_eq!(moving_average(&rows, 9), [(1.0, 4.0), (2.0, 2.0), (4.0, 2.0)]);
    }

    #[test]
    fn between_rows_a_straight_line_and_beyond_them_nothing() {
        let rows = [(10.0, 1.0), (20.0, 3.0), (40.0, 3.0)];
        assert_eq!(interpolate(&rows, 10.0), Some(1.0));
        assert_eq!(interpolate(&rows, 15.0), Some(2.0));
        assert_eq!(interpolate(&rows, 40.0), Some(3.0));
        assert_eq!(interpolate(&rows, 9.0), None);
        assert_eq!(interpolate(&rows, 41.0), None);
        assert_eq!(interpolate(&[], 0.0), None);
    }

    #[test]
    fn a_run_came_to_the_mean_of_its_last_twentieth() {
        let rows: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i), f64::from(i))).collect();
        assert_eq!(final_mean(&rows), Some(38.5));
        assert_eq!(final_mean(&rows[..21]), Some(19.5));
        assert_eq!(final_mean(&rows[..20]), Some(19.0));
        assert_eq!(final_mean(&[]), None);
    }

    #[test]
    fn a_threshold_is_reached_once() {
        let rows = [(1.0, 0.2), (2.0, 0.9), (3.0, 0.1), (4.0, 1.0)];
        assert_eq!(first_reached(&rows, 0.9), Some(2.0));
        assert_eq!(first_reached(&rows, 1.1), None);
    }
}
