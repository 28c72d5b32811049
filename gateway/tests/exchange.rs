//! The exchange over real sockets against an STS that misbehaves on demand: what
//! reaches it, how often it is asked, and what a caller hears.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod fault_sts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkeys_broker_server::exchange::{
    self, CredentialExchange, DaemonKey, DaemonKeySlot, ExchangeAnswer, ExchangeError, ExchangeMode,
    ExchangeRequest, ExchangeSettings, Gate, IdentityWatch, PolicyValues, PrefixTemplate, RoleArn,
    SessionPolicy,
};
use agentkeys_broker_server::issuer::{Issuer, IssuerSettings, IssuerUrl};
use agentkeys_broker_server::metrics::Metrics;
use agentkeys_core::{Code, MintId, Problem, Timestamp, Wallet};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fault_sts::{Fault, FaultSts, Seen};
use secrecy::ExposeSecret;

use ExchangeMode::{AssumeRole, WebIdentity};

const ROLE: &str = "arn:aws:iam::123456789012:role/agentkeys-agent";
const DAEMON_ID: &str = "AKIDFAULTTEST";
const DAEMON_SECRET: &str = "not-a-real-key-only-a-fixture";

struct Rig {
    sts: FaultSts,
    exchange: Arc<dyn CredentialExchange>,
    gate: Arc<Gate>,
    key: DaemonKeySlot,
    settings: ExchangeSettings,
    metrics: Arc<Metrics>,
    _keys: tempfile::TempDir,
}

async fn rig(mode: ExchangeMode, faults: Vec<Fault>) -> Rig {
    rig_with(mode, faults, |_| {}).await
}

async fn rig_with(mode: ExchangeMode, faults: Vec<Fault>, change: impl FnOnce(&mut ExchangeSettings)) -> Rig {
    let sts = FaultSts::start(faults).await;
    let mut settings = ExchangeSettings::new("eu-north-1");
    settings.sts_endpoint = Some(sts.url());
    settings.total_timeout = Duration::from_secs(8);
    settings.backoff = Duration::from_millis(2);
    change(&mut settings);
    assert_eq!(settings.errors(), []);
    let keys = tempfile::tempdir().unwrap();
    let url = IssuerUrl::parse("http://localhost:8090").unwrap();
    let issuer =
        IssuerSettings { generate_missing: true, ..IssuerSettings::new(url, keys.path().join("keys")) };
    let metrics = Arc::new(Metrics::new().unwrap());
    let (issuer, _) = Issuer::open(&issuer, Arc::clone(&metrics), Timestamp::now()).unwrap();
    let gate = Arc::new(Gate::new(&settings, Arc::clone(&metrics)));
    let key = DaemonKeySlot::new(Some(DaemonKey::new(DAEMON_ID.into(), DAEMON_SECRET.into()).unwrap()));
    let exchange = exchange::build(mode, &settings, Arc::new(issuer), Arc::clone(&gate), key.clone());
    assert_eq!(exchange.mode(), mode);
    Rig { sts, exchange, gate, key, settings, metrics, _keys: keys }
}

fn wallet() -> Wallet {
    "0x52908400098527886e0f7030069857d2e4169ee7".parse().unwrap()
}

fn request() -> ExchangeRequest {
    let role: RoleArn = ROLE.parse().unwrap();
    let (wallet, mint_id) = (wallet(), MintId::generate());
    let prefix = PrefixTemplate::parse("bots/${wallet}/").unwrap();
    let bucket = "agentkeys-mail-123456789012";
    let values = PolicyValues { wallet: &wallet, bucket, prefix: &prefix, role: &role };
    let policy = SessionPolicy::built_in().render(&values, false).unwrap();
    ExchangeRequest {
        session_name: exchange::session_name(mint_id, &wallet),
        wallet,
        session_expires_at: Timestamp::now().plus(7_200),
        role_arn: role,
        duration_seconds: 3_600,
        policy,
        mint_id,
        source_identity: None,
        now: Timestamp::now(),
    }
}

impl Rig {
    async fn exchange(&self) -> Result<ExchangeAnswer, ExchangeError> {
        self.exchange.exchange(&request()).await
    }

    /// The problem a caller hears, after checking that nothing secret is in it or in the log.
    async fn problem(&self) -> Problem {
        let error = self.exchange().await.expect_err("no credential");
        let logged = format!("{error} {error:?}");
        let problem = Problem::from(error);
        let all = format!("{logged} {problem:?}");
        for secret in [DAEMON_SECRET, "eyJ", fault_sts::SECRET, fault_sts::TOKEN] {
            assert!(!all.contains(secret), "{secret} in {all}");
        }
        assert!(!problem.detail.contains("123456789012"), "{}", problem.detail);
        problem
    }

    fn metrics(&self) -> String {
        self.metrics.render().unwrap()
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics().lines().any(|found| found == line)
    }
}

fn claims(seen: &Seen) -> serde_json::Value {
    let token = seen.form("WebIdentityToken").unwrap();
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn web_identity_sends_the_token_and_the_ceiling_and_no_credential() {
    let rig = rig(WebIdentity, vec![Fault::None]).await;
    let asked = ExchangeRequest { source_identity: Some("ses-1".to_owned()), ..request() };
    let answer = rig.exchange.exchange(&asked).await.unwrap();
    assert_eq!(answer.credentials.secret_access_key.expose_secret(), fault_sts::SECRET);
    assert!(answer.kid.is_some());
    assert_eq!(answer.request_id.as_deref(), Some(fault_sts::REQUEST_ID));
    assert_eq!(answer.packed_policy_size, Some(12));
    let arn = format!("arn:aws:sts::123456789012:assumed-role/agentkeys-agent/{}", asked.session_name);
    assert_eq!(answer.assumed_role_arn, Some(arn));

    let seen = &rig.sts.seen()[0];
    for header in ["authorization", "x-amz-security-token", "x-amz-date"] {
        assert_eq!(seen.header(header), None, "{header}");
    }
    assert!(!seen.raw.contains("AKID"), "the operator's key is not even named");
    assert_eq!(seen.form("Action").as_deref(), Some("AssumeRoleWithWebIdentity"));
    assert_eq!(seen.form("RoleArn").as_deref(), Some(ROLE));
    assert_eq!(seen.form("RoleSessionName"), Some(asked.session_name.clone()));
    assert_eq!(seen.form("DurationSeconds").as_deref(), Some("3600"));
    assert_eq!(seen.form("Policy"), Some(asked.policy.clone()));
    let claims = claims(seen);
    assert_eq!(claims["jti"], asked.mint_id.to_string());
    assert_eq!(claims["aud"], "sts.amazonaws.com");
    assert_eq!(claims["https://aws.amazon.com/source_identity"], "ses-1");
    let tags = &claims["https://aws.amazon.com/tags"]["principal_tags"];
    assert_eq!(tags["agentkeys_user_wallet"][0], wallet().as_str());
    assert!(
        rig.metric(
            r#"agentkeys_broker_sts_calls_total{operation="AssumeRoleWithWebIdentity",outcome="ok"} 1"#
        )
    );
    assert!(rig.metric("agentkeys_broker_sts_calls_in_flight 0"));
    assert!(!format!("{answer:?}").contains(fault_sts::SECRET));
}

#[tokio::test]
async fn assume_role_is_signed_tagged_and_under_the_same_ceiling() {
    let rig = rig(AssumeRole, vec![Fault::None]).await;
    let asked = ExchangeRequest { source_identity: Some("ses-1".to_owned()), ..request() };
    let answer = rig.exchange.exchange(&asked).await.unwrap();
    assert_eq!(answer.kid, None);

    let seen = &rig.sts.seen()[0];
    let signature = seen.header("authorization").unwrap();
    assert!(signature.starts_with(&format!("AWS4-HMAC-SHA256 Credential={DAEMON_ID}/")), "{signature}");
    assert!(signature.contains("/eu-north-1/sts/aws4_request"), "{signature}");
    assert_eq!(seen.header("x-amz-security-token"), None);
    assert!(!seen.raw.contains(DAEMON_SECRET));
    for (field, value) in [
        ("Action", "AssumeRole"),
        ("RoleArn", ROLE),
        ("Tags.member.1.Key", "agentkeys_user_wallet"),
        ("Tags.member.1.Value", wallet().as_str()),
        ("TransitiveTagKeys.member.1", "agentkeys_user_wallet"),
        ("SourceIdentity", "ses-1"),
        ("DurationSeconds", "3600"),
        ("Policy", asked.policy.as_str()),
        ("RoleSessionName", asked.session_name.as_str()),
    ] {
        assert_eq!(seen.form(field).as_deref(), Some(value), "{field}");
    }
    assert_eq!(seen.form("Tags.member.2.Key"), None);
}

#[tokio::test]
async fn a_replaced_daemon_key_signs_the_next_call_and_a_missing_one_is_an_error() {
    let rig = rig(AssumeRole, vec![Fault::None, Fault::None]).await;
    rig.exchange().await.unwrap();
    rig.key.store(Some(DaemonKey::new("AKIDOTHERTEST".into(), DAEMON_SECRET.into()).unwrap()));
    rig.exchange().await.unwrap();
    assert!(rig.sts.seen()[1].header("authorization").unwrap().contains("AKIDOTHERTEST"));
    rig.key.store(None);
    assert_eq!(rig.problem().await.code, Code::NotReady);
    assert_eq!(rig.sts.seen().len(), 2, "STS was not asked");
}

#[tokio::test]
async fn keys_that_aws_could_not_fetch_are_worth_two_more_tokens() {
    let not_fetched = Fault::Error(
        400,
        "InvalidIdentityToken",
        "Couldn't retrieve verification key from your identity provider",
    );
    let again = Fault::Error(400, "IDPCommunicationError", "x");
    let lucky = rig(WebIdentity, vec![not_fetched.clone(), again, Fault::None]).await;
    lucky.exchange().await.unwrap();
    let tokens: Vec<String> =
        lucky.sts.seen().iter().filter_map(|seen| seen.form("WebIdentityToken")).collect();
    assert_eq!(
        tokens.iter().collect::<std::collections::BTreeSet<_>>().len(),
        3,
        "each attempt signs afresh"
    );
    for seen in lucky.sts.seen() {
        let name = seen.form("RoleSessionName").unwrap();
        assert!(name.starts_with(claims(&seen)["jti"].as_str().unwrap()), "and is still the one mint");
    }

    let unlucky = rig(WebIdentity, vec![not_fetched; 9]).await;
    let problem = unlucky.problem().await;
    assert_eq!(problem.code, Code::StsRefused);
    assert_eq!(problem.upstream_code.as_deref(), Some("InvalidIdentityToken"));
    assert!(problem.detail.contains("aws doctor"), "{}", problem.detail);
    assert_eq!(unlucky.sts.seen().len(), 3);
}

#[tokio::test]
async fn an_expired_token_is_replaced_once() {
    let rig = rig(WebIdentity, vec![Fault::Error(400, "ExpiredTokenException", "Token expired"); 9]).await;
    assert_eq!(rig.problem().await.upstream_code.as_deref(), Some("ExpiredTokenException"));
    assert_eq!(rig.sts.seen().len(), 2);
}

#[tokio::test]
async fn a_refusal_is_final_and_carries_stss_code() {
    for (status, code) in [
        (403, "AccessDenied"),
        (400, "InvalidIdentityToken"),
        (403, "IDPRejectedClaim"),
        (400, "MalformedPolicyDocument"),
        (400, "PackedPolicyTooLarge"),
        (403, "RegionDisabledException"),
        (400, "ValidationError"),
        (403, "InvalidClientTokenId"),
        (403, "SignatureDoesNotMatch"),
    ] {
        for mode in [WebIdentity, AssumeRole] {
            let message = "arn:aws:iam::123456789012:user/daemon is not authorized: eyJhbGciOiJ.eyJ.sig";
            let rig = rig(mode, vec![Fault::Error(status, code, message); 9]).await;
            let problem = rig.problem().await;
            assert_eq!((problem.code, problem.upstream_code.as_deref()), (Code::StsRefused, Some(code)));
            assert!(problem.internal.unwrap().contains("is not authorized"), "the log has STS's message");
            assert_eq!(rig.sts.seen().len(), 1, "{code}");
            assert!(rig.metrics().contains(&format!("outcome=\"{code}\"")), "{code}");
        }
    }
}

#[tokio::test]
async fn throttling_is_retried_with_pauses_and_then_said() {
    let rig = rig(AssumeRole, vec![Fault::Error(400, "Throttling", "Rate exceeded"); 9]).await;
    let problem = rig.problem().await;
    assert_eq!((problem.code, problem.upstream_code.as_deref()), (Code::StsUnavailable, Some("Throttling")));
    assert!(problem.retry_after.is_some());
    assert_eq!(rig.sts.seen().len(), 3);
    assert!(rig.metric("agentkeys_broker_sts_breaker_state 0"), "an STS that throttles is there");
}

#[tokio::test]
async fn a_failing_sts_is_asked_again_and_then_is_unavailable() {
    for fault in [
        Fault::Error(500, "InternalFailure", "x"),
        Fault::Error(503, "ServiceUnavailable", "x"),
        Fault::Body(502, "<html>bad gateway</html>".to_owned()),
        Fault::Reset,
        Fault::Truncated,
    ] {
        for mode in [WebIdentity, AssumeRole] {
            let lucky = rig(mode, vec![fault.clone(), fault.clone(), Fault::None]).await;
            lucky.exchange().await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
            let unlucky = rig(mode, vec![fault.clone(); 9]).await;
            let problem = unlucky.problem().await;
            assert_eq!(problem.code, Code::StsUnavailable, "{fault:?}: {problem:?}");
            assert_eq!(unlucky.sts.seen().len(), 3, "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_silent_sts_is_left_within_the_time_for_the_whole() {
    let rig = rig_with(WebIdentity, vec![Fault::Hang; 9], |settings| {
        settings.connect_timeout = Duration::from_millis(500);
        settings.attempt_timeout = Duration::from_millis(500);
        settings.total_timeout = Duration::from_millis(800);
    })
    .await;
    let started = Instant::now();
    let problem = rig.problem().await;
    assert_eq!(problem.code, Code::StsUnavailable);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert!(rig.metrics().contains("outcome=\"timeout\""));
}

#[tokio::test]
async fn nothing_that_is_not_stss_answer_becomes_a_credential() {
    for fault in [
        Fault::Body(
            200,
            "<!doctype html><html><body>Welcome to the hotel's network</body></html>".to_owned(),
        ),
        Fault::Body(200, "{\"Credentials\":{\"AccessKeyId\":\"ASIAFAULTTEST1\"}}".to_owned()),
        Fault::Body(200, String::new()),
        Fault::Body(200, format!("<x>{}</x>", "y".repeat(200_000))),
        Fault::Body(302, String::new()),
        Fault::Body(404, "<html>not here</html>".to_owned()),
        Fault::NoCredentials,
        Fault::EmptyCredentials,
        Fault::Padded(200_000),
        Fault::OtherAccount,
        Fault::OtherSubject,
        Fault::Expires(-10),
        Fault::Expires(40_000),
        Fault::AccessKeyId(DAEMON_ID),
    ] {
        for mode in [WebIdentity, AssumeRole] {
            if matches!((&fault, mode), (Fault::OtherSubject, AssumeRole)) {
                continue; // A signed exchange names no subject.
            }
            let rig = rig(mode, vec![fault.clone(); 9]).await;
            let problem = rig.problem().await;
            assert_eq!(problem.code, Code::StsInvalidAnswer, "{fault:?}: {problem:?}");
            assert_eq!(rig.sts.seen().len(), 1, "asking again would not help: {fault:?}");
            assert!(rig.metrics().contains("outcome=\"invalid_answer\""), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_a_role_is_taken_from_a_configured_endpoint_that_is_not_aws() {
    for mode in [WebIdentity, AssumeRole] {
        let rig = rig(mode, vec![Fault::NoArn]).await;
        assert_eq!(rig.exchange().await.unwrap().assumed_role_arn, None);
    }
}

#[tokio::test]
async fn an_sts_that_stays_away_is_not_asked_for_a_while() {
    let rig = rig_with(AssumeRole, vec![Fault::Reset; 3], |settings| {
        settings.max_attempts = 1;
        settings.breaker_failures = 3;
        settings.breaker_open = Duration::from_millis(500);
    })
    .await;
    for _ in 0..3 {
        assert_eq!(rig.problem().await.code, Code::StsUnavailable);
    }
    assert!(rig.metric("agentkeys_broker_sts_breaker_state 2"));
    let problem = rig.problem().await;
    assert_eq!((problem.code, problem.retry_after), (Code::StsUnavailable, Some(Duration::from_secs(1))));
    assert_eq!(rig.sts.seen().len(), 3, "the fourth did not reach it");

    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = rig.exchange().await {
        assert!(matches!(error, ExchangeError::BreakerOpen(_)), "{error}");
        assert!(Instant::now() < deadline, "it never closed");
        tokio::task::yield_now().await;
    }
    assert!(rig.metric("agentkeys_broker_sts_breaker_state 0"));
}

#[tokio::test]
async fn refusals_never_open_the_breaker() {
    let rig = rig_with(AssumeRole, vec![Fault::Error(403, "AccessDenied", "x"); 30], |settings| {
        settings.breaker_failures = 2;
    })
    .await;
    for _ in 0..20 {
        assert_eq!(rig.problem().await.code, Code::StsRefused);
    }
    assert_eq!(rig.sts.seen().len(), 20);
}

#[tokio::test]
async fn more_at_one_time_than_allowed_is_turned_away_after_a_bounded_wait() {
    let rig = rig_with(AssumeRole, vec![Fault::Hang; 9], |settings| {
        settings.in_flight = 1;
        settings.in_flight_wait = Duration::from_millis(50);
        settings.max_attempts = 1;
        settings.connect_timeout = Duration::from_secs(1);
        settings.attempt_timeout = Duration::from_secs(1);
    })
    .await;
    let (first, second) = tokio::join!(rig.exchange(), rig.exchange());
    let codes = [Problem::from(first.unwrap_err()).code, Problem::from(second.unwrap_err()).code];
    assert!(codes.contains(&Code::Overloaded) && codes.contains(&Code::StsUnavailable), "{codes:?}");
    assert_eq!(rig.sts.seen().len(), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_frees_its_place() {
    let rig = rig_with(AssumeRole, vec![Fault::Hang, Fault::None], |settings| settings.in_flight = 1).await;
    {
        let mut asking = Box::pin(rig.exchange());
        while rig.sts.seen().is_empty() {
            tokio::select! {
                done = &mut asking => panic!("{done:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
        assert!(rig.metric("agentkeys_broker_sts_calls_in_flight 1"));
    }
    rig.exchange().await.unwrap();
    assert!(rig.metric("agentkeys_broker_sts_calls_in_flight 0"));
}

#[tokio::test]
async fn the_identity_is_asked_until_it_is_known() {
    let refused = Fault::Error(403, "InvalidClientTokenId", "x");
    let rig = rig(AssumeRole, vec![refused, Fault::Reset, Fault::Identity]).await;
    let watch = IdentityWatch::new(&rig.settings, Arc::clone(&rig.gate), rig.key.clone());
    assert_eq!(watch.identity(), None);
    assert!(watch.ask().await.is_err());
    assert!(watch.last_error().unwrap().contains("InvalidClientTokenId"));
    let identity = watch.learn(Duration::from_millis(1), Duration::from_millis(2)).await;
    assert_eq!((identity.account.as_str(), identity.partition.as_str()), ("123456789012", "aws"));
    assert_eq!(watch.identity(), Some(identity));
    assert_eq!(watch.last_error(), None);
    assert_eq!(rig.sts.seen().len(), 3);
    assert!(rig.metric(r#"agentkeys_broker_sts_calls_total{operation="GetCallerIdentity",outcome="ok"} 1"#));
}

/// Runs the two exchanges once more in a process whose environment is full of AWS
/// settings that would lead elsewhere.
#[tokio::test]
async fn nothing_ambient_enters() {
    let nowhere = "http://127.0.0.1:9";
    for test in [
        "web_identity_sends_the_token_and_the_ceiling_and_no_credential",
        "assume_role_is_signed_tagged_and_under_the_same_ceiling",
    ] {
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env("AWS_ACCESS_KEY_ID", "AKIDAMBIENT")
            .env("AWS_SECRET_ACCESS_KEY", "ambient")
            .env("AWS_SESSION_TOKEN", "ambient")
            .env("AWS_REGION", "ap-south-2")
            .env("AWS_DEFAULT_REGION", "ap-south-2")
            .env("AWS_PROFILE", "no-such-profile")
            .env("AWS_CONFIG_FILE", "/nonexistent")
            .env("AWS_ENDPOINT_URL", nowhere)
            .env("AWS_ENDPOINT_URL_STS", nowhere)
            .env("AWS_ROLE_ARN", "arn:aws:iam::999999999999:role/ambient")
            .env("AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent")
            .env("AWS_USE_FIPS_ENDPOINT", "true")
            .env("HTTP_PROXY", nowhere)
            .env("http_proxy", nowhere)
            .env("HTTPS_PROXY", nowhere)
            .env("ALL_PROXY", nowhere)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{test}: {text}");
    }
}

/// Everything that the SDK and this room say, at every level.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_logged_at_the_most_talkative_level() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _until_the_end = tracing::subscriber::set_default(subscriber);
    for mode in [WebIdentity, AssumeRole] {
        rig(mode, vec![Fault::None]).await.exchange().await.unwrap();
        for fault in [Fault::Error(403, "AccessDenied", "x"), Fault::OtherAccount, Fault::Truncated] {
            rig(mode, vec![fault, Fault::OtherAccount]).await.problem().await;
        }
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("aws_smithy_runtime"), "the SDK was listened to");
    for secret in [DAEMON_SECRET, fault_sts::SECRET, fault_sts::TOKEN, "eyJ"] {
        let line = text.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
