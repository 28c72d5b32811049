//! A consistent copy of a running database, through SQLite's backup interface.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::audit::SCHEMA as AUDIT;
use super::lane::BUSY;
use super::sqlite::{self, Access, OpenError};
use super::state::SCHEMA as STATE;

/// Copies the state or the audit database at `source` to `destination`, a new
/// file of mode 0600, while brokers go on reading and writing. Blocks.
pub fn backup_file(source: &Path, destination: &Path) -> Result<(), OpenError> {
    let opened = match sqlite::open(source, &STATE, Access::Read, BUSY) {
        Err(OpenError::Foreign { .. }) => sqlite::open(source, &AUDIT, Access::Read, BUSY)?,
        other => other?,
    };
    if !sqlite::create(destination)? {
        return Err(OpenError::Io {
            path: destination.to_owned(),
            source: std::io::ErrorKind::AlreadyExists.into(),
        });
    }
    copy(&opened.connection, destination).map_err(|error| {
        // Half a copy under the name of a whole one is worse than none.
        if let Err(error) = std::fs::remove_file(destination) {
            tracing::warn!(%error, "a half-written backup is left behind");
        }
        OpenError::Sqlite { path: destination.to_owned(), source: error }
    })
}

fn copy(source: &Connection, destination: &Path) -> rusqlite::Result<()> {
    let mut target = Connection::open_with_flags(destination, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    target.busy_timeout(BUSY)?;
    // All pages in one step, in one read transaction: writers go on, and no
    // write of theirs makes the copy start again.
    Backup::new(source, &mut target)?.run_to_completion(i32::MAX, Duration::from_millis(50), None)?;
    // One file that can be read where nothing can be written.
    target.pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))
}
