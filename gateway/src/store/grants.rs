//! Grants in SQLite. A grant whose wallet is null is for every wallet.

use std::convert::Infallible;
use std::sync::Arc;

use agentkeys_core::grant::{Grant, GrantId, MintTarget};
use agentkeys_core::store::{GrantStore, StoreError};
use agentkeys_core::{Timestamp, Wallet};
use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, named_params, params};

use super::lane::Fault;
use super::session_rows::parsed;
use super::sqlite::is_duplicate;
use super::state::State;

const COLUMNS: &str =
    "id, wallet, target_kind, target, read_only, max_duration_seconds, created_at, expires_at";

pub(super) struct Grants {
    state: Arc<State>,
}

impl Grants {
    pub fn new(state: Arc<State>) -> Self {
        Self { state }
    }
}

#[async_trait]
impl GrantStore for Grants {
    async fn find(&self, wallet: &Wallet, target: &MintTarget) -> Result<Vec<Grant>, StoreError> {
        let (wallet, target) = (wallet.clone(), target.clone());
        self.state
            .lookups
            .run(move |connection| {
                let (kind, name) = columns(&target);
                let mut statement = connection.prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM grants
                     WHERE target_kind = ?1 AND target = ?2 AND (wallet IS NULL OR wallet = ?3)
                     ORDER BY serial DESC"
                ))?;
                let rows = statement.query_map(params![kind, name, wallet.as_str()], read)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    async fn add(&self, grant: &Grant) -> Result<(), StoreError> {
        let grant = grant.clone();
        self.state
            .writer
            .run(move |connection| {
                insert(connection, &grant).map_err(|error| {
                    if is_duplicate(&error) {
                        Fault::Refused(StoreError::Exists(grant.id.to_string()))
                    } else {
                        error.into()
                    }
                })
            })
            .await
    }

    async fn remove(&self, id: &GrantId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.state
            .writer
            .run(move |connection| {
                let removed =
                    connection.prepare_cached("DELETE FROM grants WHERE id = ?1")?.execute([id.as_str()])?;
                Ok(removed > 0)
            })
            .await
    }

    async fn list(&self) -> Result<Vec<Grant>, StoreError> {
        self.state
            .lists
            .run(|connection| {
                let mut statement = connection
                    .prepare_cached(&format!("SELECT {COLUMNS} FROM grants ORDER BY serial DESC"))?;
                let rows = statement.query_map([], read)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }
}

fn columns(target: &MintTarget) -> (&'static str, &str) {
    match target {
        MintTarget::Role(alias) => ("role", alias.as_str()),
        MintTarget::Audience(audience) => ("audience", audience),
    }
}

fn insert(connection: &Connection, grant: &Grant) -> rusqlite::Result<()> {
    let (kind, name) = columns(&grant.target);
    connection
        .prepare_cached(&format!(
            "INSERT INTO grants ({COLUMNS})
             VALUES (:id, :wallet, :kind, :name, :read_only, :seconds, :created, :expires)"
        ))?
        .execute(named_params! {
            ":id": grant.id.as_str(),
            ":wallet": grant.wallet.as_ref().map(|wallet| wallet.as_str()),
            ":kind": kind,
            ":name": name,
            ":read_only": grant.read_only,
            ":seconds": grant.max_duration_seconds,
            ":created": grant.created_at.unix(),
            ":expires": grant.expires_at.map(Timestamp::unix),
        })?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Grant> {
    let kind: String = row.get(2)?;
    let target = match kind.as_str() {
        "role" => MintTarget::Role(parsed(row, 3, |text| text.parse())?),
        _ => MintTarget::Audience(parsed(row, 3, |text| Ok::<_, Infallible>(text.to_owned()))?),
    };
    let wallet = row.get::<_, Option<String>>(1)?.map(|text| text.parse::<Wallet>()).transpose();
    Ok(Grant {
        id: GrantId::from_text(row.get::<_, String>(0)?),
        wallet: wallet
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error)))?,
        target,
        read_only: row.get(4)?,
        max_duration_seconds: row.get(5)?,
        created_at: Timestamp::from_unix(row.get(6)?),
        expires_at: row.get::<_, Option<i64>>(7)?.map(Timestamp::from_unix),
    })
}
