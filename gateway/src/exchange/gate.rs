//! The way to STS: breaker, a bounded number at a time, bounded attempts with
//! jitter in bounded time. Every call to STS goes through here and is counted.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::sync::Semaphore;

use super::breaker::{Breaker, Ticker};
use super::error::ExchangeError;
use super::failure::{Failure, FailureKind};
use super::settings::ExchangeSettings;
use crate::metrics::Metrics;

/// What is asked of STS: the label in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// With a token, unsigned.
    AssumeRoleWithWebIdentity,
    /// With the operator's key.
    AssumeRole,
    /// Whose key it is.
    GetCallerIdentity,
}

impl Operation {
    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AssumeRoleWithWebIdentity => "AssumeRoleWithWebIdentity",
            Self::AssumeRole => "AssumeRole",
            Self::GetCallerIdentity => "GetCallerIdentity",
        }
    }
}

/// Why one attempt failed: at STS, or before it was asked.
#[derive(Debug)]
pub enum AttemptError {
    /// At STS.
    Sts(Failure),
    /// Here; another attempt would fail alike.
    Local(ExchangeError),
}

impl From<Failure> for AttemptError {
    fn from(failure: Failure) -> Self {
        Self::Sts(failure)
    }
}

impl From<ExchangeError> for AttemptError {
    fn from(error: ExchangeError) -> Self {
        Self::Local(error)
    }
}

/// Shared by both modes.
pub struct Gate {
    breaker: Breaker,
    slots: Semaphore,
    limit: usize,
    wait: Duration,
    total: Duration,
    attempts: u32,
    backoff: Duration,
    backoff_limit: Duration,
    metrics: Arc<Metrics>,
}

impl Gate {
    /// A gate on the system's clock.
    pub fn new(settings: &ExchangeSettings, metrics: Arc<Metrics>) -> Self {
        Self::with_clock(settings, metrics, Arc::new(Instant::now))
    }

    /// A gate whose breaker runs on another clock.
    pub fn with_clock(settings: &ExchangeSettings, metrics: Arc<Metrics>, clock: Ticker) -> Self {
        let gauge = metrics.sts_breaker_state.clone();
        Self {
            breaker: Breaker::new(settings.breaker_failures, settings.breaker_open, clock, gauge),
            slots: Semaphore::new(settings.in_flight),
            limit: settings.in_flight,
            wait: settings.in_flight_wait,
            total: settings.total_timeout,
            attempts: settings.max_attempts,
            backoff: settings.backoff,
            backoff_limit: settings.backoff_limit,
            metrics,
        }
    }

    /// Runs one exchange. `attempt` gets 0, 1, 2, …, and must mint anew what STS
    /// would not take twice.
    pub async fn exchange<T, F, A>(&self, operation: Operation, attempt: A) -> Result<T, ExchangeError>
    where
        A: Fn(u32) -> F,
        F: Future<Output = Result<T, AttemptError>>,
    {
        let permit = self.breaker.enter().map_err(ExchangeError::BreakerOpen)?;
        // The semaphore is never closed, so the only way to fail here is to wait too long.
        let Ok(Ok(_slot)) = tokio::time::timeout(self.wait, self.slots.acquire()).await else {
            return Err(ExchangeError::Overloaded { limit: self.limit, wait: self.wait });
        };
        let deadline = tokio::time::Instant::now() + self.total;
        let mut renewed = false;
        let mut number = 0;
        loop {
            let bounded = async {
                let timed = tokio::time::timeout_at(deadline, attempt(number)).await;
                timed.unwrap_or_else(|_| Err(Failure::out_of_time().into()))
            };
            let failure = match self.count(operation, bounded).await {
                Ok(done) => {
                    permit.answered();
                    return Ok(done);
                }
                Err(AttemptError::Local(error)) => return Err(error),
                Err(AttemptError::Sts(failure)) => failure,
            };
            let helps = match failure.kind {
                FailureKind::Throttled | FailureKind::Unavailable | FailureKind::KeysNotFetched => true,
                FailureKind::TokenExpired => !std::mem::replace(&mut renewed, true),
                FailureKind::Refused | FailureKind::Invalid => false,
            };
            number += 1;
            let pause = self.pause(number);
            if helps && number < self.attempts && tokio::time::Instant::now() + pause < deadline {
                tracing::debug!(operation = operation.as_str(), number, reason = %failure.internal, "asking STS again");
                tokio::time::sleep(pause).await;
                continue;
            }
            match failure.kind {
                FailureKind::Unavailable => permit.unavailable(),
                _ => permit.answered(),
            }
            return Err(failure.into_error());
        }
    }

    /// Counts and times one call.
    pub async fn count<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, AttemptError>>,
    ) -> Result<T, AttemptError> {
        let _under_way = UnderWay::enter(&self.metrics.sts_in_flight);
        let started = Instant::now();
        let done = call.await;
        let outcome = match &done {
            Ok(_) => "ok",
            Err(AttemptError::Sts(failure)) => failure.outcome,
            // STS was not asked.
            Err(AttemptError::Local(_)) => return done,
        };
        let name = operation.as_str();
        self.metrics.sts_calls.with_label_values(&[name, outcome]).inc();
        self.metrics.sts_call_seconds.with_label_values(&[name]).observe(started.elapsed().as_secs_f64());
        done
    }

    /// Between half of and the whole of a doubling pause, so that callers who
    /// failed together do not come back together.
    fn pause(&self, number: u32) -> Duration {
        let doubled =
            self.backoff.saturating_mul(1 << number.saturating_sub(1).min(16)).min(self.backoff_limit);
        let mut random = [0u8; 2];
        // Without randomness the pause is whole; it only spreads load.
        let share = match aws_lc_rs::rand::fill(&mut random) {
            Ok(()) => f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX),
            Err(_) => 1.0,
        };
        doubled.mul_f64(0.5 + share / 2.0)
    }
}

/// Counts a call for as long as it is under way, however it ends.
struct UnderWay<'a>(&'a IntGauge);

impl<'a> UnderWay<'a> {
    fn enter(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_with_jitter_up_to_a_limit() {
        let gate = Gate::new(&ExchangeSettings::new("us-east-1"), Arc::new(Metrics::new().unwrap()));
        for (number, least, most) in [(1, 50, 100), (2, 100, 200), (3, 200, 400), (30, 500, 1_000)] {
            let pauses: Vec<u128> = (0..50).map(|_| gate.pause(number).as_millis()).collect();
            assert!(pauses.iter().all(|ms| (least..=most).contains(ms)), "{number}: {pauses:?}");
            assert!(pauses.iter().any(|ms| *ms != pauses[0]), "jitter");
        }
    }
}
