//! One attempt that failed: what kind of failure, whether another attempt can
//! help, and a text for the log that holds no token.

use std::error::Error;
use std::fmt::Write;

use aws_sdk_sts::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::error::ExchangeError;

/// What a failed attempt means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// STS asks for a pause.
    Throttled,
    /// STS was not reached, took too long or failed itself.
    Unavailable,
    /// STS could not fetch our keys: another attempt with a new token may do.
    KeysNotFetched,
    /// STS found the token too old: one new token may do.
    TokenExpired,
    /// STS said no, and will say it again.
    Refused,
    /// Not an answer of STS, or one that is not trusted.
    Invalid,
}

/// One failed attempt.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What it means.
    pub kind: FailureKind,
    /// STS's code, in a bounded charset.
    pub code: Option<String>,
    /// The label in metrics, of a closed set.
    pub outcome: &'static str,
    /// For the log.
    pub internal: String,
}

/// STS's codes that have a label of their own.
const LABELS: [&str; 16] = [
    "AccessDenied",
    "ExpiredToken",
    "ExpiredTokenException",
    "IDPCommunicationError",
    "IDPRejectedClaim",
    "InternalFailure",
    "InvalidClientTokenId",
    "InvalidIdentityToken",
    "InvalidParameterValue",
    "MalformedPolicyDocument",
    "PackedPolicyTooLarge",
    "RegionDisabledException",
    "ServiceUnavailable",
    "SignatureDoesNotMatch",
    "Throttling",
    "ValidationError",
];

impl Failure {
    /// An answer that is not trusted.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self {
            kind: FailureKind::Invalid,
            code: None,
            outcome: "invalid_answer",
            internal: blot_tokens(&reason.into()),
        }
    }

    /// The time for all attempts together ran out.
    pub fn out_of_time() -> Self {
        let internal = "the time for the whole exchange ran out".to_owned();
        Self { kind: FailureKind::Unavailable, code: None, outcome: "timeout", internal }
    }

    /// What the SDK's error means.
    pub fn from_sdk<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let chain = flatten(error);
        let unavailable =
            |outcome, internal| Self { kind: FailureKind::Unavailable, code: None, outcome, internal };
        match error {
            SdkError::TimeoutError(_) => return unavailable("timeout", chain),
            SdkError::DispatchFailure(failure) if failure.is_timeout() => {
                return unavailable("timeout", chain);
            }
            SdkError::DispatchFailure(failure) if failure.is_user() => return Self::invalid(chain),
            SdkError::DispatchFailure(_) => return unavailable("connect", chain),
            SdkError::ConstructionFailure(_) => return Self::invalid(chain),
            _ => {}
        }
        let status = error.raw_response().map_or(0, |response| response.status().as_u16());
        if (200..300).contains(&status) {
            // A body that could not be parsed may hold credentials: its error is not repeated.
            return if broke_off(error) {
                unavailable("connect", format!("the connection broke within an answer with status {status}"))
            } else {
                Self::invalid(format!("status {status} with a body that is not STS's, or too long"))
            };
        }
        let meta = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = meta.and_then(|meta| meta.code()).map(bounded).or_else(|| {
            // Some stand-ins for AWS wrap `Error` in `Errors`, as EC2 does, where
            // the SDK does not look for it.
            let body = error.raw_response()?.body().bytes()?;
            code_element(std::str::from_utf8(body).ok()?).map(bounded)
        });
        let message = meta.and_then(|meta| meta.message()).unwrap_or_default();
        // STS's own words where there are some: the chain repeats them in the SDK's Debug form.
        let said = if message.is_empty() { chain } else { blot_tokens(message) };
        let internal = format!("status {status}: {said}");
        Self::from_answer(status, code, message, internal)
    }

    fn from_answer(status: u16, code: Option<String>, message: &str, internal: String) -> Self {
        let kind = match (code.as_deref(), status) {
            (
                Some(
                    "Throttling"
                    | "ThrottlingException"
                    | "RequestLimitExceeded"
                    | "TooManyRequestsException",
                ),
                _,
            )
            | (_, 429) => FailureKind::Throttled,
            (_, 408 | 500..) => FailureKind::Unavailable,
            (Some("InternalFailure" | "ServiceUnavailable"), _) => FailureKind::Unavailable,
            (Some("IDPCommunicationError"), _) => FailureKind::KeysNotFetched,
            (Some("InvalidIdentityToken"), _) if keys_not_fetched(message) => FailureKind::KeysNotFetched,
            (Some("ExpiredTokenException"), _) => FailureKind::TokenExpired,
            (Some(_), 400..) => FailureKind::Refused,
            _ => FailureKind::Invalid,
        };
        let outcome = match (kind, code.as_deref()) {
            (FailureKind::Throttled, _) => "Throttling",
            (FailureKind::Invalid, _) => "invalid_answer",
            (_, Some(code)) => LABELS.iter().find(|label| **label == code).copied().unwrap_or("other"),
            (_, None) => "server_error",
        };
        Self { kind, code, outcome, internal }
    }

    /// What the exchange comes to if there is no further attempt.
    pub fn into_error(self) -> ExchangeError {
        let Self { kind, code, internal, .. } = self;
        let code = code.unwrap_or_else(|| "Unknown".to_owned());
        match kind {
            FailureKind::Throttled => ExchangeError::Throttled { code, internal },
            FailureKind::Unavailable => ExchangeError::Unavailable { internal },
            FailureKind::KeysNotFetched | FailureKind::TokenExpired | FailureKind::Refused => {
                ExchangeError::Refused { code, internal }
            }
            FailureKind::Invalid => ExchangeError::InvalidAnswer(internal),
        }
    }
}

/// The text of the first `Code` element of an XML error.
fn code_element(body: &str) -> Option<&str> {
    if !body.trim_start().starts_with("<?xml") && !body.contains("<Error>") {
        return None;
    }
    let (_, rest) = body.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    (!code.is_empty() && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.')).then_some(code)
}

/// AWS's wording has an apostrophe that others spell differently.
fn keys_not_fetched(message: &str) -> bool {
    message.contains("retrieve verification key")
}

/// Did the transport fail under the answer, rather than the answer itself?
fn broke_off(error: &(dyn Error + 'static)) -> bool {
    let mut source = Some(error);
    while let Some(cause) = source {
        if cause.is::<http_body_util::LengthLimitError>() {
            return false;
        }
        if cause.is::<std::io::Error>() || cause.is::<hyper::Error>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// The chain of causes in one line.
fn flatten(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        if write!(text, ": {cause}").is_err() {
            break;
        }
        source = cause.source();
    }
    blot_tokens(&text)
}

/// Only what a code is made of, so that no answer writes into metrics or bodies.
fn bounded(code: &str) -> String {
    let plain = (1..=64).contains(&code.len())
        && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_' || b == b'-');
    if plain { code.to_owned() } else { "Unknown".to_owned() }
}

/// An STS may repeat the token in its message: what begins like a JWT is left out,
/// and so are control characters and anything past a kilobyte.
fn blot_tokens(text: &str) -> String {
    let mut clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let token = |c: char| c.is_ascii_alphanumeric() || "-_.+/=".contains(c);
    while let Some(start) = clean.find("eyJ") {
        let length = clean[start..].find(|c| !token(c)).unwrap_or(clean.len() - start);
        clean.replace_range(start..start + length, "[a token]");
    }
    if let Some((end, _)) = clean.char_indices().nth(1_024) {
        clean.truncate(end);
        clean.push('…');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, code: Option<&str>, message: &str) -> FailureKind {
        Failure::from_answer(status, code.map(str::to_owned), message, String::new()).kind
    }

    #[test]
    fn another_attempt_is_made_only_where_aws_says_that_it_can_help() {
        use FailureKind::*;
        for (status, code, message, expected) in [
            (
                400,
                Some("InvalidIdentityToken"),
                "Couldn't retrieve verification key from your identity provider",
                KeysNotFetched,
            ),
            (400, Some("InvalidIdentityToken"), "No OpenIDConnect provider found in your account", Refused),
            (400, Some("IDPCommunicationError"), "", KeysNotFetched),
            (400, Some("ExpiredTokenException"), "", TokenExpired),
            (403, Some("IDPRejectedClaim"), "", Refused),
            (403, Some("AccessDenied"), "", Refused),
            (400, Some("ValidationError"), "", Refused),
            (400, Some("MalformedPolicyDocument"), "", Refused),
            (400, Some("Throttling"), "Rate exceeded", Throttled),
            (429, None, "", Throttled),
            (500, Some("InternalFailure"), "", Unavailable),
            (502, None, "", Unavailable),
            (503, Some("ServiceUnavailable"), "", Unavailable),
            (504, Some("AccessDenied"), "", Unavailable),
            (404, None, "", Invalid),
            (302, None, "", Invalid),
        ] {
            assert_eq!(kind(status, code, message), expected, "{status} {code:?} {message}");
        }
    }

    #[test]
    fn labels_come_from_a_closed_set() {
        for (code, label) in [("AccessDenied", "AccessDenied"), ("SomethingNew", "other")] {
            let failure = Failure::from_answer(400, Some(code.to_owned()), "", String::new());
            assert_eq!(failure.outcome, label);
        }
        assert_eq!(bounded("Some\"thing\n"), "Unknown");
        assert_eq!(bounded(&"a".repeat(65)), "Unknown");
    }

    #[test]
    fn a_token_that_sts_repeats_does_not_reach_the_log() {
        let said = blot_tokens("bad token 'eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln': no\r\nwait eyJx");
        assert_eq!(said, "bad token '[a token]': no  wait [a token]");
        assert!(blot_tokens(&"x".repeat(9_999)).chars().count() < 1_100);
    }
}
