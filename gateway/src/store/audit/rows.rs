//! The schema of the audit file, and a record as a row.

use agentkeys_core::audit::{AuditEntry, AuditRecord, Phase, hex};
use rusqlite::{Connection, Row, named_params, params};

use super::super::session_rows::parsed;
use super::super::sqlite::Schema;

/// `head` repeats the newest record's number and hash, so that cutting records
/// off the end shows; `head.probes` is what the writer touches to see whether it
/// can write again.
pub(in super::super) const SCHEMA: Schema = Schema {
    what: "a broker's audit database",
    application_id: 0x414B_4155,
    migrations: &["
CREATE TABLE records (
    seq           INTEGER PRIMARY KEY,
    at_ms         INTEGER NOT NULL,
    phase         TEXT NOT NULL,
    mint_id       TEXT NOT NULL,
    action        TEXT NOT NULL,
    outcome       TEXT NOT NULL,
    session_id    TEXT,
    wallet        TEXT,
    target        TEXT,
    kid           TEXT,
    session_name  TEXT,
    source        TEXT,
    detail        TEXT,
    previous_hash BLOB NOT NULL,
    hash          BLOB NOT NULL
) STRICT;
CREATE INDEX records_by_mint ON records (mint_id);
CREATE INDEX records_where_a_chain_begins ON records (seq) WHERE action IN ('pruned', 'audit_continued');
CREATE TRIGGER records_never_change BEFORE UPDATE ON records
    BEGIN SELECT raise(ABORT, 'audit records never change'); END;
CREATE TABLE head (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    seq    INTEGER NOT NULL,
    hash   BLOB NOT NULL,
    probes INTEGER NOT NULL
) STRICT;
INSERT INTO head VALUES (1, 0, zeroblob(32), 0);
"],
};

pub(super) const COLUMNS: &str = "seq, at_ms, phase, mint_id, action, outcome, session_id, wallet, target, \
                                  kid, session_name, source, detail, previous_hash, hash";

/// A record as it is stored.
pub(super) struct Stored {
    pub seq: u64,
    pub entry: AuditEntry,
    pub previous: [u8; 32],
    pub hash: [u8; 32],
}

impl From<Stored> for AuditRecord {
    fn from(stored: Stored) -> Self {
        Self {
            seq: stored.seq,
            entry: stored.entry,
            previous_hash: hex(&stored.previous),
            hash: hex(&stored.hash),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("not a phase")]
struct UnknownPhase;

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        seq: row.get(0)?,
        entry: AuditEntry {
            at_ms: row.get(1)?,
            phase: parsed(row, 2, |text| Phase::parse(text).ok_or(UnknownPhase))?,
            mint_id: row.get(3)?,
            action: row.get(4)?,
            outcome: row.get(5)?,
            session_id: row.get(6)?,
            wallet: row.get(7)?,
            target: row.get(8)?,
            kid: row.get(9)?,
            session_name: row.get(10)?,
            source: row.get(11)?,
            detail: row.get(12)?,
        },
        previous: row.get(13)?,
        hash: row.get(14)?,
    })
}

pub(super) fn insert(
    connection: &Connection,
    seq: u64,
    entry: &AuditEntry,
    previous: &[u8; 32],
    hash: &[u8; 32],
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!(
            "INSERT INTO records ({COLUMNS}) VALUES (:seq, :at, :phase, :mint, :action, :outcome, :session, \
             :wallet, :target, :kid, :name, :source, :detail, :previous, :hash)"
        ))?
        .execute(named_params! {
            ":seq": seq,
            ":at": entry.at_ms,
            ":phase": entry.phase.as_str(),
            ":mint": entry.mint_id,
            ":action": entry.action,
            ":outcome": entry.outcome,
            ":session": entry.session_id,
            ":wallet": entry.wallet,
            ":target": entry.target,
            ":kid": entry.kid,
            ":name": entry.session_name,
            ":source": entry.source,
            ":detail": entry.detail,
            ":previous": previous.as_slice(),
            ":hash": hash.as_slice(),
        })?;
    Ok(())
}

pub(super) fn after(connection: &Connection, seq: u64, limit: usize) -> rusqlite::Result<Vec<AuditRecord>> {
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM records WHERE seq > ?1 ORDER BY seq LIMIT ?2"))?
        .query_map(params![seq, limit as i64], |row| read(row).map(AuditRecord::from))?
        .collect()
}

pub(super) fn tail(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<AuditRecord>> {
    let mut newest: Vec<AuditRecord> = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM records ORDER BY seq DESC LIMIT ?1"))?
        .query_map([limit as i64], |row| read(row).map(AuditRecord::from))?
        .collect::<rusqlite::Result<_>>()?;
    newest.reverse();
    Ok(newest)
}

pub(super) fn of_mint(
    connection: &Connection,
    mint_id: &str,
    limit: usize,
) -> rusqlite::Result<Vec<AuditRecord>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM records WHERE mint_id = ?1 ORDER BY seq LIMIT ?2"))?
        .query_map(params![mint_id, limit as i64], |row| read(row).map(AuditRecord::from))?
        .collect()
}
