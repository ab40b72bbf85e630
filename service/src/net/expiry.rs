//! Expiry of a certificate: the one field of X.509 (RFC 5280) that nobody else here reads.

use tokio_rustls::rustls::pki_types::CertificateDer;

/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Seconds since 1970 at which a certificate expires; `None` where it is not as RFC 5280 says.
pub(super) fn expiry(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate, _) = element(certificate, Some(SEQUENCE))?;
    let (_, mut signed, _) = element(certificate, Some(SEQUENCE))?;
    if signed.first() == Some(&VERSION) {
        signed = element(signed, None)?.2;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        signed = element(signed, None)?.2;
    }
    let (_, validity, _) = element(signed, Some(SEQUENCE))?;
    let (_, _begin, rest) = element(validity, None)?;
    let (tag, end, _) = element(rest, None)?;
    seconds(tag, std::str::from_utf8(end).ok()?)
}

/// First element of some DER: its tag, its content, and what follows it.
fn element(der: &[u8], expected: Option<u8>) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        length = digits.iter().try_fold(0_usize, |length, &digit| {
            length.checked_mul(256)?.checked_add(usize::from(digit))
        })?;
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    expected.is_none_or(|expected| expected == tag).then_some((tag, content, rest))
}

/// Time as certificates write it: `YYMMDDHHMMSSZ`, or with four digits of the year.
fn seconds(tag: u8, text: &str) -> Option<i64> {
    let digits = text.strip_suffix('Z').filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = digits[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (digits[..4].parse().ok()?, &digits[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    Some(((days(year, month, day) * 24 + part(4)?) * 60 + part(6)?) * 60 + part(8)?)
}

/// Days from 1970 to a day of the Gregorian calendar. March begins the year, so that a leap day is
/// its last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_before_and_after_2050() {
        for end in [0, 951_782_399, 1_798_675_199, 2_524_607_999, 2_524_608_000, 4_102_444_800_i64]
        {
            let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
            params.not_before = UNIX_EPOCH.into();
            params.not_after = (UNIX_EPOCH + Duration::from_secs(end as u64)).into();
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            assert_eq!(expiry(certificate.der()), Some(end));
        }
    }

    #[test]
    fn what_is_cut_or_no_certificate_has_no_end() {
        let certificate = CertificateParams::new(vec![]).unwrap();
        let certificate = certificate.self_signed(&KeyPair::generate().unwrap()).unwrap();
        for length in 0..certificate.der().len() {
            assert_eq!(expiry(&CertificateDer::from(&certificate.der()[..length])), None);
        }
        assert_eq!(expiry(&CertificateDer::from(&[0x30, 0xff, 1][..])), None);
        assert_eq!(seconds(UTC_TIME, "261130120000"), None);
        assert_eq!(seconds(UTC_TIME, "261130120000Z"), Some(1_796_040_000));
    }
}
