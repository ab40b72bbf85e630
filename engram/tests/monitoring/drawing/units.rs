//! Numbers with their units, as Grafana writes them, more or less.

use engram_service::format;

/// A value in a unit of Grafana's; with so many decimals, if it says.
pub(super) fn with_unit(value: f64, unit: &str, decimals: Option<usize>) -> String {
    match unit {
        "percentunit" => format!("{:.*}%", decimals.unwrap_or(0), 100.0 * value),
        "s" => format::seconds(value),
        "bytes" => format::bytes(value),
        "Bps" => format!("{}B/s", format::number(value)),
        _ => match decimals {
            Some(decimals) if value.abs() < 1000.0 => format!("{value:.decimals$}"),
            _ => format::number(value),
        },
    }
}

/// The steps in which a unit's axis counts: those of a decimal one are 1, 2, 5 and tenfold.
pub(super) fn step_base(unit: &str, highest: f64) -> f64 {
    match unit {
        "bytes" => 1024_f64.powf(highest.abs().max(1.0).log(1024.0).floor()),
        "s" if highest >= 120.0 => 60.0,
        _ => 1.0,
    }
}

#[test]
fn values_have_their_units() {
    let texts = [
        with_unit(0.9264, "percentunit", Some(1)),
        with_unit(0.25, "s", None),
        with_unit(0.0, "s", None),
        with_unit(0.000_02, "s", None),
        with_unit(600.0, "s", None),
        with_unit(3.5 * 1024.0 * 1024.0, "bytes", None),
        with_unit(0.0, "bytes", None),
        with_unit(1_500_000.0, "Bps", None),
        with_unit(0.5, "short", Some(3)),
        with_unit(175_000.0, "short", Some(3)),
    ];
    let expected =
        ["92.6%", "250 ms", "0 s", "20 µs", "10 min", "3.5 MiB", "0 B", "1.5MB/s", "0.500", "175k"];
    assert_eq!(texts, expected);
}

#[test]
fn axes_of_bytes_count_in_powers_of_two() {
    assert_eq!(step_base("bytes", 3e6), 1024.0 * 1024.0);
    assert_eq!(step_base("bytes", 0.0), 1.0);
    assert_eq!(
        (step_base("s", 600.0), step_base("s", 3.0), step_base("short", 3e6)),
        (60.0, 1.0, 1.0)
    );
}
