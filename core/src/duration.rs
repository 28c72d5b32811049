//! Durations as an operator writes them: `90s`, `10m`, `12h`, `30d`.

use std::time::Duration;

/// The text is not a whole number followed by `s`, `m`, `h` or `d`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a duration is a whole number and a unit, such as 90s, 10m, 12h or 30d")]
pub struct InvalidDuration;

/// Reads `90s`, `10m`, `12h`, `30d` or `250ms`. At most 100 years.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let split = text.find(|c: char| !c.is_ascii_digit()).ok_or(InvalidDuration)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| InvalidDuration)?;
    let millis = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        "d" => number.checked_mul(86_400_000),
        _ => None,
    };
    match millis {
        Some(millis) if millis <= 36_525 * 86_400_000 => Ok(Duration::from_millis(millis)),
        _ => Err(InvalidDuration),
    }
}

/// The shortest text that [`parse`] reads back as this duration.
pub fn format(duration: Duration) -> String {
    let millis = duration.as_millis();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= size && millis.is_multiple_of(size) {
            return format!("{}{unit}", millis / size);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_writes() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("12h", 43_200), ("30d", 2_592_000)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!(format(Duration::from_secs(43_200)), "12h");
        assert_eq!(format(Duration::from_millis(250)), "250ms");
        for text in ["", "12", "h", "1.5h", "-1s", "99999999999999999999s", "1 h", "40000d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
