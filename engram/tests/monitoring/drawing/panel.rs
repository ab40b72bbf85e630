//! Content of a panel: lines over time, bands of states, a number.

use anyhow::Result;
use engram_analysis::chart::{GRAY, color, round_numbers};
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::ink::{Area, Ink, WRITING, clock, named, width_of};
use super::model::{Defaults, Filled, Line};
use super::units::{step_base, with_unit};
use crate::prometheus::Span;

const MESH: RGBColor = RGBColor(232, 233, 236);

/// Pixels beside a plot for the numbers of its y axis, below it for times, and for a legend's row.
const LEFT: i32 = 58;
const BELOW: i32 = 17;
const LEGEND: i32 = 17;

/// Rows that a legend may have.
const LEGEND_ROWS: usize = 2;

/// The newest values, as large as there is room.
pub(super) fn stat(area: &Area<'_>, ink: &Ink, filled: &Filled<'_>) -> Result<()> {
    let panel = filled.panel;
    let defaults = &panel.field_config.defaults;
    let (width, height) = area.dim_in_pixel();
    let count = filled.lines.len() as i32;
    for (i, line) in filled.lines.iter().enumerate() {
        let Some(&(_, value)) = line.points.last() else { continue };
        let word = defaults.word(value);
        let number = || with_unit(value, &defaults.unit, defaults.decimals);
        let text = match (panel.options.text_mode.as_str(), word) {
            ("name", _) => line.name.clone(),
            ("value_and_name", _) => format!("{} × {}", number(), line.name),
            (_, Some(word)) => word.text.clone(),
            (_, None) => number(),
        };
        let color = match panel.options.text_mode.as_str() {
            "name" | "value_and_name" => WRITING,
            _ => named(word.map_or(defaults.color(value), |word| &word.color)),
        };
        let room = f64::from(width) / f64::from(count);
        let style = |size| ink.centered(size, color);
        let wide = width_of(&text, 27.0);
        let size = (27.0 * (room - 12.0) / f64::from(wide)).clamp(9.0, 27.0);
        let at = ((room * (i as f64 + 0.5)) as i32, height as i32 / 2 - 2);
        area.draw_text(&text, &style(size), at)?;
    }
    if count == 0 { no_data(area, ink) } else { Ok(()) }
}

/// Bands of equal values, a row for each series.
pub(super) fn timeline(area: &Area<'_>, ink: &Ink, filled: &Filled<'_>, span: Span) -> Result<()> {
    if filled.lines.is_empty() {
        return no_data(area, ink);
    }
    let defaults = &filled.panel.field_config.defaults;
    let (width, height) = area.dim_in_pixel();
    let plot = Plot::new(span, (0.0, 1.0), (width as i32, height as i32 - BELOW), 150);
    plot.draw_times(area, ink)?;
    let row = (plot.bottom as f64 / filled.lines.len() as f64).min(46.0);
    for (i, line) in filled.lines.iter().enumerate() {
        let (top, bottom) = ((row * i as f64) as i32 + 2, (row * (i as f64 + 1.0)) as i32 - 2);
        area.draw_text(&line.name, &ink.text(12.0), (2, (top + bottom) / 2))?;
        for (start, end, value) in bands(&line.points, span.step) {
            let (from, to) = (plot.x(start), plot.x(end.min(span.end)));
            let word = defaults.word(value);
            let color = named(word.map_or(defaults.color(value), |word| &word.color));
            area.draw(&Rectangle::new([(from, top), (to, bottom)], color.filled()))?;
            let text =
                word.map_or_else(|| with_unit(value, &defaults.unit, None), |w| w.text.clone());
            if width_of(&text, 12.0) + 8 < (to - from).max(0) as u32 {
                let at = ((from + to) / 2, (top + bottom) / 2);
                area.draw_text(&text, &ink.centered(12.0, WHITE), at)?;
            }
        }
    }
    Ok(())
}

/// Lines over time, and a legend with their newest values.
pub(super) fn time_series(
    area: &Area<'_>,
    ink: &Ink,
    filled: &Filled<'_>,
    span: Span,
) -> Result<()> {
    if filled.lines.is_empty() {
        return no_data(area, ink);
    }
    let defaults = &filled.panel.field_config.defaults;
    let (width, height) = area.dim_in_pixel();
    let legend = legend(&filled.lines, defaults, width);
    let below = BELOW + LEGEND * legend.len() as i32;
    let stacked = if defaults.is_stacked() { stack(&filled.lines) } else { Vec::new() };
    let shown = if defaults.is_stacked() { &stacked } else { &filled.lines };
    let range = range(shown, defaults);
    let plot = Plot::new(span, range, (width as i32, height as i32 - below), LEFT);
    let ticks = ticks(range, &defaults.unit);
    for value in &ticks {
        let y = plot.y(*value);
        area.draw(&PathElement::new([(plot.left, y), (plot.right, y)], MESH))?;
        let style = ink.gray(11.0, HPos::Right, VPos::Center);
        area.draw_text(&with_unit(*value, &defaults.unit, None), &style, (plot.left - 5, y))?;
    }
    plot.draw_times(area, ink)?;
    // The highest first: what is below covers it.
    for (i, line) in shown.iter().enumerate().rev() {
        for piece in pieces(&line.points, span.step) {
            let mut pixels: Vec<_> = piece.iter().map(|&point| plot.at(point)).collect();
            if defaults.is_stacked() {
                let (first, last) = (pixels[0].0, pixels[pixels.len() - 1].0);
                pixels.extend([(last, plot.bottom), (first, plot.bottom)]);
                // Blended by hand: another band may lie below.
                area.draw(&Polygon::new(pixels, light(color(i)).filled()))?;
                let edge: Vec<_> = piece.iter().map(|&point| plot.at(point)).collect();
                area.draw(&PathElement::new(edge, color(i)))?;
            } else {
                area.draw(&PathElement::new(pixels, color(i).stroke_width(2)))?;
            }
        }
    }
    if let Some(limit) = defaults.limit().filter(|limit| (range.0..=range.1).contains(limit)) {
        let ends = [(plot.left, plot.y(limit)), (plot.right, plot.y(limit))];
        area.draw(&DashedPathElement::new(ends, 6, 4, named("red")))?;
    }
    draw_legend(area, ink, &legend, plot.bottom + BELOW)
}

/// Positions of values on a plot.
struct Plot {
    span: Span,
    range: (f64, f64),
    left: i32,
    right: i32,
    bottom: i32,
}

impl Plot {
    fn new(span: Span, range: (f64, f64), (width, bottom): (i32, i32), left: i32) -> Self {
        Plot { span, range, left, right: width - 6, bottom }
    }

    fn x(&self, seconds: f64) -> i32 {
        let share = (seconds - self.span.start) / (self.span.end - self.span.start);
        self.left + (share * f64::from(self.right - self.left)).round() as i32
    }

    fn y(&self, value: f64) -> i32 {
        let share = (value - self.range.0) / (self.range.1 - self.range.0);
        self.bottom - (share.clamp(0.0, 1.0) * f64::from(self.bottom - 4)).round() as i32
    }

    fn at(&self, (seconds, value): (f64, f64)) -> (i32, i32) {
        (self.x(seconds), self.y(value))
    }

    /// The time of day below, at round minutes.
    fn draw_times(&self, area: &Area<'_>, ink: &Ink) -> Result<()> {
        let most = (self.right - self.left) as usize / 75;
        let minutes = round_numbers(self.span.start / 60.0, self.span.end / 60.0, most);
        for minute in minutes.into_iter().filter(|minute| minute.fract().abs() < 1e-6) {
            let x = self.x(60.0 * minute);
            let style = ink.gray(11.0, HPos::Center, VPos::Top);
            area.draw_text(&clock(60.0 * minute), &style, (x, self.bottom + 4))?;
        }
        Ok(())
    }
}

/// The ends of a y axis: those of the values where it is not said otherwise, and zero.
fn range(lines: &[Line], defaults: &Defaults) -> (f64, f64) {
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|&(_, value)| value));
    let low = defaults.min.unwrap_or_else(|| values().fold(0.0, f64::min));
    let high = defaults.max.unwrap_or_else(|| values().fold(0.0, f64::max) * 1.05);
    if low < high { (low, high) } else { (low, low + 1.0) }
}

fn ticks((low, high): (f64, f64), unit: &str) -> Vec<f64> {
    let base = step_base(unit, high);
    round_numbers(low / base, high / base, 4).into_iter().map(|tick| tick * base).collect()
}

/// Each line on all before it.
fn stack(lines: &[Line]) -> Vec<Line> {
    let mut stacked: Vec<Line> = Vec::with_capacity(lines.len());
    for line in lines {
        let below = stacked.last();
        let points = line.points.iter().map(|&(at, value)| {
            let point = below.and_then(|below| below.points.iter().find(|point| point.0 == at));
            (at, value.max(0.0) + point.map_or(0.0, |point| point.1))
        });
        let points = points.collect();
        stacked.push(Line { name: line.name.clone(), points });
    }
    stacked
}

/// Points without gaps between them.
fn pieces(points: &[(f64, f64)], step: f64) -> impl Iterator<Item = &[(f64, f64)]> {
    points.chunk_by(move |a, b| b.0 - a.0 < 1.5 * step)
}

/// Bands of equal values: start, end, value.
fn bands(points: &[(f64, f64)], step: f64) -> Vec<(f64, f64, f64)> {
    let same = |a: &(f64, f64), b: &(f64, f64)| a.1 == b.1 && b.0 - a.0 < 1.5 * step;
    let bands = points.chunk_by(same);
    bands.map(|band| (band[0].0, band[band.len() - 1].0 + step, band[0].1)).collect()
}

/// One line's name in a legend; without an index, how many more there are.
struct Entry {
    index: Option<usize>,
    text: String,
    width: i32,
}

/// A legend in rows; what does not fit into [`LEGEND_ROWS`] is counted.
fn legend(lines: &[Line], defaults: &Defaults, width: u32) -> Vec<Vec<Entry>> {
    let mut rows: Vec<Vec<Entry>> = vec![Vec::new()];
    for (index, line) in lines.iter().enumerate() {
        let last = line.points.last().map_or(0.0, |&(_, value)| value);
        let text = format!("{}: {}", line.name, with_unit(last, &defaults.unit, defaults.decimals));
        let entry = Entry { index: Some(index), width: width_of(&text, 11.0) as i32 + 30, text };
        let used: i32 = rows.last().map_or(0, |row| row.iter().map(|entry| entry.width).sum());
        // In the last row there is room for the count.
        let room = width as i32 - if rows.len() == LEGEND_ROWS { 40 } else { 0 };
        let is_full = used + entry.width > room && used > 0;
        if is_full && rows.len() == LEGEND_ROWS {
            let text = format!("+{}", lines.len() - index);
            rows[LEGEND_ROWS - 1].push(Entry { index: None, text, width: 40 });
            break;
        }
        if is_full {
            rows.push(Vec::new());
        }
        rows.last_mut().expect("there is a row").push(entry);
    }
    rows
}

fn draw_legend(area: &Area<'_>, ink: &Ink, rows: &[Vec<Entry>], top: i32) -> Result<()> {
    for (i, row) in rows.iter().enumerate() {
        let y = top + LEGEND * i as i32 + LEGEND / 2;
        let mut x = 4;
        for entry in row {
            let mark = [(x, y - 2), (x + 14, y + 1)];
            if let Some(index) = entry.index {
                area.draw(&Rectangle::new(mark, color(index).filled()))?;
            }
            area.draw_text(&entry.text, &ink.text(11.0), (x + 19, y))?;
            x += entry.width;
        }
    }
    Ok(())
}

fn no_data(area: &Area<'_>, ink: &Ink) -> Result<()> {
    let (width, height) = area.dim_in_pixel();
    let style = ink.gray(13.0, HPos::Center, VPos::Center);
    area.draw_text("no data", &style, (width as i32 / 2, height as i32 / 2))?;
    // A mark in its own color: letters are blended with what is below them.
    let (x, y) = (width as i32 / 2, height as i32 / 2 + 12);
    area.draw(&PathElement::new([(x - 22, y), (x + 22, y)], GRAY))?;
    Ok(())
}

fn light(color: RGBColor) -> RGBColor {
    let mix = |channel: u8| (f64::from(channel) * 0.55 + 255.0 * 0.45) as u8;
    RGBColor(mix(color.0), mix(color.1), mix(color.2))
}

#[test]
fn lines_break_where_nothing_is_known() {
    let points = [(0.0, 1.0), (5.0, 1.0), (20.0, 1.0), (25.0, 2.0)];
    let lengths: Vec<usize> = pieces(&points, 5.0).map(<[_]>::len).collect();
    assert_eq!(lengths, [2, 2]);
    assert_eq!(bands(&points, 5.0), [(0.0, 10.0, 1.0), (20.0, 25.0, 1.0), (25.0, 30.0, 2.0)]);
}

#[test]
fn stacked_lines_stand_on_one_another() {
    let line = |value| Line { name: String::new(), points: vec![(0.0, value), (1.0, value)] };
    let short = Line { name: String::new(), points: vec![(1.0, 0.5)] };
    let stacked = stack(&[line(1.0), line(2.0), short]);
    assert_eq!(stacked[1].points, [(0.0, 3.0), (1.0, 3.0)]);
    assert_eq!(stacked[2].points, [(1.0, 3.5)]);
}

#[test]
fn a_clock_is_that_of_the_day() {
    assert_eq!(clock(1_700_000_000.0), "22:13");
}
