//! Sessions in SQLite: looked up by the hash of their token, revoked with all
//! that descends from them.

use std::sync::Arc;

use agentkeys_core::store::{SessionQuery, SessionStore, StoreError};
use agentkeys_core::{Session, SessionId, Timestamp, TokenHash};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, named_params, params};

use super::lane::Fault;
use super::session_cache::{Found, SessionCache};
use super::session_rows::{self, COLUMNS};
use super::sqlite::is_duplicate;
use super::state::State;

/// The most that one list holds.
const MAX_LISTED: usize = 1_000;

/// Rows that one transaction of a purge removes.
const PURGE_BATCH: usize = 1_000;

/// A session and all below it. UNION, not UNION ALL: a loop in a damaged
/// database must end.
const SUBTREE: &str = "WITH RECURSIVE tree (id) AS (
    SELECT id FROM sessions WHERE id = :root
    UNION SELECT child.id FROM sessions child JOIN tree ON child.parent = tree.id)";

pub(super) struct Sessions {
    state: Arc<State>,
    cache: Arc<SessionCache>,
}

impl Sessions {
    pub fn new(state: Arc<State>, cache: SessionCache) -> Self {
        Self { state, cache: Arc::new(cache) }
    }

    /// Runs one write, in a transaction that holds the write lock from its start.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let cache = Arc::clone(&self.cache);
        self.state
            .writer
            .run(move |connection| {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let value = work(&transaction)?;
                transaction.commit()?;
                cache.invalidate();
                Ok(value)
            })
            .await
    }
}

#[async_trait]
impl SessionStore for Sessions {
    async fn by_token(&self, token: &TokenHash) -> Result<Option<Session>, StoreError> {
        let tag = match self.cache.look_up(token) {
            Found::Hit(session) => return Ok(Some(*session)),
            Found::Miss(tag) => tag,
        };
        let token = *token;
        let cache = Arc::clone(&self.cache);
        self.state
            .lookups
            .run(move |connection| {
                cache.revive();
                let found = one(connection, "token_hash", token.as_bytes().as_slice())?;
                if let (Some(tag), Some(session)) = (tag, &found) {
                    cache.remember(tag, token, session.clone());
                }
                Ok(found)
            })
            .await
    }

    async fn by_id(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        let id = id.clone();
        self.state.lookups.run(move |connection| Ok(one(connection, "id", id.as_str())?)).await
    }

    async fn insert(&self, session: &Session, token: &TokenHash) -> Result<(), StoreError> {
        let (session, token) = (session.clone(), *token);
        self.write(move |transaction| insert(transaction, &session, &token)).await
    }

    async fn revoke(&self, id: &SessionId, at: Timestamp) -> Result<u64, StoreError> {
        let id = id.clone();
        self.write(move |transaction| Ok(revoke(transaction, &id, at)?)).await
    }

    async fn descends_from(&self, id: &SessionId, root: &SessionId) -> Result<bool, StoreError> {
        let (id, root) = (id.clone(), root.clone());
        self.state
            .lookups
            .run(move |connection| {
                let mut statement = connection.prepare_cached(
                    "WITH RECURSIVE line (id, parent) AS (
                         SELECT id, parent FROM sessions WHERE id = ?1
                         UNION SELECT above.id, above.parent FROM sessions above JOIN line ON above.id = line.parent)
                     SELECT EXISTS (SELECT 1 FROM line WHERE id = ?2)",
                )?;
                Ok(statement.query_row(params![id.as_str(), root.as_str()], |row| row.get(0))?)
            })
            .await
    }

    async fn list(&self, query: &SessionQuery) -> Result<Vec<Session>, StoreError> {
        let query = query.clone();
        self.state.lists.run(move |connection| Ok(list(connection, &query)?)).await
    }

    async fn purge(&self, ended_before: Timestamp) -> Result<u64, StoreError> {
        let mut purged = 0;
        loop {
            // A batch each, so that no other write waits long.
            let removed = self.write(move |transaction| Ok(purge_batch(transaction, ended_before)?)).await?;
            purged += removed as u64;
            if removed < PURGE_BATCH {
                return Ok(purged);
            }
        }
    }
}

fn one(
    connection: &Connection,
    column: &'static str,
    key: impl rusqlite::ToSql,
) -> rusqlite::Result<Option<Session>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM sessions WHERE {column} = ?1"))?
        .query_row([key], session_rows::read)
        .optional()
}

/// Writes a session as part of a transaction.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    session: &Session,
    token: &TokenHash,
) -> Result<(), Fault> {
    if let Some(parent) = &session.parent {
        check_parent(transaction, parent, session)?;
    }
    session_rows::insert(transaction, session, token).map_err(|error| {
        if is_duplicate(&error) {
            Fault::Refused(StoreError::Exists(session.id.to_string()))
        } else {
            error.into()
        }
    })
}

/// A child is never more than its parent: none under one that has ended, none
/// that outlives it.
fn check_parent(transaction: &Transaction<'_>, parent: &SessionId, child: &Session) -> Result<(), Fault> {
    let parent = one(transaction, "id", parent.as_str())?
        .filter(|parent| parent.is_live(Timestamp::now()))
        .ok_or(Fault::Refused(StoreError::ParentNotLive))?;
    if child.expires_at > parent.expires_at {
        tracing::error!(session = %child.id, parent = %parent.id, "a child session would outlive its parent");
        return Err(Fault::Refused(StoreError::ParentNotLive));
    }
    Ok(())
}

/// Marks the expired ones too: a clock set back must not bring them to life.
fn revoke(transaction: &Transaction<'_>, id: &SessionId, at: Timestamp) -> rusqlite::Result<u64> {
    let root = id.as_str();
    let live: i64 = transaction
        .prepare_cached(&format!(
            "{SUBTREE} SELECT count(*) FROM sessions
             WHERE id IN tree AND revoked_at IS NULL AND expires_at > :at"
        ))?
        .query_row(named_params! { ":root": root, ":at": at.unix() }, |row| row.get(0))?;
    transaction
        .prepare_cached(&format!(
            "{SUBTREE} UPDATE sessions SET revoked_at = :at WHERE id IN tree AND revoked_at IS NULL"
        ))?
        .execute(named_params! { ":root": root, ":at": at.unix() })?;
    Ok(u64::try_from(live).unwrap_or(0))
}

fn list(connection: &Connection, query: &SessionQuery) -> rusqlite::Result<Vec<Session>> {
    let limit = if query.limit == 0 { MAX_LISTED } else { query.limit.min(MAX_LISTED) };
    let (with, within) = match query.root {
        Some(_) => (SUBTREE, "id IN tree"),
        None => ("", ":root IS NULL"),
    };
    connection
        .prepare_cached(&format!(
            "{with} SELECT {COLUMNS} FROM sessions
             WHERE {within} AND (:wallet IS NULL OR wallet = :wallet)
               AND (:ended OR (revoked_at IS NULL AND expires_at > :now))
             ORDER BY created_at DESC, serial DESC LIMIT :limit"
        ))?
        .query_map(
            named_params! {
                ":root": query.root.as_ref().map(SessionId::as_str),
                ":wallet": query.wallet.as_ref().map(|wallet| wallet.as_str()),
                ":ended": query.include_ended,
                ":now": Timestamp::now().unix(),
                ":limit": limit as i64,
            },
            session_rows::read,
        )?
        .collect()
}

/// From the newest down, and none that still has a child which has not ended
/// (which only a clock set back can bring about).
fn purge_batch(transaction: &Transaction<'_>, before: Timestamp) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(
            "DELETE FROM sessions WHERE serial IN (
                 SELECT serial FROM sessions ended
                 WHERE (expires_at < ?1 OR revoked_at < ?1) AND NOT EXISTS (
                     SELECT 1 FROM sessions child
                     WHERE child.parent = ended.id AND child.expires_at >= ?1
                       AND (child.revoked_at IS NULL OR child.revoked_at >= ?1))
                 ORDER BY serial DESC LIMIT ?2)",
        )?
        .execute(params![before.unix(), PURGE_BATCH as i64])
}
