//! The keys that a running broker uses: which one signs, which ones are
//! published, and the key set as it is served. A change replaces all of it at
//! once, so a token's key is published whenever the token can be seen.

use std::sync::{Arc, Mutex, PoisonError};

use agentkeys_core::Timestamp;
use arc_swap::ArcSwap;

use super::directory::{KeyDirectory, Snapshot};
use super::documents::JwksDocument;
use super::error::KeyError;
use super::key::PublicJwk;
use super::records::{KeyEvent, KeyRecord, KeyRecords, KeyState};
use super::settings::IssuerSettings;
use super::signer::Signer;

/// The keys and who may change them.
pub struct Keyring {
    source: Source,
    ring: ArcSwap<Ring>,
    change: Mutex<()>,
}

enum Source {
    /// Files in a directory.
    Directory(KeyDirectory),
    /// Keys held elsewhere, as the configuration lists them.
    Elsewhere(String),
}

/// One consistent view.
pub struct Ring {
    signer: Arc<dyn Signer>,
    records: Vec<KeyRecord>,
    jwks: JwksDocument,
    bytes: Vec<u8>,
}

impl Keyring {
    /// Opens the directory. A missing key is made only where the settings say so.
    pub fn open(settings: &IssuerSettings, now: Timestamp) -> Result<(Self, Vec<KeyEvent>), KeyError> {
        let directory = KeyDirectory::new(settings.clone());
        let mut events = Vec::new();
        let current = |snapshot: &Snapshot| snapshot.records.in_state(KeyState::Current).is_some();
        if !directory.read()?.as_ref().is_some_and(current) && settings.generate_missing {
            events.push(directory.generate(now)?);
        }
        let ring = load(&directory, None)?;
        let source = Source::Directory(directory);
        Ok((Self { source, ring: ArcSwap::from_pointee(ring), change: Mutex::new(()) }, events))
    }

    /// Keys that are held elsewhere (KMS): the one that signs, and public halves
    /// of those that are next or retired.
    pub fn elsewhere(
        place: impl Into<String>,
        signer: Arc<dyn Signer>,
        others: Vec<(KeyState, PublicJwk)>,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let listed = [(KeyState::Current, signer.public_jwk().clone())].into_iter().chain(others);
        let records = KeyRecords {
            keys: listed
                .map(|(state, jwk)| KeyRecord {
                    state,
                    created_at: now,
                    published_at: Some(now),
                    activated_at: (state == KeyState::Current).then_some(now),
                    retired_at: (state == KeyState::Retired).then_some(now),
                    jwk,
                })
                .collect(),
        };
        let place = place.into();
        if let Some(fault) = records.fault() {
            return Err(KeyError::BadRecord { path: place.into(), reason: fault.to_owned() });
        }
        let ring = Ring::new(signer, records.keys, Vec::new())?;
        Ok(Self {
            source: Source::Elsewhere(place),
            ring: ArcSwap::from_pointee(ring),
            change: Mutex::new(()),
        })
    }

    /// The view of this moment.
    pub fn ring(&self) -> Arc<Ring> {
        self.ring.load_full()
    }

    /// Makes a key.
    pub fn generate(&self, now: Timestamp) -> Result<KeyEvent, KeyError> {
        self.changed(|directory| directory.generate(now))
    }

    /// Lets the next key sign.
    pub fn rotate(&self, now: Timestamp, force: bool) -> Result<Vec<KeyEvent>, KeyError> {
        self.changed(|directory| directory.rotate(now, force))
    }

    /// Drops a key.
    pub fn retire(&self, kid: &str, immediately: bool) -> Result<KeyEvent, KeyError> {
        self.changed(|directory| directory.retire(kid, immediately))
    }

    /// Reads again what another process may have changed, then does what is due.
    /// On an error the keys in use stay as they are.
    pub fn tick(&self, now: Timestamp) -> Result<Vec<KeyEvent>, KeyError> {
        let Source::Directory(directory) = &self.source else { return Ok(Vec::new()) };
        let mut events = Vec::new();
        if self.reload()? {
            events.push(KeyEvent::Reloaded);
        }
        // A lost directory must stop the rotation, not start a new identity.
        if directory.read()?.is_none() {
            return Err(no_current(directory));
        }
        events.extend(self.changed(|directory| directory.tick(now))?);
        Ok(events)
    }

    /// Reads the keys again; true where they differ from those in use.
    pub fn reload(&self) -> Result<bool, KeyError> {
        let _one_at_a_time = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.reload_locked()
    }

    fn changed<T>(&self, work: impl FnOnce(&KeyDirectory) -> Result<T, KeyError>) -> Result<T, KeyError> {
        match &self.source {
            Source::Elsewhere(place) => Err(KeyError::ReadOnly { place: place.clone() }),
            Source::Directory(directory) => {
                let _one_at_a_time = self.change.lock().unwrap_or_else(PoisonError::into_inner);
                let done = work(directory)?;
                self.reload_locked()?;
                Ok(done)
            }
        }
    }

    fn reload_locked(&self) -> Result<bool, KeyError> {
        let Source::Directory(directory) = &self.source else { return Ok(false) };
        let old = self.ring.load_full();
        let snapshot = directory.read()?.ok_or_else(|| no_current(directory))?;
        if snapshot.bytes == old.bytes {
            return Ok(false);
        }
        self.ring.store(Arc::new(load(directory, Some(&old))?));
        Ok(true)
    }
}

impl Ring {
    fn new(signer: Arc<dyn Signer>, records: Vec<KeyRecord>, bytes: Vec<u8>) -> Result<Self, KeyError> {
        let keys: Vec<&PublicJwk> = records.iter().map(|record| &record.jwk).collect();
        let jwks =
            JwksDocument::of(&keys).map_err(|_| KeyError::Crypto("the key set does not become JSON"))?;
        Ok(Self { signer, records, jwks, bytes })
    }

    /// The key that signs.
    pub fn signer(&self) -> &Arc<dyn Signer> {
        &self.signer
    }

    /// Every key that is published.
    pub fn records(&self) -> &[KeyRecord] {
        &self.records
    }

    /// The key set.
    pub fn jwks(&self) -> &JwksDocument {
        &self.jwks
    }
}

/// Reads records and private halves. Another process may change them in between,
/// and then one more look settles it.
fn load(directory: &KeyDirectory, old: Option<&Ring>) -> Result<Ring, KeyError> {
    let first = directory.read()?.ok_or_else(|| no_current(directory))?;
    match build(directory, &first, old) {
        Ok(ring) => Ok(ring),
        Err(error) => match directory.read()? {
            Some(second) if second.bytes != first.bytes => build(directory, &second, old),
            _ => Err(error),
        },
    }
}

fn build(directory: &KeyDirectory, snapshot: &Snapshot, old: Option<&Ring>) -> Result<Ring, KeyError> {
    let current = snapshot.records.in_state(KeyState::Current).ok_or_else(|| no_current(directory))?;
    if let Some(next) = snapshot.records.in_state(KeyState::Next) {
        // Read now, so that a damaged file shows up a day before it would have to sign.
        directory.signer(next)?;
    }
    let signer = match old {
        Some(ring) if ring.signer.public_jwk() == &current.jwk => Arc::clone(&ring.signer),
        _ => Arc::new(directory.signer(current)?),
    };
    Ring::new(signer, snapshot.records.keys.clone(), snapshot.bytes.clone())
}

fn no_current(directory: &KeyDirectory) -> KeyError {
    KeyError::NoCurrentKey { place: directory.path().display().to_string() }
}

#[cfg(test)]
#[path = "keyring_tests.rs"]
mod tests;
