//! A circuit breaker: while STS does not answer, callers learn so at once instead
//! of each waiting for its own timeout.
//!
//! A refusal is an answer. Only an STS that cannot be reached opens the breaker;
//! a wrong policy or role of one caller never closes the door on the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus::IntGauge;

/// A monotonic clock that tests can move.
pub type Ticker = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The breaker of one STS endpoint.
pub struct Breaker {
    failures_to_open: u32,
    open_for: Duration,
    clock: Ticker,
    gauge: IntGauge,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// One exchange is finding out whether STS answers again.
    HalfOpen,
}

/// The right to ask once. Say how it ended; dropped silently (the caller went
/// away), it counts for nothing and lets the next one try.
#[must_use]
pub struct Permit<'a> {
    breaker: &'a Breaker,
    probe: bool,
    settled: bool,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(failures_to_open: u32, open_for: Duration, clock: Ticker, gauge: IntGauge) -> Self {
        gauge.set(0);
        Self { failures_to_open, open_for, clock, gauge, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// May this exchange ask? If not, after which time it may.
    pub fn enter(&self) -> Result<Permit<'_>, Duration> {
        let now = (self.clock)();
        let mut state = self.lock();
        let probe = match *state {
            State::Closed { .. } => false,
            State::Open { until } if now < until => return Err(until - now),
            State::Open { .. } => {
                self.set(&mut state, State::HalfOpen);
                true
            }
            State::HalfOpen => return Err(Duration::from_secs(1)),
        };
        Ok(Permit { breaker: self, probe, settled: false })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: &mut State, new: State) {
        let number = match new {
            State::Closed { .. } => 0,
            State::HalfOpen => 1,
            State::Open { .. } => 2,
        };
        self.gauge.set(number);
        *state = new;
    }
}

impl Permit<'_> {
    /// STS answered, be it with a refusal.
    pub fn answered(mut self) {
        self.settled = true;
        let mut state = self.breaker.lock();
        // A late answer to a question from before the breaker opened proves nothing.
        if self.probe || matches!(*state, State::Closed { .. }) {
            self.breaker.set(&mut state, State::Closed { failures: 0 });
        }
    }

    /// STS did not answer.
    pub fn unavailable(mut self) {
        self.settled = true;
        let until = (self.breaker.clock)() + self.breaker.open_for;
        let mut state = self.breaker.lock();
        let new = match *state {
            State::Closed { failures } if failures + 1 < self.breaker.failures_to_open => {
                State::Closed { failures: failures + 1 }
            }
            State::Closed { .. } => State::Open { until },
            State::HalfOpen if self.probe => State::Open { until },
            unchanged @ (State::HalfOpen | State::Open { .. }) => unchanged,
        };
        self.breaker.set(&mut state, new);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe && !self.settled {
            let until = (self.breaker.clock)();
            let mut state = self.breaker.lock();
            self.breaker.set(&mut state, State::Open { until });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Rig {
        breaker: Breaker,
        gauge: IntGauge,
        now: Arc<Mutex<Instant>>,
    }

    fn rig() -> Rig {
        let now = Arc::new(Mutex::new(Instant::now()));
        let shared = Arc::clone(&now);
        let gauge = IntGauge::new("state", "state").unwrap();
        let clock: Ticker = Arc::new(move || *shared.lock().unwrap());
        Rig { breaker: Breaker::new(3, Duration::from_secs(10), clock, gauge.clone()), gauge, now }
    }

    impl Rig {
        fn fail(&self, times: u32) {
            for _ in 0..times {
                self.breaker.enter().unwrap_or_else(|_| panic!("open")).unavailable();
            }
        }
        fn pass(&self, seconds: u64) {
            *self.now.lock().unwrap() += Duration::from_secs(seconds);
        }
        fn wait(&self) -> Option<Duration> {
            self.breaker.enter().err()
        }
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_says_for_how_long() {
        let rig = rig();
        rig.fail(2);
        rig.breaker.enter().ok().unwrap().answered();
        rig.fail(2);
        assert_eq!(rig.gauge.get(), 0, "an answer in between starts the count anew");
        rig.fail(1);
        assert_eq!(rig.gauge.get(), 2);
        rig.pass(4);
        assert_eq!(rig.wait(), Some(Duration::from_secs(6)));
    }

    #[test]
    fn one_exchange_tries_and_decides_for_all() {
        let rig = rig();
        rig.fail(3);
        rig.pass(10);
        let probe = rig.breaker.enter().ok().unwrap();
        assert_eq!(rig.gauge.get(), 1);
        assert!(rig.wait().is_some(), "the others wait for it");
        probe.unavailable();
        assert_eq!((rig.gauge.get(), rig.wait()), (2, Some(Duration::from_secs(10))));
        rig.pass(10);
        rig.breaker.enter().ok().unwrap().answered();
        assert_eq!((rig.gauge.get(), rig.wait()), (0, None));
    }

    #[test]
    fn a_probe_that_goes_away_lets_the_next_one_try() {
        let rig = rig();
        rig.fail(3);
        rig.pass(10);
        drop(rig.breaker.enter().ok().unwrap());
        rig.breaker.enter().ok().unwrap().answered();
        assert_eq!(rig.gauge.get(), 0);
    }

    #[test]
    fn late_news_from_before_changes_nothing() {
        let rig = rig();
        let (early, late) = (rig.breaker.enter().ok().unwrap(), rig.breaker.enter().ok().unwrap());
        rig.fail(3);
        early.answered();
        assert_eq!(rig.gauge.get(), 2);
        rig.pass(10);
        let probe = rig.breaker.enter().ok().unwrap();
        late.unavailable();
        assert_eq!(rig.gauge.get(), 1);
        probe.answered();
    }
}
