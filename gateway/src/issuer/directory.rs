//! The `signing-keys` directory: `keys.json` with every key's state and public
//! half, and one `key-<kid>.pem` for each key that signs or will.
//!
//! Each change is one atomic replacement of `keys.json` under a lock that other
//! processes see. A key's file is written before the record that names it and
//! removed after the record that does not, so a crash leaves either state whole.

use std::path::{Path, PathBuf};

use agentkeys_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::{FileError, KeyError};
use super::key::SigningKey;
use super::private_file;
use super::records::{KeyEvent, KeyRecord, KeyRecords, KeyState};
use super::settings::IssuerSettings;
use super::signer::LocalSigner;

/// Says what the keys are for, so that a directory of another kind is not taken for this one.
const PURPOSE: &str = "agentkeys-oidc-signing";

/// The keys on disk. Its methods read and write files: call them where that may block.
#[derive(Clone, Debug)]
pub struct KeyDirectory {
    settings: IssuerSettings,
}

/// What `keys.json` held, and the bytes to see a change by.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The keys.
    pub records: KeyRecords,
    /// The file.
    pub bytes: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordFile {
    version: u32,
    purpose: String,
    keys: KeyRecords,
}

impl KeyDirectory {
    /// The directory that the settings name; it is made at the first change.
    pub fn new(settings: IssuerSettings) -> Self {
        Self { settings }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.settings.directory
    }

    /// What is there now; `None` where nothing was ever made.
    pub fn read(&self) -> Result<Option<Snapshot>, KeyError> {
        match private_file::check_directory(self.path()) {
            Ok(()) => {}
            Err(FileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        let path = self.record_path();
        let bytes = match private_file::read(&path) {
            Ok(bytes) => bytes.to_vec(),
            Err(FileError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return if self.key_files()?.is_empty() {
                    Ok(None)
                } else {
                    Err(KeyError::OrphanKeys { directory: self.path().to_owned() })
                };
            }
            Err(error) => return Err(error.into()),
        };
        let bad = |reason: String| KeyError::BadRecord { path: path.clone(), reason };
        let file: RecordFile = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
        if file.version != 1 || file.purpose != PURPOSE {
            return Err(bad(format!("it is not version 1 of '{PURPOSE}'")));
        }
        if let Some(fault) = file.keys.fault() {
            return Err(bad(fault.to_owned()));
        }
        Ok(Some(Snapshot { records: file.keys, bytes }))
    }

    /// The signer of a key that has a private half.
    pub fn signer(&self, record: &KeyRecord) -> Result<LocalSigner, KeyError> {
        let path = self.key_path(record.jwk.kid());
        let key = SigningKey::from_pem(&private_file::read(&path)?, &path)?;
        let found = key.public_jwk()?;
        if found != record.jwk {
            return Err(KeyError::WrongKey {
                path,
                found: found.kid().to_owned(),
                recorded: record.jwk.kid().to_owned(),
            });
        }
        LocalSigner::new(&key)
    }

    /// All keys, for `keys list`.
    pub fn list(&self) -> Result<Vec<KeyRecord>, KeyError> {
        Ok(self.read()?.map(|snapshot| snapshot.records.keys).unwrap_or_default())
    }

    /// `keys generate`: the first key signs at once, a later one is next.
    pub fn generate(&self, now: Timestamp) -> Result<KeyEvent, KeyError> {
        self.change(|records, fresh| add(records, fresh, now))
    }

    /// `keys rotate`. With `force` a key is made where none is next.
    pub fn rotate(&self, now: Timestamp, force: bool) -> Result<Vec<KeyEvent>, KeyError> {
        self.change(|records, fresh| {
            let mut events = Vec::new();
            if force && records.in_state(KeyState::Next).is_none() {
                events.push(add(records, fresh, now)?);
            }
            events.push(records.rotate(now, force, self.settings.publish_before)?);
            Ok(events)
        })
    }

    /// `keys retire KID [--now]`.
    pub fn retire(&self, kid: &str, immediately: bool) -> Result<KeyEvent, KeyError> {
        self.change(|records, _| records.retire(kid, immediately, self.settings.retire_after))
    }

    /// What a serving broker does from time to time: notes that the keys are
    /// published, drops what has ended, makes the next key, lets it sign.
    pub fn tick(&self, now: Timestamp) -> Result<Vec<KeyEvent>, KeyError> {
        self.change(|records, fresh| {
            let mut events = records.expire(now, self.settings.retire_after);
            if records.next_is_due(now, &self.settings) {
                events.push(add(records, fresh, now)?);
            }
            records.mark_published(now);
            if records.rotation_is_due(now, &self.settings) {
                events.push(records.rotate(now, false, self.settings.publish_before)?);
            }
            Ok(events)
        })
    }

    fn change<T>(
        &self,
        work: impl FnOnce(&mut KeyRecords, &mut Vec<SigningKey>) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        private_file::private_directory(self.path())?;
        let _lock = private_file::lock(self.path())?;
        let before = self.read()?.map(|snapshot| snapshot.records).unwrap_or_default();
        let mut after = before.clone();
        let mut fresh = Vec::new();
        let done = work(&mut after, &mut fresh)?;
        for key in &fresh {
            let path = self.key_path(key.public_jwk()?.kid());
            private_file::write_atomically(&path, key.to_pem()?.as_bytes())?;
        }
        if after != before {
            let file = RecordFile { version: 1, purpose: PURPOSE.to_owned(), keys: after.clone() };
            let json = serde_json::to_vec_pretty(&file).map_err(|error| KeyError::BadRecord {
                path: self.record_path(),
                reason: error.to_string(),
            })?;
            private_file::write_atomically(&self.record_path(), &json)?;
        }
        self.sweep(&after)?;
        Ok(done)
    }

    /// Removes private halves that no record needs: retired keys', and what a
    /// crash between two steps of a change left.
    fn sweep(&self, records: &KeyRecords) -> Result<(), KeyError> {
        let needed: Vec<PathBuf> = records
            .keys
            .iter()
            .filter(|key| key.state != KeyState::Retired)
            .map(|key| self.key_path(key.jwk.kid()))
            .collect();
        for path in self.key_files()? {
            if !needed.contains(&path) {
                std::fs::remove_file(&path).map_err(|source| private_file::io(&path, source))?;
            }
        }
        Ok(())
    }

    fn key_files(&self) -> Result<Vec<PathBuf>, KeyError> {
        let entries =
            std::fs::read_dir(self.path()).map_err(|source| private_file::io(self.path(), source))?;
        let mut paths = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| private_file::io(self.path(), source))?;
            if entry
                .file_name()
                .to_str()
                .is_some_and(|name| name.starts_with("key-") && name.ends_with(".pem"))
            {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    }

    fn record_path(&self) -> PathBuf {
        self.path().join("keys.json")
    }

    fn key_path(&self, kid: &str) -> PathBuf {
        self.path().join(format!("key-{kid}.pem"))
    }
}

fn add(records: &mut KeyRecords, fresh: &mut Vec<SigningKey>, now: Timestamp) -> Result<KeyEvent, KeyError> {
    let key = SigningKey::generate()?;
    let event = records.add(key.public_jwk()?, now)?;
    fresh.push(key);
    Ok(event)
}
