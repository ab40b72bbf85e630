//! Interval chart: inter-quartile means as points on horizontal bars, the best one on top.

use std::path::{Path, PathBuf};

use anyhow::Result;
use engram_service::format;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::chart::{Drawing, GRAY, Surface, color, round_numbers, save};
use crate::comparison::Comparison;
use crate::statistics::Estimate;

/// One thing that is compared.
pub(crate) struct IntervalBar {
    /// Name of the bar.
    pub(crate) label: String,
    /// Position among the things that are compared: decides the color.
    pub(crate) index: usize,
    /// Its inter-quartile mean.
    pub(crate) estimate: Estimate,
}

/// All bars on one axis.
pub(crate) struct IntervalChart {
    /// Title above.
    pub(crate) title: String,
    /// Quantity on the axis.
    pub(crate) name: String,
    /// Ends of the axis; those of the intervals where there is nothing better.
    pub(crate) range: Option<(f64, f64)>,
    /// In any order.
    pub(crate) bars: Vec<IntervalBar>,
    /// Notes that a reader must know, in small letters below.
    pub(crate) notes: Vec<String>,
}

const WIDTH: u32 = 840;
const BAR: u32 = 34;
const TOP: u32 = 50;
const AXIS: u32 = 54;
const NOTE: u32 = 18;
const RIGHT: u32 = 200;

/// Inter-quartile means of all hues over their tasks; `None` where there is nothing to compare.
pub(crate) fn over_tasks(comparison: &Comparison<'_>, title: &str) -> Option<IntervalChart> {
    let bars: Option<Vec<IntervalBar>> = (0..comparison.hues.len())
        .map(|index| {
            let (estimate, tasks) = comparison.over_tasks(index)?;
            let label = match tasks {
                1 => comparison.hues[index].clone(),
                _ => format!("{} ({tasks} tasks)", comparison.hues[index]),
            };
            Some(IntervalBar { label, index, estimate })
        })
        .collect();
    let bars = bars.filter(|bars| bars.len() > 1)?;
    let note = "inter-quartile mean over seeds and tasks, with the 95% interval of a stratified \
                bootstrap (Agarwal et al. 2021)";
    let mut notes = vec![note.to_owned()];
    notes.extend(comparison.notes().into_iter().skip(1));
    Some(IntervalChart {
        title: title.into(),
        name: format!("{} at the end, {comparison}", comparison.measure_name()),
        range: comparison.range(),
        bars,
        notes,
    })
}

impl IntervalChart {
    /// Draws to `<stem>.png` and `<stem>.svg` and returns both paths.
    pub(crate) fn draw(mut self, stem: &Path) -> Result<[PathBuf; 2]> {
        self.bars.sort_by(|a, b| b.estimate.value.total_cmp(&a.estimate.value));
        save(&self, stem)
    }

    fn ends(&self) -> (f64, f64) {
        let (mut low, mut high) = self.range.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
        for bar in &self.bars {
            let (a, b) = bar.estimate.interval.unwrap_or((bar.estimate.value, bar.estimate.value));
            (low, high) = (low.min(a), high.max(b));
        }
        if low == high { (low - 0.5, high + 0.5) } else { (low, high) }
    }
}

impl Drawing for IntervalChart {
    fn size(&self) -> Result<(u32, u32)> {
        let below = AXIS + NOTE * self.notes.len() as u32 + 12;
        Ok((WIDTH, TOP + BAR * self.bars.len() as u32 + below))
    }

    fn draw_on<B: DrawingBackend>(&self, surface: &Surface<B>) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let (area, px) = (&surface.area, |length: u32| surface.px(length.into()));
        area.fill(&WHITE)?;
        let anchor = |h, v| Pos::new(h, v);
        let small = surface.font(14.0, FontStyle::Normal);
        let title = surface.font(19.0, FontStyle::Bold).pos(anchor(HPos::Center, VPos::Top));
        area.draw_text(&self.title, &title, (px(WIDTH / 2), px(14)))?;

        let mut widest = 0;
        for bar in &self.bars {
            widest = widest.max(area.estimate_text_size(&bar.label, &small)?.0 as i32);
        }
        let (left, right) = (widest + px(28), px(WIDTH - RIGHT));
        let (low, high) = self.ends();
        let at = |y: f64| left + ((y - low) / (high - low) * f64::from(right - left)) as i32;
        let bottom = px(TOP + BAR * self.bars.len() as u32);
        let grid = BLACK.mix(0.09).stroke_width(px(1) as u32);
        let label = small.pos(anchor(HPos::Center, VPos::Top));
        for tick in round_numbers(low, high, 7) {
            area.draw(&PathElement::new([(at(tick), px(TOP)), (at(tick), bottom)], grid))?;
            area.draw_text(&format::number(tick), &label, (at(tick), bottom + px(6)))?;
        }
        let axis = GRAY.stroke_width(px(1) as u32);
        area.draw(&PathElement::new([(left, bottom), (right, bottom)], axis))?;
        area.draw_text(&self.name, &label, ((left + right) / 2, bottom + px(27)))?;
        for (i, bar) in self.bars.iter().enumerate() {
            let y = px(TOP + BAR * i as u32 + BAR / 2);
            let text = small.pos(anchor(HPos::Right, VPos::Center));
            area.draw_text(&bar.label, &text, (left - px(12), y))?;
            if let Some((low, high)) = bar.estimate.interval {
                let interval = [(at(low), y - px(7)), (at(high).max(at(low) + px(1)), y + px(7))];
                area.draw(&Rectangle::new(interval, color(bar.index).mix(0.35).filled()))?;
            }
            let middle = at(bar.estimate.value);
            let mark = [(middle - px(2), y - px(10)), (middle + px(2), y + px(10))];
            area.draw(&Rectangle::new(mark, color(bar.index).filled()))?;
            let number = small.pos(anchor(HPos::Left, VPos::Center));
            area.draw_text(&bar.estimate.to_string(), &number, (right + px(14), y))?;
        }
        let note = surface.font(12.0, FontStyle::Normal).color(&GRAY);
        for (i, text) in self.notes.iter().enumerate() {
            area.draw_text(text, &note, (px(16), bottom + px(AXIS + NOTE * i as u32)))?;
        }
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_on_top_and_every_number_is_written_out() {
        let folder = tempfile::tempdir().unwrap();
        let bar = |label: &str, value: f64, interval| IntervalBar {
            label: label.into(),
            index: 0,
            estimate: Estimate { value, interval },
        };
        let chart = IntervalChart {
            title: "recall".into(),
            name: "episodes solved".into(),
            range: Some((0.0, 1.0)),
            bars: vec![bar("lstm", 0.25, None), bar("gpt2", 0.875, Some((0.75, 1.0)))],
            notes: vec!["a note".into()],
        };
        let [png, svg] = chart.draw(&folder.path().join("iqm")).unwrap();
        assert!(png.exists());
        let text = std::fs::read_to_string(svg).unwrap();
        let at = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle}: {text}"));
        assert!(at("gpt2") < at("lstm"));
        at("0.875 [0.750, 1.000]");
        at("a note");
    }
}
