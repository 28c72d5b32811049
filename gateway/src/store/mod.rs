//! Sessions, grants, enrolment, pairings, stored credentials and the audit, behind
//! the traits of `agentkeys_core`.
//!
//! The only room that knows rusqlite. It fails closed: a file that is locked,
//! full, broken or gone is an error in bounded time, never an empty answer. It
//! must never see a token in the clear, only its hash.

mod audit;
mod backup;
mod credentials;
mod enrolment;
mod grants;
mod lane;
mod pairings;
mod sealing;
mod session_cache;
mod session_rows;
mod sessions;
mod sqlite;
mod state;

pub use audit::{AuditSettings, Export, SqliteAudit, export_file, verify_file};
pub use backup::backup_file;
pub use sealing::{InvalidSealingKey, SealingKey};
pub use sqlite::OpenError;
pub use state::{Store, StoreSettings};
