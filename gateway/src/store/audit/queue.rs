//! What waits for the writer: entries that somebody waits for, entries that
//! nobody does, and counts. Bounded in each.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use agentkeys_core::audit::{AuditEntry, Phase};
use tokio::sync::oneshot;

use super::refusals::{Counts, Refusals};
use crate::metrics::Metrics;

/// About a tenth of a second of writing.
const MAX_MINTS: usize = 8_192;
const MAX_NOTES: usize = 4_096;

/// What one transaction takes. Notes are fewer, so that a flood of them does not
/// lengthen the transaction that a mint waits for.
const BATCH_MINTS: usize = 512;
const BATCH_NOTES: usize = 64;

/// How a waiter is told.
pub(super) type Answer = Result<(), Arc<str>>;

/// An entry and who waits for it.
pub(super) struct Pending {
    pub entry: AuditEntry,
    pub waiter: oneshot::Sender<Answer>,
}

/// An entry was not taken.
pub(super) enum Rejected {
    Full,
    Unavailable(String),
}

/// What one transaction will write.
#[derive(Default)]
pub(super) struct Batch {
    pub mints: Vec<Pending>,
    pub notes: Vec<AuditEntry>,
    pub counts: Option<Counts>,
    /// Nothing new will come.
    pub closing: bool,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.mints.is_empty() && self.notes.is_empty() && self.counts.is_none()
    }
}

/// Which work must wait until the writer wakes by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hold {
    Nothing,
    Notes,
    Everything,
}

pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    healthy: AtomicBool,
    metrics: Arc<Metrics>,
}

struct State {
    mints: VecDeque<Pending>,
    notes: VecDeque<AuditEntry>,
    refusals: Refusals,
    /// Set while there is no open file: nothing is taken that somebody waits for.
    unavailable: Option<String>,
    trouble: Option<String>,
    closing: bool,
}

impl Queue {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            state: Mutex::new(State {
                mints: VecDeque::new(),
                notes: VecDeque::new(),
                refusals: Refusals::new(Instant::now()),
                unavailable: None,
                trouble: None,
                closing: false,
            }),
            wake: Condvar::new(),
            healthy: AtomicBool::new(true),
            metrics,
        }
    }

    pub fn push(&self, entry: AuditEntry) -> Result<oneshot::Receiver<Answer>, Rejected> {
        let mut state = self.lock();
        if let Some(reason) = &state.unavailable {
            return Err(Rejected::Unavailable(reason.clone()));
        }
        if state.closing {
            return Err(Rejected::Unavailable("the audit is closed".into()));
        }
        if state.mints.len() >= MAX_MINTS {
            state.mints.retain(|pending| !pending.waiter.is_closed());
        }
        if state.mints.len() >= MAX_MINTS {
            return Err(Rejected::Full);
        }
        let (waiter, receiver) = oneshot::channel();
        state.mints.push_back(Pending { entry, waiter });
        drop(state);
        self.wake.notify_one();
        Ok(receiver)
    }

    pub fn note(&self, entry: AuditEntry) {
        let now = Instant::now();
        let mut state = self.lock();
        let admitted = state.notes.len() < MAX_NOTES
            && !state.closing
            && (entry.phase != Phase::Refusal || state.refusals.admit(now));
        let first = state.refusals.due().is_none();
        if admitted {
            state.notes.push_back(entry);
        } else {
            self.metrics.audit_refusals_coalesced.inc();
            state.refusals.count(&entry, now);
        }
        drop(state);
        // A count only wakes the writer so that it learns when the window ends.
        if admitted || first {
            self.wake.notify_one();
        }
    }

    /// Waits for work that is not held, or until `wake_at`.
    pub fn next(&self, wake_at: Instant, hold: Hold) -> Batch {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let hold = if state.closing || now >= wake_at { Hold::Nothing } else { hold };
            let batch = state.take(now, hold);
            if !batch.is_empty() || batch.closing || now >= wake_at {
                return batch;
            }
            let until = match state.refusals.due() {
                Some(due) if hold == Hold::Nothing => wake_at.min(due),
                _ => wake_at,
            };
            state = self
                .wake
                .wait_timeout(state, until.saturating_duration_since(now))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Returns what could not be written now to where it came from.
    pub fn put_back(&self, batch: Batch) {
        let now = Instant::now();
        let mut state = self.lock();
        let waiting = batch.mints.into_iter().filter(|pending| !pending.waiter.is_closed());
        waiting.rev().for_each(|pending| state.mints.push_front(pending));
        batch.notes.into_iter().rev().for_each(|entry| state.notes.push_front(entry));
        while state.notes.len() > MAX_NOTES {
            if let Some(entry) = state.notes.pop_back() {
                self.metrics.audit_refusals_coalesced.inc();
                state.refusals.count(&entry, now);
            }
        }
        if let Some(counts) = batch.counts {
            state.refusals.put_back(counts, now);
        }
    }

    /// The last attempt wrote.
    pub fn recovered(&self) {
        if !self.healthy.swap(true, Ordering::SeqCst) {
            tracing::info!("the audit can be written again");
        }
        self.metrics.audit_healthy.set(1);
        let mut state = self.lock();
        state.unavailable = None;
        state.trouble = None;
    }

    /// The last attempt failed. `closed`: there is no open file, so whoever waits
    /// or comes is refused at once.
    pub fn failed(&self, reason: &str, closed: bool) {
        if self.healthy.swap(false, Ordering::SeqCst) {
            tracing::error!(reason, "the audit cannot be written; nothing is minted");
        }
        self.metrics.audit_healthy.set(0);
        self.lock().trouble = Some(reason.to_owned());
        if closed {
            self.refuse_all(reason);
        }
    }

    /// The writer's thread has ended, so nothing will be written any more.
    pub fn stopped(&self) {
        if self.lock().closing {
            self.healthy.store(false, Ordering::SeqCst);
            self.refuse_all("the audit is closed");
        } else {
            self.failed("the audit writer has stopped", true);
        }
    }

    fn refuse_all(&self, reason: &str) {
        let mut state = self.lock();
        state.unavailable = Some(reason.to_owned());
        let waiting = std::mem::take(&mut state.mints);
        drop(state);
        refuse(waiting, reason);
    }

    pub fn close(&self) {
        self.lock().closing = true;
        self.wake.notify_one();
    }

    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::SeqCst)
    }

    pub fn trouble(&self) -> Option<String> {
        self.lock().trouble.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells them that their entry was not written.
pub(super) fn refuse(waiting: impl IntoIterator<Item = Pending>, reason: &str) {
    let reason: Arc<str> = reason.into();
    for pending in waiting {
        // A waiter that has given up needs no answer.
        let _ = pending.waiter.send(Err(Arc::clone(&reason)));
    }
}

impl State {
    fn take(&mut self, now: Instant, hold: Hold) -> Batch {
        let mut batch = Batch::default();
        if hold != Hold::Everything {
            let count = self.mints.len().min(BATCH_MINTS);
            batch.mints.extend(self.mints.drain(..count));
        }
        if hold == Hold::Nothing {
            let count = self.notes.len().min(BATCH_NOTES);
            batch.notes.extend(self.notes.drain(..count));
            if self.closing || self.refusals.due().is_some_and(|due| due <= now) {
                batch.counts = self.refusals.take();
            }
        }
        batch.closing = self.closing;
        batch
    }
}
