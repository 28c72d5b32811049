//! The credential backend over real sockets and a real database.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod support;

use std::os::unix::fs::{DirBuilderExt, MetadataExt};

use agentkeys_broker_server::issuer::{IssuerSettings, IssuerUrl, KeyDirectory};
use agentkeys_core::Timestamp;
use agentkeys_core::oauth::TokenResponse;
use agentkeys_core::wire::NewSessionResponse;
use http::{Method, StatusCode};
use rusqlite::Connection;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use support::{ACCESS_TOKEN, EXCHANGE, Key, Running, request};

const PATH: &str = "/v1/credentials/openrouter";

async fn child(broker: &Running, parent: &str, scope: &str) -> String {
    let fields = [
        ("grant_type", EXCHANGE),
        ("subject_token", parent),
        ("subject_token_type", ACCESS_TOKEN),
        ("scope", scope),
    ];
    let made: TokenResponse = broker.form("/oauth/token", None, &fields).await.json();
    made.access_token.expose_secret().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_kept_sealed_for_its_wallet_alone() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let (mine, theirs) = (broker.sign_in(&Key::new(7)).await, broker.sign_in(&Key::new(8)).await);
    let (token, stranger) = (Some(mine.token.expose_secret()), Some(theirs.token.expose_secret()));
    let value = json!({ "value": "sk-or-v1-canary-ünïcode" });
    assert_eq!(broker.get(PATH, token).await.refusal(), (404, "not_found".into()));
    assert_eq!(broker.put(PATH, token, &value).await.status, StatusCode::NO_CONTENT);
    let read = broker.get(PATH, token).await;
    read.is_not_stored();
    assert_eq!(read.field("value"), value["value"]);
    assert_eq!(read.field("service"), "openrouter");
    // Another wallet sees, changes and removes nothing of it.
    assert_eq!(broker.get(PATH, stranger).await.refusal(), (404, "not_found".into()));
    assert_eq!(broker.delete(PATH, stranger).await.refusal(), (404, "not_found".into()));
    assert_eq!(
        broker.put(PATH, stranger, &json!({ "value": "theirs" })).await.status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(broker.get(PATH, token).await.field("value"), value["value"]);
    assert_eq!(broker.get(PATH, None).await.status, StatusCode::UNAUTHORIZED);
    broker.stop().await;

    // No file holds it in the clear, and the key's file is its owner's.
    let state = directory.path().join("state");
    for entry in std::fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(6).any(|window| window == b"canary"), "{path:?}");
        }
    }
    assert_eq!(std::fs::metadata(state.join("credentials.key")).unwrap().mode() & 0o777, 0o600);

    let broker = Running::start(directory.path(), &[]).await;
    assert_eq!(broker.get(PATH, token).await.field("value"), value["value"], "after a restart");
    assert_eq!(broker.put(PATH, token, &json!({ "value": "second" })).await.status, StatusCode::NO_CONTENT);
    assert_eq!(broker.get(PATH, token).await.field("value"), "second");
    assert_eq!(broker.delete(PATH, token).await.status, StatusCode::NO_CONTENT);
    assert_eq!(broker.delete(PATH, token).await.refusal(), (404, "not_found".into()));
    let audited = broker.audited().await;
    for action in ["credential_store", "credential_read", "credential_remove"] {
        assert!(audited.contains(&(action.into(), "granted".into())), "{action}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_reaches_its_own_services_and_read_only_writes_none() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let master: NewSessionResponse = broker.sign_in(&Key::new(7)).await;
    let token = master.token.expose_secret();
    for service in ["openrouter", "github"] {
        let path = format!("/v1/credentials/{service}");
        broker.put(&path, Some(token), &json!({ "value": service })).await;
    }
    let one = child(&broker, token, "service:openrouter").await;
    let reader = child(&broker, token, "read_only").await;
    let none = child(&broker, token, "no_services").await;
    let services = |answer: Value| -> Vec<String> {
        let rows = answer.as_array().unwrap().clone();
        rows.iter().map(|row| row["service"].as_str().unwrap().to_owned()).collect()
    };
    let list = |token: String| {
        let broker = &broker;
        async move { services(broker.get("/v1/credentials", Some(&token)).await.field("credentials")) }
    };
    assert_eq!(list(token.into()).await, ["github", "openrouter"]);
    assert_eq!(list(one.clone()).await, ["openrouter"]);
    assert_eq!(list(none.clone()).await, [""; 0]);
    let refused = (403, "insufficient_scope".to_owned());
    let value = json!({ "value": "x" });
    assert_eq!(broker.get(PATH, Some(&one)).await.status, StatusCode::OK);
    assert_eq!(broker.put(PATH, Some(&one), &value).await.status, StatusCode::NO_CONTENT);
    assert_eq!(broker.get("/v1/credentials/github", Some(&one)).await.refusal(), refused);
    assert_eq!(broker.put("/v1/credentials/github", Some(&one), &value).await.refusal(), refused);
    assert_eq!(broker.get(PATH, Some(&none)).await.refusal(), refused);
    assert_eq!(broker.get(PATH, Some(&reader)).await.status, StatusCode::OK);
    assert_eq!(broker.put(PATH, Some(&reader), &value).await.refusal(), refused);
    assert_eq!(broker.delete(PATH, Some(&reader)).await.refusal(), refused);
    for name in ["OpenRouter", "%6fpenrouter", "..", ".hidden", &"a".repeat(65)] {
        let answer = broker.get(&format!("/v1/credentials/{name}"), Some(token)).await;
        assert_eq!(answer.refusal(), (400, "bad_request".into()), "{name}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_the_largest_size_fits_however_json_spells_it() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let master = broker.sign_in(&Key::new(7)).await;
    let token = Some(master.token.expose_secret());
    let put = |body: String| {
        broker.send(request(Method::PUT, PATH, token, Some(("application/json", body.into_bytes()))))
    };
    for largest in ["a".repeat(65_536), "é".repeat(32_768)] {
        let body = json!({ "value": largest }).to_string();
        assert_eq!(put(body).await.status, StatusCode::NO_CONTENT);
        assert_eq!(broker.get(PATH, token).await.field("value").as_str().unwrap(), largest);
    }
    let escaped = |count: usize| format!(r#"{{"value":"{}"}}"#, r"\u0061".repeat(count));
    assert_eq!(put(escaped(65_536)).await.status, StatusCode::NO_CONTENT);
    let too_large = (413, "body_too_large".to_owned());
    assert_eq!(put(json!({ "value": "a".repeat(65_537) }).to_string()).await.refusal(), too_large);
    assert_eq!(put(escaped(65_537)).await.refusal(), too_large);
    assert_eq!(put("x".repeat(600_000)).await.refusal(), too_large);
    let bad = (400, "bad_request".to_owned());
    for body in ["", "{}", r#"{"value":""}"#, r#"{"value":1}"#, r#"{"value":"a","ttl":1}"#, r#""canary""#] {
        let answer = put(body.to_owned()).await;
        assert_eq!(answer.refusal(), bad, "{body}");
        assert!(!String::from_utf8_lossy(&answer.body).contains("canary"));
    }
    // Other routes keep the common cap.
    let large = json!({ "wallet": "a".repeat(70_000) });
    assert_eq!(broker.post("/v1/sessions/challenge", None, &large).await.refusal(), too_large);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_moved_or_altered_opens_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let (mine, theirs) = (broker.sign_in(&Key::new(7)).await, broker.sign_in(&Key::new(8)).await);
    let (token, stranger) = (Some(mine.token.expose_secret()), Some(theirs.token.expose_secret()));
    broker.put(PATH, token, &json!({ "value": "canary" })).await;
    let database = Connection::open(directory.path().join("state/broker.sqlite")).unwrap();
    let moved = database.execute("UPDATE credentials SET wallet = ?1", [theirs.wallet.as_str()]).unwrap();
    assert_eq!(moved, 1);
    let answer = broker.get(PATH, stranger).await;
    assert_eq!(answer.refusal(), (500, "internal".into()));
    database.execute("UPDATE credentials SET wallet = ?1, version = 2", [mine.wallet.as_str()]).unwrap();
    assert_eq!(broker.get(PATH, token).await.refusal(), (500, "internal".into()));
    database.execute("UPDATE credentials SET version = 1", []).unwrap();
    assert_eq!(broker.get(PATH, token).await.field("value"), "canary");
    broker.stop().await;

    // Under another key nothing opens, and it says so only in the log.
    std::fs::remove_file(directory.path().join("state/credentials.key")).unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    assert_eq!(broker.get(PATH, token).await.refusal(), (500, "internal".into()));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hosted_broker_without_a_key_says_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let hosted = [
        ("BROKER_ISSUER", "https://broker.example.com"),
        ("BROKER_SESSIONS_ENROLMENT", "closed"),
        ("BROKER_AWS_EXCHANGE", "assume_role"),
    ];
    // The operator makes the first signing key; a hosted broker does not.
    std::fs::DirBuilder::new().mode(0o700).create(directory.path().join("state")).unwrap();
    let url = IssuerUrl::parse(hosted[0].1).unwrap();
    let settings = IssuerSettings::new(url, directory.path().join("state/signing-keys"));
    KeyDirectory::new(settings).generate(Timestamp::now()).unwrap();
    let broker = Running::start(directory.path(), &hosted).await;
    let issued: NewSessionResponse =
        broker.operator(Method::POST, "/admin/v1/sessions", Some(json!({}))).await.json();
    let token = Some(issued.token.expose_secret());
    for answer in [
        broker.get(PATH, token).await,
        broker.get("/v1/credentials", token).await,
        broker.put(PATH, token, &json!({ "value": "x" })).await,
        broker.delete(PATH, token).await,
    ] {
        assert_eq!(answer.refusal(), (503, "not_ready".into()));
        assert!(answer.field("detail").as_str().unwrap().contains("credentials.key"));
    }
    broker.stop().await;
    assert!(!directory.path().join("state/credentials.key").exists());

    let mut with_key = hosted.to_vec();
    let key = "1f".repeat(32);
    with_key.push(("BROKER_CREDENTIALS_KEY", &key));
    let broker = Running::start(directory.path(), &with_key).await;
    let stored = broker.put(PATH, token, &json!({ "value": "x" })).await;
    assert_eq!(stored.status, StatusCode::NO_CONTENT, "{stored:?}");
    assert_eq!(broker.get(PATH, token).await.field("value"), "x");
    broker.stop().await;
}
