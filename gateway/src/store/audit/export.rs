//! The records as JSON lines, from the file, with or without a broker running.

use std::collections::VecDeque;
use std::path::Path;

use agentkeys_core::audit::AuditRecord;
use agentkeys_core::store::StoreError;
use rusqlite::Connection;

use super::super::lane::BUSY;
use super::super::sqlite::{self, OpenError};
use super::rows::{self, SCHEMA};

/// Records in one read transaction.
const PIECE: usize = 1_000;

/// One JSON object for each record, oldest first, without a line end.
pub struct Export {
    connection: Connection,
    after: u64,
    piece: VecDeque<AuditRecord>,
    over: bool,
}

/// Exports the records of the audit file at `path` after this sequence number.
/// Each step may block.
pub fn export_file(path: &Path, after: u64) -> Result<Export, OpenError> {
    let connection = sqlite::open_to_inspect(path, &SCHEMA, BUSY)?;
    Ok(Export { connection, after, piece: VecDeque::new(), over: false })
}

impl Iterator for Export {
    type Item = Result<String, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.piece.is_empty() && !self.over {
            match rows::after(&self.connection, self.after, PIECE) {
                Ok(records) => {
                    self.over = records.len() < PIECE;
                    self.after = records.last().map_or(self.after, |record| record.seq);
                    self.piece = records.into();
                }
                Err(error) => {
                    self.over = true;
                    return Some(Err(StoreError::Unavailable(error.to_string())));
                }
            }
        }
        let record = self.piece.pop_front()?;
        let line = serde_json::to_string(&record);
        Some(line.map_err(|error| StoreError::Unavailable(error.to_string())))
    }
}
