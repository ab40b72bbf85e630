//! Legend: a name for each series and reference line, and the notes below.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::model::Chart;
use super::surface::{COLORS, GRAY, Surface};

const ROW_HEIGHT: u32 = 24;
const NOTE_HEIGHT: u32 = 18;

/// Everything below the panels.
pub(super) struct Legend<'a> {
    rows: Vec<Vec<LegendEntry>>,
    notes: &'a [String],
}

/// One thing that the legend names.
struct LegendEntry {
    label: String,
    mark: LegendMark,
    width: u32,
}

/// Mark before a name: the index of a series, or of a reference line in its panel.
#[derive(Clone, Copy)]
enum LegendMark {
    Series(usize),
    Reference(usize),
}

impl<'a> Legend<'a> {
    /// The legend of a chart, in rows that are at most `width` pixels wide.
    pub(super) fn new(chart: &'a Chart, width: u32) -> Result<Self> {
        let mut rows: Vec<Vec<LegendEntry>> = Vec::new();
        for entry in entries(chart)? {
            match rows.last_mut() {
                Some(row) if row.iter().map(|e| e.width).sum::<u32>() + entry.width <= width => {
                    row.push(entry);
                }
                _ => rows.push(vec![entry]),
            }
        }
        Ok(Legend { rows, notes: &chart.notes })
    }

    /// Height in pixels before scaling.
    pub(super) fn height(&self) -> u32 {
        self.rows.len() as u32 * ROW_HEIGHT + self.notes.len() as u32 * NOTE_HEIGHT
    }

    /// Draws it.
    pub(super) fn draw<B: DrawingBackend>(&self, surface: &Surface<B>) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let area = &surface.area;
        let style = surface.font(15.0, FontStyle::Normal).pos(Pos::new(HPos::Left, VPos::Center));
        let whole = area.dim_in_pixel().0 as i32;
        for (i, row) in self.rows.iter().enumerate() {
            let width: u32 = row.iter().map(|entry| entry.width).sum();
            let mut x = (whole - surface.px(width.into())) / 2 + surface.px(12.0);
            let y = surface.px(f64::from(ROW_HEIGHT) * (i as f64 + 0.5));
            for entry in row {
                let ends = [(x, y), (x + surface.px(30.0), y)];
                match entry.mark {
                    LegendMark::Series(index) => {
                        draw_mark(area, &ends, surface.stroke(index), index)?
                    }
                    LegendMark::Reference(index) => {
                        let (style, size, gap) = surface.reference_style(index);
                        area.draw(&DashedPathElement::new(ends.to_vec(), size, gap, style))?;
                    }
                }
                area.draw_text(&entry.label, &style, (x + surface.px(38.0), y))?;
                x += surface.px(entry.width.into());
            }
        }
        let style = surface.font(12.0, FontStyle::Normal).color(&GRAY);
        for (i, note) in self.notes.iter().enumerate() {
            let y = self.rows.len() as u32 * ROW_HEIGHT + i as u32 * NOTE_HEIGHT;
            area.draw_text(note, &style, (surface.px(8.0), surface.px(f64::from(y) + 3.0)))?;
        }
        Ok(())
    }
}

/// Entries in the order of the series' indices, then reference lines; each label once.
fn entries(chart: &Chart) -> Result<Vec<LegendEntry>> {
    let series = chart.panels.iter().flat_map(|panel| &panel.series);
    let mut named: Vec<(&String, usize)> =
        series.filter_map(|series| Some((series.label.as_ref()?, series.index))).collect();
    named.sort_by_key(|(_, index)| *index);
    let named = named.into_iter().map(|(label, index)| (label, LegendMark::Series(index)));
    let references = chart.panels.iter().flat_map(|panel| panel.references.iter().enumerate());
    let references = references.map(|(i, reference)| (&reference.label, LegendMark::Reference(i)));
    let mut entries: Vec<LegendEntry> = Vec::new();
    for (label, mark) in named.chain(references) {
        if entries.iter().all(|entry| entry.label != *label) {
            let font = ("sans-serif", 15.0).into_font();
            let (text_width, _) =
                font.box_size(label).map_err(|_| anyhow!("the font has no such letters"))?;
            entries.push(LegendEntry { label: label.clone(), mark, width: text_width + 64 });
        }
    }
    Ok(entries)
}

/// Draws a line between pixels, with dashes where the colors have been used up.
fn draw_mark<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    points: &[(i32, i32)],
    style: ShapeStyle,
    index: usize,
) -> Result<()>
where
    B::ErrorType: 'static,
{
    if index < COLORS.len() {
        area.draw(&PathElement::new(points.to_vec(), style))?;
    } else {
        let size = 4 * style.stroke_width;
        area.draw(&DashedPathElement::new(points.to_vec(), size, size / 2, style))?;
    }
    Ok(())
}
