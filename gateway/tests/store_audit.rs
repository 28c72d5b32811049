//! The audit's chain: what is written is read back, and what is altered is found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkeys_broker_server::metrics::Metrics;
use agentkeys_broker_server::store::{AuditSettings, SqliteAudit, backup_file, verify_file};
use agentkeys_core::audit::{AuditEntry, AuditRecord, Phase};
use agentkeys_core::store::{AuditError, AuditLog};
use proptest::prelude::*;
use rusqlite::Connection;

const DAY: Duration = Duration::from_secs(86_400);

fn open(directory: &Path) -> (Arc<SqliteAudit>, Arc<Metrics>) {
    open_for(directory, Duration::MAX)
}

fn open_for(directory: &Path, retention: Duration) -> (Arc<SqliteAudit>, Arc<Metrics>) {
    let settings = AuditSettings {
        path: directory.join("audit.sqlite"),
        write_deadline: Duration::from_secs(10),
        retention,
    };
    let metrics = Arc::new(Metrics::new().unwrap());
    (SqliteAudit::open(settings, Arc::clone(&metrics)).unwrap(), metrics)
}

fn entry(phase: Phase, mint: impl Into<String>) -> AuditEntry {
    AuditEntry {
        session_id: Some("ses_1".into()),
        wallet: Some("0xaa".into()),
        target: Some("role:agent".into()),
        kid: Some("kid".into()),
        session_name: Some("name".into()),
        source: Some("192.0.2.1".into()),
        detail: Some("detail".into()),
        ..AuditEntry::new(phase, mint, "mint_aws_creds", "pending")
    }
}

async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_found_by_place_and_by_mint_and_unfinished_mints_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, metrics) = open(directory.path());
    for mint in ["a", "b", "c"] {
        audit.write(entry(Phase::Intent, mint)).await.unwrap();
    }
    audit.write(entry(Phase::Outcome, "b")).await.unwrap();
    audit.note(entry(Phase::Refusal, "d"));
    wait_until("the note is written", async || audit.tail(10).await.unwrap().len() == 5).await;

    let seqs = |records: Vec<AuditRecord>| records.iter().map(|r| r.seq).collect::<Vec<_>>();
    assert_eq!(seqs(audit.tail(2).await.unwrap()), [4, 5]);
    assert_eq!(seqs(audit.after(1, 2).await.unwrap()), [2, 3]);
    assert_eq!(seqs(audit.of_mint("b").await.unwrap()), [2, 4]);
    let verification = audit.verify().await.unwrap();
    assert!(verification.ok, "{verification:?}");
    assert_eq!((verification.records, verification.unfinished), (5, 2));
    let checkpoint = audit.checkpoint().await.unwrap();
    assert_eq!((checkpoint.seq, checkpoint.head), (5, verification.head));
    assert!(audit.healthy());
    let text = metrics.render().unwrap();
    for line in [
        "audit_writes_total{phase=\"intent\"} 3",
        "audit_writes_total{phase=\"refusal\"} 1",
        "audit_healthy 1",
        "audit_write_duration_seconds_count 4",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_writes_what_is_queued_and_what_was_only_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, _) = open(directory.path());
    for i in 0..1_000 {
        audit.note(entry(Phase::Refusal, format!("{i}")));
    }
    assert!(audit.close(Duration::from_secs(10)).await);
    assert!(matches!(audit.write(entry(Phase::Intent, "late")).await, Err(AuditError::Unavailable(_))));
    assert!(!audit.healthy());
    drop(audit);
    let (audit, _) = open(directory.path());
    let records = audit.tail(10_000).await.unwrap();
    assert_eq!(accounted(&records), 1_000);
    assert!(audit.of_mint("late").await.unwrap().is_empty());
}

/// Refusals with a record of their own, and those in summaries.
fn accounted(records: &[AuditRecord]) -> u64 {
    records
        .iter()
        .map(|record| match record.entry.action.as_str() {
            "refusals_coalesced" => {
                let detail = record.entry.detail.as_deref().unwrap();
                detail.split(' ').next().unwrap().strip_prefix("total=").unwrap().parse().unwrap()
            }
            _ => u64::from(record.entry.phase == Phase::Refusal),
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_costs_few_records_and_no_mint_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, metrics) = open(directory.path());
    let floods: Vec<_> = (0..4)
        .map(|_| {
            let audit = Arc::clone(&audit);
            tokio::task::spawn_blocking(move || {
                let refusal = AuditEntry { outcome: "rate_limited".into(), ..entry(Phase::Refusal, "flood") };
                (0..25_000).for_each(|_| audit.note(refusal.clone()));
            })
        })
        .collect();
    for i in 0..50 {
        audit.write(entry(Phase::Intent, format!("mint {i}"))).await.unwrap();
    }
    for flood in floods {
        flood.await.unwrap();
    }
    assert!(audit.close(Duration::from_secs(10)).await);
    let records = audit.tail(10_000).await.unwrap();
    assert_eq!(records.iter().filter(|r| r.entry.phase == Phase::Intent).count(), 50);
    assert!(records.len() < 600, "{} records", records.len());
    assert_eq!(accounted(&records), 100_000);
    let own = records.iter().filter(|r| r.entry.phase == Phase::Refusal).count() as u64;
    assert_eq!(metrics.audit_refusals_coalesced.get(), 100_000 - own);
    let summary = records.iter().find(|r| r.entry.action == "refusals_coalesced").unwrap();
    assert!(summary.entry.detail.as_ref().unwrap().contains("mint_aws_creds/rate_limited="));
    assert!(audit.verify().await.unwrap().ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_write_one_chain() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _) = open(directory.path());
    let (second, _) = open(directory.path());
    let writers: Vec<_> = (0..40)
        .map(|i| {
            let audit = Arc::clone(if i % 2 == 0 { &first } else { &second });
            tokio::spawn(async move {
                for j in 0..25 {
                    audit.write(entry(Phase::Intent, format!("{i}/{j}"))).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for audit in [&first, &second] {
        let verification = audit.verify().await.unwrap();
        assert!(verification.ok, "{verification:?}");
        assert_eq!(verification.records, 1_000);
    }
    assert_eq!(first.of_mint("39/24").await.unwrap(), second.of_mint("39/24").await.unwrap());
}

/// A closed audit file of twenty records.
async fn chain_of_twenty(directory: &Path) -> PathBuf {
    let (audit, _) = open(directory);
    for i in 1..=20 {
        audit.write(entry(Phase::Intent, format!("mint {i}"))).await.unwrap();
    }
    assert!(audit.close(Duration::from_secs(10)).await);
    directory.join("audit.sqlite")
}

fn tampered(original: &Path, name: &str, sql: &str) -> PathBuf {
    let copy = original.with_file_name(name);
    backup_file(original, &copy).unwrap();
    let connection = Connection::open(&copy).unwrap();
    connection.execute_batch("DROP TRIGGER records_never_change").unwrap();
    connection.execute_batch(sql).unwrap();
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_altered_is_found_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let original = chain_of_twenty(directory.path()).await;
    let set = |column: &str, value: &str| format!("UPDATE records SET {column} = {value} WHERE seq = 7");
    let mut cases: Vec<(String, u64, &str)> = vec![
        (set("at_ms", "at_ms + 1"), 7, "hash does not match"),
        (set("phase", "'outcome'"), 7, "hash does not match"),
        (set("phase", "'else'"), 7, "cannot be read"),
        (set("detail", "X'ff'"), 7, ""),
        (set("previous_hash", "zeroblob(32)"), 7, "previous_hash"),
        (set("previous_hash", "X'00'"), 7, "cannot be read"),
        (set("hash", "zeroblob(32)"), 7, "hash does not match"),
        ("UPDATE records SET hash = zeroblob(32) WHERE seq = 20".into(), 20, "hash does not match"),
        ("DELETE FROM records WHERE seq = 7".into(), 8, "records 7 to 7 are missing"),
        ("DELETE FROM records WHERE seq = 1".into(), 2, "no record says that they were pruned"),
        ("DELETE FROM records WHERE seq = 20".into(), 20, "records 20 to 20 are missing at the end"),
        ("DELETE FROM records".into(), 1, "records 1 to 20 are missing at the end"),
        (
            "UPDATE records SET seq = 99 WHERE seq = 7; UPDATE records SET seq = 7 WHERE seq = 8;
             UPDATE records SET seq = 8 WHERE seq = 99"
                .into(),
            7,
            "previous_hash",
        ),
        ("UPDATE records SET seq = 0 WHERE seq = 1".into(), 0, ""),
        ("UPDATE records SET seq = -5 WHERE seq = 1".into(), 0, "cannot be read"),
        (
            "INSERT INTO records SELECT 21, at_ms, phase, mint_id, action, outcome, session_id, wallet, target,
             kid, session_name, source, detail, hash, hash FROM records WHERE seq = 20"
                .into(),
            21,
            "hash does not match",
        ),
    ];
    for column in ["mint_id", "action", "outcome"] {
        cases.push((set(column, "'altered'"), 7, "hash does not match"));
        cases.push((set(column, "''"), 7, "hash does not match"));
    }
    for column in ["session_id", "wallet", "target", "kid", "session_name", "source", "detail"] {
        cases.push((set(column, "'altered'"), 7, "hash does not match"));
        cases.push((set(column, "''"), 7, "hash does not match"));
        cases.push((set(column, "NULL"), 7, "hash does not match"));
    }
    let sound = verify_file(&original).unwrap();
    assert!(sound.ok && sound.records == 20, "{sound:?}");
    for (i, (sql, bad, reason)) in cases.iter().enumerate() {
        if sql.contains("X'ff'") {
            // STRICT keeps bytes out of a text column by itself.
            continue;
        }
        let found = verify_file(&tampered(&original, &format!("{i}.sqlite"), sql)).unwrap();
        assert!(!found.ok, "{sql}");
        assert_eq!(found.first_bad, Some(*bad), "{sql}: {found:?}");
        assert!(found.reason.as_ref().unwrap().contains(reason), "{sql}: {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_cut_off_the_end_stays_missed_when_the_broker_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let original = chain_of_twenty(directory.path()).await;
    Connection::open(&original).unwrap().execute_batch("DELETE FROM records WHERE seq >= 19").unwrap();
    let (audit, _) = open(directory.path());
    audit.write(entry(Phase::Intent, "next")).await.unwrap();
    let found = audit.verify().await.unwrap();
    assert_eq!(found.first_bad, Some(21));
    assert!(found.reason.unwrap().contains("records 19 to 20 are missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_cannot_be_changed_by_an_ordinary_statement() {
    let directory = tempfile::tempdir().unwrap();
    let original = chain_of_twenty(directory.path()).await;
    let connection = Connection::open(&original).unwrap();
    let error = connection.execute_batch("UPDATE records SET wallet = 'x' WHERE seq = 3").unwrap_err();
    assert!(error.to_string().contains("audit records never change"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pruning_keeps_the_rest_provable() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, _) = open(directory.path());
    let now = entry(Phase::Event, "now").at_ms;
    let old = now - i64::try_from(DAY.as_millis()).unwrap() * 2;
    let old: Vec<_> = (0..2_500)
        .map(|i| {
            let audit = Arc::clone(&audit);
            let entry = AuditEntry { at_ms: old, ..entry(Phase::Intent, format!("old {i}")) };
            tokio::spawn(async move { audit.write(entry).await.unwrap() })
        })
        .collect();
    for write in old {
        write.await.unwrap();
    }
    for i in 0..10 {
        audit.write(entry(Phase::Intent, format!("new {i}"))).await.unwrap();
    }
    assert!(audit.close(Duration::from_secs(10)).await);
    drop(audit);

    let (audit, _) = open_for(directory.path(), DAY);
    wait_until("2,500 old records go", async || audit.tail(100).await.unwrap().len() == 13).await;
    // Three batches, each said in the chain.
    let records = audit.tail(100).await.unwrap();
    assert_eq!(records.iter().filter(|r| r.entry.action == "pruned").count(), 3);
    let last = records.last().unwrap();
    let text = format!("through=2500 hash={}", records[0].previous_hash);
    assert_eq!(last.entry.detail.as_deref(), Some(text.as_str()));
    let verification = audit.verify().await.unwrap();
    assert!(verification.ok, "{verification:?}");
    assert_eq!((verification.records, verification.unfinished), (13, 10));
    assert!(audit.close(Duration::from_secs(10)).await);

    let path = directory.path().join("audit.sqlite");
    for (name, sql, bad) in [
        ("a", "DELETE FROM records WHERE seq = 2501", 2_502),
        ("b", "DELETE FROM records WHERE action = 'pruned'", 2_501),
        ("c", "UPDATE records SET previous_hash = zeroblob(32) WHERE seq = 2501", 2_501),
    ] {
        let found = verify_file(&tampered(&path, name, sql)).unwrap();
        assert_eq!(found.first_bad, Some(bad), "{sql}: {found:?}");
    }
}

fn texts() -> impl Strategy<Value = Option<String>> {
    prop::option::of(any::<String>())
}

fn entries() -> impl Strategy<Value = AuditEntry> {
    let phases = prop::sample::select(vec![Phase::Intent, Phase::Outcome, Phase::Event]);
    let required = (any::<String>(), any::<String>(), any::<String>());
    let optional = (texts(), texts(), texts(), texts(), texts(), texts(), texts());
    (i64::MIN / 2..i64::MAX, phases, required, optional).prop_map(|(at_ms, phase, required, optional)| {
        AuditEntry {
            at_ms,
            phase,
            mint_id: required.0,
            action: required.1,
            outcome: required.2,
            session_id: optional.0,
            wallet: optional.1,
            target: optional.2,
            kid: optional.3,
            session_name: optional.4,
            source: optional.5,
            detail: optional.6,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_entries_are_read_back_as_written_and_the_chain_holds(
        entries in prop::collection::vec(entries(), 1..20)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let (audit, _) = open(directory.path());
            for entry in &entries {
                audit.write(entry.clone()).await.unwrap();
            }
            let records = audit.after(0, 100).await.unwrap();
            assert!(audit.verify().await.unwrap().ok);
            for (record, entry) in records.iter().zip(&entries) {
                let mut expected = entry.clone();
                if let Some(detail) = expected.detail.take() {
                    expected = expected.detail(detail);
                }
                assert_eq!(record.entry, expected);
            }
        });
    }
}
