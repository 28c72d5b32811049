//! Caps on open connections: in total and per client address. A connection over
//! a cap is closed before its handshake, so refusing costs no cryptography.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts open connections.
pub(super) struct Guard {
    total_cap: usize,
    per_source_cap: usize,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

/// Why a connection was refused; the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OverCap {
    Total,
    Source,
}

/// An admitted connection. Dropping it gives its place back.
#[derive(Debug)]
pub(super) struct Permit {
    guard: Arc<Guard>,
    source: Option<IpAddr>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("total_cap", &self.total_cap).finish_non_exhaustive()
    }
}

impl Guard {
    pub(super) fn new(total_cap: usize, per_source_cap: usize) -> Arc<Self> {
        Arc::new(Self { total_cap, per_source_cap, counts: Mutex::default() })
    }

    pub(super) fn admit(self: &Arc<Self>, source: Option<IpAddr>) -> Result<Permit, OverCap> {
        let source = source.map(network_of);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= self.total_cap {
            return Err(OverCap::Total);
        }
        if let Some(source) = source {
            let open = counts.by_source.entry(source).or_default();
            if *open >= self.per_source_cap {
                return Err(OverCap::Source);
            }
            *open += 1;
        }
        counts.total += 1;
        Ok(Permit { guard: self.clone(), source })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.guard.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total = counts.total.saturating_sub(1);
        if let Some(source) = self.source
            && let Some(open) = counts.by_source.get_mut(&source)
        {
            *open -= 1;
            if *open == 0 {
                counts.by_source.remove(&source);
            }
        }
    }
}

/// One IPv6 subscriber holds a whole /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_hold_and_places_come_back() {
        let guard = Guard::new(3, 2);
        let a: IpAddr = "192.0.2.1".parse().unwrap();
        let b: IpAddr = "192.0.2.2".parse().unwrap();
        let first = guard.admit(Some(a)).unwrap();
        let _second = guard.admit(Some(a)).unwrap();
        assert_eq!(guard.admit(Some(a)).unwrap_err(), OverCap::Source);
        let _third = guard.admit(Some(b)).unwrap();
        assert_eq!(guard.admit(Some(b)).unwrap_err(), OverCap::Total);
        drop(first);
        assert!(guard.admit(Some(a)).is_ok());
        assert_eq!(guard.counts.lock().unwrap().by_source.len(), 2);
    }
}
