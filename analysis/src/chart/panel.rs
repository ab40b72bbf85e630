//! One pair of axes and what is drawn between them.

use anyhow::Result;
use plotters::prelude::*;

use super::ticks::Ticks;
use super::{COLORS, Canvas, GRAY, Kind, Line, Panel, color, level_style, stroke};

fn y_range(panel: &Panel) -> (f64, f64) {
    let points = panel.lines.iter().flat_map(|line| line.points.iter().map(|&(_, y)| y));
    let levels = panel.levels.iter().map(|level| level.y);
    let (mut low, mut high) = panel.range.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
    if panel.range.is_none() {
        for y in points.chain(levels) {
            (low, high) = (low.min(y), high.max(y));
        }
    }
    if !low.is_finite() || !high.is_finite() {
        return (0.0, 1.0);
    }
    if low < high { (low, high) } else { (low - 0.5, high + 0.5) }
}

pub(crate) fn draw_panel<B: DrawingBackend>(canvas: &Canvas<B>, panel: &Panel) -> Result<()>
where
    B::ErrorType: 'static,
{
    let ticks = Ticks::new(&panel.x, panel);
    let (low, high) = y_range(panel);
    let margin = 0.04 * (high - low);
    let y = Ticks::between(low - margin, high + margin);
    // No share is above one, whatever an interval of Student's says.
    let ends = panel.range.unwrap_or((y.range.start, y.range.end));
    let placed: Vec<Placed> =
        panel.lines.iter().map(|line| place(panel, line, &ticks, ends)).collect();
    let range = ticks.range.clone();
    let title = if panel.title.is_empty() { 1.0 } else { 15.0 };
    let mut chart = ChartBuilder::on(&canvas.area)
        .caption(&panel.title, canvas.font(title, FontStyle::Bold))
        .margin(canvas.px(6.0))
        .margin_right(canvas.px(16.0))
        .x_label_area_size(canvas.px(42.0))
        .y_label_area_size(canvas.px(58.0))
        .build_cartesian_2d(ticks, y)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.09).stroke_width(canvas.px(1.0) as u32))
        .axis_style(GRAY.stroke_width(canvas.px(1.0) as u32))
        .axis_desc_style(canvas.font(14.0, FontStyle::Normal))
        .label_style(canvas.font(12.5, FontStyle::Normal))
        .x_desc(&panel.x_name)
        .y_desc(&panel.y_name)
        .draw()?;
    for (i, level) in panel.levels.iter().enumerate() {
        let ends = [(range.start, level.y), (range.end, level.y)];
        let (style, size, gap) = level_style(canvas, i);
        chart.draw_series(DashedLineSeries::new(ends, size, gap, style))?;
    }
    for (line, placed) in panel.lines.iter().zip(&placed) {
        draw_spread(canvas, &mut chart, line, &placed.spread)?;
    }
    for (line, placed) in panel.lines.iter().zip(&placed) {
        draw_line(canvas, &mut chart, line, &placed.points)?;
    }
    Ok(())
}

/// A line as it is drawn: on the axis, and within the ends.
struct Placed {
    points: Vec<(f64, f64)>,
    spread: Vec<(f64, f64, f64)>,
}

/// Marked lines stand a little beside one another, so that equal numbers do not hide.
fn place(panel: &Panel, line: &Line, ticks: &Ticks, (low, high): (f64, f64)) -> Placed {
    let marked = |line: &&Line| line.kind == Kind::Marked;
    let count = panel.lines.iter().filter(marked).count() as f64;
    let rank = panel.lines.iter().filter(marked).filter(|other| other.index < line.index).count();
    let step = (0.04 / count).min(0.011) * (ticks.range.end - ticks.range.start);
    let beside = match line.kind {
        Kind::Marked => (rank as f64 - (count - 1.0) / 2.0) * step,
        Kind::Curve | Kind::CutOff => 0.0,
    };
    let x = |x: f64| ticks.drawn(x) + beside;
    let spread = line.spread.iter();
    Placed {
        points: line.points.iter().map(|&(at, y)| (x(at), y)).collect(),
        spread: spread.map(|&(at, a, b)| (x(at), a.clamp(low, high), b.clamp(low, high))).collect(),
    }
}

type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<Ticks, Ticks>>;

fn draw_spread<B: DrawingBackend>(
    canvas: &Canvas<B>,
    chart: &mut Chart<'_, B>,
    line: &Line,
    spread: &[(f64, f64, f64)],
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let color = color(line.index);
    match line.kind {
        Kind::Curve if spread.len() > 1 => {
            let above = spread.iter().map(|&(x, _, high)| (x, high));
            let below = spread.iter().rev().map(|&(x, low, _)| (x, low));
            let outline: Vec<_> = above.chain(below).collect();
            chart.draw_series([Polygon::new(outline, color.mix(0.14).filled())])?;
        }
        Kind::Marked => {
            let style = color.stroke_width(canvas.px(1.4) as u32);
            // A dash at either end, which is as wide in any place.
            let cap = 0.005 * (chart.x_range().end - chart.x_range().start);
            let bars = spread.iter().flat_map(|&(x, low, high)| {
                let dash = |y: f64| vec![(x - cap, y), (x + cap, y)];
                let parts = [vec![(x, low), (x, high)], dash(low), dash(high)];
                parts.map(|part| PathElement::new(part, style))
            });
            chart.draw_series(bars)?;
        }
        Kind::Curve | Kind::CutOff => {}
    }
    Ok(())
}

fn draw_line<B: DrawingBackend>(
    canvas: &Canvas<B>,
    chart: &mut Chart<'_, B>,
    line: &Line,
    points: &[(f64, f64)],
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let style = match line.kind {
        Kind::Curve | Kind::Marked => stroke(canvas, line.index),
        Kind::CutOff => color(line.index).mix(0.6).stroke_width(canvas.px(1.0) as u32),
    };
    if line.index < COLORS.len() {
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
    } else {
        let (size, gap) = (canvas.px(8.0), canvas.px(4.0));
        let points = points.iter().copied();
        chart.draw_series(DashedLineSeries::new(points, size, gap, style))?;
    }
    match (line.kind, points.last()) {
        (Kind::Marked, _) => {
            let filled = color(line.index).filled();
            let size = canvas.px(3.6);
            chart.draw_series(points.iter().map(|&point| Circle::new(point, size, filled)))?;
        }
        (Kind::CutOff, Some(&end)) => {
            let style = color(line.index).stroke_width(canvas.px(1.6) as u32);
            chart.draw_series([Cross::new(end, canvas.px(4.0), style)])?;
        }
        _ => {}
    }
    Ok(())
}
