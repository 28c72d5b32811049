//! RFC 8628 over real sockets: a device asks, somebody decides, the device polls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod support;

use std::time::Duration;

use agentkeys_core::oauth::{DeviceAuthorizationResponse, TokenResponse};
use agentkeys_core::pairing_wire::{PairingDecision, PairingView};
use agentkeys_core::wire::{NewSessionResponse, SessionView};
use agentkeys_core::{SessionKind, Timestamp};
use http::{Method, StatusCode, header};
use secrecy::ExposeSecret;
use serde_json::json;
use support::{ACCESS_TOKEN, Answer, DEVICE, EXCHANGE, Key, Running};

async fn ask(broker: &Running, fields: &[(&str, &str)]) -> DeviceAuthorizationResponse {
    let answer = broker.form("/oauth/device_authorization", None, fields).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.is_not_stored();
    answer.json()
}

async fn poll(broker: &Running, device: &DeviceAuthorizationResponse) -> Answer {
    let code = device.device_code.expose_secret();
    broker.form("/oauth/token", None, &[("grant_type", DEVICE), ("device_code", code)]).await
}

async fn decide(broker: &Running, token: &str, code: &str, body: serde_json::Value) -> Answer {
    broker.post(&format!("/v1/pairings/{code}/approve"), Some(token), &body).await
}

/// As long as a device has to wait that polled too early once.
async fn two_intervals() {
    tokio::time::sleep(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_what_the_approver_says_once() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let master = broker.sign_in(&Key::new(7)).await;
    let token = master.token.expose_secret();
    let device = ask(
        &broker,
        &[("scope", "service:openrouter role:agent"), ("label", "ci runner"), ("expires_in", "900")],
    )
    .await;
    assert_eq!((device.expires_in, device.interval), (600, 5));
    assert!(device.verification_uri_complete.as_ref().unwrap().ends_with(device.user_code.as_str()));
    assert_eq!(poll(&broker, &device).await.refusal(), (400, "authorization_pending".into()));
    assert_eq!(poll(&broker, &device).await.refusal(), (400, "slow_down".into()));

    // The code as a person types it.
    let typed = device.user_code.as_str().to_lowercase().replace('-', "");
    let seen: PairingView = broker.get(&format!("/v1/pairings/{typed}"), Some(token)).await.json();
    assert_eq!((seen.label.as_deref(), seen.source.as_str()), (Some("ci runner"), "127.0.0.1"));
    assert_eq!(seen.ttl_seconds, Some(900));
    let path = format!("/v1/pairings/{}/approve", device.user_code);
    let missing = broker.post(&path, Some(token), &json!({})).await;
    assert_eq!(missing.refusal(), (400, "bad_request".into()), "no scope is not every scope");
    let scope = json!({ "services": ["openrouter"], "read_only": true });
    let decision: PairingDecision =
        decide(&broker, token, &typed, json!({ "scope": scope, "ttl_seconds": 900 })).await.json();
    assert!(decision.approved);
    let again = decide(&broker, token, &typed, json!({ "scope": {} })).await;
    assert_eq!(again.refusal(), (404, "not_found".into()), "a code decides once");

    two_intervals().await;
    let answer = poll(&broker, &device).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.is_not_stored();
    let session: TokenResponse = answer.json();
    assert_eq!(session.scope, "service:openrouter read_only");
    assert_eq!(session.wallet, master.wallet);
    assert!((880..=900).contains(&session.expires_in));
    let mine: SessionView =
        broker.get("/v1/session", Some(session.access_token.expose_secret())).await.json();
    assert_eq!((mine.kind, mine.parent.as_ref()), (SessionKind::Child, Some(&master.session_id)));
    assert_eq!(mine.label.as_deref(), Some("ci runner"));
    assert_eq!(Some(mine.expires_at), decision.expires_at);
    assert_eq!(poll(&broker, &device).await.refusal(), (400, "invalid_grant".into()), "handed out once");

    // A child does not let others in.
    let child = session.access_token.expose_secret();
    let other = ask(&broker, &[]).await;
    let refused = decide(&broker, child, other.user_code.as_str(), json!({ "scope": {} })).await;
    assert_eq!(refused.refusal(), (403, "insufficient_scope".into()));
    let refused = broker.get(&format!("/v1/pairings/{}", other.user_code), Some(child)).await;
    assert_eq!(refused.refusal(), (403, "insufficient_scope".into()));

    let audited = broker.audited().await;
    for action in ["device_approve", "device_pair"] {
        assert!(audited.contains(&(action.into(), "granted".into())), "{audited:?}");
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_turned_away_or_whose_approver_is_gone_gets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let master = broker.sign_in(&Key::new(7)).await;
    let token = master.token.expose_secret();
    let denied = ask(&broker, &[]).await;
    let path = format!("/v1/pairings/{}/deny", denied.user_code);
    let decision: PairingDecision = broker.post(&path, Some(token), &()).await.json();
    assert!(!decision.approved && decision.scope.is_none());
    assert_eq!(poll(&broker, &denied).await.refusal(), (400, "access_denied".into()));

    let orphaned = ask(&broker, &[]).await;
    decide(&broker, token, orphaned.user_code.as_str(), json!({ "scope": {} })).await;
    let revoked = broker.form("/oauth/revoke", Some(token), &[("token", token)]).await;
    assert_eq!(revoked.field("revoked"), 1);
    assert_eq!(poll(&broker, &orphaned).await.refusal(), (400, "access_denied".into()));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_cut_to_the_approvers_end_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[("BROKER_SESSIONS_MASTER_TTL", "1h")]).await;
    let master = broker.sign_in(&Key::new(7)).await;
    let device = ask(&broker, &[]).await;
    let body = json!({ "scope": {}, "ttl_seconds": 86_400 });
    let decision: PairingDecision =
        decide(&broker, master.token.expose_secret(), device.user_code.as_str(), body).await.json();
    assert_eq!(decision.expires_at, Some(master.expires_at));
    broker.stop().await;
    let broker = Running::start(directory.path(), &[]).await;
    let session: TokenResponse = poll(&broker, &device).await.json();
    assert!(session.expires_in <= master.expires_at.seconds_since(Timestamp::now()) + 1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_lists_lets_in_and_turns_away() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let (first, second) = (
        ask(&broker, &[("label", "one")]).await,
        ask(&broker, &[("label", "two"), ("scope", "read_only")]).await,
    );
    let listed = broker.operator(Method::GET, "/admin/v1/pairings", None).await.field("pairings");
    assert_eq!(listed.as_array().unwrap().len(), 2);
    let path = |code: &str, verb: &str| format!("/admin/v1/pairings/{code}/{verb}");
    let wallet = Key::new(9).wallet();
    let body = json!({ "wallet": wallet, "scope": { "roles": ["agent"] }, "ttl_seconds": 600 });
    let approve = path(first.user_code.as_str(), "approve");
    let missing = broker.operator(Method::POST, &approve, Some(json!({ "wallet": wallet }))).await;
    assert_eq!(missing.refusal().0, 400);
    let decided = broker.operator(Method::POST, &approve, Some(body)).await;
    assert_eq!(decided.field("approved"), true);
    let denied = broker.operator(Method::POST, &path(second.user_code.as_str(), "deny"), None).await;
    assert_eq!(denied.field("approved"), false);
    assert_eq!(broker.operator(Method::POST, &path("WDJB-MJHT", "deny"), None).await.refusal().0, 404);
    let session: TokenResponse = poll(&broker, &first).await.json();
    assert_eq!((session.scope.as_str(), session.wallet.as_str()), ("role:agent", wallet.as_str()));
    let mine: SessionView =
        broker.get("/v1/session", Some(session.access_token.expose_secret())).await.json();
    assert_eq!((mine.kind, mine.parent), (SessionKind::Issued, None));
    assert_eq!(poll(&broker, &second).await.refusal(), (400, "access_denied".into()));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guessed_codes_lock_the_guesser_out_even_of_the_right_one() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[("BROKER_LIMITS_FAILED_AUTH", "5/h")]).await;
    let master = broker.sign_in(&Key::new(7)).await;
    let token = Some(master.token.expose_secret());
    let device = ask(&broker, &[]).await;
    let right = format!("/v1/pairings/{}", device.user_code);
    assert_eq!(broker.get(&right, token).await.status, StatusCode::OK);
    let mut refusals = Vec::new();
    for code in ["BBBB-BBBB", "BBBBBBBC", "nonsense", "%57DJB-MJHT", "BBBB-BBBF", "BBBB-BBBG"] {
        refusals.push(broker.get(&format!("/v1/pairings/{code}"), token).await.status.as_u16());
    }
    assert_eq!(refusals, [404, 404, 404, 404, 404, 429]);
    let locked = broker.get(&right, token).await;
    assert_eq!(locked.refusal(), (429, "rate_limited".into()));
    assert!(locked.headers.contains_key(header::RETRY_AFTER));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_ask_for_is_bounded_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let path = "/oauth/device_authorization";
    for (fields, code) in [
        ([("scope", "readonly")], "invalid_scope"),
        ([("scope", "openid")], "invalid_scope"),
        ([("label", "a\u{1b}[2Kb")], "invalid_request"),
        ([("expires_in", "0")], "invalid_request"),
        ([("expires_in", "soon")], "invalid_request"),
    ] {
        let answer = broker.form(path, None, &fields).await;
        assert_eq!(answer.refusal(), (400, code.into()), "{fields:?}");
        answer.is_not_stored();
    }
    for _ in 0..50 {
        ask(&broker, &[]).await;
    }
    let full = broker.form(path, None, &[]).await;
    assert_eq!(full.refusal(), (429, "rate_limited".into()));
    assert!(full.headers.contains_key(header::RETRY_AFTER));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_narrowed_session_does_not_let_devices_in() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let issue = |body| broker.operator(Method::POST, "/admin/v1/sessions", Some(body));
    let whole: NewSessionResponse = issue(json!({})).await.json();
    let narrow: NewSessionResponse = issue(json!({ "read_only": true })).await.json();
    let device = ask(&broker, &[]).await;
    let code = device.user_code.as_str();
    let refused = decide(&broker, narrow.token.expose_secret(), code, json!({ "scope": {} })).await;
    assert_eq!(refused.refusal(), (403, "insufficient_scope".into()));
    assert_eq!(broker.get(&format!("/v1/pairings/{code}"), None).await.status, StatusCode::UNAUTHORIZED);
    let decided = decide(&broker, whole.token.expose_secret(), code, json!({ "scope": {} })).await;
    assert_eq!(decided.status, StatusCode::OK);
    let session: TokenResponse = poll(&broker, &device).await.json();
    assert_eq!(session.wallet, whole.wallet);
    // And what it handed out ends with it.
    let child = session.access_token.expose_secret();
    let made = broker
        .form(
            "/oauth/token",
            None,
            &[("grant_type", EXCHANGE), ("subject_token", child), ("subject_token_type", ACCESS_TOKEN)],
        )
        .await;
    assert_eq!(made.status, StatusCode::OK);
    let path = format!("/admin/v1/sessions/{}", whole.session_id);
    assert_eq!(broker.operator(Method::DELETE, &path, None).await.field("revoked"), 3);
    assert_eq!(broker.get("/v1/session", Some(child)).await.status, StatusCode::UNAUTHORIZED);
    broker.stop().await;
}
