//! What the broker needs of its store. SQLite stands behind these traits today;
//! a database shared by many replicas can tomorrow, so they are async and say
//! nothing of files.

use async_trait::async_trait;

use crate::audit::{AuditEntry, AuditRecord, Verification};
use crate::grant::{Grant, GrantId, MintTarget};
use crate::session::{Session, SessionId};
use crate::timestamp::Timestamp;
use crate::token::TokenHash;
use crate::wallet::Wallet;

/// The store could not do it. The text is for the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is locked, full or broken.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The parent of a new session is gone, revoked or expired.
    #[error("the parent session is not live")]
    ParentNotLive,
    /// Something with this key is there already.
    #[error("it exists already: {0}")]
    Exists(String),
    /// A bound that keeps strangers from filling the store is reached.
    #[error("there are too many {0}")]
    Full(&'static str),
}

/// Which sessions to list.
#[derive(Clone, Debug, Default)]
pub struct SessionQuery {
    /// Only this wallet's.
    pub wallet: Option<Wallet>,
    /// Only this session and its descendants.
    pub root: Option<SessionId>,
    /// Expired and revoked ones too.
    pub include_ended: bool,
    /// At most this many, newest first; zero is the store's maximum (1,000).
    pub limit: usize,
}

/// Sessions, by the hash of their token.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// The session of this token, live or not. Must see a revocation written by
    /// another process before the call began.
    async fn by_token(&self, token: &TokenHash) -> Result<Option<Session>, StoreError>;

    /// The session with this id.
    async fn by_id(&self, id: &SessionId) -> Result<Option<Session>, StoreError>;

    /// Writes a session. A child whose parent is not live at that moment is
    /// refused within the same transaction.
    async fn insert(&self, session: &Session, token: &TokenHash) -> Result<(), StoreError>;

    /// Revokes a session and all that descend from it, in one transaction;
    /// says how many were live until now.
    async fn revoke(&self, id: &SessionId, at: Timestamp) -> Result<u64, StoreError>;

    /// Is `id` the session `root` itself, or one that descends from it?
    async fn descends_from(&self, id: &SessionId, root: &SessionId) -> Result<bool, StoreError>;

    /// Lists sessions, newest first.
    async fn list(&self, query: &SessionQuery) -> Result<Vec<Session>, StoreError>;

    /// Forgets sessions that ended before this time; says how many.
    async fn purge(&self, ended_before: Timestamp) -> Result<u64, StoreError>;
}

/// Written grants.
#[async_trait]
pub trait GrantStore: Send + Sync {
    /// Grants that name this target for this wallet or for every wallet,
    /// expired ones included.
    async fn find(&self, wallet: &Wallet, target: &MintTarget) -> Result<Vec<Grant>, StoreError>;
    /// Writes one.
    async fn add(&self, grant: &Grant) -> Result<(), StoreError>;
    /// Removes one; false if it was not there.
    async fn remove(&self, id: &GrantId) -> Result<bool, StoreError>;
    /// All of them, newest first.
    async fn list(&self) -> Result<Vec<Grant>, StoreError>;
}

/// The audit could not be written. Nothing may be minted.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditError {
    /// The record was not durable within the deadline.
    #[error("the audit write missed its deadline")]
    Deadline,
    /// Writing failed.
    #[error("the audit cannot be written: {0}")]
    Unavailable(String),
}

/// The append-only audit.
#[async_trait]
pub trait AuditLog: Send + Sync {
    /// Returns once the entry is durable, or fails within the write deadline.
    /// What a credential waits for.
    async fn write(&self, entry: AuditEntry) -> Result<(), AuditError>;

    /// Hands over an entry without waiting. A flood of them is coalesced into
    /// counted summaries; none may delay a [`AuditLog::write`].
    fn note(&self, entry: AuditEntry);

    /// The newest records, oldest first.
    async fn tail(&self, limit: usize) -> Result<Vec<AuditRecord>, StoreError>;

    /// Records after this sequence number, oldest first.
    async fn after(&self, seq: u64, limit: usize) -> Result<Vec<AuditRecord>, StoreError>;

    /// Every record of one mint.
    async fn of_mint(&self, mint_id: &str) -> Result<Vec<AuditRecord>, StoreError>;

    /// Recomputes the whole chain.
    async fn verify(&self) -> Result<Verification, StoreError>;

    /// Did the last write succeed? For readiness; no I/O.
    fn healthy(&self) -> bool;
}
