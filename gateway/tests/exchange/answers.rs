//! What STS answers, and what a caller hears of it.

use std::time::{Duration, Instant};

use agentkeys_broker_server::exchange::ExchangeMode::{AssumeRole, WebIdentity};
use agentkeys_core::Code;

use crate::fault_sts::Fault;
use crate::rig::{DAEMON_ID, claims, rig, rig_with};

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
