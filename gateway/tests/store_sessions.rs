//! Sessions and grants over real database files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

use std::path::Path;
use std::sync::Arc;

use agentkeys_broker_server::metrics::Metrics;
use agentkeys_broker_server::store::{Store, StoreSettings};
use agentkeys_core::store::{SessionQuery, StoreError};
use agentkeys_core::{
    BearerToken, Grant, GrantId, MintTarget, Scope, Session, SessionId, SessionKind, Timestamp, TokenHash,
};
use rusqlite::Connection;

fn store(directory: &Path) -> (Store, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new().unwrap());
    let settings = StoreSettings { state_path: directory.join("state.sqlite"), metrics: metrics.clone() };
    (Store::open(settings).unwrap(), metrics)
}

fn hash(number: u64) -> TokenHash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    TokenHash::from_bytes(bytes)
}

fn session(parent: Option<&Session>) -> Session {
    let now = Timestamp::now();
    Session {
        id: SessionId::generate(),
        wallet: "0x00000000000000000000000000000000000000aa".parse().unwrap(),
        kind: if parent.is_some() { SessionKind::Child } else { SessionKind::Master },
        label: Some("laptop".into()),
        parent: parent.map(|parent| parent.id.clone()),
        scope: Scope { read_only: true, roles: Some(["agent".parse().unwrap()].into()), ..Scope::default() },
        created_at: now,
        expires_at: parent.map_or(now.plus(3_600), |parent| parent.expires_at),
        revoked_at: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_read_back_as_it_was_written_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let token = BearerToken::generate().unwrap();
    let written = session(None);
    {
        let (store, _) = store(directory.path());
        store.sessions().insert(&written, &token.hash()).await.unwrap();
    }
    // Nothing that opens a session is in the file.
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(16).any(|window| token.expose().as_bytes().starts_with(window)));
    }
    let (store, _) = store(directory.path());
    let sessions = store.sessions();
    assert_eq!(sessions.by_token(&token.hash()).await.unwrap(), Some(written.clone()));
    assert_eq!(sessions.by_id(&written.id).await.unwrap(), Some(written.clone()));
    assert_eq!(sessions.by_token(&hash(1)).await.unwrap(), None);
    let again = sessions.insert(&written, &hash(2)).await;
    assert!(matches!(again, Err(StoreError::Exists(id)) if id == written.id.as_str()));
    let same_token = sessions.insert(&session(None), &token.hash()).await;
    assert!(matches!(same_token, Err(StoreError::Exists(_))));
}

/// Writes 10,000 sessions below `root` in one transaction, each under the one
/// that `parent_of` names.
fn plant(directory: &Path, root: &Session, parent_of: impl Fn(usize) -> Option<usize>) -> Vec<SessionId> {
    let mut connection = Connection::open(directory.join("state.sqlite")).unwrap();
    let ids: Vec<SessionId> = (0..10_000).map(|_| SessionId::generate()).collect();
    let transaction = connection.transaction().unwrap();
    for (i, id) in ids.iter().enumerate() {
        let parent = parent_of(i).map_or(root.id.as_str(), |parent| ids[parent].as_str());
        transaction
            .prepare_cached(
                "INSERT INTO sessions (id, token_hash, wallet, kind, parent, scope, created_at, expires_at)
                 VALUES (?1, ?2, ?3, 'child', ?4, '{}', ?5, ?6)",
            )
            .unwrap()
            .execute(rusqlite::params![
                id.as_str(),
                hash(1_000 + i as u64).as_bytes().as_slice(),
                root.wallet.as_str(),
                parent,
                root.created_at.unix(),
                root.expires_at.unix(),
            ])
            .unwrap();
    }
    transaction.commit().unwrap();
    ids
}

async fn cascade(parent_of: impl Fn(usize) -> Option<usize>) {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store(directory.path());
    let sessions = store.sessions();
    let (root, bystander) = (session(None), session(None));
    sessions.insert(&root, &hash(1)).await.unwrap();
    sessions.insert(&bystander, &hash(2)).await.unwrap();
    let ids = plant(directory.path(), &root, parent_of);
    let last = hash(1_000 + 9_999);
    assert!(sessions.by_token(&last).await.unwrap().unwrap().is_live(Timestamp::now()));
    assert!(sessions.descends_from(&ids[9_999], &root.id).await.unwrap());
    assert!(sessions.descends_from(&root.id, &root.id).await.unwrap());
    assert!(!sessions.descends_from(&root.id, &ids[9_999]).await.unwrap());
    assert!(!sessions.descends_from(&ids[9_999], &bystander.id).await.unwrap());

    // The store's own limit is three seconds: slower would be an error.
    let at = Timestamp::now();
    assert_eq!(sessions.revoke(&root.id, at).await.unwrap(), 10_001);
    assert_eq!(sessions.revoke(&root.id, at).await.unwrap(), 0);
    for token in [hash(1), hash(1_000), hash(6_000), last] {
        assert_eq!(sessions.by_token(&token).await.unwrap().unwrap().revoked_at, Some(at));
    }
    assert_eq!(sessions.by_token(&hash(2)).await.unwrap(), Some(bystander.clone()));
    assert_eq!(sessions.list(&SessionQuery::default()).await.unwrap(), vec![bystander]);

    assert_eq!(sessions.purge(at).await.unwrap(), 0);
    assert_eq!(sessions.purge(at.plus(1)).await.unwrap(), 10_001);
    assert_eq!(sessions.by_token(&last).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_reaches_ten_thousand_generations() {
    cascade(|i| i.checked_sub(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_reaches_ten_thousand_children() {
    cascade(|_| None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_revokes_and_the_next_look_up_sees_it() {
    let directory = tempfile::tempdir().unwrap();
    let (here, metrics) = store(directory.path());
    let (there, _) = store(directory.path());
    let (here, there) = (here.sessions(), there.sessions());
    let one = session(None);
    here.insert(&one, &hash(1)).await.unwrap();
    let hits = || metrics.session_cache.with_label_values(&["hit"]).get();
    for round in 0..50u64 {
        // Warm, and proved to be: the second look-up is a hit.
        let other = session(None);
        there.insert(&other, &hash(100 + round)).await.unwrap();
        here.by_token(&hash(100 + round)).await.unwrap();
        let before = hits();
        assert!(here.by_token(&hash(100 + round)).await.unwrap().unwrap().revoked_at.is_none());
        assert_eq!(hits(), before + 1);
        there.revoke(&other.id, Timestamp::now()).await.unwrap();
        assert!(here.by_token(&hash(100 + round)).await.unwrap().unwrap().revoked_at.is_some());
    }
    assert!(here.by_token(&hash(1)).await.unwrap().unwrap().is_live(Timestamp::now()));
    // And this process's own revocation.
    here.revoke(&one.id, Timestamp::now()).await.unwrap();
    assert!(here.by_token(&hash(1)).await.unwrap().unwrap().revoked_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_under_a_parent_that_has_ended_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store(directory.path());
    let sessions = store.sessions();
    let parent = session(None);
    sessions.insert(&parent, &hash(1)).await.unwrap();
    let refused = |result| assert!(matches!(result, Err(StoreError::ParentNotLive)), "{result:?}");

    let mut outlives = session(Some(&parent));
    outlives.expires_at = parent.expires_at.plus(1);
    refused(sessions.insert(&outlives, &hash(2)).await);
    refused(sessions.insert(&session(Some(&session(None))), &hash(3)).await);
    let mut ended = session(None);
    ended.expires_at = Timestamp::now();
    sessions.insert(&ended, &hash(4)).await.unwrap();
    refused(sessions.insert(&session(Some(&ended)), &hash(5)).await);

    let child = session(Some(&parent));
    sessions.insert(&child, &hash(6)).await.unwrap();
    sessions.revoke(&parent.id, Timestamp::now()).await.unwrap();
    refused(sessions.insert(&session(Some(&parent)), &hash(7)).await);
    refused(sessions.insert(&session(Some(&child)), &hash(8)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_child_survives_a_revocation_that_races_with_its_birth() {
    let directory = tempfile::tempdir().unwrap();
    let (here, _) = store(directory.path());
    let (there, _) = store(directory.path());
    for round in 0..30u64 {
        let parent = session(None);
        here.sessions().insert(&parent, &hash(round)).await.unwrap();
        let births: Vec<_> = (0..4u64)
            .map(|i| {
                let sessions = if i % 2 == 0 { here.sessions() } else { there.sessions() };
                let (child, token) = (session(Some(&parent)), hash(1_000 + round * 4 + i));
                tokio::spawn(async move { sessions.insert(&child, &token).await })
            })
            .collect();
        there.sessions().revoke(&parent.id, Timestamp::now()).await.unwrap();
        for birth in births {
            let result = birth.await.unwrap();
            assert!(matches!(result, Ok(()) | Err(StoreError::ParentNotLive)), "{result:?}");
        }
        let query = SessionQuery { root: Some(parent.id.clone()), ..SessionQuery::default() };
        assert_eq!(here.sessions().list(&query).await.unwrap(), vec![], "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_narrowed_newest_first_and_bounded() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store(directory.path());
    let sessions = store.sessions();
    let master = session(None);
    let child = session(Some(&master));
    let mut other = session(None);
    other.wallet = "0x00000000000000000000000000000000000000bb".parse().unwrap();
    for (i, each) in [&master, &child, &other].into_iter().enumerate() {
        sessions.insert(each, &hash(i as u64)).await.unwrap();
    }
    let ids = async |query: SessionQuery| {
        sessions.list(&query).await.unwrap().into_iter().map(|s| s.id).collect::<Vec<_>>()
    };
    let all = SessionQuery::default();
    assert_eq!(ids(all.clone()).await, [other.id.clone(), child.id.clone(), master.id.clone()]);
    assert_eq!(ids(SessionQuery { limit: 1, ..all.clone() }).await, [other.id.clone()]);
    let wallet = SessionQuery { wallet: Some(other.wallet.clone()), ..all.clone() };
    assert_eq!(ids(wallet).await, [other.id.clone()]);
    let root = SessionQuery { root: Some(master.id.clone()), ..all.clone() };
    assert_eq!(ids(root.clone()).await, [child.id.clone(), master.id.clone()]);
    sessions.revoke(&child.id, Timestamp::now()).await.unwrap();
    assert_eq!(ids(root.clone()).await, std::slice::from_ref(&master.id));
    assert_eq!(ids(SessionQuery { include_ended: true, ..root }).await, [child.id, master.id]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_or_lost_file_is_an_error_and_then_works_again() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store(directory.path());
    let sessions = store.sessions();
    let kept = session(None);
    sessions.insert(&kept, &hash(1)).await.unwrap();
    assert!(sessions.by_token(&hash(1)).await.unwrap().is_some());

    let blocker = Connection::open(directory.path().join("state.sqlite")).unwrap();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let locked = sessions.insert(&session(None), &hash(2)).await;
    assert!(matches!(locked, Err(StoreError::Unavailable(_))), "{locked:?}");
    // Readers do not wait for a writer.
    assert!(sessions.by_token(&hash(1)).await.unwrap().is_some());
    blocker.execute_batch("ROLLBACK").unwrap();
    drop(blocker);
    sessions.insert(&session(None), &hash(2)).await.unwrap();

    // Moved away: no answer from a file that nobody else can see.
    let away = directory.path().join("away");
    std::fs::create_dir(&away).unwrap();
    let names = ["state.sqlite", "state.sqlite-wal", "state.sqlite-shm"];
    for name in names {
        std::fs::rename(directory.path().join(name), away.join(name)).unwrap();
    }
    let lost = sessions.by_token(&hash(1)).await;
    assert!(matches!(lost, Err(StoreError::Unavailable(_))), "{lost:?}");
    assert!(sessions.insert(&session(None), &hash(3)).await.is_err());
    assert!(!directory.path().join("state.sqlite").exists(), "an empty store was made in its place");
    for name in names {
        std::fs::rename(away.join(name), directory.path().join(name)).unwrap();
    }
    assert_eq!(sessions.by_token(&hash(1)).await.unwrap(), Some(kept));
    sessions.insert(&session(None), &hash(3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_are_found_by_target_for_the_wallet_or_for_all() {
    let directory = tempfile::tempdir().unwrap();
    let (store, _) = store(directory.path());
    let grants = store.grants();
    let grant = |wallet: Option<&str>, target: MintTarget| Grant {
        id: GrantId::generate(),
        wallet: wallet.map(|text| text.parse().unwrap()),
        target,
        read_only: true,
        max_duration_seconds: Some(900),
        created_at: Timestamp::now(),
        expires_at: Some(Timestamp::now().plus(60)),
    };
    let (a, b) = ("0x00000000000000000000000000000000000000aa", "0x00000000000000000000000000000000000000bb");
    let role = MintTarget::Role("agent".parse().unwrap());
    // An audience of the same name is another target.
    let audience = MintTarget::Audience("agent".into());
    let mine = grant(Some(a), role.clone());
    let everyone = grant(None, role.clone());
    let theirs = grant(Some(b), role.clone());
    let other = grant(Some(a), audience.clone());
    for each in [&mine, &everyone, &theirs, &other] {
        grants.add(each).await.unwrap();
    }
    let wallet = a.parse().unwrap();
    assert_eq!(grants.find(&wallet, &role).await.unwrap(), vec![everyone.clone(), mine.clone()]);
    assert_eq!(grants.find(&wallet, &audience).await.unwrap(), vec![other.clone()]);
    assert!(matches!(grants.add(&mine).await, Err(StoreError::Exists(_))));
    assert!(grants.remove(&everyone.id).await.unwrap());
    assert!(!grants.remove(&everyone.id).await.unwrap());
    assert_eq!(grants.list().await.unwrap(), vec![other, theirs, mine]);
}
