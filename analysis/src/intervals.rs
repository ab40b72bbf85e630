//! Inter-quartile means as points on horizontal bars, the best one on top.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use engram_service::format;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::chart::{Canvas, GRAY, color, prepare, round_numbers};
use crate::statistics::Estimate;

/// What is compared, with its number.
pub(crate) struct Row {
    /// What it is called.
    pub(crate) label: String,
    /// Its color.
    pub(crate) index: usize,
    /// Its inter-quartile mean.
    pub(crate) estimate: Estimate,
}

/// All of them on one axis.
pub(crate) struct Intervals {
    /// What stands above.
    pub(crate) title: String,
    /// What the axis measures.
    pub(crate) name: String,
    /// The ends of the axis; those of the intervals where there is nothing better.
    pub(crate) range: Option<(f64, f64)>,
    /// In any order.
    pub(crate) rows: Vec<Row>,
    /// What must be known, in small letters below.
    pub(crate) notes: Vec<String>,
}

const WIDTH: u32 = 840;
const ROW: u32 = 34;
const TOP: u32 = 50;
const AXIS: u32 = 54;
const NOTE: u32 = 18;
const RIGHT: u32 = 200;

impl Intervals {
    /// Draws to `<stem>.png` and `<stem>.svg` and returns both paths.
    pub(crate) fn draw(mut self, stem: &Path) -> Result<[PathBuf; 2]> {
        self.rows.sort_by(|a, b| b.estimate.value.total_cmp(&a.estimate.value));
        let [png, svg] = prepare(stem)?;
        let below = AXIS + NOTE * self.notes.len() as u32 + 12;
        let size = (WIDTH, TOP + ROW * self.rows.len() as u32 + below);
        let area = BitMapBackend::new(&png, (2 * size.0, 2 * size.1)).into_drawing_area();
        self.draw_on(&Canvas { area, scale: 2.0 })
            .with_context(|| format!("cannot draw {}", png.display()))?;
        let area = SVGBackend::new(&svg, size).into_drawing_area();
        self.draw_on(&Canvas { area, scale: 1.0 })
            .with_context(|| format!("cannot draw {}", svg.display()))?;
        Ok([png, svg])
    }

    fn ends(&self) -> (f64, f64) {
        let (mut low, mut high) = self.range.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
        for row in &self.rows {
            let (a, b) = row.estimate.interval.unwrap_or((row.estimate.value, row.estimate.value));
            (low, high) = (low.min(a), high.max(b));
        }
        if low == high { (low - 0.5, high + 0.5) } else { (low, high) }
    }

    fn draw_on<B: DrawingBackend>(&self, canvas: &Canvas<B>) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let (area, px) = (&canvas.area, |length: u32| canvas.px(length.into()));
        area.fill(&WHITE)?;
        let anchor = |h, v| Pos::new(h, v);
        let small = canvas.font(14.0, FontStyle::Normal);
        let title = canvas.font(19.0, FontStyle::Bold).pos(anchor(HPos::Center, VPos::Top));
        area.draw_text(&self.title, &title, (px(WIDTH / 2), px(14)))?;

        let mut widest = 0;
        for row in &self.rows {
            widest = widest.max(area.estimate_text_size(&row.label, &small)?.0 as i32);
        }
        let (left, right) = (widest + px(28), px(WIDTH - RIGHT));
        let (low, high) = self.ends();
        let at = |y: f64| left + ((y - low) / (high - low) * f64::from(right - left)) as i32;
        let bottom = px(TOP + ROW * self.rows.len() as u32);
        let grid = BLACK.mix(0.09).stroke_width(px(1) as u32);
        let label = small.pos(anchor(HPos::Center, VPos::Top));
        for tick in round_numbers(low, high, 7) {
            area.draw(&PathElement::new([(at(tick), px(TOP)), (at(tick), bottom)], grid))?;
            area.draw_text(&format::number(tick), &label, (at(tick), bottom + px(6)))?;
        }
        let axis = GRAY.stroke_width(px(1) as u32);
        area.draw(&PathElement::new([(left, bottom), (right, bottom)], axis))?;
        area.draw_text(&self.name, &label, ((left + right) / 2, bottom + px(27)))?;
        for (i, row) in self.rows.iter().enumerate() {
            let y = px(TOP + ROW * i as u32 + ROW / 2);
            let text = small.pos(anchor(HPos::Right, VPos::Center));
            area.draw_text(&row.label, &text, (left - px(12), y))?;
            if let Some((low, high)) = row.estimate.interval {
                let bar = [(at(low), y - px(7)), (at(high).max(at(low) + px(1)), y + px(7))];
                area.draw(&Rectangle::new(bar, color(row.index).mix(0.35).filled()))?;
            }
            let middle = at(row.estimate.value);
            let mark = [(middle - px(2), y - px(10)), (middle + px(2), y + px(10))];
            area.draw(&Rectangle::new(mark, color(row.index).filled()))?;
            let number = small.pos(anchor(HPos::Left, VPos::Center));
            area.draw_text(&in_words(&row.estimate), &number, (right + px(14), y))?;
        }
        let note = canvas.font(12.0, FontStyle::Normal).color(&GRAY);
        for (i, text) in self.notes.iter().enumerate() {
            area.draw_text(text, &note, (px(16), bottom + px(AXIS + NOTE * i as u32)))?;
        }
        area.present()?;
        Ok(())
    }
}

/// `0.870 [0.750, 0.940]`.
pub(crate) fn in_words(estimate: &Estimate) -> String {
    let value = estimate.value;
    match estimate.interval {
        Some((low, high)) => format!("{value:.3} [{low:.3}, {high:.3}]"),
        None => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_on_top_and_every_number_is_written_out() {
        let folder = tempfile::tempdir().unwrap();
        let row = |label: &str, value: f64, interval| Row {
            label: label.into(),
            index: 0,
            estimate: Estimate { value, interval },
        };
        let intervals = Intervals {
            title: "recall".into(),
            name: "episodes solved".into(),
            range: Some((0.0, 1.0)),
            rows: vec![row("lstm", 0.25, None), row("gpt2", 0.875, Some((0.75, 1.0)))],
            notes: vec!["a note".into()],
        };
        let [png, svg] = intervals.draw(&folder.path().join("iqm")).unwrap();
        assert!(png.exists());
        let text = std::fs::read_to_string(svg).unwrap();
        let at = |needle: &str| text.find(needle).unwrap_or_else(|| panic!("{needle}: {text}"));
        assert!(at("gpt2") < at("lstm"));
        at("0.875 [0.750, 1.000]");
        at("a note");
    }
}
