//! `state.sqlite`: sessions and grants. Three connections, so that a long list
//! never stands before a look-up and a write never before a read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentkeys_core::store::{GrantStore, SessionStore};

use super::grants::Grants;
use super::lane::{BUSY, Lane};
use super::session_cache::SessionCache;
use super::sessions::Sessions;
use super::sqlite::{self, Access, OpenError, Schema};
use crate::metrics::Metrics;

/// Where the state is, and who counts.
pub struct StoreSettings {
    /// The database file; its directory must exist.
    pub state_path: PathBuf,
    /// Counts cache hits and misses.
    pub metrics: Arc<Metrics>,
}

/// Sessions and grants in one SQLite file.
pub struct Store {
    path: PathBuf,
    sessions: Arc<Sessions>,
    grants: Arc<Grants>,
}

/// What the stores of one file share.
pub(super) struct State {
    pub writer: Lane,
    pub lookups: Lane,
    pub lists: Lane,
}

/// The children of a session carry a greater `serial` than it: purging from the
/// greatest down never leaves a child without its parent.
pub(super) const SCHEMA: Schema = Schema {
    what: "a broker's state database",
    application_id: 0x414B_5354,
    migrations: &["
CREATE TABLE sessions (
    serial     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    token_hash BLOB NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    wallet     TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('master', 'issued', 'child')),
    label      TEXT,
    parent     TEXT REFERENCES sessions (id),
    scope      TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;
CREATE INDEX sessions_by_parent ON sessions (parent) WHERE parent IS NOT NULL;
CREATE INDEX sessions_by_wallet ON sessions (wallet);
CREATE INDEX sessions_by_creation ON sessions (created_at);
CREATE TABLE grants (
    serial               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                   TEXT NOT NULL UNIQUE,
    wallet               TEXT,
    target_kind          TEXT NOT NULL CHECK (target_kind IN ('role', 'audience')),
    target               TEXT NOT NULL,
    read_only            INTEGER NOT NULL CHECK (read_only IN (0, 1)),
    max_duration_seconds INTEGER,
    created_at           INTEGER NOT NULL,
    expires_at           INTEGER
) STRICT;
CREATE INDEX grants_by_target ON grants (target_kind, target, wallet);
"],
};

impl Store {
    /// Opens the file, making it where it is missing.
    pub fn open(settings: StoreSettings) -> Result<Self, OpenError> {
        let path = settings.state_path;
        drop(sqlite::open(&path, &SCHEMA, Access::Create, BUSY)?);
        let lane = |access| {
            let path = path.clone();
            Lane::open(move || sqlite::open(&path, &SCHEMA, access, BUSY))
        };
        let state = Arc::new(State {
            writer: lane(Access::Write)?,
            lookups: lane(Access::Read)?,
            lists: lane(Access::Read)?,
        });
        let cache = SessionCache::open(path.clone(), &settings.metrics)?;
        Ok(Self {
            path,
            sessions: Arc::new(Sessions::new(Arc::clone(&state), cache)),
            grants: Arc::new(Grants::new(state)),
        })
    }

    /// The sessions.
    pub fn sessions(&self) -> Arc<dyn SessionStore> {
        Arc::clone(&self.sessions) as Arc<dyn SessionStore>
    }

    /// The grants.
    pub fn grants(&self) -> Arc<dyn GrantStore> {
        Arc::clone(&self.grants) as Arc<dyn GrantStore>
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
