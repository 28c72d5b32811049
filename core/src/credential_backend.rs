//! What the broker needs of the place where services' API keys are kept. An
//! embedded, sealed SQLite table stands behind this trait today; a vault can
//! tomorrow, so it is async and says nothing of files or keys.

use async_trait::async_trait;
use secrecy::SecretString;

use crate::scope::Service;
use crate::timestamp::Timestamp;
use crate::wallet::Wallet;
use crate::wire::{CredentialSummary, StoredCredential};

/// The largest value, in bytes of UTF-8.
pub const MAX_VALUE_BYTES: usize = 65_536;

/// The most services of one wallet: it bounds what one wallet can fill.
pub const MAX_SERVICES: usize = 256;

/// The backend could not do it. The text is for the log and never holds a value.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CredentialError {
    /// It is not set up; the text says what the operator must do.
    #[error("stored credentials are not set up: {0}")]
    NotReady(&'static str),
    /// It cannot be reached, is locked, full or broken.
    #[error("the credential backend is unavailable: {0}")]
    Unavailable(String),
    /// What is there cannot be opened: another key, or altered.
    #[error("a stored credential cannot be opened: {0}")]
    Sealed(&'static str),
    /// The wallet has [`MAX_SERVICES`] already.
    #[error("the wallet has {MAX_SERVICES} stored credentials already")]
    Full,
}

/// Services' secrets, by wallet. Whoever calls has decided that the session may.
#[async_trait]
pub trait CredentialBackend: Send + Sync {
    /// Writes a value over whatever was there.
    async fn store(
        &self,
        wallet: &Wallet,
        service: &Service,
        value: &SecretString,
        at: Timestamp,
    ) -> Result<(), CredentialError>;

    /// Reads a value.
    async fn read(
        &self,
        wallet: &Wallet,
        service: &Service,
    ) -> Result<Option<StoredCredential>, CredentialError>;

    /// Names what is there, by service.
    async fn list(&self, wallet: &Wallet) -> Result<Vec<CredentialSummary>, CredentialError>;

    /// Removes a value; false if it was not there.
    async fn remove(&self, wallet: &Wallet, service: &Service) -> Result<bool, CredentialError>;
}
