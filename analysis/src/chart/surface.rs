//! Surface: an area to draw on, with its scale, colors and fonts; and the two files of a drawing.
//!
//! The colors are those of Okabe and Ito 2008 (<https://jfly.uni-koeln.de/color/>), which
//! color-blind people tell apart; the eighth thing that is compared has the first one's color
//! again, and dashes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;

/// The Okabe-Ito palette without yellow, which is lost on white.
pub(super) const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(64, 64, 64),
];
const INK: RGBColor = RGBColor(38, 38, 38);
/// Color of reference lines and of small letters.
pub(crate) const GRAY: RGBColor = RGBColor(120, 120, 120);

/// Color of the `index`-th thing that is compared.
pub(crate) fn color(index: usize) -> RGBColor {
    COLORS[index % COLORS.len()]
}

/// Registers the fonts `sans-serif`. They travel inside the binary, so that a bare machine draws
/// the same chart.
pub fn register_fonts() -> Result<()> {
    for (style, font) in
        [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())]
    {
        register_font("sans-serif", style, font)
            .map_err(|_| anyhow!("the built-in font cannot be read"))?;
    }
    Ok(())
}

/// A drawing of fixed size.
pub(crate) trait Drawing {
    /// Width and height, in pixels before scaling.
    fn size(&self) -> Result<(u32, u32)>;

    /// Draws all of it.
    fn draw_on<B: DrawingBackend>(&self, surface: &Surface<B>) -> Result<()>
    where
        B::ErrorType: 'static;
}

/// Draws to `<stem>.png` and `<stem>.svg` and returns both paths.
pub(crate) fn save(drawing: &impl Drawing, stem: &Path) -> Result<[PathBuf; 2]> {
    register_fonts()?;
    if let Some(folder) = stem.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    // Not `with_extension`: a name may hold dots.
    let with = |ending: &str| {
        let mut name = stem.file_name().unwrap_or_default().to_os_string();
        name.push(ending);
        stem.with_file_name(name)
    };
    let (png, svg) = (with(".png"), with(".svg"));
    let context = |path: &Path| format!("cannot draw {}", path.display());
    let size = drawing.size()?;
    let area = BitMapBackend::new(&png, (2 * size.0, 2 * size.1)).into_drawing_area();
    drawing.draw_on(&Surface { area, scale: 2.0 }).with_context(|| context(&png))?;
    let area = SVGBackend::new(&svg, size).into_drawing_area();
    drawing.draw_on(&Surface { area, scale: 1.0 }).with_context(|| context(&svg))?;
    Ok([png, svg])
}

/// An area, and the scale of everything on it.
pub(crate) struct Surface<B: DrawingBackend> {
    pub(crate) area: DrawingArea<B, Shift>,
    /// Pixels for each pixel of the numbers in code.
    pub(crate) scale: f64,
}

impl<B: DrawingBackend> Surface<B> {
    /// Font of `size`, in the color of writing.
    pub(crate) fn font(&self, size: f64, style: FontStyle) -> TextStyle<'static> {
        ("sans-serif", size * self.scale, style).into_font().color(&INK)
    }

    /// Length in pixels.
    pub(crate) fn px(&self, length: f64) -> i32 {
        (length * self.scale).round() as i32
    }

    /// A part of it, at the same scale.
    pub(super) fn part(&self, area: DrawingArea<B, Shift>) -> Self {
        Surface { area, scale: self.scale }
    }

    /// Stroke of the `index`-th thing that is compared.
    pub(super) fn stroke(&self, index: usize) -> ShapeStyle {
        color(index).stroke_width(self.px(2.0) as u32)
    }

    /// Reference line: its stroke, the length of its dashes and of its gaps. A panel's first has
    /// dashes, its others dots.
    pub(super) fn reference_style(&self, index: usize) -> (ShapeStyle, i32, i32) {
        let (size, gap) = if index == 0 { (8.0, 4.0) } else { (2.0, 3.0) };
        (GRAY.stroke_width(self.px(1.4) as u32), self.px(size), self.px(gap))
    }
}
