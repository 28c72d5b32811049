//! Which refusals are written one by one, and the counts of the others.
//!
//! Two buckets: one for a burst, one for a day. The second bounds the disk: a
//! flood that lasts a year costs 50,000 records a day and a summary each ten
//! seconds, whatever its rate.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use agentkeys_core::Timestamp;
use agentkeys_core::audit::{AuditEntry, MAX_DETAIL};

use super::chain::event;

/// How long refusals are counted before the counts are written.
pub(super) const WINDOW: Duration = Duration::from_secs(10);

/// Actions and outcomes come from closed sets; this bounds a mistake.
const MAX_KINDS: usize = 128;

pub(super) struct Refusals {
    burst: Bucket,
    day: Bucket,
    counts: Option<Counts>,
}

/// What one window left out.
pub(super) struct Counts {
    since: Timestamp,
    due: Instant,
    kinds: BTreeMap<String, u64>,
}

struct Bucket {
    tokens: f64,
    capacity: f64,
    per_second: f64,
    filled: Instant,
}

impl Bucket {
    fn new(capacity: f64, per_second: f64, now: Instant) -> Self {
        Self { tokens: capacity, capacity, per_second, filled: now }
    }

    fn fill(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.capacity);
        self.filled = now;
        self.tokens >= 1.0
    }
}

impl Refusals {
    pub fn new(now: Instant) -> Self {
        Self {
            burst: Bucket::new(200.0, 20.0, now),
            day: Bucket::new(50_000.0, 50_000.0 / 86_400.0, now),
            counts: None,
        }
    }

    /// May one more refusal have a record of its own?
    pub fn admit(&mut self, now: Instant) -> bool {
        let both = self.burst.fill(now) & self.day.fill(now);
        if both {
            self.burst.tokens -= 1.0;
            self.day.tokens -= 1.0;
        }
        both
    }

    /// Counts one that has none.
    pub fn count(&mut self, entry: &AuditEntry, now: Instant) {
        let kind = format!("{}/{}", entry.action, entry.outcome);
        self.counts.get_or_insert_with(|| Counts::new(now)).add(kind, 1);
    }

    /// When the counts are to be written.
    pub fn due(&self) -> Option<Instant> {
        self.counts.as_ref().map(|counts| counts.due)
    }

    /// The counts, to be written.
    pub fn take(&mut self) -> Option<Counts> {
        self.counts.take()
    }

    /// Counts that could not be written; they wait for the next window.
    pub fn put_back(&mut self, counts: Counts, now: Instant) {
        let held = self.counts.get_or_insert_with(|| Counts::new(now));
        held.since = held.since.min(counts.since);
        for (kind, count) in counts.kinds {
            held.add(kind, count);
        }
    }
}

impl Counts {
    fn new(now: Instant) -> Self {
        Self { since: Timestamp::now(), due: now + WINDOW, kinds: BTreeMap::new() }
    }

    fn add(&mut self, kind: String, count: u64) {
        let kind = if self.kinds.len() < MAX_KINDS || self.kinds.contains_key(&kind) {
            kind
        } else {
            "other".into()
        };
        *self.kinds.entry(kind).or_default() += count;
    }

    /// `total=1203 since=… mint_aws_creds/rate_limited=1200 …`, the most frequent
    /// first; what has no room is added up as `other`.
    pub fn entry(&self) -> AuditEntry {
        let total: u64 = self.kinds.values().sum();
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let mut text = format!("total={total} since={}", self.since);
        let mut left = total;
        for (kind, count) in kinds {
            if text.len() + kind.len() + 60 > MAX_DETAIL {
                break;
            }
            left -= count;
            // Writing to a String cannot fail.
            let _ = write!(text, " {kind}={count}");
        }
        if left > 0 {
            let _ = write!(text, " other={left}");
        }
        event("refusals_coalesced").detail(text)
    }
}

#[cfg(test)]
mod tests {
    use agentkeys_core::audit::Phase;

    use super::*;

    fn refusal(outcome: &str) -> AuditEntry {
        AuditEntry::new(Phase::Refusal, "id", "mint_aws_creds", outcome)
    }

    #[test]
    fn a_burst_then_a_trickle_have_records_of_their_own() {
        let start = Instant::now();
        let mut refusals = Refusals::new(start);
        let admitted = (0..10_000).filter(|_| refusals.admit(start)).count();
        assert_eq!(admitted, 200);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..10_000).filter(|_| refusals.admit(later)).count(), 20);
    }

    #[test]
    fn a_flood_of_a_month_is_bounded_by_the_day() {
        let start = Instant::now();
        let mut refusals = Refusals::new(start);
        let mut admitted = 0;
        for second in 0..30 * 86_400 {
            let now = start + Duration::from_secs(second);
            while refusals.admit(now) {
                admitted += 1;
            }
        }
        assert!(admitted <= 31 * 50_000, "{admitted}");
    }

    #[test]
    fn the_summary_counts_by_kind_and_survives_a_failed_write() {
        let now = Instant::now();
        let mut refusals = Refusals::new(now);
        (0..3).for_each(|_| refusals.count(&refusal("invalid_token"), now));
        let failed = refusals.take().unwrap();
        (0..4).for_each(|_| refusals.count(&refusal("rate_limited"), now));
        refusals.put_back(failed, now);
        let detail = refusals.take().unwrap().entry().detail.unwrap();
        assert!(detail.starts_with("total=7 since="), "{detail}");
        assert!(
            detail.ends_with(" mint_aws_creds/rate_limited=4 mint_aws_creds/invalid_token=3"),
            "{detail}"
        );
        assert!(refusals.take().is_none());
    }

    #[test]
    fn many_kinds_still_add_up_within_one_detail() {
        let now = Instant::now();
        let mut refusals = Refusals::new(now);
        (0..500).for_each(|i| refusals.count(&refusal(&format!("code_{i}")), now));
        let detail = refusals.take().unwrap().entry().detail.unwrap();
        assert!(detail.len() <= MAX_DETAIL);
        let sum: u64 = detail
            .split(' ')
            .skip(2)
            .map(|pair| pair.rsplit('=').next().unwrap().parse::<u64>().unwrap())
            .sum();
        assert_eq!(sum, 500);
    }
}
