//! The audit when its file is locked, gone, full or read-only: callers are told
//! in time, and it works again by itself once the cause is gone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkeys_broker_server::metrics::Metrics;
use agentkeys_broker_server::store::{AuditSettings, SqliteAudit, verify_file};
use agentkeys_core::audit::{AuditEntry, Phase};
use agentkeys_core::store::{AuditError, AuditLog};
use rusqlite::Connection;

const DEADLINE: Duration = Duration::from_millis(500);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(3);

fn open(path: &Path) -> (Arc<SqliteAudit>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let settings = AuditSettings {
        path: path.to_owned(),
        write_deadline: DEADLINE,
        retention: Duration::from_secs(86_400),
    };
    (SqliteAudit::open(settings, Arc::clone(&metrics)).unwrap(), metrics)
}

fn intent(mint: impl Into<String>) -> AuditEntry {
    AuditEntry::new(Phase::Intent, mint, "mint_aws_creds", "pending")
}

async fn recovers(audit: &SqliteAudit) {
    let end = Instant::now() + Duration::from_secs(10);
    while !audit.healthy() {
        assert!(Instant::now() < end, "still failing: {:?}", audit.last_error());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(audit.last_error(), None);
    audit.write(intent("after")).await.unwrap();
    assert_eq!(audit.of_mint("after").await.unwrap().len(), 1);
    let verification = audit.verify().await.unwrap();
    assert!(verification.ok, "{verification:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_file_is_a_missed_deadline_and_what_was_withheld_is_never_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.sqlite");
    let (audit, metrics) = open(&path);
    audit.write(intent("before")).await.unwrap();
    let blocker = Connection::open(&path).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();

    let started = Instant::now();
    let withheld: Vec<_> = (0..20)
        .map(|_| {
            let audit = Arc::clone(&audit);
            tokio::spawn(async move { audit.write(intent("withheld")).await })
        })
        .collect();
    for write in withheld {
        let result = write.await.unwrap();
        assert!(matches!(result, Err(AuditError::Deadline)), "{result:?}");
    }
    let took = started.elapsed();
    assert!(took >= DEADLINE && took < DEADLINE + SLACK, "{took:?}");
    assert!(!audit.healthy());
    assert!(audit.last_error().unwrap().contains("locked"));
    let text = metrics.render().unwrap();
    assert!(text.contains("audit_write_failures_total{reason=\"deadline\"} 20"), "{text}");
    assert!(text.contains("audit_healthy 0"), "{text}");

    blocker.execute_batch("ROLLBACK").unwrap();
    recovers(&audit).await;
    assert!(audit.of_mint("withheld").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_lock_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.sqlite");
    let (audit, _) = open(&path);
    let blocker = Connection::open(&path).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let write = tokio::spawn({
        let audit = Arc::clone(&audit);
        async move { audit.write(intent("patient")).await }
    });
    tokio::time::sleep(DEADLINE / 10).await;
    blocker.execute_batch("ROLLBACK").unwrap();
    write.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.sqlite");
    let metrics = Arc::new(Metrics::new().unwrap());
    let settings = AuditSettings {
        path: path.clone(),
        write_deadline: Duration::from_secs(8),
        retention: Duration::from_secs(86_400),
    };
    let audit = SqliteAudit::open(settings, Arc::clone(&metrics)).unwrap();
    let blocker = Connection::open(&path).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writes: Vec<_> = (0..10_000)
        .map(|i| {
            let audit = Arc::clone(&audit);
            tokio::spawn(async move { audit.write(intent(format!("{i}"))).await })
        })
        .collect();
    let full = || metrics.audit_write_failures.with_label_values(&["queue_full"]).get();
    let end = Instant::now() + Duration::from_secs(6);
    while full() == 0 {
        assert!(Instant::now() < end, "nobody was refused");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    blocker.execute_batch("ROLLBACK").unwrap();
    let mut durable = 0;
    for write in writes {
        match write.await.unwrap() {
            Ok(()) => durable += 1,
            Err(AuditError::Unavailable(text)) => assert!(text.contains("too many"), "{text}"),
            Err(AuditError::Deadline) => panic!("the queue is small enough to be written in time"),
        }
    }
    assert_eq!(durable + full(), 10_000);
    assert_eq!(audit.verify().await.unwrap().records, durable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_is_refused_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.sqlite");
    let away = directory.path().join("away.sqlite");
    let (audit, _) = open(&path);
    audit.write(intent("before")).await.unwrap();
    std::fs::rename(&path, &away).unwrap();
    let error = audit.write(intent("gone")).await.unwrap_err();
    assert!(matches!(error, AuditError::Unavailable(_) | AuditError::Deadline), "{error}");
    assert!(!audit.healthy() && !path.exists(), "no file is made in its place");
    std::fs::rename(&away, &path).unwrap();
    recovers(&audit).await;
    assert!(audit.verify().await.unwrap().ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_put_in_the_place_of_another_is_noticed_in_the_chain() {
    let directory = tempfile::tempdir().unwrap();
    let (path, other) = (directory.path().join("audit.sqlite"), directory.path().join("other.sqlite"));
    let (impostor, _) = open(&other);
    impostor.write(intent("impostor")).await.unwrap();
    assert!(impostor.close(SLACK).await);
    drop(impostor);
    let (audit, _) = open(&path);
    for i in 0..5 {
        audit.write(intent(format!("{i}"))).await.unwrap();
    }
    for suffix in ["-wal", "-shm"] {
        std::fs::remove_file(format!("{}{suffix}", path.display())).unwrap();
    }
    std::fs::rename(&other, &path).unwrap();
    audit.write(intent("new")).await.unwrap();
    let actions: Vec<_> = audit.tail(10).await.unwrap().into_iter().map(|r| r.entry.action).collect();
    assert_eq!(actions, ["mint_aws_creds", "audit_replaced", "mint_aws_creds"]);
    recovers(&audit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_directory_refuses_at_once_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let (here, away) = (directory.path().join("here"), directory.path().join("away"));
    std::fs::create_dir(&here).unwrap();
    let (audit, metrics) = open(&here.join("audit.sqlite"));
    audit.write(intent("before")).await.unwrap();
    std::fs::rename(&here, &away).unwrap();
    let first = audit.write(intent("lost")).await;
    assert!(matches!(first, Err(AuditError::Unavailable(_))), "{first:?}");
    let started = Instant::now();
    for _ in 0..100 {
        let result = audit.write(intent("lost")).await;
        assert!(matches!(&result, Err(AuditError::Unavailable(text)) if text.contains("here")), "{result:?}");
    }
    assert!(started.elapsed() < DEADLINE + SLACK, "each waited for the deadline");
    assert!(metrics.render().unwrap().contains("audit_write_failures_total{reason=\"unavailable\"} 101"));
    // Refusals meanwhile are kept, in records of their own or as counts.
    (0..1_000).for_each(|_| {
        audit.note(AuditEntry::new(Phase::Refusal, "r", "mint_aws_creds", "audit_unavailable"))
    });
    std::fs::rename(&away, &here).unwrap();
    recovers(&audit).await;
    assert_eq!(audit.of_mint("before").await.unwrap().len(), 1);
    assert!(audit.of_mint("lost").await.unwrap().is_empty());
    assert!(audit.close(SLACK).await);
    let own = audit.of_mint("r").await.unwrap().len();
    let records = audit.tail(10_000).await.unwrap();
    let summary = records.iter().find(|r| r.entry.action == "refusals_coalesced").unwrap();
    assert!(summary.entry.detail.as_ref().unwrap().starts_with(&format!("total={} ", 1_000 - own)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_is_lost_for_good_is_refused_until_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().join("here");
    std::fs::create_dir(&here).unwrap();
    let (audit, _) = open(&here.join("audit.sqlite"));
    audit.write(intent("before")).await.unwrap();
    std::fs::remove_dir_all(&here).unwrap();
    assert!(audit.write(intent("lost")).await.is_err());
    std::fs::create_dir(&here).unwrap();
    assert!(audit.write(intent("still lost")).await.is_err());
    assert!(!here.join("audit.sqlite").exists(), "no file is made in its place");
    let (restarted, _) = open(&here.join("audit.sqlite"));
    restarted.write(intent("after")).await.unwrap();
    assert_eq!(restarted.tail(1).await.unwrap()[0].seq, 1, "and that is a new chain");
}

/// A small file system of its own, where this user may mount one.
struct Mounted(PathBuf);

impl Mounted {
    fn new(at: PathBuf) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"]).arg(&at);
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(at)),
            refused => {
                println!("skipped: this user may not mount a file system ({refused:?})");
                None
            }
        }
    }

    fn run(&self, command: &str, arguments: &[&str]) {
        assert!(Command::new(command).args(arguments).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.run("umount", &["-l"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_in_time_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(directory.path().join("disk")) else { return };
    let (audit, _) = open(&disk.0.join("audit.sqlite"));
    audit.write(intent("before")).await.unwrap();
    let filler = disk.0.join("filler");
    let full = std::fs::write(&filler, vec![0; 2 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    // The log is a file that was allocated already: a few records may still fit.
    let started = Instant::now();
    let mut refused = None;
    for i in 0..2_000 {
        if let Err(error) = audit.write(intent(format!("{i}"))).await {
            refused = Some(error);
            break;
        }
    }
    let error = refused.expect("a full disk took 2,000 records");
    assert!(matches!(&error, AuditError::Unavailable(text) if text.contains("full")), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(!audit.healthy());
    std::fs::remove_file(&filler).unwrap();
    recovers(&audit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_cannot_be_written_at_start_is_an_error_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(directory.path().join("disk")) else { return };
    let path = disk.0.join("audit.sqlite");
    let (audit, _) = open(&path);
    assert!(audit.close(SLACK).await);
    drop(audit);
    disk.run("mount", &["-o", "remount,ro"]);
    let settings = AuditSettings {
        path: path.clone(),
        write_deadline: DEADLINE,
        retention: Duration::from_secs(86_400),
    };
    let metrics = Arc::new(Metrics::new().unwrap());
    let error = SqliteAudit::open(settings.clone(), Arc::clone(&metrics)).err().unwrap().to_string();
    assert!(error.contains("audit.sqlite"), "{error}");
    // It can still be proved.
    assert!(verify_file(&path).unwrap().ok);
    disk.run("mount", &["-o", "remount,rw"]);
    SqliteAudit::open(settings, metrics).unwrap();
}
