//! Holds devices to the interval that they were told (RFC 8628 section 3.5). Kept
//! in memory: a restart forgives one early poll, and no poll writes anything.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use agentkeys_core::TokenHash;

/// The interval that a device starts with, in seconds.
pub(super) const INTERVAL_SECONDS: u64 = 5;

/// What each early poll adds.
const STEP: Duration = Duration::from_secs(5);
/// What a network may take away from an interval that a device has kept.
const TOLERANCE: Duration = Duration::from_millis(500);
/// No code lives longer (`sessions.pairing_ttl`), so nothing older is polled for.
const LONGEST_SECONDS: u64 = 3_600;
/// When the table is swept.
const SWEEP_AT: usize = 4_096;

/// When each device polled last.
#[derive(Default)]
pub struct Pacing {
    polls: Mutex<HashMap<TokenHash, Poll>>,
}

#[derive(Clone, Copy)]
struct Poll {
    last: Instant,
    interval: Duration,
}

impl Pacing {
    /// Counts a poll of a device that exists; false if it came too early.
    pub(super) fn keeps(&self, device: TokenHash, now: Instant) -> bool {
        let mut polls = self.polls.lock().unwrap_or_else(PoisonError::into_inner);
        if polls.len() >= SWEEP_AT {
            polls.retain(|_, poll| now.duration_since(poll.last).as_secs() < LONGEST_SECONDS);
        }
        let first = Duration::from_secs(INTERVAL_SECONDS);
        let Some(poll) = polls.get_mut(&device) else {
            polls.insert(device, Poll { last: now, interval: first });
            return true;
        };
        let kept = now.duration_since(poll.last) + TOLERANCE >= poll.interval;
        if !kept {
            poll.interval += STEP;
        }
        poll.last = now;
        kept
    }

    /// Forgets a device that has its session.
    pub(super) fn forget(&self, device: &TokenHash) {
        self.polls.lock().unwrap_or_else(PoisonError::into_inner).remove(device);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_polls_too_fast_has_to_wait_longer_from_then_on() {
        let (pacing, start) = (Pacing::default(), Instant::now());
        let device = TokenHash::from_bytes([1; 32]);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(pacing.keeps(device, at(0)));
        assert!(pacing.keeps(device, at(5)));
        assert!(!pacing.keeps(device, at(7)), "too early");
        assert!(!pacing.keeps(device, at(12)), "ten seconds by now");
        assert!(!pacing.keeps(device, at(26)), "fifteen by now");
        assert!(pacing.keeps(device, at(46)));
        assert!(pacing.keeps(TokenHash::from_bytes([2; 32]), at(46)), "another device has its own pace");
    }
}
