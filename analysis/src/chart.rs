//! Pictures: panels of lines with bands, reference lines, one legend below all of them.
//!
//! Every picture is written as PNG, at twice its size, and as SVG. The colors are those of Okabe
//! and Ito 2008 (<https://jfly.uni-koeln.de/color/>), which color-blind people tell apart; the
//! eighth thing that is compared has the first one's color again, and dashes.

mod panel;
mod ticks;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::register_font;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use self::panel::draw_panel;
pub use self::ticks::round_numbers;

/// Panels that are compared with one another.
pub struct Picture {
    /// What stands above all of them.
    pub title: String,
    /// Panels beside one another.
    pub columns: usize,
    /// From left to right, then down.
    pub panels: Vec<Panel>,
    /// What must be known of it, in small letters below.
    pub notes: Vec<String>,
}

/// One pair of axes.
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// What its x axis counts.
    pub x_name: String,
    /// The x axis.
    pub x: Scale,
    /// What its y axis measures.
    pub y_name: String,
    /// The ends of its y axis; those of the lines where there is nothing better.
    pub range: Option<(f64, f64)>,
    /// What it shows.
    pub lines: Vec<Line>,
    /// What it is to be compared with.
    pub levels: Vec<Level>,
}

/// An x axis.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// From zero on, with round numbers below.
    Linear,
    /// These values and no others, which are named below it; logarithmic where they span more than
    /// a factor of eight.
    Values(Vec<f64>),
}

/// One line of a picture.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// What the legend calls it; a line without a label belongs to another of its color. Lines of
    /// different panels that have the same label are in the legend once.
    pub label: Option<String>,
    /// The how many-th thing that is compared: decides color and dashes.
    pub index: usize,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// The interval around its points: `(x, low, high)`.
    pub spread: Vec<(f64, f64, f64)>,
    /// How it is drawn.
    pub kind: Kind,
}

/// How a line is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A curve; its spread is a band.
    #[default]
    Curve,
    /// Few points, which are marked; their spreads are bars.
    Marked,
    /// A thin curve that ends in a cross: it ended before it should.
    CutOff,
}

/// A horizontal reference line.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// What the legend calls it.
    pub label: String,
    /// Where it is.
    pub y: f64,
}

/// The Okabe-Ito palette without yellow, which is lost on white.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(64, 64, 64),
];
const INK: RGBColor = RGBColor(38, 38, 38);
/// The color of what is to be compared with, and of small letters.
pub const GRAY: RGBColor = RGBColor(120, 120, 120);

/// The size of one panel, and of what stands around all of them; in pixels before scaling.
const PANEL: (u32, u32) = (420, 300);
const ALONE: (u32, u32) = (840, 440);
const LINE_HEIGHT: u32 = 24;
const MARGIN: u32 = 12;

/// The color of the `index`-th thing that is compared.
pub fn color(index: usize) -> RGBColor {
    COLORS[index % COLORS.len()]
}

/// Draws a picture to `<stem>.png` and `<stem>.svg` and returns both paths.
pub fn draw(picture: &Picture, stem: &Path) -> Result<[PathBuf; 2]> {
    let [png, svg] = prepare(stem)?;
    let context = |path: &Path| format!("cannot draw {}", path.display());
    let size = picture.size()?;
    let area = BitMapBackend::new(&png, (2 * size.0, 2 * size.1)).into_drawing_area();
    draw_picture(&Canvas { area, scale: 2.0 }, picture).with_context(|| context(&png))?;
    let area = SVGBackend::new(&svg, size).into_drawing_area();
    draw_picture(&Canvas { area, scale: 1.0 }, picture).with_context(|| context(&svg))?;
    Ok([png, svg])
}

/// Makes the fonts `sans-serif` known. They travel inside the binary, so that a bare machine draws
/// the same picture.
pub fn register_letters() -> Result<()> {
    for (style, font) in
        [(FontStyle::Normal, dejavu::sans::regular()), (FontStyle::Bold, dejavu::sans::bold())]
    {
        register_font("sans-serif", style, font)
            .map_err(|_| anyhow!("the built-in font cannot be read"))?;
    }
    Ok(())
}

/// Readies fonts and folder, and says where a picture's two files go.
pub(crate) fn prepare(stem: &Path) -> Result<[PathBuf; 2]> {
    register_letters()?;
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
    Ok([with(".png"), with(".svg")])
}

/// An area and by how much everything on it is larger than in the numbers here.
pub(crate) struct Canvas<B: DrawingBackend> {
    pub(crate) area: DrawingArea<B, Shift>,
    pub(crate) scale: f64,
}

impl<B: DrawingBackend> Canvas<B> {
    /// A font of `size`, in the color of writing.
    pub(crate) fn font(&self, size: f64, style: FontStyle) -> TextStyle<'static> {
        ("sans-serif", size * self.scale, style).into_font().color(&INK)
    }

    /// A length in pixels.
    pub(crate) fn px(&self, length: f64) -> i32 {
        (length * self.scale).round() as i32
    }

    fn part(&self, area: DrawingArea<B, Shift>) -> Self {
        Canvas { area, scale: self.scale }
    }
}

impl Picture {
    fn columns(&self) -> usize {
        self.columns.clamp(1, self.panels.len().max(1))
    }

    fn size(&self) -> Result<(u32, u32)> {
        let (columns, panels) = (self.columns() as u32, self.panels.len() as u32);
        let panel = if panels == 1 || columns == 1 { ALONE } else { PANEL };
        let height = if panels > 1 { panel.1.min(360) } else { panel.1 };
        let width = columns * panel.0 + 2 * MARGIN;
        let below = self.legend_rows(width)?.len() as u32 * LINE_HEIGHT;
        let notes = self.notes.len() as u32 * (LINE_HEIGHT - 6);
        Ok((width, 40 + panels.div_ceil(columns) * height + below + notes + 2 * MARGIN))
    }

    /// Everything that the legend names, in rows that are at most `width` pixels wide.
    fn legend_rows(&self, width: u32) -> Result<Vec<Vec<Entry>>> {
        let mut entries: Vec<Entry> = Vec::new();
        let lines = self.panels.iter().flat_map(|panel| &panel.lines);
        let named = lines.filter_map(|line| Some((line.label.clone()?, Look::Line(line.index))));
        let mut named: Vec<_> = named.collect();
        named.sort_by_key(|(_, look)| match look {
            Look::Line(index) => *index,
            Look::Level(_) => usize::MAX,
        });
        let levels = self.panels.iter().flat_map(|panel| panel.levels.iter().enumerate());
        let levels = levels.map(|(i, level)| (level.label.clone(), Look::Level(i)));
        for (label, look) in named.into_iter().chain(levels) {
            if entries.iter().all(|entry| entry.label != label) {
                let font = ("sans-serif", 15.0).into_font();
                let (text_width, _) =
                    font.box_size(&label).map_err(|_| anyhow!("the font has no such letters"))?;
                entries.push(Entry { label, look, width: text_width + 64 });
            }
        }
        let mut rows: Vec<Vec<Entry>> = Vec::new();
        for entry in entries {
            match rows.last_mut() {
                Some(row) if row.iter().map(|e| e.width).sum::<u32>() + entry.width <= width => {
                    row.push(entry);
                }
                _ => rows.push(vec![entry]),
            }
        }
        Ok(rows)
    }
}

/// One thing that a legend names.
struct Entry {
    label: String,
    look: Look,
    width: u32,
}

/// What stands before its name.
#[derive(Clone, Copy)]
enum Look {
    Line(usize),
    Level(usize),
}

fn draw_picture<B: DrawingBackend>(canvas: &Canvas<B>, picture: &Picture) -> Result<()>
where
    B::ErrorType: 'static,
{
    canvas.area.fill(&WHITE)?;
    let margin = canvas.px(MARGIN.into());
    let area = canvas.area.margin(margin, margin, margin, margin);
    let (title, rest) = area.split_vertically(canvas.px(40.0));
    let center = (title.dim_in_pixel().0 as i32 / 2, canvas.px(4.0));
    let style = canvas.font(19.0, FontStyle::Bold).pos(Pos::new(HPos::Center, VPos::Top));
    title.draw_text(&picture.title, &style, center)?;

    let width = (f64::from(canvas.area.dim_in_pixel().0) / canvas.scale).round() as u32;
    let rows = picture.legend_rows(width)?;
    let notes = picture.notes.len() as u32 * (LINE_HEIGHT - 6);
    let below = canvas.px(f64::from(rows.len() as u32 * LINE_HEIGHT + notes));
    let height = rest.dim_in_pixel().1 as i32;
    let (panels, legend) = rest.split_vertically(height - below);
    let columns = picture.columns();
    let grid = panels.split_evenly((picture.panels.len().div_ceil(columns), columns));
    for (area, panel) in grid.into_iter().zip(&picture.panels) {
        draw_panel(&canvas.part(area), panel)?;
    }
    draw_legend(&canvas.part(legend), &rows, &picture.notes)?;
    canvas.area.present()?;
    Ok(())
}

fn draw_legend<B: DrawingBackend>(
    canvas: &Canvas<B>,
    rows: &[Vec<Entry>],
    notes: &[String],
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let area = &canvas.area;
    let style = canvas.font(15.0, FontStyle::Normal).pos(Pos::new(HPos::Left, VPos::Center));
    let whole = area.dim_in_pixel().0 as i32;
    for (i, row) in rows.iter().enumerate() {
        let width: u32 = row.iter().map(|entry| entry.width).sum();
        let mut x = (whole - canvas.px(width.into())) / 2 + canvas.px(12.0);
        let y = canvas.px(f64::from(LINE_HEIGHT) * (i as f64 + 0.5));
        for entry in row {
            let ends = [(x, y), (x + canvas.px(30.0), y)];
            match entry.look {
                Look::Line(index) => draw_pixels(area, &ends, stroke(canvas, index), index)?,
                Look::Level(index) => {
                    let (style, size, gap) = level_style(canvas, index);
                    area.draw(&DashedPathElement::new(ends.to_vec(), size, gap, style))?;
                }
            }
            area.draw_text(&entry.label, &style, (x + canvas.px(38.0), y))?;
            x += canvas.px(entry.width.into());
        }
    }
    let style = canvas.font(12.0, FontStyle::Normal).color(&GRAY);
    for (i, note) in notes.iter().enumerate() {
        let y = rows.len() as u32 * LINE_HEIGHT + i as u32 * (LINE_HEIGHT - 6);
        area.draw_text(note, &style, (canvas.px(8.0), canvas.px(f64::from(y) + 3.0)))?;
    }
    Ok(())
}

fn stroke<B: DrawingBackend>(canvas: &Canvas<B>, index: usize) -> ShapeStyle {
    color(index).stroke_width(canvas.px(2.0) as u32)
}

/// A line between pixels, with dashes where the colors have been used up.
fn draw_pixels<B: DrawingBackend>(
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

/// Reference lines: how thick, how long the dashes, how wide the gaps. A panel's first has dashes,
/// its others dots.
fn level_style<B: DrawingBackend>(canvas: &Canvas<B>, index: usize) -> (ShapeStyle, i32, i32) {
    let (size, gap) = if index == 0 { (8.0, 4.0) } else { (2.0, 3.0) };
    (GRAY.stroke_width(canvas.px(1.4) as u32), canvas.px(size), canvas.px(gap))
}
