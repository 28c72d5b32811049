//! Is this machine's clock AWS's? A token from the future, or one that has ended,
//! is refused, and so is a signature that is off by more than five minutes.

use std::time::{Duration, Instant};

use agentkeys_core::Timestamp;
use http::HeaderMap;
use time::OffsetDateTime;
use time::macros::format_description;

use super::Doctor;
use super::row::Row;
use crate::exchange::wire::WireError;

const NAME: &str = "clock";
const NOTICE: u64 = 60;
const REFUSED: u64 = 300;
const FIX: &str = "keep the clock with NTP: 'timedatectl set-ntp true', or chrony";

/// An answer's time and how long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    /// How long the answer took.
    pub(super) took: Duration,
    /// Seconds by which the other clock is ahead of ours.
    pub(super) ahead: Option<i64>,
}

pub(super) fn observe(headers: &HeaderMap, took: Duration) -> Observed {
    let date = headers.get(http::header::DATE).and_then(|value| value.to_str().ok()).and_then(read);
    Observed { took, ahead: date.map(|date| date - Timestamp::now().unix()) }
}

/// RFC 9110's one format that servers may send.
fn read(text: &str) -> Option<i64> {
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second]");
    let date = time::PrimitiveDateTime::parse(text.strip_suffix(" GMT")?, format).ok()?;
    Some(OffsetDateTime::unix_timestamp(date.assume_utc()))
}

impl Doctor<'_> {
    /// By the clock of STS, or the issuer's where STS shows none.
    pub(super) async fn clock(&self, issuer: Option<Observed>) -> Row {
        let seen = self.sts_clock().await;
        let (whose, observed) = match (seen, issuer) {
            (Ok(observed), _) if observed.ahead.is_some() => ("STS", observed),
            (_, Some(observed)) if observed.ahead.is_some() => ("the issuer", observed),
            (Err(error), _) => {
                let fix = "open the way from here to STS's regional endpoint";
                return Row::unknown(NAME, format!("STS did not answer: {error}"), fix);
            }
            _ => {
                return Row::unknown(NAME, "nobody who answered showed a Date", "compare the clock by hand");
            }
        };
        judge(whose, observed.ahead.unwrap_or_default())
    }

    /// Any answer of STS carries its Date; a bare GET needs no key.
    async fn sts_clock(&self) -> Result<Observed, WireError> {
        let url = match &self.settings.aws.sts_endpoint {
            Some(endpoint) => format!("{}/", endpoint.as_str()),
            None => format!("https://sts.{}.{}/", self.plan.region, self.partition().dns_suffix),
        };
        let started = Instant::now();
        let response = self.wire.get(&url).await?;
        Ok(observe(response.headers(), started.elapsed()))
    }
}

fn judge(whose: &str, ahead: i64) -> Row {
    let side = if ahead < 0 { "behind" } else { "ahead of" };
    let off = ahead.unsigned_abs();
    let detail = format!("the clock of {whose} is {off} s {side} this machine's");
    match off {
        off if off > REFUSED => Row::fail(NAME, detail, FIX),
        off if off > NOTICE => Row::pass(NAME, format!("warning: {detail}")).advise(FIX),
        _ => Row::pass(NAME, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::doctor::Status;

    #[test]
    fn more_than_a_minute_is_told_and_more_than_five_fail() {
        assert_eq!(read("Tue, 24 Nov 2026 18:00:00 GMT"), Some(1_795_543_200));
        assert_eq!(read("yesterday"), None);
        for (ahead, status, told) in [
            (0, Status::Pass, false),
            (-60, Status::Pass, false),
            (61, Status::Pass, true),
            (-300, Status::Pass, true),
            (301, Status::Fail, true),
            (-4_000, Status::Fail, true),
        ] {
            let row = judge("STS", ahead);
            assert_eq!((row.status, row.fix.is_some()), (status, told), "{ahead}");
        }
    }
}
