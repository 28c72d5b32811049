//! A session as a row.

use agentkeys_core::session::{Session, SessionKind};
use agentkeys_core::{SessionId, Timestamp, TokenHash};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, named_params};

/// In the order that [`read`] expects.
pub(super) const COLUMNS: &str = "id, wallet, kind, label, parent, scope, created_at, expires_at, revoked_at";

/// A row whose content this version cannot understand is an error, never a
/// session with something left out.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: parsed(row, 0, |text| text.parse())?,
        wallet: parsed(row, 1, |text| text.parse())?,
        kind: parsed(row, 2, parse_kind)?,
        label: row.get(3)?,
        parent: row
            .get::<_, Option<String>>(4)?
            .map(|text| text.parse::<SessionId>())
            .transpose()
            .map_err(|error| rusqlite::Error::FromSqlConversionFailure(4, Type::Text, Box::new(error)))?,
        scope: parsed(row, 5, |text| serde_json::from_str(text))?,
        created_at: Timestamp::from_unix(row.get(6)?),
        expires_at: Timestamp::from_unix(row.get(7)?),
        revoked_at: row.get::<_, Option<i64>>(8)?.map(Timestamp::from_unix),
    })
}

pub(super) fn insert(connection: &Connection, session: &Session, token: &TokenHash) -> rusqlite::Result<()> {
    let scope = serde_json::to_string(&session.scope)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    connection
        .prepare_cached(
            "INSERT INTO sessions (id, token_hash, wallet, kind, label, parent, scope, created_at, expires_at, revoked_at)
             VALUES (:id, :token, :wallet, :kind, :label, :parent, :scope, :created, :expires, :revoked)",
        )?
        .execute(named_params! {
            ":id": session.id.as_str(),
            ":token": token.as_bytes().as_slice(),
            ":wallet": session.wallet.as_str(),
            ":kind": kind(session.kind),
            ":label": session.label,
            ":parent": session.parent.as_ref().map(SessionId::as_str),
            ":scope": scope,
            ":created": session.created_at.unix(),
            ":expires": session.expires_at.unix(),
            ":revoked": session.revoked_at.map(Timestamp::unix),
        })?;
    Ok(())
}

fn kind(kind: SessionKind) -> &'static str {
    match kind {
        SessionKind::Master => "master",
        SessionKind::Issued => "issued",
        SessionKind::Child => "child",
    }
}

#[derive(Debug, thiserror::Error)]
#[error("not a kind of session")]
struct UnknownKind;

fn parse_kind(text: &str) -> Result<SessionKind, UnknownKind> {
    [SessionKind::Master, SessionKind::Issued, SessionKind::Child]
        .into_iter()
        .find(|known| kind(*known) == text)
        .ok_or(UnknownKind)
}

/// Reads a text column through `parse`.
pub(super) fn parsed<T, E: std::error::Error + Send + Sync + 'static>(
    row: &Row<'_>,
    column: usize,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}
