//! Ends a process without losing a request.
//!
//! Readiness turns 503 first, while listeners still answer, so that a load
//! balancer sees it; requests under way finish; then listeners close. An idle
//! process ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Whether the process is ending, and how many requests are under way.
#[derive(Debug, Default)]
pub struct Drain {
    draining: AtomicBool,
    in_flight: AtomicUsize,
    changed: Notify,
}

/// A request under way. Dropping it says that its answer is written.
#[derive(Debug)]
pub struct InFlight(Arc<Drain>);

impl Drain {
    /// Nothing under way, not ending.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Is the process ending?
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Begins to end.
    pub fn begin(&self) {
        self.draining.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Counts a request until the returned value is dropped.
    pub fn enter(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(self.clone())
    }

    /// Resolves once the process begins to end.
    pub async fn begun(&self) {
        loop {
            let changed = self.changed.notified();
            if self.is_draining() {
                return;
            }
            changed.await;
        }
    }

    /// Resolves once no request is under way, or after `limit`.
    pub async fn idle(&self, limit: Duration) {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if self.in_flight.load(Ordering::Acquire) == 0 {
                    return;
                }
                changed.await;
            }
        };
        if tokio::time::timeout(limit, wait).await.is_err() {
            tracing::info!(
                in_flight = self.in_flight.load(Ordering::Acquire),
                "closing the listeners with requests still under way"
            );
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.0.changed.notify_waiters();
    }
}

/// Begins to end on SIGTERM or SIGINT; a second one ends at once.
pub fn on_signals(drain: Arc<Drain>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {
                    tracing::warn!("SIGHUP: this version reads its configuration only at start; restart to apply it");
                    continue;
                }
            }
            if drain.is_draining() {
                tracing::warn!("second signal: ending at once");
                std::process::exit(1);
            }
            tracing::info!("ending: readiness is 503, requests under way finish");
            drain.begin();
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn idle_waits_for_the_last_request_and_no_longer() {
        let drain = Drain::new();
        drain.idle(Duration::from_secs(60)).await;
        let request = drain.enter();
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.idle(Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(request);
        waiting.await.unwrap();
    }
}
