//! Notices a login, a logout or a new token: the list of sessions is one file,
//! replaced whole, so a look at its metadata tells.

use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use agentkeys_core::{BearerToken, TokenHash};

use crate::sessions::{self, SelectError, SessionRecord, Store, StoreError};
use crate::settings::{Settings, Source, Sourced};

/// The session that the daemon speaks for.
#[derive(Clone, Debug)]
pub struct Current {
    /// Everything but its token.
    pub record: SessionRecord,
    /// Its token.
    pub token: BearerToken,
}

impl Current {
    /// Tells one token from another without keeping either.
    pub fn fingerprint(&self) -> TokenHash {
        self.token.hash()
    }
}

/// Looks at one broker and identity, decided once.
#[derive(Clone)]
pub struct SessionWatch {
    store: Store,
    settings: Settings,
    seen: Option<Mark>,
}

#[derive(Clone, PartialEq, Eq)]
struct Mark {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl SessionWatch {
    /// Watches the session of this choice, whatever else is stored later.
    pub fn new(store: Store, settings: &Settings, choice: &sessions::Choice) -> Self {
        let mut settings = settings.clone();
        settings.broker_url = Sourced { value: Some(choice.broker_url.clone()), source: Source::Flag };
        settings.identity = Sourced { value: Some(choice.identity.clone()), source: Source::Flag };
        Self { store, settings, seen: None }
    }

    /// Has anything been stored or removed since the last [`Self::load`]?
    pub fn has_changed(&self) -> bool {
        self.seen.as_ref() != Some(&mark(&self.store.list_path()))
    }

    /// Reads the session; `None` where nobody is logged in. The keychain may
    /// take its time, so this is not for an async task.
    pub fn load(&mut self) -> Result<Option<Current>, StoreError> {
        // Before reading: a change during it is then seen by the next look.
        self.seen = Some(mark(&self.store.list_path()));
        let record = match sessions::choose(&self.store, &self.settings) {
            Ok(record) => record,
            Err(SelectError::Store(error)) => return Err(error),
            Err(_) => return Ok(None),
        };
        match self.store.token(&record) {
            Ok(token) => Ok(Some(Current { record, token })),
            Err(StoreError::Missing(..)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes the next look see a change: the last reading failed.
    pub fn look_again(&mut self) {
        self.seen = None;
    }
}

fn mark(path: &PathBuf) -> Mark {
    match fs::metadata(path) {
        Ok(metadata) => Mark {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&metadata),
            #[cfg(not(unix))]
            inode: 0,
        },
        Err(_) => Mark { modified: None, length: 0, inode: 0 },
    }
}
