//! The audit: an append-only SQLite file whose records form a SHA-256 chain.
//!
//! One thread writes, a batch per transaction, and a caller's `write` returns
//! once its batch is on the disk. What cannot be written in time is an error:
//! nothing here ever answers that a record is durable when it is not.

mod chain;
mod export;
mod prune;
mod queue;
mod refusals;
mod rows;
mod verify;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkeys_core::audit::{AuditEntry, AuditRecord, Checkpoint, MAX_DETAIL, Verification};
use agentkeys_core::store::{AuditError, AuditLog, StoreError};
use async_trait::async_trait;
use tokio::sync::watch;

pub use self::export::{Export, export_file};
use self::queue::{Queue, Rejected};
pub(super) use self::rows::SCHEMA;
pub use self::verify::verify_file;
use self::writer::Writer;
use super::lane::{BUSY, Lane};
use super::sqlite::{self, Access, OpenError};
use crate::metrics::Metrics;

/// The most records that one read returns.
const MAX_READ: usize = 10_000;

/// Where the audit is and how long it may take.
#[derive(Clone, Debug)]
pub struct AuditSettings {
    /// The database file; its directory must exist.
    pub path: PathBuf,
    /// How long a mint waits for its record.
    pub write_deadline: Duration,
    /// How long records are kept.
    pub retention: Duration,
}

/// The audit in one SQLite file.
pub struct SqliteAudit {
    path: PathBuf,
    write_deadline: Duration,
    queue: Arc<Queue>,
    finished: watch::Receiver<bool>,
    reads: Lane,
    metrics: Arc<Metrics>,
}

impl SqliteAudit {
    /// Opens the file, making it where it is missing, and starts the writer. A
    /// file that cannot be written now is an error; one that cannot be written
    /// later is waited for.
    pub fn open(settings: AuditSettings, metrics: Arc<Metrics>) -> Result<Arc<Self>, OpenError> {
        let queue = Arc::new(Queue::new(Arc::clone(&metrics)));
        let writer = Writer::open(&settings, Arc::clone(&queue), Arc::clone(&metrics))?;
        let path = settings.path.clone();
        let reads = Lane::open(move || sqlite::open(&path, &SCHEMA, Access::Read, BUSY))?;
        let (finish, finished) = watch::channel(false);
        std::thread::Builder::new()
            .name("audit-writer".into())
            .spawn(move || writer.run(finish))
            .map_err(|source| OpenError::Io { path: settings.path.clone(), source })?;
        Ok(Arc::new(Self {
            path: settings.path,
            write_deadline: settings.write_deadline,
            queue,
            finished,
            reads,
            metrics,
        }))
    }

    /// Writes what is queued and what was only counted, and stops the writer;
    /// true if it stopped within `limit`. Later writes are refused.
    pub async fn close(&self, limit: Duration) -> bool {
        self.queue.close();
        let mut finished = self.finished.clone();
        // An error means that the writer's end of the channel is gone: it has stopped.
        tokio::time::timeout(limit, finished.wait_for(|done| *done)).await.is_ok()
    }

    /// Why the last write failed; `None` while the audit can be written.
    pub fn last_error(&self) -> Option<String> {
        self.queue.trouble()
    }

    /// The newest record's number and hash: what an anchor publishes.
    pub async fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        self.reads.run(|connection| Ok(chain::head(connection)?.checkpoint())).await
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn durable(&self, entry: AuditEntry) -> Result<(), AuditError> {
        let receiver = self.queue.push(entry).map_err(|rejected| {
            let (reason, text) = match rejected {
                Rejected::Full => ("queue_full", "too many records are waiting".to_owned()),
                Rejected::Unavailable(text) => ("unavailable", text),
            };
            self.failed(reason);
            AuditError::Unavailable(text)
        })?;
        // From here on the deadline rules: dropping the receiver withdraws an
        // entry that is not written yet.
        match tokio::time::timeout(self.write_deadline, receiver).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(reason))) => {
                self.failed("unavailable");
                Err(AuditError::Unavailable(reason.to_string()))
            }
            Ok(Err(_)) => {
                self.failed("unavailable");
                Err(AuditError::Unavailable("the audit writer stopped".into()))
            }
            Err(_) => {
                self.failed("deadline");
                Err(AuditError::Deadline)
            }
        }
    }

    fn failed(&self, reason: &str) {
        self.metrics.audit_write_failures.with_label_values(&[reason]).inc();
    }
}

#[async_trait]
impl AuditLog for SqliteAudit {
    async fn write(&self, entry: AuditEntry) -> Result<(), AuditError> {
        let started = Instant::now();
        let result = self.durable(bounded(entry)).await;
        self.metrics.audit_write_seconds.observe(started.elapsed().as_secs_f64());
        result
    }

    fn note(&self, entry: AuditEntry) {
        self.queue.note(bounded(entry));
    }

    async fn tail(&self, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let limit = limit.min(MAX_READ);
        self.reads.run(move |connection| Ok(rows::tail(connection, limit)?)).await
    }

    async fn after(&self, seq: u64, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let limit = limit.min(MAX_READ);
        self.reads.run(move |connection| Ok(rows::after(connection, seq, limit)?)).await
    }

    async fn of_mint(&self, mint_id: &str) -> Result<Vec<AuditRecord>, StoreError> {
        let mint_id = mint_id.to_owned();
        self.reads.run(move |connection| Ok(rows::of_mint(connection, &mint_id, MAX_READ)?)).await
    }

    async fn verify(&self) -> Result<Verification, StoreError> {
        // A connection of its own: the whole chain takes a while, and other
        // reads go on.
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || verify_file(&path))
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))?
            .map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    fn healthy(&self) -> bool {
        self.queue.healthy()
    }
}

impl Drop for SqliteAudit {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// No caller can make a record long, whatever a filter passes on.
fn bounded(mut entry: AuditEntry) -> AuditEntry {
    match entry.detail.take() {
        Some(text) if text.len() > MAX_DETAIL => entry.detail(text),
        detail => AuditEntry { detail, ..entry },
    }
}
