//! What this machine keeps: sessions at brokers, and wallet keys.
//!
//! A list without secrets (`sessions.json`) says what there is and where its
//! secret lies; the secret itself is in the keychain, or in a file of mode 0600.
//! A choice between two is never made silently.

mod keychain;
mod list;
mod secrets;
mod select;

use std::path::{Path, PathBuf};

use agentkeys_core::{BearerToken, SessionId, SessionKind, Timestamp, Wallet};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

pub use secrets::{Keeper, short_digest as digest};
pub use select::{Choice, SelectError, choose, target};

use crate::identity::Identity;
use crate::settings::{BrokerUrl, Settings};
use list::List;
use secrets::Secrets;

/// A session as the list shows it: everything but its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The broker it is with.
    pub broker_url: BrokerUrl,
    /// What the person calls it.
    pub identity: Identity,
    /// Its id at the broker.
    pub session_id: SessionId,
    /// The wallet it acts for.
    pub wallet: Wallet,
    /// How it came to be.
    pub kind: SessionKind,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Where its token lies.
    pub kept_in: Keeper,
}

/// A wallet key as the list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletRecord {
    /// What the person calls it. One wallet serves this identity at every
    /// broker, so that moving to another broker changes only the URL.
    pub identity: Identity,
    /// Its address.
    pub wallet: Wallet,
    /// Where its key lies.
    pub kept_in: Keeper,
}

/// What is kept cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The list is not what this program wrote.
    #[error("{0} is damaged; move it away and log in again")]
    Damaged(PathBuf),
    /// The keychain.
    #[error("the keychain {0}")]
    Keychain(String),
    /// The list names a secret that is not there any more.
    #[error("the {0} keeps no secret for {1} any more; log in again")]
    Missing(Keeper, String),
}

/// Everything that is kept under one home directory.
#[derive(Clone, Debug)]
pub struct Store {
    home: PathBuf,
    secrets: Secrets,
}

/// Where a secret ended up, and why not in the keychain if it did not.
#[derive(Debug)]
pub struct Kept {
    /// Where.
    pub keeper: Keeper,
    /// To be said once: the keychain was wanted, and could not be had.
    pub fallback: Option<String>,
}

impl Store {
    /// The store that the settings name.
    pub fn open(settings: &Settings) -> Self {
        let home = settings.home.value.clone();
        Self { secrets: Secrets::new(&home, settings.session_store.value), home }
    }

    /// The list's file: what changes when a session is stored or removed.
    pub fn list_path(&self) -> PathBuf {
        self.home.join("sessions.json")
    }

    /// Where this machine's running parts put sockets and token files.
    pub fn run_directory(&self) -> PathBuf {
        self.home.join("run")
    }

    /// Every session, in the order they were stored.
    pub fn sessions(&self) -> Result<Vec<SessionRecord>, StoreError> {
        Ok(List::read(&self.home)?.sessions)
    }

    /// Keeps a session in place of the one with the same broker and identity.
    pub fn keep(&self, mut record: SessionRecord, token: &BearerToken) -> Result<Kept, StoreError> {
        let name = session_name(&record.broker_url, &record.identity);
        let kept = self.secrets.put(&name, &SecretString::from(token.expose()))?;
        record.kept_in = kept.keeper;
        let before = List::change(&self.home, |list| {
            let same = |r: &SessionRecord| r.broker_url == record.broker_url && r.identity == record.identity;
            let before = list.sessions.iter().find(|r| same(r)).cloned();
            list.sessions.retain(|r| !same(r));
            list.sessions.push(record.clone());
            before
        })?;
        self.tidy(before.map(|record| record.kept_in), kept.keeper, &name)?;
        Ok(kept)
    }

    /// The token of a session in the list.
    pub fn token(&self, record: &SessionRecord) -> Result<BearerToken, StoreError> {
        let name = session_name(&record.broker_url, &record.identity);
        let secret = self.secrets.get(record.kept_in, &name)?;
        let secret = secret.ok_or_else(|| StoreError::Missing(record.kept_in, name.clone()))?;
        // Anything that is not a token (a half-written or foreign entry) is no session.
        BearerToken::parse(secret.expose_secret()).map_err(|_| StoreError::Missing(record.kept_in, name))
    }

    /// Forgets a session; its token is gone before the list says so.
    pub fn forget(&self, record: &SessionRecord) -> Result<(), StoreError> {
        let name = session_name(&record.broker_url, &record.identity);
        self.secrets.delete(record.kept_in, &name)?;
        List::change(&self.home, |list| list.sessions.retain(|kept| kept != record))
    }

    /// Every wallet key.
    pub fn wallets(&self) -> Result<Vec<WalletRecord>, StoreError> {
        Ok(List::read(&self.home)?.wallets)
    }

    /// Keeps a new wallet key. One that is there already is never replaced: it
    /// may be the only key to somebody's data.
    pub fn keep_wallet(
        &self,
        identity: &Identity,
        wallet: &Wallet,
        key: &SecretString,
    ) -> Result<Kept, StoreError> {
        let name = wallet_name(identity);
        let kept = self.secrets.put(&name, key)?;
        let record =
            WalletRecord { identity: identity.clone(), wallet: wallet.clone(), kept_in: kept.keeper };
        List::change(&self.home, |list| list.wallets.push(record.clone()))?;
        Ok(kept)
    }

    /// The key of a wallet in the list.
    pub fn wallet_key(&self, record: &WalletRecord) -> Result<SecretString, StoreError> {
        let name = wallet_name(&record.identity);
        self.secrets.get(record.kept_in, &name)?.ok_or(StoreError::Missing(record.kept_in, name))
    }

    /// Removes the copy in the other place once the new one is in the list.
    fn tidy(&self, before: Option<Keeper>, now: Keeper, name: &str) -> Result<(), StoreError> {
        match before {
            Some(before) if before != now => self.secrets.delete(before, name),
            _ => Ok(()),
        }
    }
}

fn session_name(broker: &BrokerUrl, identity: &Identity) -> String {
    format!("session:{identity}@{broker}")
}

fn wallet_name(identity: &Identity) -> String {
    format!("wallet:{identity}")
}

fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + '_ {
    move |source| StoreError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
