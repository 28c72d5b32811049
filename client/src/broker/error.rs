//! What can go wrong between here and the broker.

use std::error::Error;
use std::time::Duration;

use agentkeys_core::oauth::OAuthError;
use agentkeys_core::problem::ProblemDocument;
use http::StatusCode;

use crate::settings::BrokerUrl;

/// Why an operation with the broker failed.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// No connection, or it broke.
    #[error("cannot reach the broker at {url}: {reason}")]
    Unreachable {
        /// The broker.
        url: BrokerUrl,
        /// Why.
        reason: String,
    },
    /// It took too long.
    #[error("the broker at {0} did not answer in time")]
    TimedOut(BrokerUrl),
    /// The broker says what is wrong.
    #[error("{}", told(.document))]
    Problem {
        /// In its own words.
        document: Box<ProblemDocument>,
        /// When to try again.
        retry_after: Option<Duration>,
    },
    /// The broker says what is wrong in the words of OAuth.
    #[error("the broker refuses: {}", .0.error_description.clone().unwrap_or_else(|| format!("{:?}", .0.error)))]
    OAuth(OAuthError),
    /// Something answers there that is not a broker, or not one that is understood.
    #[error("{0}: is this the address of a broker?")]
    Unexpected(String),
    /// It answered with a credential that cannot be used.
    #[error("the broker gave a credential that cannot be used: {0}")]
    UnusableCredential(&'static str),
    /// The client itself cannot be set up.
    #[error("cannot set up the connection: {0}")]
    Setup(String),
}

fn told(document: &ProblemDocument) -> String {
    let upstream = document.upstream_code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
    format!("{}{upstream} {} [request {}]", document.title, document.detail, document.request_id)
}

pub(super) fn refusal(
    url: &BrokerUrl,
    status: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
) -> BrokerError {
    if let Ok(document) = serde_json::from_slice::<ProblemDocument>(body) {
        return BrokerError::Problem { document: Box::new(document), retry_after };
    }
    if let Ok(error) = serde_json::from_slice::<OAuthError>(body) {
        return BrokerError::OAuth(error);
    }
    BrokerError::Unexpected(format!("{url} answered with status {status} and no problem document"))
}

/// An error's causes: the outermost text says only that a request failed.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let mut texts = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // A cause often repeats the one below it.
        texts.retain(|earlier: &String| !earlier.contains(&text));
        texts.push(text);
        cause = error.source();
    }
    if texts.is_empty() { error.to_string() } else { texts.join(": ") }
}
