//! Services' API keys in SQLite, sealed at rest. The database never holds a value
//! in the clear, and a value never leaves its wallet: every statement names it.

use std::sync::Arc;

use agentkeys_core::credential_backend::{CredentialBackend, CredentialError, MAX_SERVICES};
use agentkeys_core::scope::Service;
use agentkeys_core::store::StoreError;
use agentkeys_core::wire::{CredentialSummary, StoredCredential};
use agentkeys_core::{Timestamp, Wallet};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, named_params, params};
use secrecy::SecretString;

use super::lane::Fault;
use super::sealing::{Place, SealError, Sealed, SealingKey};
use super::state::State;

pub(super) struct SealedCredentials {
    state: Arc<State>,
    key: Arc<SealingKey>,
}

impl SealedCredentials {
    pub fn new(state: Arc<State>, key: SealingKey) -> Self {
        Self { state, key: Arc::new(key) }
    }
}

#[async_trait]
impl CredentialBackend for SealedCredentials {
    async fn store(
        &self,
        wallet: &Wallet,
        service: &Service,
        value: &SecretString,
        at: Timestamp,
    ) -> Result<(), CredentialError> {
        let (wallet, service, value) = (wallet.clone(), service.clone(), value.clone());
        let key = Arc::clone(&self.key);
        self.state
            .writer
            .run(move |connection| write(connection, &key, &wallet, &service, &value, at))
            .await
            .map_err(|error| match error {
                StoreError::Full(_) => CredentialError::Full,
                other => CredentialError::Unavailable(other.to_string()),
            })
    }

    async fn read(
        &self,
        wallet: &Wallet,
        service: &Service,
    ) -> Result<Option<StoredCredential>, CredentialError> {
        let (owner, name) = (wallet.clone(), service.clone());
        let row = self
            .state
            .lookups
            .run(move |connection| Ok(row(connection, &owner, &name)?))
            .await
            .map_err(|error| CredentialError::Unavailable(error.to_string()))?;
        let Some((version, sealed, updated_at)) = row else { return Ok(None) };
        let place = Place { wallet: wallet.as_str(), service: service.as_str(), version };
        let value = self.key.open(&place, sealed).map_err(|error| {
            CredentialError::Sealed(match error {
                SealError::OtherKey => "it is sealed under another key than credentials.key",
                SealError::Altered | SealError::Refused => "it was altered, or belongs to another row",
            })
        })?;
        Ok(Some(StoredCredential { service: service.to_string(), value, updated_at }))
    }

    async fn list(&self, wallet: &Wallet) -> Result<Vec<CredentialSummary>, CredentialError> {
        let wallet = wallet.clone();
        self.state
            .lists
            .run(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT service, updated_at FROM credentials WHERE wallet = ?1 ORDER BY service",
                )?;
                let rows = statement.query_map([wallet.as_str()], |row| {
                    Ok(CredentialSummary {
                        service: row.get(0)?,
                        updated_at: Timestamp::from_unix(row.get(1)?),
                    })
                })?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
            .map_err(|error| CredentialError::Unavailable(error.to_string()))
    }

    async fn remove(&self, wallet: &Wallet, service: &Service) -> Result<bool, CredentialError> {
        let (wallet, service) = (wallet.clone(), service.clone());
        self.state
            .writer
            .run(move |connection| {
                let removed = connection
                    .prepare_cached("DELETE FROM credentials WHERE wallet = ?1 AND service = ?2")?
                    .execute([wallet.as_str(), service.as_str()])?;
                Ok(removed > 0)
            })
            .await
            .map_err(|error| CredentialError::Unavailable(error.to_string()))
    }
}

fn write(
    connection: &mut Connection,
    key: &SealingKey,
    wallet: &Wallet,
    service: &Service,
    value: &SecretString,
    at: Timestamp,
) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before: Option<i64> = transaction
        .prepare_cached("SELECT version FROM credentials WHERE wallet = ?1 AND service = ?2")?
        .query_row([wallet.as_str(), service.as_str()], |row| row.get(0))
        .optional()?;
    if before.is_none() {
        let held: usize = transaction
            .prepare_cached("SELECT count(*) FROM credentials WHERE wallet = ?1")?
            .query_row([wallet.as_str()], |row| row.get(0))?;
        if held >= MAX_SERVICES {
            return Err(Fault::Refused(StoreError::Full("stored credentials")));
        }
    }
    let version = before.unwrap_or(0).saturating_add(1);
    let place = Place { wallet: wallet.as_str(), service: service.as_str(), version };
    let sealed = key
        .seal(&place, value)
        .map_err(|error| Fault::Refused(StoreError::Unavailable(error.to_string())))?;
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO credentials (wallet, service, version, key_id, nonce, sealed, updated_at)
             VALUES (:wallet, :service, :version, :key_id, :nonce, :sealed, :at)",
        )?
        .execute(named_params! {
            ":wallet": wallet.as_str(),
            ":service": service.as_str(),
            ":version": version,
            ":key_id": sealed.key_id.as_slice(),
            ":nonce": sealed.nonce.as_slice(),
            ":sealed": sealed.bytes,
            ":at": at.unix(),
        })?;
    Ok(transaction.commit()?)
}

type Row = (i64, Sealed, Timestamp);

fn row(connection: &Connection, wallet: &Wallet, service: &Service) -> rusqlite::Result<Option<Row>> {
    connection
        .prepare_cached(
            "SELECT version, key_id, nonce, sealed, updated_at FROM credentials
             WHERE wallet = ?1 AND service = ?2",
        )?
        .query_row(params![wallet.as_str(), service.as_str()], |row| {
            let sealed = Sealed { key_id: row.get(1)?, nonce: row.get(2)?, bytes: row.get(3)? };
            Ok((row.get(0)?, sealed, Timestamp::from_unix(row.get(4)?)))
        })
        .optional()
}
