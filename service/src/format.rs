//! Format: numbers, sizes and times as people read them, in about three digits.

/// Number with a decimal unit: `1_500_000` is `1.5M`, `0.001` stays.
pub fn number(number: f64) -> String {
    // What would be rounded to a thousand of a unit is one of the next.
    let (scaled, unit) = match number.abs() {
        n if n >= 999.5e6 => (number / 1e9, "G"),
        n if n >= 999.5e3 => (number / 1e6, "M"),
        n if n >= 999.5 => (number / 1e3, "k"),
        _ => (number, ""),
    };
    format!("{}{unit}", three_digits(scaled))
}

/// Size in bytes with a binary unit: `1536` is `1.5 KiB`.
pub fn bytes(bytes: f64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let large = units.into_iter().find(|(power, _)| bytes.abs() >= 2_f64.powi(*power));
    let (power, unit) = large.unwrap_or((0, "B"));
    format!("{} {unit}", three_digits(bytes / 2_f64.powi(power)))
}

/// Measured time: `0.25` is `250 ms`.
pub fn seconds(seconds: f64) -> String {
    match seconds.abs() {
        0.0 => "0 s".into(),
        s if s >= 120.0 => format!("{} min", number(seconds / 60.0)),
        s if s >= 1.0 => format!("{} s", number(seconds)),
        s if s >= 1e-3 => format!("{} ms", number(1e3 * seconds)),
        _ => format!("{} µs", number(1e6 * seconds)),
    }
}

/// Duration that somebody waits: `75` is `1m 15s`.
pub fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds}s"),
        (hours, minutes, _) => format!("{hours}h {minutes}m"),
    }
}

fn three_digits(number: f64) -> String {
    let digits = match number.abs() {
        0.0 => 0,
        n if n < 0.1 => (1.0 - n.log10().floor()) as usize,
        n if n < 10.0 => 2,
        n if n < 100.0 => 1,
        _ => 0,
    };
    let text = format!("{number:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').into(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_shortened_and_small_ones_kept() {
        let texts = [0.0, 950.0, 1_500.0, 2_000_000.0, 1.25e9, 100.0, -0.5].map(number);
        assert_eq!(texts, ["0", "950", "1.5k", "2M", "1.25G", "100", "-0.5"]);
        assert_eq!([516_670.0, 23_450.0, 357.25].map(number), ["517k", "23.4k", "357"]);
        assert_eq!([0.001, 0.0003, 0.05, 0.25].map(number), ["0.001", "0.0003", "0.05", "0.25"]);
        assert_eq!([999.0, 999_499.0, 999_950.0].map(number), ["999", "999k", "1M"]);
    }

    #[test]
    fn sizes_have_binary_units() {
        let sizes = [0.0, 3.0, 1536.0, 1023.0 * 1024.0, 3.5 * 1024.0 * 1024.0, 2_f64.powi(32)];
        let texts = ["0 B", "3 B", "1.5 KiB", "1023 KiB", "3.5 MiB", "4 GiB"];
        assert_eq!(sizes.map(bytes), texts);
    }

    #[test]
    fn measured_times_have_one_unit_and_durations_two() {
        let texts = [0.0, 0.000_02, 0.25, 1.5, 600.0].map(seconds);
        assert_eq!(texts, ["0 s", "20 µs", "250 ms", "1.5 s", "10 min"]);
        assert_eq!([1, 60, 75, 3_660].map(duration), ["1s", "1m 0s", "1m 15s", "1h 1m"]);
    }
}
