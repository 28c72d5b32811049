//! Quotas: exact token buckets per key, shared by every chain of the process.
//!
//! A bucket never lets through more than its burst at once. The table of keys is
//! bounded: past the bound new keys share one bucket, so a flood from many
//! addresses meets a limit instead of the machine's memory.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentkeys_core::{Code, Problem, SessionId, Wallet};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::exchange::RateState;

/// The most keys that one limiter tells apart.
const MAX_KEYS: usize = 100_000;
/// How many checks lie between two sweeps of buckets that are full again.
const SWEEP_EVERY: u64 = 16_384;

/// `count` requests per `per`, of which `burst` may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per window.
    pub count: NonZeroU32,
    /// The window.
    pub per: Duration,
    /// How many may come at once.
    pub burst: NonZeroU32,
}

impl Rate {
    /// A rate whose burst is one window's worth.
    pub fn new(count: NonZeroU32, per: Duration) -> Self {
        Self { count, per, burst: count }
    }

    fn quota(self) -> Quota {
        let interval = (self.per / self.count.get()).max(Duration::from_nanos(1));
        // `with_period` refuses only a zero interval, which `max` rules out.
        Quota::with_period(interval).unwrap_or(Quota::per_second(self.count)).allow_burst(self.burst)
    }
}

/// What the operator wrote under `limits:`.
#[derive(Clone, Copy, Debug)]
pub struct LimitSettings {
    /// Per client address, before authentication.
    pub per_source: Rate,
    /// Per session.
    pub per_session: Rate,
    /// Per wallet, over all of its sessions.
    pub per_wallet: Rate,
    /// Failed authentications per client address.
    pub failed_auth: Rate,
}

/// The limiters of a process.
pub struct Limits {
    source: Limiter<Option<SourceKey>>,
    session: Limiter<Option<SessionId>>,
    wallet: Limiter<Option<Wallet>>,
    failed_auth: Limiter<Option<SourceKey>>,
}

impl Limits {
    /// Limiters with these quotas.
    pub fn new(settings: LimitSettings) -> Self {
        Self {
            source: Limiter::new("source", settings.per_source),
            session: Limiter::new("session", settings.per_session),
            wallet: Limiter::new("wallet", settings.per_wallet),
            failed_auth: Limiter::new("failed_auth", settings.failed_auth),
        }
    }

    /// Counts a request from this address.
    pub fn source(&self, address: IpAddr) -> Result<RateState, Limited> {
        self.source.check(Some(SourceKey::of(address)))
    }

    /// Counts a request of this session.
    pub fn session(&self, id: &SessionId) -> Result<RateState, Limited> {
        self.session.check(Some(id.clone()))
    }

    /// Counts a request of this wallet.
    pub fn wallet(&self, wallet: &Wallet) -> Result<RateState, Limited> {
        self.wallet.check(Some(wallet.clone()))
    }

    /// Counts a failed authentication from this address.
    pub fn failed_auth(&self, address: IpAddr) -> Result<RateState, Limited> {
        self.failed_auth.check(Some(SourceKey::of(address)))
    }
}

/// A request that a limiter turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limited {
    /// The limiter's state, with nothing remaining.
    pub state: RateState,
    /// When the next request may come.
    pub wait: Duration,
}

impl Limited {
    /// The 429 for the caller.
    pub fn problem(self) -> Problem {
        let wait = Duration::from_secs(u64::from(self.state.reset_seconds.max(1)));
        Problem::new(
            Code::RateLimited,
            format!(
                "Over the '{}' limit of {} requests per {} s; wait {} s.",
                self.state.policy,
                self.state.quota,
                self.state.window_seconds,
                wait.as_secs()
            ),
        )
        .retry_after(wait)
    }
}

/// An address as limits see it. One IPv6 subscriber holds a whole /64, so
/// counting single addresses would be counting nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct SourceKey(IpAddr);

impl SourceKey {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(IpAddr::V4(v4)),
            IpAddr::V6(v6) => Self(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)))),
        }
    }
}

type Buckets<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// One quota over many keys; `K::default()` is the key that the overflow shares.
struct Limiter<K: Hash + Eq + Clone + Default> {
    policy: &'static str,
    rate: Rate,
    buckets: Buckets<K>,
    clock: DefaultClock,
    checks: AtomicU64,
    max_keys: usize,
}

impl<K: Hash + Eq + Clone + Default> Limiter<K> {
    fn new(policy: &'static str, rate: Rate) -> Self {
        Self {
            policy,
            rate,
            buckets: RateLimiter::dashmap(rate.quota()).with_middleware(),
            clock: DefaultClock::default(),
            checks: AtomicU64::new(0),
            max_keys: MAX_KEYS,
        }
    }

    fn check(&self, key: K) -> Result<RateState, Limited> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.buckets.retain_recent();
        }
        let key = if self.buckets.len() >= self.max_keys { K::default() } else { key };
        match self.buckets.check_key(&key) {
            Ok(snapshot) => {
                let remaining = snapshot.remaining_burst_capacity();
                let used = self.rate.burst.get().saturating_sub(remaining);
                let refill = self.rate.per.mul_f64(f64::from(used) / f64::from(self.rate.count.get()));
                Ok(self.state(remaining, refill))
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(self.clock.now());
                Err(Limited { state: self.state(0, wait), wait })
            }
        }
    }

    fn state(&self, remaining: u32, reset: Duration) -> RateState {
        let whole = |d: Duration| u32::try_from(d.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        RateState {
            policy: self.policy,
            quota: self.rate.count.get(),
            window_seconds: whole(self.rate.per).max(1),
            remaining,
            reset_seconds: whole(reset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate::new(NonZeroU32::new(count).unwrap(), Duration::from_secs(seconds))
    }

    #[test]
    fn the_burst_passes_and_the_next_is_told_when_to_come() {
        let limiter: Limiter<u8> = Limiter::new("test", rate(3, 3600));
        assert_eq!(limiter.check(1).unwrap().remaining, 2);
        assert_eq!(limiter.check(1).unwrap().remaining, 1);
        assert_eq!(limiter.check(1).unwrap().remaining, 0);
        let limited = limiter.check(1).unwrap_err();
        assert!((1190..=1200).contains(&limited.state.reset_seconds), "{limited:?}");
        assert!(limiter.check(2).is_ok(), "another key has its own bucket");
    }

    #[test]
    fn past_the_bound_new_keys_share_one_bucket() {
        let mut limiter: Limiter<u32> = Limiter::new("test", rate(2, 3600));
        limiter.max_keys = 10;
        for key in 1..=10 {
            assert!(limiter.check(key).is_ok());
        }
        assert!(limiter.check(11).is_ok());
        assert!(limiter.check(12).is_ok());
        assert!(limiter.check(13).is_err(), "the shared bucket is empty");
        assert!(limiter.buckets.len() <= 11);
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let key = |text: &str| SourceKey::of(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }
}
