//! When to mint again. SDKs begin to refresh 15 minutes before the end and
//! distrust a metadata credential with less than about 20, so an hour's
//! credential is replaced with 25 to 30 minutes left; a shorter one at half life.

use std::time::Duration;

use agentkeys_core::Timestamp;

const LEAD: u64 = 30 * 60;
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_MOST: Duration = Duration::from_secs(30);

/// A credential closer to its end than this is not handed out: it would end on
/// its way into the request that it signs.
pub const LEAST_LEFT: u64 = 5;

/// AWS STS gives no credential that is shorter, and the broker none that
/// outlives the session; the rest is for the way there and for clocks.
const SHORTEST: u64 = 900 + 30;

/// When a credential that lives from `minted_at` to `expiration` is replaced;
/// `spread` in `0.0..1.0` keeps daemons that started together apart. Where the
/// session will be too short for another by then, not before it has ended:
/// asking would only bring a refusal, and take away what is still good.
pub fn refresh_at(
    minted_at: Timestamp,
    expiration: Timestamp,
    session_end: Timestamp,
    spread: f64,
) -> Timestamp {
    let life = expiration.seconds_since(minted_at);
    let lead = LEAD.min(life / 2);
    let later = (lead as f64 / 6.0 * spread) as u64;
    let at = minted_at.plus(life - lead + later);
    if at.plus(SHORTEST) > session_end { expiration } else { at }
}

/// How long to wait after so many failures in a row.
pub fn backoff(failures: u32, spread: f64) -> Duration {
    let most = BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(BACKOFF_MOST);
    most.mul_f64(0.5 + spread / 2.0)
}

/// May it still be handed out?
pub fn is_usable(expiration: Timestamp, now: Timestamp) -> bool {
    expiration > now.plus(LEAST_LEFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Timestamp = Timestamp::from_unix(2_000_000);

    #[test]
    fn the_last_credential_of_a_session_is_kept_to_its_end() {
        let start = Timestamp::from_unix(1_000_000);
        let (end, half) = (start.plus(900), start.plus(450));
        assert_eq!(refresh_at(start, end, half.plus(SHORTEST), 0.0), half, "there is time for another");
        assert_eq!(refresh_at(start, end, half.plus(SHORTEST - 1), 0.0), end);
        assert_eq!(refresh_at(start, end, end, 0.0), end);
    }

    #[test]
    fn an_hours_credential_is_replaced_before_any_sdk_would_ask() {
        let start = Timestamp::from_unix(1_000_000);
        for spread in [0.0, 0.5, 0.999] {
            let left = start.plus(3600).seconds_since(refresh_at(start, start.plus(3600), FAR, spread));
            assert!((25 * 60..=30 * 60).contains(&left), "{left}");
        }
    }

    #[test]
    fn a_short_one_is_replaced_by_half_life_and_never_at_once() {
        let start = Timestamp::from_unix(1_000_000);
        let at = refresh_at(start, start.plus(900), FAR, 0.5).seconds_since(start);
        assert!((450..=525).contains(&at), "{at}");
        assert_eq!(refresh_at(start, start, FAR, 0.5), start);
    }

    #[test]
    fn waiting_grows_and_ends_at_half_a_minute() {
        assert!(backoff(1, 0.0) >= Duration::from_millis(500));
        assert!(backoff(3, 0.5) > backoff(1, 0.5));
        assert!(backoff(40, 1.0) <= BACKOFF_MOST);
    }
}
