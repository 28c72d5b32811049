//! Pairings in SQLite. Anybody may ask for one, so how many wait is bounded, and
//! what has ended is forgotten on the next write.

use std::net::Ipv6Addr;
use std::sync::Arc;

use agentkeys_core::pairing::{Decision, Pairing, PairingBounds, PairingState, PairingStore};
use agentkeys_core::store::StoreError;
use agentkeys_core::{Session, Timestamp, TokenHash, UserCode};
use async_trait::async_trait;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, named_params, params};

use super::lane::Fault;
use super::session_rows::parsed;
use super::sessions::{self, Sessions};
use super::sqlite::is_duplicate;
use super::state::State;

const SELECT: &str = "SELECT user_code, label, scope, ttl_seconds, source, created_at, expires_at, state, approval FROM pairings";

/// How long an ended pairing can still say that it has ended.
const KEEP_ENDED: i64 = 3_600;

pub(super) struct Pairings {
    state: Arc<State>,
    sessions: Arc<Sessions>,
}

impl Pairings {
    pub fn new(state: Arc<State>, sessions: Arc<Sessions>) -> Self {
        Self { state, sessions }
    }
}

#[async_trait]
impl PairingStore for Pairings {
    async fn open(
        &self,
        pairing: &Pairing,
        device: &TokenHash,
        bounds: PairingBounds,
    ) -> Result<(), StoreError> {
        let (pairing, device) = (pairing.clone(), *device);
        self.state
            .writer
            .run(move |connection| {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                open(&transaction, &pairing, &device, bounds)?;
                Ok(transaction.commit()?)
            })
            .await
    }

    async fn by_user_code(&self, code: &UserCode) -> Result<Option<Pairing>, StoreError> {
        let code = code.clone();
        self.state
            .lookups
            .run(move |connection| {
                Ok(connection
                    .prepare_cached(&format!("{SELECT} WHERE user_code = ?1"))?
                    .query_row([code.as_str()], read)
                    .optional()?)
            })
            .await
    }

    async fn by_device(&self, device: &TokenHash) -> Result<Option<Pairing>, StoreError> {
        let device = *device;
        self.state.lookups.run(move |connection| Ok(of_device(connection, &device)?)).await
    }

    async fn decide(&self, code: &UserCode, decision: Decision, at: Timestamp) -> Result<bool, StoreError> {
        let code = code.clone();
        self.state
            .writer
            .run(move |connection| {
                let (state, approval) = match &decision {
                    Decision::Approve(approval) => (
                        "approved",
                        Some(
                            serde_json::to_string(approval)
                                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?,
                        ),
                    ),
                    Decision::Deny => ("denied", None),
                };
                let decided = connection.execute(
                    "UPDATE pairings SET state = ?1, approval = ?2
                     WHERE user_code = ?3 AND state = 'pending' AND expires_at > ?4",
                    params![state, approval, code.as_str(), at.unix()],
                )?;
                Ok(decided == 1)
            })
            .await
    }

    async fn take(
        &self,
        device: &TokenHash,
        session: &Session,
        token: &TokenHash,
    ) -> Result<bool, StoreError> {
        let (device, session, token) = (*device, session.clone(), *token);
        self.sessions
            .write(move |transaction| {
                let taken = transaction.execute(
                    "UPDATE pairings SET state = 'taken'
                     WHERE device_hash = ?1 AND state = 'approved' AND expires_at > ?2",
                    params![device.as_bytes().as_slice(), session.created_at.unix()],
                )?;
                if taken == 0 {
                    return Ok(false);
                }
                sessions::insert(transaction, &session, &token)?;
                Ok(true)
            })
            .await
    }

    async fn pending(&self, now: Timestamp) -> Result<Vec<Pairing>, StoreError> {
        self.state
            .lists
            .run(move |connection| {
                let mut statement = connection.prepare_cached(&format!(
                    "{SELECT} WHERE state = 'pending' AND expires_at > ?1
                     ORDER BY created_at DESC LIMIT 1000"
                ))?;
                let rows = statement.query_map([now.unix()], read)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }
}

fn open(
    transaction: &Transaction<'_>,
    pairing: &Pairing,
    device: &TokenHash,
    bounds: PairingBounds,
) -> Result<(), Fault> {
    let now = pairing.created_at.unix();
    transaction.execute("DELETE FROM pairings WHERE expires_at < ?1", [now - KEEP_ENDED])?;
    // Denied and taken ones count too until they end: deciding quickly must not
    // make room for a flood.
    let network = network(&pairing.source);
    let count = |network: Option<&str>| -> rusqlite::Result<usize> {
        transaction
            .prepare_cached(
                "SELECT count(*) FROM pairings WHERE expires_at > ?1 AND (?2 IS NULL OR network = ?2)",
            )?
            .query_row(params![now, network], |row| row.get(0))
    };
    if count(Some(&network))? >= bounds.per_source {
        return Err(Fault::Refused(StoreError::Full("pairings from this address")));
    }
    if count(None)? >= bounds.total {
        return Err(Fault::Refused(StoreError::Full("pairings")));
    }
    let scope = serde_json::to_string(&pairing.scope)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let written = transaction
        .prepare_cached(
            "INSERT INTO pairings (device_hash, user_code, label, scope, ttl_seconds, source, network, created_at, expires_at, state)
             VALUES (:device, :code, :label, :scope, :ttl, :source, :network, :created, :expires, 'pending')",
        )?
        .execute(named_params! {
            ":device": device.as_bytes().as_slice(),
            ":code": pairing.user_code.as_str(),
            ":label": pairing.label,
            ":scope": scope,
            ":ttl": pairing.ttl_seconds,
            ":source": pairing.source,
            ":network": network,
            ":created": now,
            ":expires": pairing.expires_at.unix(),
        });
    match written {
        Err(error) if is_duplicate(&error) => {
            Err(Fault::Refused(StoreError::Exists("a pairing with this code".to_owned())))
        }
        other => Ok(other.map(drop)?),
    }
}

/// One IPv6 subscriber holds a whole /64, so counting single addresses would be
/// counting nothing.
fn network(source: &str) -> String {
    match source.parse::<Ipv6Addr>() {
        Ok(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).to_string(),
        Err(_) => source.to_owned(),
    }
}

fn of_device(connection: &Connection, device: &TokenHash) -> rusqlite::Result<Option<Pairing>> {
    connection
        .prepare_cached(&format!("{SELECT} WHERE device_hash = ?1"))?
        .query_row([device.as_bytes().as_slice()], read)
        .optional()
}

/// A row that this version cannot understand is an error, never an approval.
fn read(row: &Row<'_>) -> rusqlite::Result<Pairing> {
    let state: String = row.get(7)?;
    let state = match state.as_str() {
        "pending" => PairingState::Pending,
        "approved" => PairingState::Approved(parsed(row, 8, |text| serde_json::from_str(text))?),
        "denied" => PairingState::Denied,
        "taken" => PairingState::Taken,
        _ => return Err(rusqlite::Error::InvalidColumnType(7, "state".into(), Type::Text)),
    };
    Ok(Pairing {
        user_code: parsed(row, 0, |text| text.parse::<UserCode>())?,
        label: row.get(1)?,
        scope: parsed(row, 2, |text| serde_json::from_str(text))?,
        ttl_seconds: row.get(3)?,
        source: row.get(4)?,
        created_at: Timestamp::from_unix(row.get(5)?),
        expires_at: Timestamp::from_unix(row.get(6)?),
        state,
    })
}
