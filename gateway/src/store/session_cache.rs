//! Sessions remembered for as long as nobody has written to the database.
//!
//! `PRAGMA data_version` on a connection that never writes changes with every
//! commit of any other connection, of this process or another. One differing
//! number forgets everything, so a revocation counts from the next request on.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentkeys_core::{Session, TokenHash};
use prometheus::IntCounter;

use super::lane::BUSY;
use super::sqlite::{self, Access, OpenError, Opened};
use super::state::SCHEMA;
use crate::metrics::Metrics;

/// Sessions kept: twice this at most, about 10 MB.
const HALF: usize = 8_192;

pub(super) struct SessionCache {
    path: PathBuf,
    inner: Mutex<Inner>,
    generation: AtomicU64,
    hits: IntCounter,
    misses: IntCounter,
}

/// A state of the database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    generation: u64,
    data_version: i64,
}

pub(super) enum Found {
    Hit(Box<Session>),
    /// Read it from the store; with a tag, what is read may be remembered.
    Miss(Option<Tag>),
}

/// Two halves: the younger becomes the older when it is full, which drops what
/// was not asked for since. An exact order of use would cost more than it saves.
struct Inner {
    watch: Option<Opened>,
    tag: Option<Tag>,
    young: HashMap<TokenHash, Session>,
    old: HashMap<TokenHash, Session>,
}

impl SessionCache {
    pub fn open(path: PathBuf, metrics: &Metrics) -> Result<Self, OpenError> {
        let watch = watch(&path)?;
        Ok(Self {
            path,
            inner: Mutex::new(Inner {
                watch: Some(watch),
                tag: None,
                young: HashMap::new(),
                old: HashMap::new(),
            }),
            generation: AtomicU64::new(0),
            hits: metrics.session_cache.with_label_values(&["hit"]),
            misses: metrics.session_cache.with_label_values(&["miss"]),
        })
    }

    /// Forgets everything: this process has written.
    pub fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    /// Quick enough for an async thread: no statement here waits for a lock or
    /// reads a page of the file.
    pub fn look_up(&self, token: &TokenHash) -> Found {
        let mut inner = self.lock();
        let tag = inner.current_tag(self.generation.load(Ordering::SeqCst));
        if tag.is_none() || inner.tag != tag {
            inner.forget(tag);
        }
        let found = inner.get(token);
        drop(inner);
        match found {
            Some(session) => {
                self.hits.inc();
                Found::Hit(Box::new(session))
            }
            None => {
                self.misses.inc();
                Found::Miss(tag)
            }
        }
    }

    /// Keeps what was read after `tag` was taken, unless the tag has gone by.
    pub fn remember(&self, tag: Tag, token: TokenHash, session: Session) {
        let mut inner = self.lock();
        if inner.tag == Some(tag) {
            inner.put(token, session);
        }
    }

    /// Opens the watching connection again if it was lost. Does I/O.
    pub fn revive(&self) {
        if self.lock().watch.is_some() {
            return;
        }
        match watch(&self.path) {
            Ok(watch) => {
                self.invalidate();
                self.lock().watch = Some(watch);
            }
            Err(error) => tracing::warn!(%error, "sessions are not cached"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It waits for nobody: what is busy is a miss, and the miss waits elsewhere.
fn watch(path: &Path) -> Result<Opened, OpenError> {
    let opened = sqlite::open(path, &SCHEMA, Access::Read, BUSY)?;
    opened
        .connection
        .busy_timeout(Duration::ZERO)
        .map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })?;
    Ok(opened)
}

impl Inner {
    fn current_tag(&mut self, generation: u64) -> Option<Tag> {
        let watch = self.watch.as_ref()?;
        let version = watch.is_current().then(|| {
            let mut statement = watch.connection.prepare_cached("PRAGMA data_version")?;
            statement.query_row([], |row| row.get(0))
        });
        match version {
            Some(Ok(data_version)) => Some(Tag { generation, data_version }),
            Some(Err(error)) if sqlite::is_busy(&error) => None,
            Some(Err(_)) | None => {
                self.watch = None;
                None
            }
        }
    }

    fn forget(&mut self, tag: Option<Tag>) {
        self.young.clear();
        self.old.clear();
        self.tag = tag;
    }

    fn get(&mut self, token: &TokenHash) -> Option<Session> {
        if let Some(session) = self.young.get(token) {
            return Some(session.clone());
        }
        let session = self.old.remove(token)?;
        self.put(*token, session.clone());
        Some(session)
    }

    fn put(&mut self, token: TokenHash, session: Session) {
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, session);
    }
}
