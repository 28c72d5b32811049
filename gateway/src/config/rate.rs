//! A quota as an operator writes it: `50/s`, `10/min`, `600/h`, or with a burst
//! of its own, `50/s burst 200`.

use std::num::NonZeroU32;
use std::time::Duration;

use agentkeys_filters::rate::Rate;

const HOW: &str = "write a quota such as 50/s, 10/min or 600/h, with 'burst 200' after it where wanted";

/// Reads a quota. The burst is one window's worth unless it is written.
pub(super) fn parse(text: &str) -> Result<Rate, &'static str> {
    let mut words = text.split(' ');
    let (count, unit) = words.next().and_then(|rate| rate.split_once('/')).ok_or(HOW)?;
    let period = match unit {
        "s" => Duration::from_secs(1),
        "min" => Duration::from_secs(60),
        "h" => Duration::from_secs(3600),
        _ => return Err(HOW),
    };
    let rate = Rate::new(number(count)?, period);
    match (words.next(), words.next(), words.next()) {
        (None, ..) => Ok(rate),
        (Some("burst"), Some(burst), None) => Ok(Rate { burst: number(burst)?, ..rate }),
        _ => Err(HOW),
    }
}

fn number(text: &str) -> Result<NonZeroU32, &'static str> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HOW);
    }
    text.parse().ok().filter(|number: &NonZeroU32| number.get() <= 1_000_000).ok_or(HOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for (text, count, seconds, burst) in
            [("50/s", 50, 1, 50), ("10/min", 10, 60, 10), ("600/h burst 20", 600, 3600, 20)]
        {
            let rate = parse(text).unwrap();
            assert_eq!((rate.count.get(), rate.per.as_secs(), rate.burst.get()), (count, seconds, burst));
        }
        for text in ["", "50", "0/s", "50/d", "-1/s", "+1/s", "50 /s", "5/s burst", "5/s burst 0", "5/s 9"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
