//! `state.sqlite`: sessions, grants, enrolment, pairings and sealed credentials.
//! Three connections, so that a long list never stands before a look-up and a
//! write never before a read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentkeys_core::credential_backend::CredentialBackend;
use agentkeys_core::enrolment::EnrolmentStore;
use agentkeys_core::pairing::PairingStore;
use agentkeys_core::store::{GrantStore, SessionStore};

use super::credentials::SealedCredentials;
use super::enrolment::Enrolment;
use super::grants::Grants;
use super::lane::{BUSY, Lane};
use super::pairings::Pairings;
use super::sealing::SealingKey;
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

/// The broker's state in one SQLite file.
pub struct Store {
    path: PathBuf,
    state: Arc<State>,
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
    migrations: &[
        "
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
",
        "
CREATE TABLE challenge_key (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    key BLOB NOT NULL CHECK (length(key) = 32)
) STRICT;
CREATE TABLE used_challenges (
    nonce      TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX used_challenges_by_end ON used_challenges (expires_at);
CREATE TABLE enrolled_wallets (
    wallet      TEXT PRIMARY KEY,
    enrolled_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE invites (
    serial     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    code_hash  BLOB NOT NULL UNIQUE CHECK (length(code_hash) = 32),
    wallet     TEXT,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_by    TEXT,
    used_at    INTEGER
) STRICT;
CREATE TABLE pairings (
    device_hash BLOB PRIMARY KEY CHECK (length(device_hash) = 32),
    user_code   TEXT NOT NULL UNIQUE,
    label       TEXT,
    scope       TEXT NOT NULL,
    ttl_seconds INTEGER,
    source      TEXT NOT NULL,
    network     TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'denied', 'taken')),
    approval    TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX pairings_by_end ON pairings (expires_at);
CREATE TABLE credentials (
    wallet     TEXT NOT NULL,
    service    TEXT NOT NULL,
    version    INTEGER NOT NULL,
    key_id     BLOB NOT NULL,
    nonce      BLOB NOT NULL CHECK (length(nonce) = 12),
    sealed     BLOB NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (wallet, service)
) STRICT;
",
    ],
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
            grants: Arc::new(Grants::new(Arc::clone(&state))),
            state,
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

    /// Which wallets may sign in.
    pub fn enrolment(&self) -> Arc<dyn EnrolmentStore> {
        Arc::new(Enrolment::new(Arc::clone(&self.state), Arc::clone(&self.sessions)))
    }

    /// Devices that ask for a session.
    pub fn pairings(&self) -> Arc<dyn PairingStore> {
        Arc::new(Pairings::new(Arc::clone(&self.state), Arc::clone(&self.sessions)))
    }

    /// Services' API keys, sealed under this key.
    pub fn credentials(&self, key: SealingKey) -> Arc<dyn CredentialBackend> {
        Arc::new(SealedCredentials::new(Arc::clone(&self.state), key))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
