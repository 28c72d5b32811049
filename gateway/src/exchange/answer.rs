//! Distrust of what comes back. A credential leaves the broker only if it is whole,
//! ends when it should and is of the very role that was asked for.

use std::time::Duration;

use agentkeys_core::{AwsCredentials, Timestamp};
use aws_sdk_sts::types::{AssumedRoleUser, Credentials};
use secrecy::SecretString;

use super::daemon_key::DaemonKey;
use super::failure::Failure;
use super::role_arn::RoleArn;

/// What was asked, to hold the answer against.
pub struct Asked<'a> {
    /// The role.
    pub role: &'a RoleArn,
    /// The session's name.
    pub session_name: &'a str,
    /// The credential's life.
    pub duration_seconds: u32,
    /// When it was asked.
    pub now: Timestamp,
    /// How far clocks may be apart.
    pub tolerance: Duration,
    /// STS is not AWS, so it may leave out the ARN or the account in it.
    pub foreign: bool,
    /// What must never come back.
    pub daemon_key: Option<&'a DaemonKey>,
}

/// The credentials and the assumed role's ARN, if they can be trusted.
pub fn check(
    credentials: Option<&Credentials>,
    user: Option<&AssumedRoleUser>,
    asked: &Asked<'_>,
) -> Result<(AwsCredentials, Option<String>), Failure> {
    let given = credentials.ok_or_else(|| Failure::invalid("the answer has no credentials"))?;
    let credentials = check_credentials(given, asked)?;
    let arn = match user.map(AssumedRoleUser::arn).filter(|arn| !arn.is_empty()) {
        Some(arn) => {
            check_arn(arn, asked).map_err(Failure::invalid)?;
            Some(arn.to_owned())
        }
        None if asked.foreign => None,
        None => return Err(Failure::invalid("the answer does not say which role was assumed")),
    };
    Ok((credentials, arn))
}

fn check_credentials(given: &Credentials, asked: &Asked<'_>) -> Result<AwsCredentials, Failure> {
    let wrong = |what: &str| Err(Failure::invalid(format!("the credentials' {what}")));
    let id = given.access_key_id();
    if !(8..=128).contains(&id.len())
        || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    {
        return wrong("access key id is none");
    }
    let visible = |text: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    };
    if !visible(given.secret_access_key(), 256) {
        return wrong("secret key is empty or none");
    }
    if !visible(given.session_token(), 16 * 1024) {
        return wrong("session token is empty or none");
    }
    if asked.daemon_key.is_some_and(|key| key.is_part(id) || key.is_part(given.secret_access_key())) {
        return wrong("key is the broker's own");
    }
    let expiration = Timestamp::from_unix(given.expiration().secs());
    if expiration <= asked.now {
        return wrong("expiration lies in the past");
    }
    if expiration > asked.now.plus(u64::from(asked.duration_seconds) + asked.tolerance.as_secs()) {
        return wrong("expiration lies beyond what was asked");
    }
    Ok(AwsCredentials {
        access_key_id: id.to_owned(),
        secret_access_key: SecretString::from(given.secret_access_key()),
        session_token: SecretString::from(given.session_token()),
        expiration,
    })
}

/// `arn:<partition>:sts::<account>:assumed-role/<role>/<session>`.
fn check_arn(arn: &str, asked: &Asked<'_>) -> Result<(), String> {
    let role = asked.role;
    let expected = format!(
        "arn:{}:sts::{}:assumed-role/{}/{}",
        role.partition(),
        role.account(),
        role.name(),
        asked.session_name
    );
    if arn == expected {
        return Ok(());
    }
    // An STS that is not AWS may know no accounts: then role and session still have to match.
    let without_account = |text: &str| {
        let resource = text.find("assumed-role/").map(|at| &text[at..]);
        let no_account =
            !text.split(':').any(|part| part.len() == 12 && part.bytes().all(|b| b.is_ascii_digit()));
        no_account && resource == Some(&format!("assumed-role/{}/{}", role.name(), asked.session_name))
    };
    if asked.foreign && without_account(arn) {
        return Ok(());
    }
    Err(format!("the assumed role is {arn}, and {expected} was asked for"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_sts::primitives::DateTime;

    use super::*;

    const NOW: i64 = 1_790_000_000;
    const ARN: &str = "arn:aws:sts::123456789012:assumed-role/agentkeys-agent/01K-x";

    fn asked(role: &RoleArn, foreign: bool) -> Asked<'_> {
        Asked {
            role,
            session_name: "01K-x",
            duration_seconds: 3_600,
            now: Timestamp::from_unix(NOW),
            tolerance: Duration::from_secs(300),
            foreign,
            daemon_key: None,
        }
    }

    fn credentials(id: &str, secret: &str, token: &str, ends: i64) -> Credentials {
        Credentials::builder()
            .access_key_id(id)
            .secret_access_key(secret)
            .session_token(token)
            .expiration(DateTime::from_secs(ends))
            .build()
            .unwrap()
    }

    fn user(arn: &str) -> AssumedRoleUser {
        AssumedRoleUser::builder().assumed_role_id("AROAEXAMPLE:01K-x").arn(arn).build().unwrap()
    }

    fn role() -> RoleArn {
        "arn:aws:iam::123456789012:role/team/agentkeys-agent".parse().unwrap()
    }

    #[test]
    fn a_whole_answer_of_the_asked_role_is_taken() {
        let role = role();
        let given = credentials("ASIAEXAMPLE1", "secret", "token", NOW + 3_600);
        let (taken, arn) = check(Some(&given), Some(&user(ARN)), &asked(&role, false)).unwrap();
        assert_eq!((taken.access_key_id.as_str(), arn.as_deref()), ("ASIAEXAMPLE1", Some(ARN)));
        assert_eq!(taken.expiration.unix(), NOW + 3_600);
    }

    #[test]
    fn a_part_that_is_missing_or_odd_is_not_taken() {
        let role = role();
        for (id, secret, token, ends) in [
            ("", "secret", "token", NOW + 60),
            ("ASIAEXAMPLE1\n", "secret", "token", NOW + 60),
            ("<html>", "secret", "token", NOW + 60),
            ("ASIAEXAMPLE1", "", "token", NOW + 60),
            ("ASIAEXAMPLE1", "se cret", "token", NOW + 60),
            ("ASIAEXAMPLE1", "secret", "", NOW + 60),
            ("ASIAEXAMPLE1", "secret", "token", 0),
            ("ASIAEXAMPLE1", "secret", "token", NOW),
            ("ASIAEXAMPLE1", "secret", "token", NOW + 3_600 + 301),
        ] {
            let given = credentials(id, secret, token, ends);
            let outcome = check(Some(&given), Some(&user(ARN)), &asked(&role, true));
            assert!(outcome.is_err(), "{id:?} {secret:?} {token:?} {ends}");
        }
        assert!(check(None, Some(&user(ARN)), &asked(&role, true)).is_err());
    }

    #[test]
    fn the_brokers_own_key_never_comes_back_out() {
        let role = role();
        let key = DaemonKey::new("AKIDEXAMPLE1".into(), "secretsecret".into()).unwrap();
        for (id, secret) in [("AKIDEXAMPLE1", "other"), ("ASIAEXAMPLE1", "secretsecret")] {
            let given = credentials(id, secret, "token", NOW + 60);
            let asked = Asked { daemon_key: Some(&key), ..asked(&role, true) };
            assert!(check(Some(&given), Some(&user(ARN)), &asked).is_err());
        }
    }

    #[test]
    fn another_account_role_or_session_is_not_taken_from_anyone() {
        let role = role();
        let given = credentials("ASIAEXAMPLE1", "secret", "token", NOW + 60);
        for arn in [
            "arn:aws:sts::999999999999:assumed-role/agentkeys-agent/01K-x",
            "arn:aws:sts::123456789012:assumed-role/other/01K-x",
            "arn:aws:sts::123456789012:assumed-role/agentkeys-agent/other",
            "arn:aws-cn:sts::123456789012:assumed-role/agentkeys-agent/01K-x",
            "arn:aws:sts::999999999999:assumed-role/agentkeys-agent/01K-x:assumed-role/agentkeys-agent/01K-x",
            "arn:aws:sts::123456789012:federated-user/agentkeys-agent",
            "garbage",
        ] {
            for foreign in [false, true] {
                assert!(
                    check(Some(&given), Some(&user(arn)), &asked(&role, foreign)).is_err(),
                    "{arn} {foreign}"
                );
            }
        }
    }

    #[test]
    fn only_a_configured_endpoint_may_leave_out_the_account_or_the_arn() {
        let role = role();
        let given = credentials("ASIAEXAMPLE1", "secret", "token", NOW + 60);
        for user in [
            None,
            Some(user("arn:aws:sts::assumed-role/agentkeys-agent/01K-x")),
            Some(user("arn:aws:sts:::assumed-role/agentkeys-agent/01K-x")),
        ] {
            assert!(check(Some(&given), user.as_ref(), &asked(&role, true)).is_ok(), "{user:?}");
            assert!(check(Some(&given), user.as_ref(), &asked(&role, false)).is_err(), "{user:?}");
        }
    }
}
