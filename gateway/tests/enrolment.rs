//! Starting a master session over real sockets, under each policy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod support;

use agentkeys_core::SessionKind;
use agentkeys_core::wire::{NewSessionResponse, SessionView};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use secrecy::ExposeSecret;
use serde_json::json;
use support::{Key, Running, request};

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_proves_its_key_and_has_a_session_before_anyone_hears_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let key = Key::new(7);
    let answer = broker.try_sign_in(&key, None).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    answer.is_not_stored();
    let session: NewSessionResponse = answer.json();
    assert_eq!(session.wallet.as_str(), key.wallet());
    let token = session.token.expose_secret();
    let me: SessionView = broker.get("/v1/session", Some(token)).await.json();
    assert_eq!((me.session_id, me.kind), (session.session_id, SessionKind::Master));
    let days = me.expires_at.seconds_since(me.created_at) / 86_400;
    assert_eq!(days, 30);
    let expected: Vec<(String, String)> = [("session_start", "pending"), ("session_start", "granted")]
        .map(|(a, b)| (a.into(), b.into()))
        .into();
    assert_eq!(broker.audited().await, expected);
    broker.stop().await;
    // Nothing that opens a session is in any file.
    for entry in std::fs::read_dir(directory.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(16).any(|window| token.as_bytes().starts_with(window)), "{path:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_counts_once_and_outlives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let key = Key::new(7);
    let broker = Running::start(directory.path(), &[]).await;
    let challenge = broker.challenge(&key).await;
    let body = json!({ "message": challenge.message, "signature": key.personal_sign(&challenge.message) });
    broker.stop().await;

    let broker = Running::start(directory.path(), &[]).await;
    assert_eq!(broker.post("/v1/sessions", None, &body).await.status, StatusCode::CREATED);
    assert_eq!(broker.post("/v1/sessions", None, &body).await.refusal(), (400, "bad_request".into()));
    // The other spelling of v is the same signature over the same challenge.
    let signature = body["signature"].as_str().unwrap();
    let v = u8::from_str_radix(&signature[130..], 16).unwrap() - 27;
    let respelt =
        json!({ "message": challenge.message, "signature": format!("{}{v:02x}", &signature[..130]) });
    assert_eq!(broker.post("/v1/sessions", None, &respelt).await.refusal(), (400, "bad_request".into()));
    broker.stop().await;

    let broker = Running::start(directory.path(), &[]).await;
    assert_eq!(broker.post("/v1/sessions", None, &body).await.refusal(), (400, "bad_request".into()));
    // Of many at once, one.
    let challenge = broker.challenge(&key).await;
    let body = json!({ "message": challenge.message, "signature": key.personal_sign(&challenge.message) });
    let tries = (0..16).map(|_| broker.post("/v1/sessions", None, &body));
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count(), 1);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_message_and_no_other_key_starts_a_session() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let (key, other) = (Key::new(7), Key::new(8));
    let message = broker.challenge(&key).await.message;
    let signed = |text: &str| json!({ "message": text, "signature": key.personal_sign(text) });
    // Each signed by the right key, as a wallet that was asked by somebody else would.
    for altered in [
        message.replace("localhost:8090 wants", "exchange.example wants"),
        message.replace("URI: http://localhost:8090", "URI: http://localhost:8091"),
        message.replace("Version: 1", "Version: 2"),
        message.replace("Chain ID: 1", "Chain ID: 137"),
        message.replace("Nonce: ", "Nonce: 0"),
        message.replace("Issued At: 20", "Issued At: 21"),
        message.replace("Expiration Time: 20", "Expiration Time: 21"),
        message.replace("Start an AgentKeys session.", "Move everything."),
        message.to_lowercase(),
        format!("{message}\n"),
        format!("{message}\nResources:\n- https://exchange.example"),
        message.repeat(20),
        String::new(),
    ] {
        assert_ne!(altered, message);
        let answer = broker.post("/v1/sessions", None, &signed(&altered)).await;
        assert_eq!(answer.refusal(), (400, "bad_request".into()), "{altered}");
    }
    let by_another = json!({ "message": message, "signature": other.personal_sign(&message) });
    assert_eq!(broker.post("/v1/sessions", None, &by_another).await.refusal(), (403, "forbidden".into()));
    for malformed in ["", "0x", &"0".repeat(132)] {
        let body = json!({ "message": message, "signature": malformed });
        assert_eq!(broker.post("/v1/sessions", None, &body).await.refusal().0, 400);
    }
    let extra = json!({ "message": message, "signature": key.personal_sign(&message), "scope": {} });
    assert_eq!(broker.post("/v1/sessions", None, &extra).await.refusal(), (400, "bad_request".into()));
    let labelled = json!({ "message": message, "signature": key.personal_sign(&message), "label": "a\nb" });
    assert_eq!(broker.post("/v1/sessions", None, &labelled).await.refusal(), (400, "bad_request".into()));
    assert!(broker.audited().await.iter().all(|(_, outcome)| outcome != "granted"));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_enrolment_is_for_programs_on_this_machine() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[]).await;
    let body = json!({ "wallet": Key::new(7).wallet() }).to_string().into_bytes();
    let ask = |name: &'static str, value: &'static str| {
        let body = Some(("application/json", body.clone()));
        let mut request = request(Method::POST, "/v1/sessions/challenge", None, body);
        request.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        broker.send(request)
    };
    assert_eq!(ask("host", "attacker.example").await.refusal(), (421, "misdirected_request".into()));
    assert_eq!(ask("origin", "http://localhost:3000").await.refusal(), (403, "enrolment_refused".into()));
    assert_eq!(ask("x-forwarded-for", "198.51.100.7").await.refusal(), (403, "enrolment_refused".into()));
    assert_eq!(ask("host", "127.0.0.1:1").await.status, StatusCode::OK);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_admits_one_new_wallet_once() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[("BROKER_SESSIONS_ENROLMENT", "invite")]).await;
    let (first, second, third) = (Key::new(1), Key::new(2), Key::new(3));
    let create = |body| broker.operator(Method::POST, "/admin/v1/invites", Some(body));
    let refused = (403, "enrolment_refused".to_owned());
    assert_eq!(broker.try_sign_in(&first, None).await.refusal(), refused);
    assert_eq!(broker.try_sign_in(&first, Some("AAAAA-AAAAA-AAAAA-AAAAA")).await.refusal(), refused);
    assert_eq!(broker.try_sign_in(&first, Some("nonsense")).await.refusal(), refused);

    let answer = create(json!({})).await;
    answer.is_not_stored();
    let code = answer.field("code").as_str().unwrap().to_owned();
    let spelt = code.to_lowercase().replace('-', " ");
    assert_eq!(broker.try_sign_in(&first, Some(&spelt)).await.status, StatusCode::CREATED);
    assert_eq!(broker.try_sign_in(&second, Some(&code)).await.refusal(), refused, "it is used");
    assert_eq!(broker.try_sign_in(&first, None).await.status, StatusCode::CREATED, "it has enrolled");

    // Bound to a wallet; and of two that race for one code, one.
    let bound = create(json!({ "wallet": second.wallet() })).await.field("code");
    assert_eq!(broker.try_sign_in(&third, bound.as_str()).await.refusal(), refused);
    assert_eq!(broker.try_sign_in(&second, bound.as_str()).await.status, StatusCode::CREATED);
    let raced = create(json!({})).await.field("code");
    let keys: Vec<Key> = (10..18).map(Key::new).collect();
    let answers =
        futures_util::future::join_all(keys.iter().map(|key| broker.try_sign_in(key, raced.as_str()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::CREATED).count(), 1);

    // Revoked and ended ones admit nobody.
    let revoked = create(json!({})).await;
    let path = format!("/admin/v1/invites/{}", revoked.field("invite_id").as_str().unwrap());
    assert_eq!(broker.operator(Method::DELETE, &path, None).await.field("revoked"), 1);
    assert_eq!(broker.operator(Method::DELETE, &path, None).await.refusal().0, 404);
    assert_eq!(broker.try_sign_in(&third, revoked.field("code").as_str()).await.refusal(), refused);
    for ttl in [0, 91 * 86_400] {
        assert_eq!(create(json!({ "ttl_seconds": ttl })).await.refusal().0, 400);
    }
    let listed = broker.operator(Method::GET, "/admin/v1/invites", None).await;
    assert_eq!(listed.field("invites").as_array().unwrap().len(), 3);
    assert!(!String::from_utf8_lossy(&listed.body).contains(&code));
    let actions = broker.audited().await;
    assert_eq!(actions.iter().filter(|(action, _)| action == "invite_create").count(), 4);
    broker.stop().await;

    // Closed lets in whoever has enrolled, and nobody else.
    let broker = Running::start(directory.path(), &[("BROKER_SESSIONS_ENROLMENT", "closed")]).await;
    assert_eq!(broker.try_sign_in(&first, None).await.status, StatusCode::CREATED);
    assert_eq!(broker.try_sign_in(&third, None).await.refusal(), refused);
    let open = broker.operator(Method::POST, "/admin/v1/invites", Some(json!({}))).await.field("code");
    assert_eq!(broker.try_sign_in(&third, open.as_str()).await.refusal(), refused);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_is_slowed_down() {
    let directory = tempfile::tempdir().unwrap();
    let broker = Running::start(directory.path(), &[("BROKER_LIMITS_FAILED_AUTH", "3/min")]).await;
    let (key, other) = (Key::new(7), Key::new(8));
    let message = broker.challenge(&key).await.message;
    let forged = json!({ "message": message, "signature": other.personal_sign(&message) });
    for _ in 0..3 {
        assert_eq!(broker.post("/v1/sessions", None, &forged).await.refusal(), (403, "forbidden".into()));
    }
    let limited = broker.post("/v1/sessions", None, &forged).await;
    assert_eq!(limited.refusal(), (429, "rate_limited".into()));
    assert!(limited.headers.contains_key(header::RETRY_AFTER));
    // A right signature is no guess.
    let good = json!({ "message": message, "signature": key.personal_sign(&message) });
    assert_eq!(broker.post("/v1/sessions", None, &good).await.status, StatusCode::CREATED);
    broker.stop().await;
}
