//! Recomputing the chain from the file, with or without a broker running.
//!
//! It reads in pieces, each its own read transaction: one long one would keep
//! the log from being folded back while the broker writes on.

use std::path::Path;

use agentkeys_core::audit::{Verification, hex};
use rusqlite::{Connection, OptionalExtension, params};

use super::super::lane::BUSY;
use super::super::sqlite::{self, OpenError};
use super::chain::{self, Head};
use super::rows::{self, COLUMNS, SCHEMA};

/// Records in one read transaction.
const PIECE: i64 = 10_000;

/// Attempts, where pruning overtakes the reading.
const ATTEMPTS: u32 = 3;

/// Recomputes the whole chain of the audit file at `path`. Blocks. The file may
/// be a copy that cannot be written, and of any mode.
pub fn verify_file(path: &Path) -> Result<Verification, OpenError> {
    let mut connection = sqlite::open_to_inspect(path, &SCHEMA, BUSY)?;
    verify(&mut connection).map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })
}

fn verify(connection: &mut Connection) -> rusqlite::Result<Verification> {
    let mut attempt = 1;
    loop {
        let begin = beginning(connection)?;
        let result = walk(connection)?;
        if result.ok || attempt == ATTEMPTS || begin == beginning(connection)? {
            return Ok(result);
        }
        attempt += 1;
    }
}

fn walk(connection: &mut Connection) -> rusqlite::Result<Verification> {
    let mut walk = Walk { end: None, records: 0, bad: None };
    loop {
        let transaction = connection.transaction()?;
        let done = walk.piece(&transaction)?;
        if done && walk.bad.is_none() {
            walk.compare_head(&transaction)?;
        }
        if done || walk.bad.is_some() {
            let unfinished = unfinished(&transaction)?;
            let head = walk.end.map(|end| end.hash).unwrap_or_default();
            let (first_bad, reason) = walk.bad.unzip();
            return Ok(Verification {
                ok: first_bad.is_none(),
                records: walk.records,
                head: hex(&head),
                first_bad,
                reason,
                unfinished,
            });
        }
    }
}

struct Walk {
    /// The last record that follows.
    end: Option<Head>,
    records: u64,
    bad: Option<(u64, String)>,
}

impl Walk {
    /// Checks the next piece; true at the end of the chain or at a bad record.
    fn piece(&mut self, connection: &Connection) -> rusqlite::Result<bool> {
        let mut statement = connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM records WHERE seq > ?1 ORDER BY seq LIMIT ?2"))?;
        let from = self.end.map_or(i64::MIN, |end| i64::try_from(end.seq).unwrap_or(i64::MAX));
        let mut found = statement.query(params![from, PIECE])?;
        let mut count = 0;
        while let Some(row) = found.next()? {
            count += 1;
            let problem = match rows::read(row) {
                Ok(stored) => self.follow(connection, stored)?,
                Err(error) => {
                    let seq = row.get::<_, i64>(0)?;
                    Some((u64::try_from(seq).unwrap_or(0), format!("it cannot be read: {error}")))
                }
            };
            self.records += 1;
            if problem.is_some() {
                self.bad = problem;
                return Ok(true);
            }
        }
        Ok(count < PIECE)
    }

    fn follow(
        &mut self,
        connection: &Connection,
        stored: rows::Stored,
    ) -> rusqlite::Result<Option<(u64, String)>> {
        let seq = stored.seq;
        let before = match self.end {
            Some(end) => end,
            None => match start(connection, &stored)? {
                Ok(before) => before,
                Err(reason) => return Ok(Some((seq, reason))),
            },
        };
        let reason = if seq != before.seq + 1 {
            format!("records {} to {} are missing", before.seq + 1, seq.saturating_sub(1))
        } else if stored.previous != before.hash {
            "its previous_hash is not the hash of the record before".to_owned()
        } else if stored.entry.hash(seq, &stored.previous) != stored.hash {
            "its hash does not match its content".to_owned()
        } else {
            self.end = Some(Head { seq, hash: stored.hash });
            return Ok(None);
        };
        Ok(Some((seq, reason)))
    }

    /// Nothing may have been cut off the end.
    fn compare_head(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let head = chain::head(connection)?;
        let end = self.end.unwrap_or(Head { seq: 0, hash: [0; 32] });
        if head.seq > end.seq {
            let reason = format!("records {} to {} are missing at the end", end.seq + 1, head.seq);
            self.bad = Some((end.seq + 1, reason));
        } else if head.hash != end.hash {
            self.bad = Some((end.seq, "its hash is not the one noted as the chain's head".into()));
        }
        Ok(())
    }
}

/// What the first record left must follow: nothing, or what the newest record
/// of a pruning says.
fn start(connection: &Connection, first: &rows::Stored) -> rusqlite::Result<Result<Head, String>> {
    if first.seq == 1 {
        return Ok(Ok(Head { seq: 0, hash: [0; 32] }));
    }
    let before = Head { seq: first.seq.saturating_sub(1), hash: first.previous };
    Ok(match beginning(connection)? {
        Some((_, text)) if text == before.reference() => Ok(before),
        Some((seq, _)) => Err(format!(
            "records before it are missing, and record {seq} says that the chain begins elsewhere"
        )),
        None => {
            Err(format!("records 1 to {} are missing, and no record says that they were pruned", before.seq))
        }
    })
}

/// The newest record that says where the chain begins.
fn beginning(connection: &Connection) -> rusqlite::Result<Option<(u64, String)>> {
    connection
        .prepare_cached(
            "SELECT seq, coalesce(detail, '') FROM records
             WHERE action IN ('pruned', 'audit_continued') AND phase = 'event' ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn unfinished(connection: &Connection) -> rusqlite::Result<u64> {
    connection.query_row(
        "SELECT count(*) FROM records intent WHERE phase = 'intent' AND NOT EXISTS (
             SELECT 1 FROM records outcome WHERE outcome.mint_id = intent.mint_id AND outcome.phase = 'outcome')",
        [],
        |row| row.get(0),
    )
}

#[cfg(test)]
mod tests {
    use super::super::chain::{CONTINUED, PRUNED};
    use super::*;

    #[test]
    fn the_index_and_the_code_name_the_same_actions() {
        let clause = format!("action IN ('{PRUNED}', '{CONTINUED}')");
        assert!(SCHEMA.migrations[0].contains(&clause));
    }
}
