//! The thread that writes: a batch, a transaction, an fsync, and then the answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkeys_core::audit::Phase;
use rusqlite::{Transaction, TransactionBehavior};
use tokio::sync::watch;

use super::super::sqlite::{self, Access, OpenError, Opened, is_busy};
use super::AuditSettings;
use super::chain::{self, Head};
use super::prune;
use super::queue::{Batch, Hold, Pending, Queue, refuse};
use super::rows::SCHEMA;
use crate::metrics::Metrics;

/// Between two attempts while the audit cannot be written.
const RETRY: Duration = Duration::from_millis(250);
/// Before a locked file is tried again; the lock itself is waited for longer.
const LOCKED: Duration = Duration::from_millis(10);
/// Between two looks for records past their retention.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
/// Between two batches of them.
const PRUNE_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Writer {
    path: PathBuf,
    busy: Duration,
    close_limit: Duration,
    retention: Duration,
    queue: Arc<Queue>,
    metrics: Arc<Metrics>,
    opened: Option<Opened>,
    /// The end of the chain as this process left it.
    known: Option<Head>,
    /// The file was opened and not yet held against `known`.
    unproven: bool,
    failing: bool,
    hold: Hold,
    retry_at: Instant,
    prune_at: Instant,
}

enum Failure {
    Open(OpenError),
    /// The file at the path is no longer the one that was written to.
    Moved,
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Writer {
    pub fn open(
        settings: &AuditSettings,
        queue: Arc<Queue>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, OpenError> {
        let busy = (settings.write_deadline / 2).clamp(LOCKED, Duration::from_secs(1));
        let now = Instant::now();
        let mut writer = Self {
            path: settings.path.clone(),
            busy,
            close_limit: settings.write_deadline,
            retention: settings.retention,
            queue,
            metrics,
            opened: None,
            known: None,
            unproven: false,
            failing: false,
            hold: Hold::Nothing,
            retry_at: now,
            prune_at: now,
        };
        // Proves at start that records can be written, not only that a file opens.
        writer.transact(probe).map_err(|failure| match failure {
            Failure::Open(error) => error,
            Failure::Sqlite(source) => OpenError::Sqlite { path: settings.path.clone(), source },
            Failure::Moved => {
                OpenError::Io { path: settings.path.clone(), source: std::io::ErrorKind::NotFound.into() }
            }
        })?;
        writer.queue.recovered();
        Ok(writer)
    }

    /// Runs until the queue is closed and empty.
    pub fn run(self, finish: watch::Sender<bool>) {
        let _end = End { queue: Arc::clone(&self.queue), finish };
        // Dropped before `_end`: who waits for the end finds the file closed.
        let mut writer = self;
        writer.work();
    }

    fn work(&mut self) {
        let mut close_by = None;
        loop {
            let wake_at = if self.failing { self.retry_at } else { self.prune_at };
            let batch = self.queue.next(wake_at, self.hold);
            if batch.closing {
                let by = *close_by.get_or_insert_with(|| Instant::now() + self.close_limit);
                if batch.is_empty() || (self.failing && Instant::now() >= by) {
                    self.queue.put_back(batch);
                    return;
                }
            }
            let closing = batch.closing;
            if batch.is_empty() {
                self.maintain();
            } else {
                self.attempt(batch);
                // A lock is waited for until the end; nothing else will pass.
                if closing && self.failing && self.hold == Hold::Notes {
                    return;
                }
                // However busy the broker is, its records must not outgrow the disk.
                if !self.failing && Instant::now() >= self.prune_at {
                    self.maintain();
                }
            }
        }
    }

    fn attempt(&mut self, mut batch: Batch) {
        let result = self.transact(|transaction, mut head| {
            // Whoever gave up was told that nothing is written; let that be true.
            batch.mints.retain(|pending| !pending.waiter.is_closed());
            let counts = batch.counts.as_ref().map(|counts| counts.entry());
            let mints = batch.mints.iter().map(|pending| &pending.entry);
            for entry in mints.chain(&batch.notes).chain(&counts) {
                head = chain::append(transaction, head, entry)?;
            }
            Ok(head)
        });
        match result {
            Ok(()) => {
                self.succeeded();
                self.acknowledge(batch);
            }
            Err(failure) => self.failed(failure, batch),
        }
    }

    /// With nothing to write: see whether writing works again, or prune.
    fn maintain(&mut self) {
        if self.failing {
            match self.transact(probe) {
                Ok(()) => self.succeeded(),
                Err(failure) => self.failed(failure, Batch::default()),
            }
            return;
        }
        let before = i64::try_from(self.retention.as_millis()).unwrap_or(i64::MAX);
        let mut pruned = 0;
        let result = self.transact(|transaction, head| {
            let (head, removed) = prune::prune(transaction, head, before)?;
            pruned = removed;
            Ok(head)
        });
        let pause = if pruned >= prune::BATCH { PRUNE_PAUSE } else { PRUNE_EVERY };
        self.prune_at = Instant::now() + pause;
        if let Err(failure) = result {
            self.failed(failure, Batch::default());
        }
    }

    /// One transaction that holds the write lock from its start, on the file that
    /// is at the path before and after it.
    fn transact(
        &mut self,
        work: impl FnOnce(&Transaction<'_>, Head) -> rusqlite::Result<Head>,
    ) -> Result<(), Failure> {
        if self.opened.as_ref().is_some_and(|opened| !opened.is_current()) {
            tracing::error!(path = %self.path.display(), "the audit file was deleted or replaced");
            self.opened = None;
        }
        if self.opened.is_none() {
            // A file that was there and is gone is not made anew: an audit that can
            // be deleted unnoticed is none. Mints are refused until it is back, or
            // until the operator restarts the broker and so accepts the loss.
            let access = if self.known.is_some() { Access::Write } else { Access::Create };
            let opened = sqlite::open(&self.path, &SCHEMA, access, self.busy);
            self.opened = Some(opened.map_err(Failure::Open)?);
            self.unproven = true;
        }
        let Some(opened) = self.opened.as_mut() else { return Err(Failure::Moved) };
        let transaction = opened.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found = chain::head(&transaction)?;
        let start = match self.known {
            Some(known) if self.unproven => chain::continue_from(&transaction, found, known)?,
            _ => found,
        };
        let end = work(&transaction, start)?;
        if end != found {
            chain::set_head(&transaction, end)?;
        }
        transaction.commit()?;
        if !opened.is_current() {
            return Err(Failure::Moved);
        }
        self.unproven = false;
        self.known = Some(end);
        Ok(())
    }

    fn succeeded(&mut self) {
        self.failing = false;
        self.hold = Hold::Nothing;
        self.queue.recovered();
    }

    fn acknowledge(&self, batch: Batch) {
        let written = |phase: Phase| self.metrics.audit_writes.with_label_values(&[phase.as_str()]).inc();
        batch.notes.iter().for_each(|entry| written(entry.phase));
        batch.counts.iter().for_each(|_| written(Phase::Event));
        for Pending { entry, waiter } in batch.mints {
            written(entry.phase);
            // A waiter may have given up during the fsync; the audit filter then
            // records that the credential was withheld.
            let _ = waiter.send(Ok(()));
        }
    }

    fn failed(&mut self, failure: Failure, mut batch: Batch) {
        self.failing = true;
        match failure {
            Failure::Moved => {
                // Written, but to a file that is gone: again, to the one that is there.
                self.opened = None;
                self.pause(Hold::Nothing, Duration::ZERO);
                self.queue.put_back(batch);
            }
            Failure::Sqlite(error) if is_busy(&error) => {
                self.queue.failed(&error.to_string(), false);
                self.pause(Hold::Everything, LOCKED);
                self.queue.put_back(batch);
            }
            Failure::Sqlite(error) => {
                let reason = error.to_string();
                self.opened = None;
                self.queue.failed(&reason, false);
                refuse(std::mem::take(&mut batch.mints), &reason);
                self.pause(Hold::Notes, RETRY);
                self.queue.put_back(batch);
            }
            Failure::Open(error) => {
                let reason = error.to_string();
                self.queue.failed(&reason, true);
                refuse(std::mem::take(&mut batch.mints), &reason);
                self.pause(Hold::Notes, RETRY);
                self.queue.put_back(batch);
            }
        }
    }

    fn pause(&mut self, hold: Hold, pause: Duration) {
        self.hold = hold;
        self.retry_at = Instant::now() + pause;
    }
}

/// Changes one page, so that a full disk or a lock shows.
fn probe(transaction: &Transaction<'_>, head: Head) -> rusqlite::Result<Head> {
    transaction.execute("UPDATE head SET probes = probes + 1", [])?;
    Ok(head)
}

/// However the thread ends, nobody waits for it in vain.
struct End {
    queue: Arc<Queue>,
    finish: watch::Sender<bool>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.queue.stopped();
        self.finish.send_replace(true);
    }
}
