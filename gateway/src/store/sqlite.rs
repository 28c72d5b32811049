//! Opening one database file: its mode and owner, its pragmas, its schema.
//!
//! An existing file is looked at by name and never opened beside SQLite: closing
//! a second descriptor of a file drops every POSIX lock this process holds on it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

/// Why a database file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system says no.
    #[error("{path}: {source}")]
    Io {
        /// The file or its directory.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// A link could point anywhere by the next start.
    #[error("{0} is a symbolic link: name the file itself")]
    Symlink(PathBuf),
    /// A directory, a device, a socket.
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    /// Group or others may look at it.
    #[error("{path} is open to others (mode {mode:04o}): chmod 600 {path}")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Somebody else's file.
    #[error("{path} belongs to user {owner}, and the broker runs as user {user}")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who runs.
        user: u32,
    },
    /// Anybody could put another file in its place.
    #[error("the directory {0} can be written by everybody: chmod o-w {0}")]
    Directory(PathBuf),
    /// SQLite, but not ours.
    #[error("{path} is not {what}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },
    /// Written by a newer broker.
    #[error(
        "{path} has schema {found} and this broker knows {known} at most: run the newer broker again, or restore a backup"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// Written by an older broker, and only reading was asked for.
    #[error(
        "{path} has schema {found} and this broker needs {known}: start the broker once to bring it up to date"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// SQLite says no.
    #[error("{path}: {source}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: rusqlite::Error,
    },
}

/// One kind of database.
pub(super) struct Schema {
    /// As an error names it.
    pub what: &'static str,
    /// Told apart by `PRAGMA application_id`.
    pub application_id: i32,
    /// Each brings the schema from its index to the next version.
    pub migrations: &'static [&'static str],
}

impl Schema {
    fn version(&self) -> i32 {
        i32::try_from(self.migrations.len()).unwrap_or(i32::MAX)
    }
}

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// For writing; made where it is missing.
    Create,
    /// For writing; missing is an error.
    Write,
    /// For reading; missing is an error, and no migration runs.
    Read,
}

/// An open database, and which file it was when it was opened.
pub(super) struct Opened {
    pub connection: Connection,
    path: PathBuf,
    file: Inode,
    log: Option<Inode>,
}

/// Device and inode.
type Inode = (u64, u64);

impl Opened {
    /// Is the file at the path still the one that is open? A deleted database
    /// takes writes without complaint, and nobody will ever read them.
    pub fn is_current(&self) -> bool {
        inode(&self.path) == Some(self.file)
            && self.log.is_none_or(|log| inode(&log_path(&self.path)) == Some(log))
    }
}

/// Opens `path` as `schema`, waiting at most `busy` for another process's lock.
pub(super) fn open(
    path: &Path,
    schema: &Schema,
    access: Access,
    busy: Duration,
) -> Result<Opened, OpenError> {
    let path = resolve(path)?;
    if access == Access::Create {
        create(&path)?;
    }
    check(&path)?;
    let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
    // SQLITE_OPEN_READ_ONLY cannot recover a log after a crash; query_only below
    // is what keeps a reader a reader.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(&path, flags).map_err(sqlite)?;
    prepare(&mut connection, &path, schema, access, busy)?;
    let file = inode(&path).ok_or_else(|| missing(&path))?;
    let log = inode(&log_path(&path));
    Ok(Opened { connection, path, file, log })
}

/// Opens a file only to read it, whoever's it is: a copy, or the file of a broker
/// that is down, on a medium that nothing can be written to.
pub(super) fn open_to_inspect(path: &Path, schema: &Schema, busy: Duration) -> Result<Connection, OpenError> {
    let path = resolve(path)?;
    if !path.symlink_metadata().is_ok_and(|found| found.is_file() || found.is_symlink()) {
        return Err(missing(&path));
    }
    let inspect = |name: &Path, flags| {
        let connection = Connection::open_with_flags(name, OpenFlags::SQLITE_OPEN_READ_ONLY | flags)
            .map_err(|source| OpenError::Sqlite { path: path.clone(), source })?;
        prepare_to_read(&connection, &path, schema, busy)?;
        Ok(connection)
    };
    match inspect(&path, OpenFlags::SQLITE_OPEN_NO_MUTEX) {
        // No log, and none can be made: nobody can be writing here.
        Err(OpenError::Sqlite { source, .. })
            if source.sqlite_error_code() == Some(ErrorCode::CannotOpen)
                && inode(&log_path(&path)).is_none() =>
        {
            inspect(&immutable_uri(&path), OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI)
        }
        other => other,
    }
}

/// Makes an empty file of mode 0600 where there is none; nothing is ever
/// truncated or followed.
pub(super) fn create(path: &Path) -> Result<bool, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file.sync_all().map_err(io)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(io(error)),
    }
    // The name must be as durable as the records under it.
    File::open(directory(path)).and_then(|dir| dir.sync_all()).map_err(io)?;
    Ok(true)
}

/// Is this error one that another process's lock explains?
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Is this error a row that is there already?
pub(super) fn is_duplicate(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

/// Links among the parents are the operator's business (`/var` is one on macOS);
/// SQLite would refuse them together with the one that matters.
fn resolve(path: &Path) -> Result<PathBuf, OpenError> {
    let parent = directory(path);
    let name = path.file_name().ok_or_else(|| OpenError::NotAFile(path.to_owned()))?;
    let parent = parent.canonicalize().map_err(|source| OpenError::Io { path: parent.to_owned(), source })?;
    Ok(parent.join(name))
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn check(path: &Path) -> Result<(), OpenError> {
    let found = path.symlink_metadata().map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    if found.is_symlink() {
        return Err(OpenError::Symlink(path.to_owned()));
    }
    if !found.is_file() {
        return Err(OpenError::NotAFile(path.to_owned()));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(OpenError::Mode { path: path.to_owned(), mode });
    }
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user {
        return Err(OpenError::Owner { path: path.to_owned(), owner: found.uid(), user });
    }
    let parent = directory(path);
    let found = parent.metadata().map_err(|source| OpenError::Io { path: parent.to_owned(), source })?;
    if found.mode() & 0o002 != 0 {
        return Err(OpenError::Directory(parent.to_owned()));
    }
    Ok(())
}

fn prepare(
    connection: &mut Connection,
    path: &Path,
    schema: &Schema,
    access: Access,
    busy: Duration,
) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    if access == Access::Read {
        return prepare_to_read(connection, path, schema, busy);
    }
    harden(connection, busy).map_err(sqlite)?;
    recognise(connection, path, schema)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0)).map_err(sqlite)?;
    if mode != "wal" {
        return Err(OpenError::Io {
            path: path.to_owned(),
            source: io::Error::other("this file system cannot hold a write-ahead log"),
        });
    }
    connection
        .execute_batch(
            // fullfsync matters on macOS, where fsync alone leaves data in the drive.
            "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;
             PRAGMA foreign_keys = ON; PRAGMA journal_size_limit = 67108864;",
        )
        .map_err(sqlite)?;
    connection.set_prepared_statement_cache_capacity(32);
    migrate(connection, schema).map_err(sqlite)
}

fn prepare_to_read(
    connection: &Connection,
    path: &Path,
    schema: &Schema,
    busy: Duration,
) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    harden(connection, busy).map_err(sqlite)?;
    connection.pragma_update(None, "query_only", true).map_err(sqlite)?;
    let version = recognise(connection, path, schema)?;
    let known = schema.version();
    if version == known {
        Ok(())
    } else {
        Err(OpenError::Older { path: path.to_owned(), found: version, known })
    }
}

fn harden(connection: &Connection, busy: Duration) -> rusqlite::Result<()> {
    connection.busy_timeout(busy)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    Ok(())
}

/// The file's schema version; zero for an empty file.
fn recognise(connection: &Connection, path: &Path, schema: &Schema) -> Result<i32, OpenError> {
    let number = |sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, i32>(0))
            .map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })
    };
    let version = number("PRAGMA user_version")?;
    let application = number("PRAGMA application_id")?;
    let empty = number("SELECT count(*) FROM sqlite_schema")? == 0;
    match application {
        0 if version == 0 && empty => {}
        id if id == schema.application_id => {}
        _ => return Err(foreign(path, schema)),
    }
    if version > schema.version() {
        return Err(OpenError::Newer { path: path.to_owned(), found: version, known: schema.version() });
    }
    Ok(version)
}

fn migrate(connection: &mut Connection, schema: &Schema) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read again: another process may have migrated while this one waited.
    let version: i32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(0);
    if done >= schema.migrations.len() {
        return transaction.rollback();
    }
    for migration in &schema.migrations[done..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "application_id", schema.application_id)?;
    transaction.pragma_update(None, "user_version", schema.version())?;
    transaction.commit()
}

fn foreign(path: &Path, schema: &Schema) -> OpenError {
    OpenError::Foreign { path: path.to_owned(), what: schema.what }
}

fn missing(path: &Path) -> OpenError {
    OpenError::Io { path: path.to_owned(), source: io::ErrorKind::NotFound.into() }
}

fn inode(path: &Path) -> Option<Inode> {
    path.symlink_metadata().ok().map(|found| (found.dev(), found.ino()))
}

fn log_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// SQLite's name for a file that nobody changes, with what a URI reserves escaped.
fn immutable_uri(path: &Path) -> PathBuf {
    let mut name = b"file:".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => name.extend(format!("%{byte:02x}").into_bytes()),
            other => name.push(*other),
        }
    }
    name.extend_from_slice(b"?immutable=1");
    PathBuf::from(OsString::from_vec(name))
}
