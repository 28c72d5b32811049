//! Token exchange, revocation and introspection over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod support;

use agentkeys_core::oauth::{IntrospectResponse, TokenResponse};
use agentkeys_core::wire::SessionList;
use agentkeys_core::{SessionId, Timestamp};
use http::{Method, StatusCode, header};
use rusqlite::Connection;
use secrecy::ExposeSecret;
use serde_json::json;
use support::{ACCESS_TOKEN, Answer, EXCHANGE, Key, Running, request};

async fn exchange(broker: &Running, parent: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields =
        vec![("grant_type", EXCHANGE), ("subject_token", parent), ("subject_token_type", ACCESS_TOKEN)];
    fields.extend_from_slice(more);
    broker.form("/oauth/token", None, &fields).await
}

async fn child(broker: &Running, parent: &str, more: &[(&str, &str)]) -> TokenResponse {
    let answer = exchange(broker, parent, more).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.is_not_stored();
    answer.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_is_narrower_and_no_request_widens_it() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[("BROKER_SESSIONS_MASTER_TTL", "1h")]).await;
    let master = broker.sign_in(&Key::new(7)).await;
    let token = master.token.expose_secret();
    let scope = ("scope", "service:openrouter role:agent read_only max_duration:1800");
    let first = child(&broker, token, &[scope, ("label", "ci"), ("expires_in", "600")]).await;
    assert_eq!(first.scope, scope.1);
    assert_eq!((first.token_type.as_str(), first.issued_token_type.as_str()), ("Bearer", ACCESS_TOKEN));
    assert!((590..=600).contains(&first.expires_in));
    let narrow = first.access_token.expose_secret();
    for wider in ["service:github", "role:admin", "max_duration:3600", "service:openrouter service:github"] {
        let answer = exchange(&broker, narrow, &[("scope", wider)]).await;
        assert_eq!(answer.refusal(), (400, "invalid_scope".into()), "{wider}");
    }
    // What is left open is inherited; a life is cut to the parent's.
    let second = child(&broker, narrow, &[("expires_in", "86400")]).await;
    assert_eq!(second.scope, scope.1);
    assert!(second.expires_in <= first.expires_in);
    let third = child(&broker, narrow, &[("scope", "no_services no_roles max_duration:900")]).await;
    assert_eq!(third.scope, "no_services no_roles read_only max_duration:900");
    // Unless said, the parent's remaining hour counts and not the twelve of the default.
    let unsaid = child(&broker, token, &[]).await;
    assert!((3_500..=3_600).contains(&unsaid.expires_in));
    let audited = broker.audited().await;
    let granted =
        audited.iter().filter(|entry| **entry == ("session_child".into(), "granted".into())).count();
    assert_eq!(granted, 4);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_not_understood_get_the_standards_error() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let master = broker.sign_in(&Key::new(7)).await;
    let token = master.token.expose_secret();
    let encoded = |fields: &[(&str, &str)]| serde_urlencoded::to_string(fields).unwrap();
    let good =
        encoded(&[("grant_type", EXCHANGE), ("subject_token", token), ("subject_token_type", ACCESS_TOKEN)]);
    let invalid = (400, "invalid_request".to_owned());
    for body in [
        format!("{good}&grant_type={EXCHANGE}"),
        format!("{good}&scope=read_only&scope="),
        format!("{good}&audience=a&audience=b"),
        format!("{good}&expires_in=0"),
        format!("{good}&expires_in=-1"),
        format!("{good}&label=%07"),
        format!("{good}&requested_token_type=urn:ietf:params:oauth:token-type:jwt"),
        good.replace("access_token", "jwt"),
        format!("grant_type={}", support::DEVICE),
        String::new(),
    ] {
        let answer = broker.raw_form("/oauth/token", None, body.clone()).await;
        assert_eq!(answer.refusal(), invalid, "{body}");
        answer.is_not_stored();
        assert!(!String::from_utf8_lossy(&answer.body).contains(token));
    }
    let other = broker.raw_form("/oauth/token", None, "grant_type=password".into()).await;
    assert_eq!(other.refusal(), (400, "unsupported_grant_type".into()));
    let scope = broker.raw_form("/oauth/token", None, format!("{good}&scope=readonly")).await;
    assert_eq!(scope.refusal(), (400, "invalid_scope".into()));
    let json = request(Method::POST, "/oauth/token", None, Some(("application/json", b"{}".to_vec())));
    assert_eq!(broker.send(json).await.refusal(), (415, "unsupported_media_type".into()));
    let large = format!("{good}&label={}", "a".repeat(70_000));
    assert_eq!(broker.raw_form("/oauth/token", None, large).await.refusal(), (413, "body_too_large".into()));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_token_is_authenticated_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[("BROKER_LIMITS_FAILED_AUTH", "4/h")]).await;
    let master = broker.sign_in(&Key::new(7)).await;
    let token = master.token.expose_secret();
    let gone = child(&broker, token, &[]).await;
    let revoked = gone.access_token.expose_secret();
    broker.form("/oauth/revoke", Some(token), &[("token", revoked)]).await;
    let unknown = agentkeys_core::BearerToken::generate().unwrap();
    let bodies: Vec<_> = [revoked, unknown.expose(), "nonsense", "aks_nonsense"]
        .map(|subject| subject.to_owned())
        .into_iter()
        .collect();
    let mut said = Vec::new();
    for subject in &bodies {
        let answer = exchange(&broker, subject, &[]).await;
        assert_eq!(answer.refusal(), (400, "invalid_grant".into()));
        said.push(answer.body);
    }
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "they read alike");
    assert_eq!(exchange(&broker, revoked, &[]).await.refusal(), (429, "rate_limited".into()));
    assert_eq!(exchange(&broker, token, &[]).await.status, StatusCode::OK, "a good one is no guess");
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_quota_counts_for_exchanges_too() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[("BROKER_LIMITS_PER_SESSION", "2/h")]).await;
    let master = broker.sign_in(&Key::new(7)).await;
    let token = master.token.expose_secret();
    for _ in 0..2 {
        child(&broker, token, &[]).await;
    }
    let limited = exchange(&broker, token, &[]).await;
    assert_eq!(limited.refusal(), (429, "rate_limited".into()));
    assert!(limited.headers.contains_key(header::RETRY_AFTER));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reach_ends_at_ones_own_session_and_what_descends_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let (mine, theirs) = (broker.sign_in(&Key::new(7)).await, broker.sign_in(&Key::new(8)).await);
    let (token, stranger) = (mine.token.expose_secret(), theirs.token.expose_secret());
    let first = child(&broker, token, &[("scope", "read_only")]).await;
    let second = child(&broker, first.access_token.expose_secret(), &[]).await;
    let sibling = child(&broker, token, &[]).await;
    let introspect = |caller: String, subject: String| {
        let broker = &broker;
        async move {
            let answer = broker.form("/oauth/introspect", Some(&caller), &[("token", &subject)]).await;
            answer.is_not_stored();
            answer
        }
    };
    let of = |token: &TokenResponse| token.access_token.expose_secret().to_owned();
    let seen: IntrospectResponse = introspect(token.into(), of(&second)).await.json();
    assert!(seen.active);
    assert_eq!(seen.scope.as_deref(), Some("read_only"));
    assert_eq!(seen.sub.unwrap(), format!("agentkeys:agent:{}", mine.wallet));
    assert_eq!(seen.session_id.as_ref(), Some(&second.session_id));
    for (caller, subject) in [
        (stranger.to_owned(), of(&second)),
        (of(&first), token.to_owned()),
        (of(&first), of(&sibling)),
        (token.to_owned(), stranger.to_owned()),
        (token.to_owned(), "nonsense".to_owned()),
    ] {
        assert_eq!(introspect(caller, subject).await.body, r#"{"active":false}"#);
    }
    let revoke = |caller: String, name: &'static str, value: String| {
        let broker = &broker;
        async move { broker.form("/oauth/revoke", Some(&caller), &[(name, &value)]).await.field("revoked") }
    };
    assert_eq!(revoke(stranger.into(), "session_id", first.session_id.to_string()).await, 0);
    assert_eq!(revoke(stranger.into(), "token", of(&second)).await, 0);
    assert_eq!(revoke(of(&second), "token", of(&first)).await, 0, "not one's parent");
    assert_eq!(revoke(of(&first), "session_id", sibling.session_id.to_string()).await, 0);
    assert_eq!(revoke(token.into(), "token", "nonsense".into()).await, 0);
    assert_eq!(revoke(token.into(), "session_id", SessionId::generate().to_string()).await, 0);
    let list: SessionList = broker.get("/v1/sessions", Some(token)).await.json();
    assert_eq!(list.sessions.len(), 4);
    let list: SessionList = broker.get("/v1/sessions", Some(&of(&first))).await.json();
    assert_eq!(list.sessions.len(), 2);

    assert_eq!(revoke(token.into(), "session_id", first.session_id.to_string()).await, 2);
    assert_eq!(revoke(token.into(), "session_id", first.session_id.to_string()).await, 0);
    assert_eq!(introspect(token.into(), of(&second)).await.body, r#"{"active":false}"#);
    assert_eq!(broker.get("/v1/session", Some(&of(&second))).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(broker.get("/v1/session", Some(&of(&sibling))).await.status, StatusCode::OK);
    let both = [("token", "x"), ("session_id", first.session_id.as_str())];
    for fields in [&both[..], &[][..]] {
        let answer = broker.form("/oauth/revoke", Some(token), fields).await;
        assert_eq!(answer.refusal(), (400, "invalid_request".into()));
    }
    for path in ["/oauth/revoke", "/oauth/introspect"] {
        let answer = broker.form(path, None, &[("token", token)]).await;
        assert_eq!(answer.refusal(), (401, "invalid_token".into()));
    }
    let audited = broker.audited().await;
    assert_eq!(audited.iter().filter(|(action, _)| action == "session_revoke").count(), 2);
    broker.stop().await;
}

/// 10,000 below one another and 10,000 beside one another.
#[tokio::test(flavor = "multi_thread")]
async fn revoking_the_root_revokes_the_deepest_and_the_widest_family() {
    for deep in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let broker = Running::start(directory.path(), &[]).await;
        let master = broker.sign_in(&Key::new(7)).await;
        let root = master.token.expose_secret();
        let last = plant(&directory.path().join("state/broker.sqlite"), &master.session_id, deep);
        assert_eq!(broker.get("/v1/session", Some(&last)).await.status, StatusCode::OK);
        let revoked = broker.form("/oauth/revoke", Some(root), &[("token", root)]).await;
        assert_eq!(revoked.field("revoked"), 10_001, "{revoked:?}");
        for token in [&last, root] {
            assert_eq!(broker.get("/v1/session", Some(token)).await.status, StatusCode::UNAUTHORIZED);
        }
        assert_eq!(exchange(&broker, &last, &[]).await.refusal(), (400, "invalid_grant".into()));
        broker.stop().await;
    }
}

/// Writes 10,000 sessions below `root`; says the last one's token.
fn plant(database: &std::path::Path, root: &SessionId, deep: bool) -> String {
    let mut connection = Connection::open(database).unwrap();
    let transaction = connection.transaction().unwrap();
    let now = Timestamp::now();
    let mut parent = root.clone();
    let mut last = None;
    for _ in 0..10_000 {
        let (id, token) = (SessionId::generate(), agentkeys_core::BearerToken::generate().unwrap());
        transaction
            .prepare_cached(
                "INSERT INTO sessions (id, token_hash, wallet, kind, parent, scope, created_at, expires_at)
                 VALUES (?1, ?2, '0x00000000000000000000000000000000000000aa', 'child', ?3, '{}', ?4, ?5)",
            )
            .unwrap()
            .execute(rusqlite::params![
                id.as_str(),
                token.hash().as_bytes().as_slice(),
                parent.as_str(),
                now.unix(),
                now.plus(3_600).unix()
            ])
            .unwrap();
        if deep {
            parent = id;
        }
        last = Some(token);
    }
    transaction.commit().unwrap();
    last.unwrap().expose().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_leaves_without_its_record() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[("BROKER_AUDIT_WRITE_DEADLINE", "200ms")]).await;
    let key = Key::new(7);
    let master = broker.sign_in(&key).await;
    let token = master.token.expose_secret();
    let device: serde_json::Value = broker.form("/oauth/device_authorization", None, &[]).await.json();
    let approve = format!("/v1/pairings/{}/approve", device["user_code"].as_str().unwrap());
    assert_eq!(broker.post(&approve, Some(token), &json!({ "scope": {} })).await.status, StatusCode::OK);
    let stored = broker.put("/v1/credentials/openrouter", Some(token), &json!({ "value": "canary" })).await;
    assert_eq!(stored.status, StatusCode::NO_CONTENT, "{stored:?}");

    // Another process holds the audit, so nothing can be written.
    let mut holder = Connection::open(directory.path().join("state/audit.sqlite")).unwrap();
    let held = holder.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
    let unavailable = (503, "audit_unavailable".to_owned());
    let device_code = device["device_code"].as_str().unwrap();
    let poll = [("grant_type", support::DEVICE), ("device_code", device_code)];
    let path = "/v1/credentials/openrouter";
    for answer in [
        broker.try_sign_in(&key, None).await,
        exchange(&broker, token, &[]).await,
        broker.form("/oauth/token", None, &poll).await,
        broker.get(path, Some(token)).await,
        broker.put(path, Some(token), &json!({ "value": "other" })).await,
        broker.delete(path, Some(token)).await,
    ] {
        assert_eq!(answer.refusal(), unavailable);
        assert!(!String::from_utf8_lossy(&answer.body).contains("canary"));
    }
    drop(held);
    drop(holder);
    // Nothing was used up or changed by what failed.
    tokio::time::sleep(std::time::Duration::from_millis(4_700)).await;
    let mut session = broker.form("/oauth/token", None, &poll).await;
    for _ in 0..20 {
        if session.status != StatusCode::SERVICE_UNAVAILABLE {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        session = broker.form("/oauth/token", None, &poll).await;
    }
    assert_eq!(session.status, StatusCode::OK, "{session:?}");
    assert_eq!(broker.get(path, Some(token)).await.field("value"), "canary");
    let list: SessionList = broker.get("/v1/sessions", Some(token)).await.json();
    assert_eq!(list.sessions.len(), 2, "the master and the device");
    broker.stop().await;
}
