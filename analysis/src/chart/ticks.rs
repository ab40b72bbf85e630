//! Ticks of an axis: positions and labels.

use std::ops::Range;

use engram_service::format::number;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

use super::model::{Panel, XAxis};

/// An x axis with its ticks, from data to data as it is drawn.
pub(super) struct Ticks {
    pub(super) range: Range<f64>,
    /// Positions of ticks, as drawn; plotters' round numbers where there are none.
    at: Option<Vec<f64>>,
    log: bool,
}

impl Ticks {
    /// An axis with round numbers between the ends.
    pub(super) fn between(low: f64, high: f64) -> Self {
        Ticks { range: low..high, at: None, log: false }
    }

    pub(super) fn new(scale: &XAxis, panel: &Panel) -> Self {
        match scale {
            XAxis::Linear => {
                let points = panel.series.iter().flat_map(|series| &series.points);
                let end = points.map(|&(x, _)| x).fold(0.0, f64::max);
                Ticks { range: 0.0..if end > 0.0 { end } else { 1.0 }, at: None, log: false }
            }
            XAxis::Values(values) => {
                let low = values.iter().copied().fold(f64::INFINITY, f64::min);
                let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let log = low > 0.0 && high / low > 8.0;
                let drawn = |x: f64| if log { x.ln() } else { x };
                let (low, high) = (drawn(low), drawn(high));
                let margin = if low < high { 0.06 * (high - low) } else { 1.0 };
                let at = Some(values.iter().map(|&x| drawn(x)).collect());
                Ticks { range: low - margin..high + margin, at, log }
            }
        }
    }

    pub(super) fn drawn(&self, x: f64) -> f64 {
        if self.log { x.ln() } else { x }
    }

    fn label(&self, drawn: f64) -> String {
        number(if self.log { drawn.exp() } else { drawn })
    }
}

impl Ranged for Ticks {
    type ValueType = f64;
    type FormatOption = NoDefaultFormatting;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match &self.at {
            Some(at) => at.clone(),
            None => round_numbers(self.range.start, self.range.end, hint.max_num_points().min(7)),
        }
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Ticks {
    fn format_ext(&self, value: &f64) -> String {
        self.label(*value)
    }
}

/// Round numbers: at most `most` multiples of 1, 2 or 5 times a power of ten, within the ends.
pub(crate) fn round_numbers(low: f64, high: f64, most: usize) -> Vec<f64> {
    let rough = (high - low) / most.max(2) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    (first..=last).map(|i| i as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_at_round_numbers() {
        assert_eq!(round_numbers(0.0, 1_500_000.0, 6), [0.0, 5e5, 1e6, 1.5e6]);
        let texts: Vec<String> = round_numbers(-0.04, 1.04, 7).into_iter().map(number).collect();
        assert_eq!(texts, ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
    }

    #[test]
    fn values_that_span_much_are_on_a_logarithmic_axis() {
        let panel = Panel {
            title: String::new(),
            x_name: String::new(),
            x: XAxis::Values(vec![50.0, 100.0, 1_500.0]),
            y_name: String::new(),
            range: None,
            series: Vec::new(),
            references: Vec::new(),
        };
        let ticks = Ticks::new(&panel.x, &panel);
        let at = |x: f64| ticks.map(&ticks.drawn(x), (0, 1_000));
        assert!(at(100.0) - at(50.0) > 150, "{} {}", at(50.0), at(100.0));
        assert_eq!(ticks.label(ticks.drawn(1_500.0)), "1.5k");
        let near = Ticks::new(&XAxis::Values(vec![0.0, 10.0]), &panel);
        assert_eq!(near.map(&near.drawn(5.0), (0, 1_000)), 500);
    }
}
