//! `engram dashboard`: Grafana's dashboard of a run as a picture, without a Grafana.
//!
//! [`model`] is the dashboard's file, which Grafana reads too; [`page`] lays its panels out and
//! [`panel`] draws them.

mod model;
mod page;
mod panel;
mod units;

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Args;
use engram_service::Address;
use tokio::runtime::Handle;

use self::model::{Dashboard, Panel};
use super::prometheus::{Prometheus, Series, Span};

/// Flags of `engram dashboard`.
#[derive(Args, Clone, Debug)]
pub(crate) struct DashboardArgs {
    /// The Prometheus that scrapes the run: http://HOST:PORT
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9090")]
    prometheus: Address,
    /// The picture, as PNG
    #[arg(long, value_name = "FILE", default_value = "dashboard.png")]
    out: PathBuf,
    /// How long a time it shows, as in 90s, 15m, 2h
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = duration)]
    last: Duration,
    /// How long ago that ended [default: it ends now]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ago: Option<Duration>,
    /// The dashboard
    #[arg(long, value_name = "FILE", default_value = "deploy/grafana/dashboards/engram.json")]
    dashboard: PathBuf,
}

/// A panel's line: what its legend calls it, and its points over time.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// A panel and what it shows.
struct Filled<'a> {
    panel: &'a Panel,
    lines: Vec<Line>,
}

/// Moments that a panel shows.
const MOMENTS: f64 = 240.0;

/// Draws the dashboard, and prints where it is.
#[expect(clippy::print_stdout, reason = "this is the command's answer")]
pub(crate) fn run(args: &DashboardArgs) -> Result<()> {
    let dashboard = Dashboard::read(&args.dashboard)?;
    let prometheus = Prometheus { address: args.prometheus.clone() };
    let end = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let end = end - args.ago.unwrap_or_default().as_secs_f64();
    let seconds = args.last.as_secs_f64();
    let span = Span { start: end - seconds, end, step: (seconds / MOMENTS).max(1.0) };
    let filled = Handle::current().block_on(fill(&dashboard, &prometheus, span))?;
    write(&page::draw(&dashboard.title, &filled, span)?, &args.out)?;
    println!("{}", args.out.display());
    Ok(())
}

/// Asks every panel's queries.
async fn fill<'a>(
    dashboard: &'a Dashboard,
    prometheus: &Prometheus,
    span: Span,
) -> Result<Vec<Filled<'a>>> {
    let mut filled = Vec::with_capacity(dashboard.panels.len());
    for panel in &dashboard.panels {
        let mut lines = Vec::new();
        for target in &panel.targets {
            let series = prometheus.range(&target.query(span.step), span).await;
            let series = series.with_context(|| format!("the panel `{}`", panel.title))?;
            lines.extend(
                series
                    .into_iter()
                    .map(|Series { labels, points }| Line { name: target.legend(&labels), points }),
            );
        }
        filled.push(Filled { panel, lines });
    }
    Ok(filled)
}

fn write(image: &page::Image, path: &Path) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let file = File::create(path).with_context(context)?;
    let mut encoder = png::Encoder::new(BufWriter::new(file), image.width, image.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Best);
    encoder.set_adaptive_filter(png::AdaptiveFilterType::Adaptive);
    encoder.write_header()?.write_image_data(&image.rgb).with_context(context)
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    let duration = seconds.filter(|seconds| (1..=1_000_000).contains(seconds));
    duration.map(Duration::from_secs).ok_or_else(|| "write it as 90s, 15m or 2h".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "15", "m", "0s", "1d", "-1s", "99999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
