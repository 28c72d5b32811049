//! The list of what is kept. It holds no secret; it is 0600 all the same, since
//! wallets and brokers are nobody else's business.

use std::fs::File;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{SessionRecord, StoreError, WalletRecord, file_error};
use crate::files;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    #[serde(default)]
    pub sessions: Vec<SessionRecord>,
    #[serde(default)]
    pub wallets: Vec<WalletRecord>,
}

impl List {
    pub fn read(home: &Path) -> Result<Self, StoreError> {
        let path = home.join("sessions.json");
        let Some(text) = files::read_private(&path).map_err(file_error(&path))? else {
            return Ok(Self::default());
        };
        serde_json::from_slice(&text).map_err(|_| StoreError::Damaged(path))
    }

    /// Reads, changes and writes the list under a lock, so that two logins at
    /// once both end up in it.
    pub fn change<T>(home: &Path, change: impl FnOnce(&mut Self) -> T) -> Result<T, StoreError> {
        let path = home.join("sessions.json");
        let lock_path = home.join("sessions.lock");
        files::private_directory(home).map_err(file_error(home))?;
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        // Whoever can open it can hold it, and so keep every login waiting.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options.open(&lock_path).map_err(file_error(&lock_path))?;
        lock.lock().map_err(file_error(&lock_path))?;
        let mut list = Self::read(home)?;
        let result = change(&mut list);
        let text = serde_json::to_vec_pretty(&list).map_err(|_| StoreError::Damaged(path.clone()))?;
        files::write_private(&path, &text).map_err(file_error(&path))?;
        Ok(result)
    }
}
