//! `invite` and `pair` of the real program against a running broker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod support;

use std::path::Path;

use agentkeys_core::oauth::DeviceAuthorizationResponse;
use http::StatusCode;
use serde_json::Value;
use support::{Key, Running};

/// Runs the program; its exit status and what it printed.
async fn run(data_dir: &Path, arguments: &[&str]) -> (bool, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_agentkeys-broker-server"))
        .env_clear()
        .arg("--data-dir")
        .arg(data_dir)
        .args(arguments)
        .output()
        .await
        .unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(text).unwrap())
}

async fn json(data_dir: &Path, arguments: &[&str]) -> Vec<Value> {
    let (ok, text) = run(data_dir, &[arguments, &["--json"]].concat()).await;
    assert!(ok, "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_invites_and_pairs_from_the_command_line() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let broker = Running::start(directory.path(), &[("BROKER_SESSIONS_ENROLMENT", "invite")]).await;

    let created = &json(&state, &["invite", "create", "--ttl", "1h"]).await[0];
    let code = created["code"].as_str().unwrap();
    let key = Key::new(7);
    assert_eq!(broker.try_sign_in(&key, Some(code)).await.status, StatusCode::CREATED);
    let other = &json(&state, &["invite", "create", "--wallet", &key.wallet()]).await[0];
    let listed = json(&state, &["invite", "list"]).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["used_by"], key.wallet());
    let (ok, text) = run(&state, &["invite", "list"]).await;
    assert!(ok && text.contains(&format!("used by {}", key.wallet())) && !text.contains(code), "{text}");
    let id = other["invite_id"].as_str().unwrap();
    assert_eq!(json(&state, &["invite", "revoke", id]).await[0]["revoked"], 1);
    let (ok, text) = run(&state, &["invite", "revoke", id]).await;
    assert!(!ok && text.contains("no open invite"), "{text}");

    let ask = || async {
        let fields = [("label", "ci"), ("scope", "read_only")];
        let answer = broker.form("/oauth/device_authorization", None, &fields).await;
        answer.json::<DeviceAuthorizationResponse>().user_code.as_str().to_owned()
    };
    let (first, second) = (ask().await, ask().await);
    assert_eq!(json(&state, &["pair", "list"]).await.len(), 2);
    let (ok, text) = run(&state, &["pair", "list"]).await;
    assert!(ok && text.contains(&first) && text.contains("read_only"), "{text}");
    let options = ["pair", "approve", &first, "--service", "openrouter", "--read-only", "--ttl", "1h"];
    let decided = &json(&state, &options).await[0];
    assert_eq!(decided["approved"], true);
    assert_eq!(decided["scope"]["services"][0], "openrouter");
    assert_eq!(json(&state, &["pair", "deny", &second]).await[0]["approved"], false);
    assert!(json(&state, &["pair", "list"]).await.is_empty());
    let (ok, text) = run(&state, &["pair", "approve", &first]).await;
    assert!(!ok && text.contains("No device waits"), "{text}");

    let audited = broker.audited().await;
    for action in ["invite_create", "invite_revoke", "device_approve", "device_deny"] {
        assert!(audited.contains(&(action.into(), "granted".into())), "{action}");
    }
    broker.stop().await;
}
