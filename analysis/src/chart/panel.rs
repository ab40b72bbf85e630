//! Panel: one pair of axes and the series between them.

use anyhow::Result;
use plotters::prelude::*;

use super::model::{Panel, Series, SeriesStyle};
use super::surface::{COLORS, GRAY, Surface, color};
use super::ticks::Ticks;

fn y_range(panel: &Panel) -> (f64, f64) {
    let points = panel.series.iter().flat_map(|series| series.points.iter().map(|&(_, y)| y));
    let references = panel.references.iter().map(|reference| reference.y);
    let (mut low, mut high) = panel.range.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
    if panel.range.is_none() {
        for y in points.chain(references) {
            (low, high) = (low.min(y), high.max(y));
        }
    }
    if !low.is_finite() || !high.is_finite() {
        return (0.0, 1.0);
    }
    if low < high { (low, high) } else { (low - 0.5, high + 0.5) }
}

/// Draws a panel.
pub(super) fn draw_panel<B: DrawingBackend>(surface: &Surface<B>, panel: &Panel) -> Result<()>
where
    B::ErrorType: 'static,
{
    let ticks = Ticks::new(&panel.x, panel);
    let (low, high) = y_range(panel);
    let margin = 0.04 * (high - low);
    let y = Ticks::between(low - margin, high + margin);
    // No share is above one, whatever an interval of Student's says.
    let ends = panel.range.unwrap_or((y.range.start, y.range.end));
    let drawn: Vec<DrawnSeries> =
        panel.series.iter().map(|series| place(panel, series, &ticks, ends)).collect();
    let range = ticks.range.clone();
    let title = if panel.title.is_empty() { 1.0 } else { 15.0 };
    let mut chart = ChartBuilder::on(&surface.area)
        .caption(&panel.title, surface.font(title, FontStyle::Bold))
        .margin(surface.px(6.0))
        .margin_right(surface.px(16.0))
        .x_label_area_size(surface.px(42.0))
        .y_label_area_size(surface.px(58.0))
        .build_cartesian_2d(ticks, y)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.09).stroke_width(surface.px(1.0) as u32))
        .axis_style(GRAY.stroke_width(surface.px(1.0) as u32))
        .axis_desc_style(surface.font(14.0, FontStyle::Normal))
        .label_style(surface.font(12.5, FontStyle::Normal))
        .x_desc(&panel.x_name)
        .y_desc(&panel.y_name)
        .draw()?;
    for (i, reference) in panel.references.iter().enumerate() {
        let ends = [(range.start, reference.y), (range.end, reference.y)];
        let (style, size, gap) = surface.reference_style(i);
        chart.draw_series(DashedLineSeries::new(ends, size, gap, style))?;
    }
    for (series, drawn) in panel.series.iter().zip(&drawn) {
        draw_spread(surface, &mut chart, series, &drawn.spread)?;
    }
    for (series, drawn) in panel.series.iter().zip(&drawn) {
        draw_points(surface, &mut chart, series, &drawn.points)?;
    }
    Ok(())
}

/// A series as it is drawn: on the axis, and within the ends.
struct DrawnSeries {
    points: Vec<(f64, f64)>,
    spread: Vec<(f64, f64, f64)>,
}

/// Places a series on the axes. Marked ones stand a little beside one another, so that equal numbers do not hide.
fn place(panel: &Panel, series: &Series, ticks: &Ticks, (low, high): (f64, f64)) -> DrawnSeries {
    let marked = |series: &&Series| series.style == SeriesStyle::Marked;
    let count = panel.series.iter().filter(marked).count() as f64;
    let rank =
        panel.series.iter().filter(marked).filter(|other| other.index < series.index).count();
    let step = (0.04 / count).min(0.011) * (ticks.range.end - ticks.range.start);
    let beside = match series.style {
        SeriesStyle::Marked => (rank as f64 - (count - 1.0) / 2.0) * step,
        SeriesStyle::Curve | SeriesStyle::CutOff => 0.0,
    };
    let x = |x: f64| ticks.drawn(x) + beside;
    let spread = series.spread.iter();
    DrawnSeries {
        points: series.points.iter().map(|&(at, y)| (x(at), y)).collect(),
        spread: spread.map(|&(at, a, b)| (x(at), a.clamp(low, high), b.clamp(low, high))).collect(),
    }
}

type Axes<'a, B> = ChartContext<'a, B, Cartesian2d<Ticks, Ticks>>;

fn draw_spread<B: DrawingBackend>(
    surface: &Surface<B>,
    chart: &mut Axes<'_, B>,
    series: &Series,
    spread: &[(f64, f64, f64)],
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let color = color(series.index);
    match series.style {
        SeriesStyle::Curve if spread.len() > 1 => {
            let above = spread.iter().map(|&(x, _, high)| (x, high));
            let below = spread.iter().rev().map(|&(x, low, _)| (x, low));
            let outline: Vec<_> = above.chain(below).collect();
            chart.draw_series([Polygon::new(outline, color.mix(0.14).filled())])?;
        }
        SeriesStyle::Marked => {
            let style = color.stroke_width(surface.px(1.4) as u32);
            // A dash at either end, which is as wide in any place.
            let cap = 0.005 * (chart.x_range().end - chart.x_range().start);
            let bars = spread.iter().flat_map(|&(x, low, high)| {
                let dash = |y: f64| vec![(x - cap, y), (x + cap, y)];
                let parts = [vec![(x, low), (x, high)], dash(low), dash(high)];
                parts.map(|part| PathElement::new(part, style))
            });
            chart.draw_series(bars)?;
        }
        SeriesStyle::Curve | SeriesStyle::CutOff => {}
    }
    Ok(())
}

fn draw_points<B: DrawingBackend>(
    surface: &Surface<B>,
    chart: &mut Axes<'_, B>,
    series: &Series,
    points: &[(f64, f64)],
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let style = match series.style {
        SeriesStyle::Curve | SeriesStyle::Marked => surface.stroke(series.index),
        SeriesStyle::CutOff => color(series.index).mix(0.6).stroke_width(surface.px(1.0) as u32),
    };
    if series.index < COLORS.len() {
        chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
    } else {
        let (size, gap) = (surface.px(8.0), surface.px(4.0));
        let points = points.iter().copied();
        chart.draw_series(DashedLineSeries::new(points, size, gap, style))?;
    }
    match (series.style, points.last()) {
        (SeriesStyle::Marked, _) => {
            let filled = color(series.index).filled();
            let size = surface.px(3.6);
            chart.draw_series(points.iter().map(|&point| Circle::new(point, size, filled)))?;
        }
        (SeriesStyle::CutOff, Some(&end)) => {
            let style = color(series.index).stroke_width(surface.px(1.6) as u32);
            chart.draw_series([Cross::new(end, surface.px(4.0), style)])?;
        }
        _ => {}
    }
    Ok(())
}
