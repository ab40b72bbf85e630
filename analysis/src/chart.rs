//! Charts: panels of series with bands, reference lines, one legend below all of them.
//!
//! Every chart is written as PNG, at twice its size, and as SVG. `model` is what a chart says;
//! `surface` is what it is drawn on, with colors and fonts; `ticks`, `panel` and `legend` draw its
//! parts.

mod model;

mod surface;

mod ticks;

mod panel;

mod legend;

use std::path::{Path, PathBuf};

use anyhow::Result;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use self::legend::Legend;
pub use self::model::{Chart, Panel, ReferenceLine, Series, SeriesStyle, XAxis};
use self::panel::draw_panel;
pub use self::surface::register_fonts;
pub(crate) use self::surface::{Drawing, Surface, save};
pub(crate) use self::surface::{GRAY, color};
pub(crate) use self::ticks::round_numbers;

/// Size of one panel, and of what stands around all of them; in pixels before scaling.
const PANEL: (u32, u32) = (420, 300);
const ALONE: (u32, u32) = (840, 440);
const TITLE: u32 = 40;
const MARGIN: u32 = 12;

/// Draws a chart to `<stem>.png` and `<stem>.svg` and returns both paths.
pub fn draw(chart: &Chart, stem: &Path) -> Result<[PathBuf; 2]> {
    save(chart, stem)
}

impl Chart {
    fn columns(&self) -> usize {
        self.columns.clamp(1, self.panels.len().max(1))
    }
}

impl Drawing for Chart {
    fn size(&self) -> Result<(u32, u32)> {
        let (columns, panels) = (self.columns() as u32, self.panels.len() as u32);
        let panel = if panels == 1 || columns == 1 { ALONE } else { PANEL };
        let height = if panels > 1 { panel.1.min(360) } else { panel.1 };
        let width = columns * panel.0 + 2 * MARGIN;
        let legend = Legend::new(self, width)?.height();
        Ok((width, TITLE + panels.div_ceil(columns) * height + legend + 2 * MARGIN))
    }

    fn draw_on<B: DrawingBackend>(&self, surface: &Surface<B>) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        surface.area.fill(&WHITE)?;
        let margin = surface.px(MARGIN.into());
        let area = surface.area.margin(margin, margin, margin, margin);
        let (title, rest) = area.split_vertically(surface.px(TITLE.into()));
        let center = (title.dim_in_pixel().0 as i32 / 2, surface.px(4.0));
        let style = surface.font(19.0, FontStyle::Bold).pos(Pos::new(HPos::Center, VPos::Top));
        title.draw_text(&self.title, &style, center)?;

        let width = (f64::from(surface.area.dim_in_pixel().0) / surface.scale).round() as u32;
        let legend = Legend::new(self, width)?;
        let height = rest.dim_in_pixel().1 as i32;
        let (panels, below) = rest.split_vertically(height - surface.px(legend.height().into()));
        let columns = self.columns();
        let grid = panels.split_evenly((self.panels.len().div_ceil(columns), columns));
        for (area, panel) in grid.into_iter().zip(&self.panels) {
            draw_panel(&surface.part(area), panel)?;
        }
        legend.draw(&surface.part(below))?;
        surface.area.present()?;
        Ok(())
    }
}
