//! The credential backend, and the key that it seals with.

use std::path::Path;
use std::sync::Arc;

use agentkeys_core::credential_backend::{CredentialBackend, CredentialError};
use agentkeys_core::scope::Service;
use agentkeys_core::wire::{CredentialSummary, StoredCredential};
use agentkeys_core::{Timestamp, Wallet};
use anyhow::Context;
use async_trait::async_trait;
use secrecy::SecretString;

use crate::config::{Environment, Settings, secret};
use crate::issuer::private_file;
use crate::store::{SealingKey, Store};

/// The file that a local broker makes.
const FILE: &str = "credentials.key";

/// The embedded backend under the configured key, or one that refuses and says
/// what is missing. A hosted broker never makes a key by itself: one that is lost
/// with its disk would take every stored credential with it.
pub(super) async fn backend(
    settings: &Settings,
    environment: &Environment,
    store: &Store,
) -> anyhow::Result<Arc<dyn CredentialBackend>> {
    let key = match &settings.credentials_key {
        Some(reference) => {
            let text = reference
                .resolve(environment, secret::FETCH_DEADLINE)
                .await
                .context("credentials.key cannot be read")?;
            SealingKey::parse(&text).with_context(|| format!("credentials.key: {reference}"))?
        }
        None if settings.issuer.is_loopback() => local_key(&settings.data_dir.join(FILE))?,
        None => {
            tracing::warn!("credentials.key is not set: this broker serves no stored credentials");
            return Ok(Arc::new(NotSetUp));
        }
    };
    Ok(store.credentials(key))
}

fn local_key(path: &Path) -> anyhow::Result<SealingKey> {
    if path.symlink_metadata().is_ok() {
        let bytes = private_file::read(path)?;
        let text = std::str::from_utf8(&bytes).map(SecretString::from);
        let text = text.map_err(|_| anyhow::anyhow!("{} is not text", path.display()))?;
        return SealingKey::parse(&text).with_context(|| path.display().to_string());
    }
    let (key, text) = SealingKey::generate()?;
    private_file::write_atomically(path, text.as_bytes())?;
    tracing::info!(
        path = %path.display(),
        "made the key that seals stored credentials; keep a copy, or they are lost with it"
    );
    Ok(key)
}

/// Stands in where no key is configured: refuses everything.
struct NotSetUp;

const REASON: &str = "its operator has not set credentials.key";

#[async_trait]
impl CredentialBackend for NotSetUp {
    async fn store(
        &self,
        _: &Wallet,
        _: &Service,
        _: &SecretString,
        _: Timestamp,
    ) -> Result<(), CredentialError> {
        Err(CredentialError::NotReady(REASON))
    }

    async fn read(&self, _: &Wallet, _: &Service) -> Result<Option<StoredCredential>, CredentialError> {
        Err(CredentialError::NotReady(REASON))
    }

    async fn list(&self, _: &Wallet) -> Result<Vec<CredentialSummary>, CredentialError> {
        Err(CredentialError::NotReady(REASON))
    }

    async fn remove(&self, _: &Wallet, _: &Service) -> Result<bool, CredentialError> {
        Err(CredentialError::NotReady(REASON))
    }
}
