//! What reaches STS.

use agentkeys_broker_server::exchange::{
    DaemonKey,
    ExchangeMode::{AssumeRole, WebIdentity},
    ExchangeRequest,
};
use agentkeys_core::Code;
use secrecy::ExposeSecret;

use crate::fault_sts::{self, Fault};
use crate::rig::{DAEMON_ID, DAEMON_SECRET, ROLE, claims, request, rig, wallet};

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
