//! Learning curves of runs, read from their `progress.csv` and drawn as PNG and SVG.
//!
//! One line per run, over env steps: the episode return above and, where the world can tell, the
//! share of solved episodes below. The same drawing serves `engram plot` and the end of a training;
//! other commands draw [`Panel`]s of their own.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;

/// One run's curve.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Curve {
    /// What the legend calls it.
    pub(crate) label: String,
    /// `(env steps, mean return of the episodes that ended since the last row)`.
    pub(crate) returns: Vec<(f64, f64)>,
    /// `(env steps, share of them that were solved)`; empty where the world cannot tell.
    pub(crate) success: Vec<(f64, f64)>,
    /// Seconds that the run has taken.
    pub(crate) seconds: f64,
}

impl Curve {
    /// Reads a run's folder, or a `progress.csv` itself.
    pub(crate) fn read(path: &Path) -> Result<Curve> {
        let file = if path.is_dir() { path.join("progress.csv") } else { path.to_path_buf() };
        let mut reader = csv::Reader::from_path(&file)
            .with_context(|| format!("{} is not a run: it has no progress.csv", path.display()))?;
        let headers = reader.headers()?.clone();
        let column = |name: &str| headers.iter().position(|header| header == name);
        let need = |name: &str| {
            column(name).ok_or_else(|| anyhow!("{} has no column `{name}`", file.display()))
        };
        let (steps, returns) = (need("env_steps")?, need("episode_return")?);
        let (success, seconds) = (column("success"), column("seconds"));
        let mut curve =
            Curve { label: label(path), returns: Vec::new(), success: Vec::new(), seconds: 0.0 };
        for record in reader.records() {
            let record = record.with_context(|| format!("{} is damaged", file.display()))?;
            let number = |column: usize| record.get(column)?.parse::<f64>().ok();
            let Some(x) = number(steps) else { continue };
            curve.returns.extend(number(returns).map(|y| (x, y)));
            curve.success.extend(success.and_then(number).map(|y| (x, y)));
            curve.seconds = seconds.and_then(number).unwrap_or(curve.seconds);
        }
        if curve.returns.is_empty() {
            bail!("{} holds no finished episode yet", file.display());
        }
        Ok(curve)
    }
}

/// A picture, or one of several that stand one above another.
pub(crate) struct Panel {
    /// What stands above it; with one it has a legend, too.
    pub(crate) title: String,
    /// What its x axis counts.
    pub(crate) x_name: String,
    /// What its y axis measures.
    pub(crate) y_name: &'static str,
    /// The ends of its y axis; those of the lines where there is nothing better.
    pub(crate) range: Option<(f64, f64)>,
    /// Where the legend is in nobody's way.
    pub(crate) legend: SeriesLabelPosition,
    /// What it shows.
    pub(crate) lines: Vec<Line>,
}

/// One line of a picture.
pub(crate) struct Line {
    /// What the legend calls it; a line without a label belongs to another of its color.
    pub(crate) label: Option<String>,
    /// Its color.
    pub(crate) color: RGBAColor,
    /// From left to right.
    pub(crate) points: Vec<(f64, f64)>,
}

/// The color of what is no result but something to compare with.
pub(crate) const GRAY: RGBAColor = RGBAColor(128, 128, 128, 0.8);

/// The color of the `index`-th thing that is compared.
pub(crate) fn color(index: usize) -> RGBAColor {
    Palette99::pick(index).to_rgba()
}

/// Draws the curves to `<stem>.png` and `<stem>.svg` and returns both paths.
pub(crate) fn draw(curves: &[Curve], title: &str, stem: &Path) -> Result<[PathBuf; 2]> {
    let panel = |title: &str, y_name, range, points: fn(&Curve) -> &Vec<(f64, f64)>| {
        let line = |(i, curve): (usize, &Curve)| Line {
            label: Some(curve.label.clone()),
            color: color(i),
            points: points(curve).clone(),
        };
        let lines = curves.iter().enumerate().map(line).collect();
        let legend = SeriesLabelPosition::MiddleRight;
        Panel { title: title.into(), x_name: "env steps".into(), y_name, range, legend, lines }
    };
    let mut panels = vec![panel(title, "episode return", None, |curve| &curve.returns)];
    // Where a solved episode pays 1 and any other 0, the second panel would repeat the first.
    if curves.iter().any(|c| !c.success.is_empty() && c.success != c.returns) {
        let range = Some((0.0, 1.0));
        panels.push(panel("", "episodes solved", range, |curve| &curve.success));
    }
    draw_panels(&panels, stem)
}

/// Makes the font `sans-serif` known. It travels inside the binary, so that a bare machine draws the
/// same picture.
pub(crate) fn register_letters() -> Result<()> {
    register_font("sans-serif", FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| anyhow!("the built-in font cannot be read"))
}

/// Draws panels one above another to `<stem>.png` and `<stem>.svg` and returns both paths.
pub(crate) fn draw_panels(panels: &[Panel], stem: &Path) -> Result<[PathBuf; 2]> {
    register_letters()?;
    if let Some(folder) = stem.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let size = (960, if panels.len() > 1 { 400 * panels.len() as u32 } else { 480 });
    let (png, svg) = (stem.with_extension("png"), stem.with_extension("svg"));
    let context = |path: &Path| format!("cannot draw {}", path.display());
    let area = BitMapBackend::new(&png, size).into_drawing_area();
    picture(&area, panels).with_context(|| context(&png))?;
    drop(area);
    let area = SVGBackend::new(&svg, size).into_drawing_area();
    picture(&area, panels).with_context(|| context(&svg))?;
    drop(area);
    Ok([png, svg])
}

/// The run's folder name is its label.
fn label(path: &Path) -> String {
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    folder
        .and_then(Path::file_name)
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn picture<B: DrawingBackend>(area: &DrawingArea<B, Shift>, panels: &[Panel]) -> Result<()>
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE)?;
    for (area, panel) in area.split_evenly((panels.len(), 1)).iter().zip(panels) {
        draw_panel(area, panel)?;
    }
    area.present()?;
    Ok(())
}

fn draw_panel<B: DrawingBackend>(area: &DrawingArea<B, Shift>, panel: &Panel) -> Result<()>
where
    B::ErrorType: 'static,
{
    let all = || panel.lines.iter().flat_map(|line| line.points.iter().copied());
    let x_end = all().map(|(x, _)| x).fold(1.0, f64::max);
    let (low, high) = panel.range.unwrap_or_else(|| {
        let low = all().map(|(_, y)| y).fold(f64::INFINITY, f64::min);
        let high = all().map(|(_, y)| y).fold(f64::NEG_INFINITY, f64::max);
        if low < high { (low, high) } else { (low - 0.5, high + 0.5) }
    });
    let margin = 0.04 * (high - low);
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", if panel.title.is_empty() { 1 } else { 22 }))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..x_end, low - margin..high + margin)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .axis_desc_style(("sans-serif", 16))
        .label_style(("sans-serif", 14))
        .x_desc(&panel.x_name)
        .y_desc(panel.y_name)
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| format!("{y:.2}"))
        .draw()?;
    for line in &panel.lines {
        let style = line.color.stroke_width(2);
        let drawn = chart.draw_series(LineSeries::new(line.points.iter().copied(), style))?;
        if let Some(label) = &line.label {
            drawn.label(label).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
    }
    if !panel.title.is_empty() {
        chart
            .configure_series_labels()
            .label_font(("sans-serif", 14))
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .position(panel.legend.clone())
            .draw()?;
    }
    Ok(())
}

/// `1500000` as `1.5M`.
pub(crate) fn short(number: f64) -> String {
    let (scaled, unit) = match number.abs() {
        n if n >= 1e9 => (number / 1e9, "G"),
        n if n >= 1e6 => (number / 1e6, "M"),
        n if n >= 1e3 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    let text = format!("{scaled:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(folder: &Path, name: &str, rows: &str) -> PathBuf {
        let run = folder.join(name);
        std::fs::create_dir_all(&run).expect("a folder");
        let text = format!("env_steps,updates,episode_return,success\n{rows}");
        std::fs::write(run.join("progress.csv"), text).expect("a file");
        run
    }

    #[test]
    fn a_run_is_read_and_drawn_as_both_pictures() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = run(folder.path(), "mine", "100,1,0.25,0.2\n200,2,,\n300,3,1.0,1.0\n");
        let curve = Curve::read(&path).expect("a curve");
        assert_eq!(curve.label, "mine");
        assert_eq!(curve.returns, [(100.0, 0.25), (300.0, 1.0)]);
        assert_eq!(curve.success, [(100.0, 0.2), (300.0, 1.0)]);
        let paths = draw(&[curve], "recall", &folder.path().join("plots/curve")).expect("drawn");
        let png = std::fs::read(&paths[0]).expect("a picture");
        assert!(png.starts_with(b"\x89PNG") && png.len() > 5_000);
        let svg = std::fs::read_to_string(&paths[1]).expect("a picture");
        assert!(svg.contains("episode return") && svg.contains("episodes solved"));
    }

    #[test]
    fn what_is_no_run_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = Curve::read(folder.path()).expect_err("no run").to_string();
        assert!(error.contains("has no progress.csv"), "{error}");
        let empty = run(folder.path(), "empty", "");
        let error = Curve::read(&empty).expect_err("no episodes").to_string();
        assert!(error.contains("no finished episode"), "{error}");
    }

    #[test]
    fn large_numbers_are_shortened() {
        let texts = [0.0, 950.0, 1_500.0, 2_000_000.0, 1.25e9].map(short);
        assert_eq!(texts, ["0", "950", "1.5k", "2M", "1.25G"]);
    }
}
