//! Picture of Grafana's dashboard without a Grafana: what `docs/images/dashboard.png` shows.
//!
//! [`model`] is the dashboard's file, which Grafana reads too; [`page`] lays its panels out and
//! [`panel`] draws them.

mod ink;
mod model;
mod page;
mod panel;
mod units;

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use self::model::{Dashboard, Filled, Line};
use crate::files::deploy_path;
use crate::prometheus::{Prometheus, Series, Span};

/// Moments that a panel shows.
const MOMENTS: f64 = 240.0;

/// Draws the last `seconds` before `end` as PNG.
pub(crate) fn draw(prometheus: &Prometheus, seconds: f64, end: f64, path: &Path) {
    let dashboard = Dashboard::ours();
    let span = Span { start: end - seconds, end, step: (seconds / MOMENTS).max(1.0) };
    let mut filled = Vec::with_capacity(dashboard.panels.len());
    for panel in &dashboard.panels {
        let mut lines = Vec::new();
        for target in &panel.targets {
            let series = prometheus.range(&target.query(span.step), span);
            let line = |Series { labels, points }| Line { name: target.legend(&labels), points };
            lines.extend(series.into_iter().map(line));
        }
        filled.push(Filled { panel, lines });
    }
    let image = page::draw(&dashboard.title, &filled, span).expect("a picture");
    let file = File::create(path).expect("room on disk");
    let mut encoder = png::Encoder::new(BufWriter::new(file), image.width, image.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::Best);
    encoder.set_adaptive_filter(png::AdaptiveFilterType::Adaptive);
    let mut writer = encoder.write_header().expect("room on disk");
    writer.write_image_data(&image.rgb).expect("room on disk");
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[test]
#[ignore = "draws docs/images/dashboard.png from the Prometheus at $PROMETHEUS, a quarter of an \
            hour until $END (seconds since 1970; now if unset)"]
fn the_picture_of_the_dashboard_is_drawn_anew() {
    let address = std::env::var("PROMETHEUS").expect("PROMETHEUS=HOST:PORT");
    let end = std::env::var("END").map_or_else(|_| now(), |end| end.parse().expect("seconds"));
    draw(&Prometheus::at(address), 900.0, end, &deploy_path("../docs/images/dashboard.png"));
}
