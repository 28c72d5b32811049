//! What can go wrong in an exchange, and what callers hear of it.
//!
//! `internal` holds the SDK's whole chain of causes for the log, with anything
//! that looks like a token blotted out. A caller gets STS's code and advice.

use std::time::Duration;

use agentkeys_core::{Code, Problem};

use super::session_policy::PolicyError;
use crate::issuer::IssuerError;

/// One exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// STS says that too much is asked of it.
    #[error("STS throttles ({code}): {internal}")]
    Throttled {
        /// STS's code.
        code: String,
        /// For the log.
        internal: String,
    },
    /// STS was not reached, took too long or failed itself.
    #[error("STS cannot be used: {internal}")]
    Unavailable {
        /// For the log.
        internal: String,
    },
    /// STS did not answer lately, so it was not asked.
    #[error("STS was not asked: it did not answer lately; the next try is in {0:?}")]
    BreakerOpen(Duration),
    /// Too many exchanges are under way.
    #[error("{limit} exchanges are under way and none ended within {wait:?}")]
    Overloaded {
        /// `limits.sts_in_flight`.
        limit: usize,
        /// How long this one waited.
        wait: Duration,
    },
    /// STS said no.
    #[error("STS refused ({code}): {internal}")]
    Refused {
        /// STS's code, in a bounded charset.
        code: String,
        /// For the log.
        internal: String,
    },
    /// STS answered with something that cannot be trusted.
    #[error("STS gave an answer that is not trusted: {0}")]
    InvalidAnswer(String),
    /// The token for STS could not be signed.
    #[error(transparent)]
    Token(#[from] IssuerError),
    /// The session policy could not be rendered.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// AWS gives no credential as short as what is left of the session.
    #[error("the session ends in {0} s and AWS gives no credential for less than 900 s")]
    SessionTooShort(u64),
    /// This mode needs the operator's key and there is none.
    #[error(
        "there is no daemon key, which {0} needs; set BROKER_DAEMON_ACCESS_KEY_ID and BROKER_DAEMON_SECRET_ACCESS_KEY"
    )]
    NoDaemonKey(&'static str),
    /// The broker itself asked for something that STS never takes.
    #[error("the broker asked for something that STS never takes: {0}")]
    BadRequest(String),
}

impl From<ExchangeError> for Problem {
    fn from(error: ExchangeError) -> Self {
        let internal = error.to_string();
        let unavailable =
            |detail: &str, wait: Duration| Self::new(Code::StsUnavailable, detail).retry_after(wait);
        let problem = match error {
            ExchangeError::Throttled { code, .. } => {
                let mut problem = unavailable(
                    "AWS STS is throttling the broker's account; nothing was minted.",
                    Duration::from_secs(5),
                );
                problem.upstream_code = Some(code);
                problem
            }
            ExchangeError::Unavailable { .. } => {
                unavailable("AWS STS did not answer in time; nothing was minted.", Duration::from_secs(5))
            }
            ExchangeError::BreakerOpen(wait) => {
                unavailable("AWS STS has not answered lately; nothing was minted.", whole_seconds(wait))
            }
            ExchangeError::Overloaded { .. } => {
                Self::new(Code::Overloaded, "Too many exchanges with AWS STS are under way.")
                    .retry_after(Duration::from_secs(1))
            }
            ExchangeError::Refused { code, .. } => {
                let mut problem = Self::new(Code::StsRefused, advice(&code));
                problem.upstream_code = Some(code);
                problem
            }
            ExchangeError::InvalidAnswer(_) => Self::new(
                Code::StsInvalidAnswer,
                "AWS STS gave an answer that the broker does not trust, so no credential was handed out; the broker's log has the reason under this request id.",
            ),
            ExchangeError::Token(error) => return error.into(),
            ExchangeError::Policy(PolicyError::NoReadOnlyTemplate) => Self::new(
                Code::Forbidden,
                "This role has no read-only session policy, so it mints no read-only credential; the operator can add session_policy_read_only.",
            ),
            ExchangeError::SessionTooShort(_) => Self::new(
                Code::Forbidden,
                "The session ends within 15 minutes, which is the shortest life of an AWS credential; start a new session.",
            ),
            ExchangeError::NoDaemonKey(_) => Self::new(
                Code::NotReady,
                "The broker has no AWS key of its own yet; its operator must set one.",
            ),
            ExchangeError::Policy(_) | ExchangeError::BadRequest(_) => Self::internal(""),
        };
        problem.because(internal)
    }
}

/// What to do about a refusal, without naming accounts, roles or policies.
fn advice(code: &str) -> &'static str {
    match code {
        "AccessDenied" | "AccessDeniedException" => {
            "AWS STS refused the exchange: the role's trust policy or the broker's own permissions do not allow it. The operator can run 'agentkeys-broker-server aws doctor'."
        }
        "InvalidIdentityToken" | "IDPCommunicationError" => {
            "AWS STS could not verify the broker's token: the issuer's discovery document and keys must be public and registered in IAM byte for byte. The operator can run 'agentkeys-broker-server aws doctor'."
        }
        "ExpiredTokenException" | "ExpiredToken" => {
            "AWS STS found the broker's token or key expired: the broker's clock or its AWS key needs the operator's attention."
        }
        "IDPRejectedClaim" => {
            "AWS STS rejected a claim of the broker's token. The operator should compare the audience and the trust policy."
        }
        "MalformedPolicyDocument" | "PackedPolicyTooLarge" | "PackedPolicyTooLargeException" => {
            "AWS STS did not take the session policy of this role. The operator should shorten or correct it."
        }
        "RegionDisabledException" => {
            "AWS STS is not activated in the broker's region. The operator can activate it or choose another region."
        }
        "ValidationError" => {
            "AWS STS did not take a value that the broker sent; a duration above the role's maximum is the usual one."
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" | "SignatureDoesNotMatch" | "AuthFailure" => {
            "AWS STS did not accept the broker's own AWS key. The operator must replace or correct it."
        }
        _ => "AWS STS refused the exchange; the broker's log has the reason under this request id.",
    }
}

fn whole_seconds(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_hears() {
        let internal = || "arn:aws:iam::123456789012:role/agentkeys-agent".to_owned();
        let cases: Vec<(ExchangeError, Code, Option<u64>, Option<&str>)> = vec![
            (
                ExchangeError::Throttled { code: "Throttling".into(), internal: internal() },
                Code::StsUnavailable,
                Some(5),
                Some("Throttling"),
            ),
            (ExchangeError::Unavailable { internal: internal() }, Code::StsUnavailable, Some(5), None),
            (ExchangeError::BreakerOpen(Duration::from_millis(2_100)), Code::StsUnavailable, Some(3), None),
            (
                ExchangeError::Overloaded { limit: 64, wait: Duration::from_secs(1) },
                Code::Overloaded,
                Some(1),
                None,
            ),
            (
                ExchangeError::Refused { code: "AccessDenied".into(), internal: internal() },
                Code::StsRefused,
                None,
                Some("AccessDenied"),
            ),
            (ExchangeError::InvalidAnswer(internal()), Code::StsInvalidAnswer, None, None),
            (ExchangeError::SessionTooShort(12), Code::Forbidden, None, None),
            (ExchangeError::NoDaemonKey("assume_role"), Code::NotReady, None, None),
            (ExchangeError::Policy(PolicyError::TooLong(9)), Code::Internal, None, None),
        ];
        for (error, code, wait, upstream) in cases {
            let said = error.to_string();
            let problem = Problem::from(error);
            assert_eq!(problem.code, code, "{said}");
            assert_eq!(problem.retry_after.map(|wait| wait.as_secs()), wait, "{said}");
            assert_eq!(problem.upstream_code.as_deref(), upstream, "{said}");
            assert_eq!(problem.internal.as_deref(), Some(said.as_str()), "the log has all of it");
            assert!(!problem.detail.contains("123456789012"), "a caller does not: {}", problem.detail);
        }
    }
}
