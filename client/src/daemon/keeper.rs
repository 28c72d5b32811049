//! The one task that mints. It looks twice a second at the clock on the wall
//! (a laptop that slept has missed its timers), at the stored session, and at
//! what is due; so there is never more than one mint under way.

use std::sync::Arc;
use std::time::Duration;

use agentkeys_core::Timestamp;
use agentkeys_core::wire::MintAwsRequest;
use http::StatusCode;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::schedule;
use super::session_watch::{Current, SessionWatch};
use super::state::{Credentials, Held, Snapshot, Trouble};
use crate::broker::{Broker, BrokerError, is_session_refused};
use crate::jitter;

const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The least time between two attempts that waiting SDKs can bring about.
const DEMAND_EVERY: Duration = Duration::from_secs(1);
/// A refusal is asked about again this seldom: a grant may have been given.
const AFTER_REFUSAL: Duration = Duration::from_secs(60);

pub struct Keeper {
    broker: Broker,
    request: MintAwsRequest,
    check_every: Duration,
    watch: SessionWatch,
    current: Option<Current>,
    snapshots: watch::Sender<Snapshot>,
    wanted: Arc<Notify>,
    refresh_at: Option<Timestamp>,
    failures: u32,
    /// An SDK has asked since the last attempt.
    demanded: bool,
    not_before: Instant,
    demand_not_before: Instant,
    next_check: Instant,
}

impl Keeper {
    pub fn new(
        broker: Broker,
        request: MintAwsRequest,
        check_every: Duration,
        watch: SessionWatch,
    ) -> (Self, Credentials) {
        let empty = Snapshot { held: None, trouble: Some(Trouble::Starting) };
        let (snapshots, receiver) = watch::channel(empty);
        let wanted = Arc::new(Notify::new());
        let now = Instant::now();
        let keeper = Self {
            broker,
            request,
            check_every,
            watch,
            current: None,
            snapshots,
            wanted: Arc::clone(&wanted),
            refresh_at: None,
            failures: 0,
            demanded: false,
            not_before: now,
            demand_not_before: now,
            next_check: now + check_every,
        };
        (keeper, Credentials::new(receiver, wanted))
    }

    /// Runs until the task is dropped.
    pub async fn run(mut self) {
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wanted = Arc::clone(&self.wanted);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = wanted.notified() => self.demanded = true,
            }
            self.follow_session().await;
            self.drop_ended();
            if self.is_due() {
                self.mint().await;
            } else if self.current.is_some() && Instant::now() >= self.next_check {
                self.check().await;
            }
        }
    }

    /// Takes over a session that was stored, or lets go of one that was removed.
    async fn follow_session(&mut self) {
        if !self.watch.has_changed() {
            return;
        }
        let mut watch = self.watch.clone();
        let loading = tokio::task::spawn_blocking(move || {
            let loaded = watch.load();
            (watch, loaded)
        });
        let loaded = match loading.await {
            Ok((watch, loaded)) => {
                self.watch = watch;
                loaded
            }
            Err(error) => {
                // A keychain's code that panics; the next look tries again.
                tracing::error!(%error, "the stored session could not be read");
                return;
            }
        };
        match loaded {
            Ok(Some(current)) => self.take_over(current),
            Ok(None) => {
                if self.current.take().is_some() {
                    tracing::warn!("the session was removed from this machine");
                }
                self.refresh_at = None;
                self.publish(None, Some(Trouble::NoSession));
            }
            Err(error) => {
                // What is held stays: nothing says that the session is gone.
                tracing::warn!(%error, "cannot read the stored session");
                self.watch.look_again();
                let held = self.snapshots.borrow().held.clone();
                self.publish(held, Some(Trouble::Broker(error.to_string())));
            }
        }
    }

    fn take_over(&mut self, current: Current) {
        let known = self.current.as_ref().is_some_and(|old| old.fingerprint() == current.fingerprint());
        if known {
            return;
        }
        tracing::info!(session = %current.record.session_id, wallet = %current.record.wallet, "session taken up");
        // Another wallet's credential is not served for a moment longer; the
        // same wallet's is, until the new session's arrives.
        let held = self.snapshots.borrow().held.clone();
        let held = held.filter(|held| held.minted.wallet == current.record.wallet);
        self.current = Some(current);
        self.refresh_at = None;
        self.failures = 0;
        self.not_before = Instant::now();
        self.next_check = Instant::now() + self.check_every;
        self.publish(held, Some(Trouble::Starting));
    }

    fn is_due(&self) -> bool {
        if self.current.is_none() {
            return false;
        }
        let now = Instant::now();
        let due = self.refresh_at.is_none_or(|at| Timestamp::now() >= at);
        let allowed =
            if self.demanded { self.demand_not_before.min(self.not_before) } else { self.not_before };
        due && now >= allowed
    }

    async fn mint(&mut self) {
        let Some(current) = self.current.clone() else { return };
        self.demanded = false;
        let broker = self.broker.clone().with_token(current.token.clone().into_secret());
        let asked_at = Timestamp::now();
        let answer = broker.mint_aws(&self.request).await;
        // A token that was replaced or removed meanwhile has no say any more.
        if self.watch.has_changed() {
            self.follow_session().await;
            let same = self.current.as_ref().is_some_and(|now| now.fingerprint() == current.fingerprint());
            if !same {
                return;
            }
        }
        match answer {
            Ok(minted) if minted.wallet != current.record.wallet => {
                self.refused(Trouble::Forbidden("the broker answered for another wallet".to_owned()));
            }
            Ok(minted) => {
                let session_end = current.record.expires_at;
                let at = schedule::refresh_at(asked_at, minted.expiration, session_end, jitter::fraction());
                tracing::info!(mint_id = %minted.mint_id, expiration = %minted.expiration, "credential minted");
                self.refresh_at = Some(at);
                self.failures = 0;
                self.not_before = Instant::now() + DEMAND_EVERY;
                self.next_check = Instant::now() + self.check_every;
                let session_id = current.record.session_id;
                self.publish(Some(Arc::new(Held { session_id, minted_at: asked_at, minted })), None);
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Asks whether the session was revoked. A broker that is away says nothing
    /// about that, so what is held stays.
    async fn check(&mut self) {
        let Some(current) = &self.current else { return };
        self.next_check = Instant::now() + self.check_every;
        let broker = self.broker.clone().with_token(current.token.clone().into_secret());
        match broker.session().await {
            Ok(_) => {}
            Err(error) if is_session_refused(&error) => self.refused(Trouble::SessionRefused),
            Err(error) => tracing::debug!(%error, "the session could not be checked"),
        }
    }

    fn failed(&mut self, error: &BrokerError) {
        if is_session_refused(error) {
            return self.refused(Trouble::SessionRefused);
        }
        if let BrokerError::Problem { document, .. } = error
            && document.status == StatusCode::FORBIDDEN.as_u16()
        {
            return self.refused(Trouble::Forbidden(error.to_string()));
        }
        self.failures = self.failures.saturating_add(1);
        let now = Instant::now();
        let wait = schedule::backoff(self.failures, jitter::fraction());
        let asked = match error {
            BrokerError::Problem { retry_after, .. } => retry_after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        self.not_before = now + wait.max(asked);
        self.demand_not_before = now + DEMAND_EVERY.max(asked);
        tracing::warn!(%error, failures = self.failures, "no new credential");
        let held = self.snapshots.borrow().held.clone();
        self.publish(held, Some(Trouble::Broker(error.to_string())));
    }

    /// The broker says no: what is held is let go at once, though AWS would
    /// still take it.
    fn refused(&mut self, trouble: Trouble) {
        tracing::warn!(reason = %trouble, "the broker refuses; the credential is dropped");
        self.refresh_at = None;
        self.not_before = Instant::now() + AFTER_REFUSAL;
        self.demand_not_before = self.not_before;
        self.publish(None, Some(trouble));
    }

    fn drop_ended(&mut self) {
        let snapshot = self.snapshots.borrow().clone();
        if snapshot.held.is_some() && snapshot.usable().is_none() {
            tracing::warn!("the credential has ended and could not be replaced in time");
            self.refresh_at = None;
            self.publish(None, snapshot.trouble);
        }
    }

    fn publish(&self, held: Option<Arc<Held>>, trouble: Option<Trouble>) {
        self.snapshots.send_replace(Snapshot { held, trouble });
    }
}
