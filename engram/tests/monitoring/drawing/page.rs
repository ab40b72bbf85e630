//! Page of the dashboard: every panel in its place on Grafana's grid.

use anyhow::Result;
use engram_analysis::chart::{GRAY, color, register_fonts};
use plotters::prelude::*;

use super::ink::{Area, Ink, clock, named};
use super::model::{Filled, GridPosition, Kind, Line, Panel};
use super::panel;
use crate::prometheus::Span;

/// A picture in memory: rows of red, green, blue.
pub(super) struct Image {
    pub(super) rgb: Vec<u8>,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// Pixels of a cell of the grid, and between a panel and the edge of its cells.
const CELL: (u32, u32) = (58, 27);
const GAP: u32 = 3;

/// Height of the page's title.
const HEADER: u32 = 34;

const PAPER: RGBColor = RGBColor(240, 241, 243);
const EDGE: RGBColor = RGBColor(221, 223, 228);

/// Draws all panels.
pub(super) fn draw(title: &str, panels: &[Filled<'_>], span: Span) -> Result<Image> {
    register_fonts()?;
    let rows = panels.iter().map(|filled| bottom(filled.panel.grid_pos)).max().unwrap_or(1);
    let (width, height) = (24 * CELL.0 + 2 * GAP, HEADER + rows * CELL.1 + 2 * GAP);
    let mut rgb = vec![0; (3 * width * height) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut rgb, (width, height)).into_drawing_area();
        area.fill(&PAPER)?;
        let ink = Ink::new();
        area.draw_text(title, &ink.bold(19.0), (10, 8))?;
        let times = format!("{} to {} UTC", clock(span.start), clock(span.end));
        area.draw_text(&times, &ink.gray_right(13.0), (width as i32 - 10, 11))?;
        for filled in panels {
            draw_panel(&area, &ink, filled, span)?;
        }
        area.present()?;
    }
    Ok(Image { rgb, width, height })
}

fn draw_panel(area: &Area<'_>, ink: &Ink, filled: &Filled<'_>, span: Span) -> Result<()> {
    let GridPosition { x, y, w, h } = filled.panel.grid_pos;
    let left = (GAP + x * CELL.0 + GAP) as i32;
    let top = (HEADER + y * CELL.1 + GAP) as i32;
    let size = (w * CELL.0 - 2 * GAP, h * CELL.1 - 2 * GAP);
    let card = area.clone().shrink((left, top), size);
    if filled.panel.kind == Kind::Row {
        card.draw_text(&filled.panel.title, &ink.bold(15.0), (4, 3))?;
        return Ok(());
    }
    card.fill(&WHITE)?;
    let corner = (size.0 as i32 - 1, size.1 as i32 - 1);
    card.draw(&Rectangle::new([(0, 0), corner], EDGE))?;
    card.draw_text(&filled.panel.title, &ink.bold(13.0), (8, 5))?;
    let inside = card.margin(24, 4, 8, 8);
    match filled.panel.kind {
        Kind::Stat => panel::stat(&inside, ink, filled),
        Kind::StateTimeline => panel::timeline(&inside, ink, filled, span),
        Kind::TimeSeries => panel::time_series(&inside, ink, filled, span),
        Kind::Row => Ok(()),
    }
}

fn bottom(place: GridPosition) -> u32 {
    place.y + place.h
}

fn panel(kind: &str, place: [u32; 4], defaults: &str) -> Panel {
    let [x, y, w, h] = place;
    let json = format!(
        "{{\"title\": \"A panel\", \"type\": \"{kind}\", \
          \"gridPos\": {{\"x\": {x}, \"y\": {y}, \"w\": {w}, \"h\": {h}}}, \
          \"fieldConfig\": {{\"defaults\": {defaults}}}}}"
    );
    serde_json::from_str(&json).expect("a picture")
}

fn lines() -> Vec<Line> {
    let line = |name: &str, scale: f64| {
        let points = (0..=60).map(|i| (60.0 * f64::from(i), scale * f64::from(i % 7)));
        Line { name: name.into(), points: points.collect() }
    };
    vec![line("one", 1.0), line("another", 1000.0)]
}

/// True if the cells of a place have a color.
fn has(image: &Image, place: [u32; 4], color: RGBColor) -> bool {
    let [x, y, w, h] = place;
    let columns = x * CELL.0 + GAP..(x + w) * CELL.0;
    let rows = HEADER + y * CELL.1 + GAP..HEADER + (y + h) * CELL.1;
    rows.flat_map(|row| columns.clone().map(move |column| (row, column))).any(|(row, column)| {
        let at = (3 * (row * image.width + column)) as usize;
        image.rgb[at..at + 3] == [color.0, color.1, color.2]
    })
}

#[test]
fn every_kind_of_panel_is_drawn_in_its_place() {
    let words = "{\"mappings\": [{\"options\": {\"6\": {\"text\": \"six\", \"color\": \"red\"}}}]}";
    let stacked = "{\"unit\": \"s\", \"custom\": {\"stacking\": {\"mode\": \"normal\"}}}";
    let places = [[0, 0, 24, 1], [0, 1, 12, 7], [12, 1, 12, 7], [0, 8, 12, 4], [12, 8, 12, 4]];
    let panels = [
        panel("row", places[0], "{}"),
        panel("timeseries", places[1], "{\"unit\": \"bytes\"}"),
        panel("timeseries", places[2], stacked),
        panel("state-timeline", places[3], words),
        panel("stat", places[4], words),
    ];
    let filled = panels.iter().map(|panel| Filled { panel, lines: lines() }).collect::<Vec<_>>();
    let span = Span { start: 0.0, end: 3600.0, step: 60.0 };
    let image = draw("A page", &filled, span).expect("a picture");
    assert_eq!((image.width, image.height), (24 * 58 + 6, 34 + 12 * 27 + 6));
    assert_eq!(image.rgb.len(), (3 * image.width * image.height) as usize);
    let blue = color(0);
    assert!(!has(&image, places[0], blue));
    assert!(has(&image, places[1], blue) && has(&image, places[2], blue));
    let red = named("red");
    assert!(has(&image, places[3], red) && !has(&image, places[1], red));
}

#[test]
fn a_panel_without_data_says_so_and_nothing_fails() {
    let place = [0, 0, 12, 7];
    for kind in ["timeseries", "stat", "state-timeline"] {
        let panel = panel(kind, place, "{}");
        let filled = [Filled { panel: &panel, lines: Vec::new() }];
        let image =
            draw("", &filled, Span { start: 0.0, end: 60.0, step: 1.0 }).expect("a picture");
        assert!(has(&image, place, GRAY), "{kind}");
    }
}
