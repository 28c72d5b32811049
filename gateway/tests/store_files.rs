//! Which files the store accepts, and copies of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentkeys_broker_server::metrics::Metrics;
use agentkeys_broker_server::store::{
    AuditSettings, OpenError, SqliteAudit, Store, StoreSettings, backup_file, export_file, verify_file,
};
use agentkeys_core::audit::{AuditEntry, AuditRecord, Phase};
use agentkeys_core::store::AuditLog;
use rusqlite::Connection;

fn open_state(path: &Path) -> Result<Store, OpenError> {
    let metrics = Arc::new(Metrics::new().unwrap());
    Store::open(StoreSettings { state_path: path.to_owned(), metrics })
}

fn open_audit(path: &Path) -> Result<Arc<SqliteAudit>, OpenError> {
    let settings = AuditSettings {
        path: path.to_owned(),
        write_deadline: Duration::from_secs(5),
        retention: Duration::from_secs(86_400),
    };
    SqliteAudit::open(settings, Arc::new(Metrics::new().unwrap()))
}

fn event(id: impl Into<String>) -> AuditEntry {
    AuditEntry::new(Phase::Event, id, "test", "done")
}

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn every_file_is_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let _state = open_state(&directory.path().join("state.sqlite")).unwrap();
    let audit = open_audit(&directory.path().join("audit.sqlite")).unwrap();
    audit.write(event("id")).await.unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 6, "two databases, each with its log and its index");
}

#[test]
fn a_file_that_others_can_reach_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.sqlite");
    drop(open_state(&path).unwrap());
    for loose in [0o640, 0o604, 0o620, 0o660] {
        chmod(&path, loose);
        let error = open_state(&path).err().unwrap();
        assert!(matches!(error, OpenError::Mode { .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }
    chmod(&path, 0o600);
    chmod(directory.path(), 0o777);
    assert!(matches!(open_state(&path).err().unwrap(), OpenError::Directory(_)));
    chmod(directory.path(), 0o700);
    open_state(&path).unwrap();
}

#[test]
fn a_link_is_refused_and_what_it_points_to_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    let link = directory.path().join("audit.sqlite");
    symlink(&target, &link).unwrap();
    assert!(matches!(open_audit(&link).err().unwrap(), OpenError::Symlink(_)));
    assert!(!target.exists());
    std::fs::write(&target, "precious").unwrap();
    assert!(matches!(open_state(&link).err().unwrap(), OpenError::Symlink(_)));
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
}

#[test]
fn what_is_no_database_of_ours_is_refused_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(open_state(&path).err().unwrap(), OpenError::NotAFile(_)));
    std::fs::remove_dir(&path).unwrap();

    std::fs::write(&path, "not a database at all, but a text of some length\n".repeat(100)).unwrap();
    chmod(&path, 0o600);
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(open_state(&path).err().unwrap(), OpenError::Sqlite { .. }));
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::remove_file(&path).unwrap();

    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    chmod(&path, 0o600);
    let error = open_state(&path).err().unwrap();
    assert!(error.to_string().ends_with(" is not a broker's state database"), "{error}");
    std::fs::remove_file(&path).unwrap();

    // Swapped settings.
    drop(open_state(&path).unwrap());
    assert!(matches!(open_audit(&path).err().unwrap(), OpenError::Foreign { .. }));
    assert!(open_state(&directory.path().join("missing/state.sqlite")).is_err());
}

#[test]
fn a_newer_schema_is_refused_with_both_versions_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.sqlite");
    drop(open_state(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let error = open_state(&path).err().unwrap().to_string();
    assert!(error.contains("schema 7") && error.contains("knows 2"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_busy_audit_is_whole_and_readable_where_nothing_can_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.sqlite");
    let audit = open_audit(&path).unwrap();
    for i in 0..50 {
        audit.write(event(format!("{i}"))).await.unwrap();
    }
    let more = tokio::spawn({
        let audit = Arc::clone(&audit);
        async move {
            for i in 0..200 {
                audit.write(event(format!("more {i}"))).await.unwrap();
            }
        }
    });
    let media = directory.path().join("media");
    std::fs::create_dir(&media).unwrap();
    let copy = media.join("copy #1 100%.sqlite");
    backup_file(&path, &copy).unwrap();
    more.await.unwrap();
    assert_eq!(mode(&copy), 0o600);
    assert!(backup_file(&path, &copy).is_err(), "a backup never overwrites");

    chmod(&copy, 0o444);
    chmod(&media, 0o555);
    let verification = verify_file(&copy).unwrap();
    assert!(verification.ok && verification.records >= 50, "{verification:?}");
    assert_eq!(std::fs::read_dir(&media).unwrap().count(), 1);
    chmod(&media, 0o755);
    let live = audit.verify().await.unwrap();
    assert!(live.ok && live.records == 250, "{live:?}");

    let lines: Vec<AuditRecord> =
        export_file(&path, 240).unwrap().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(lines, audit.after(240, 100).await.unwrap());
    assert_eq!(lines.len(), 10);

    let state = directory.path().join("state.sqlite");
    let _running = open_state(&state).unwrap();
    let copy = directory.path().join("state-copy.sqlite");
    backup_file(&state, &copy).unwrap();
    open_state(&copy).unwrap();
}
