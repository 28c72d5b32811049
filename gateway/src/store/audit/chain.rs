//! The end of the chain, and appending to it. Only within a transaction that
//! holds the write lock: another process may be appending too.

use agentkeys_core::audit::{AuditEntry, Checkpoint, Phase, hex};
use agentkeys_core::mint_id::MintId;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::rows;

/// The first remaining record follows one that was pruned.
pub(super) const PRUNED: &str = "pruned";
/// The file was lost while the broker ran, and the chain goes on in a new one.
pub(super) const CONTINUED: &str = "audit_continued";
/// Another file was put in the place of the one that was open.
pub(super) const REPLACED: &str = "audit_replaced";

/// The newest record, or seq 0 and zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub seq: u64,
    pub hash: [u8; 32],
}

impl Head {
    pub fn checkpoint(self) -> Checkpoint {
        Checkpoint { seq: self.seq, head: hex(&self.hash) }
    }

    /// How a record names this place in the chain.
    pub fn reference(self) -> String {
        format!("through={} hash={}", self.seq, hex(&self.hash))
    }
}

/// Where the chain ends. If `head` and the records disagree the later one is
/// right: going on after it keeps the missing record missing for `verify`.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<Head> {
    let read = |row: &rusqlite::Row<'_>| Ok(Head { seq: row.get(0)?, hash: row.get(1)? });
    let said = connection.prepare_cached("SELECT seq, hash FROM head")?.query_row([], read).optional()?;
    let last = connection
        .prepare_cached("SELECT seq, hash FROM records ORDER BY seq DESC LIMIT 1")?
        .query_row([], read)
        .optional()?;
    Ok([said, last]
        .into_iter()
        .flatten()
        .reduce(|said, last| if last.seq > said.seq { last } else { said })
        .unwrap_or(Head { seq: 0, hash: [0; 32] }))
}

/// Appends one record and returns the new end.
pub(super) fn append(
    transaction: &Transaction<'_>,
    head: Head,
    entry: &AuditEntry,
) -> rusqlite::Result<Head> {
    let seq = head.seq + 1;
    let hash = entry.hash(seq, &head.hash);
    rows::insert(transaction, seq, entry, &head.hash, &hash)?;
    Ok(Head { seq, hash })
}

/// Writes down the new end, once per transaction.
pub(super) fn set_head(transaction: &Transaction<'_>, head: Head) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO head VALUES (1, ?1, ?2, 0) ON CONFLICT DO UPDATE SET seq = ?1, hash = ?2",
        )?
        .execute(params![head.seq, head.hash.as_slice()])?;
    Ok(())
}

/// Holds the file that was just opened against the end that this process wrote
/// last, and records where they do not fit.
pub(super) fn continue_from(
    transaction: &Transaction<'_>,
    found: Head,
    known: Head,
) -> rusqlite::Result<Head> {
    if found.seq == 0 && known.seq > 0 {
        // Numbers and hashes go on, so the old file and the new make one chain.
        return append(transaction, known, &event(CONTINUED).detail(known.reference()));
    }
    let same = known.seq == 0
        || transaction
            .prepare_cached("SELECT hash = ?2 FROM records WHERE seq = ?1")?
            .query_row(params![known.seq, known.hash.as_slice()], |row| row.get(0))
            .optional()?
            .unwrap_or_else(|| known.seq < found.seq && is_pruned(transaction, known.seq));
    if same {
        return Ok(found);
    }
    tracing::error!(expected = known.seq, found = found.seq, "the audit file was replaced by another");
    let text = format!("expected {}, found {}", known.reference(), found.seq);
    append(transaction, found, &event(REPLACED).detail(text))
}

/// Is this number older than every record left?
fn is_pruned(transaction: &Transaction<'_>, seq: u64) -> bool {
    transaction
        .query_row("SELECT coalesce(min(seq), 0) > ?1 FROM records", [seq], |row| row.get(0))
        .unwrap_or(false)
}

/// A record of the audit's own doings.
pub(super) fn event(action: &str) -> AuditEntry {
    AuditEntry::new(Phase::Event, MintId::generate().to_string(), action, "recorded")
}
