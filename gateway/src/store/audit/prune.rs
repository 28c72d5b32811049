//! Removing records past their retention, and saying so in the chain itself.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Transaction, params};

use super::chain::{self, Head, PRUNED};

/// Records that one transaction removes.
pub(super) const BATCH: u64 = 1_000;

/// Removes the oldest records that are all older than `retention_ms`, a batch at
/// most; says how many. Stops at the first younger one: a clock that was wrong
/// once must cost records their place, never their existence.
pub(super) fn prune(
    transaction: &Transaction<'_>,
    head: Head,
    retention_ms: i64,
) -> rusqlite::Result<(Head, u64)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let cutoff = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(retention_ms);
    let Some((last, count)) = oldest(transaction, cutoff)? else { return Ok((head, 0)) };
    let record = chain::event(PRUNED).detail(last.reference());
    let head = chain::append(transaction, head, &record)?;
    transaction.prepare_cached("DELETE FROM records WHERE seq <= ?1")?.execute([last.seq])?;
    Ok((head, count))
}

/// The last of the records to remove, and their number. A chain that holds
/// nothing but the record of an earlier pruning is left alone.
fn oldest(transaction: &Transaction<'_>, cutoff: i64) -> rusqlite::Result<Option<(Head, u64)>> {
    let mut statement = transaction
        .prepare_cached("SELECT seq, hash, at_ms, action = ?2 FROM records ORDER BY seq LIMIT ?1")?;
    let mut rows = statement.query(params![BATCH, PRUNED])?;
    let (mut last, mut count, mut news) = (None, 0, false);
    while let Some(row) = rows.next()? {
        if row.get::<_, i64>(2)? >= cutoff {
            break;
        }
        last = Some(Head { seq: row.get(0)?, hash: row.get(1)? });
        count += 1;
        news |= !row.get::<_, bool>(3)?;
    }
    Ok(last.filter(|_| news).map(|last| (last, count)))
}
