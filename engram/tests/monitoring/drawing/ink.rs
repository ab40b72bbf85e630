//! Letters, colors and times that all parts of the picture share.

use engram_analysis::chart::GRAY;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Surface that everything is drawn on.
pub(super) type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Styles of letters.
pub(super) struct Ink {
    color: RGBColor,
}

pub(super) const WRITING: RGBColor = RGBColor(38, 38, 38);

impl Ink {
    pub(super) fn new() -> Self {
        Ink { color: WRITING }
    }

    pub(super) fn bold(&self, size: f64) -> TextStyle<'static> {
        ("sans-serif", size, FontStyle::Bold).into_font().color(&self.color)
    }

    pub(super) fn gray_right(&self, size: f64) -> TextStyle<'static> {
        self.gray(size, HPos::Right, VPos::Top)
    }

    pub(super) fn gray(&self, size: f64, x: HPos, y: VPos) -> TextStyle<'static> {
        ("sans-serif", size).into_font().color(&GRAY).pos(Pos::new(x, y))
    }

    pub(super) fn text(&self, size: f64) -> TextStyle<'static> {
        let left = Pos::new(HPos::Left, VPos::Center);
        ("sans-serif", size).into_font().color(&self.color).pos(left)
    }

    pub(super) fn centered(&self, size: f64, color: RGBColor) -> TextStyle<'static> {
        let center = Pos::new(HPos::Center, VPos::Center);
        ("sans-serif", size, FontStyle::Bold).into_font().color(&color).pos(center)
    }
}

/// A time of day, in hours and minutes.
pub(super) fn clock(seconds: f64) -> String {
    let minutes = (seconds / 60.0).floor() as u64;
    format!("{:02}:{:02}", minutes / 60 % 24, minutes % 60)
}

/// A color by Grafana's name for it.
pub(super) fn named(name: &str) -> RGBColor {
    match name {
        "green" => RGBColor(0, 143, 104),
        "blue" => RGBColor(0, 114, 178),
        "purple" => RGBColor(150, 96, 160),
        "orange" => RGBColor(213, 120, 20),
        "red" => RGBColor(205, 48, 44),
        _ => RGBColor(110, 112, 118),
    }
}

/// Width of a text in pixels.
pub(super) fn width_of(text: &str, size: f64) -> u32 {
    let font = ("sans-serif", size).into_font();
    font.box_size(text).expect("the font has all letters").0
}
