//! Everything that can go wrong for a caller, once: RFC 9457 problem documents.
//!
//! A [`Problem`] carries two messages. `detail` goes to the caller and never
//! names a key, a token, a path or another wallet; `internal` goes to the log.

use std::fmt;
use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Serialize};

/// Where a `type` URI of a problem points.
pub const TYPE_BASE: &str = "https://docs.agentkeys.dev/problems/";

macro_rules! codes {
    ($($variant:ident, $text:literal, $status:ident, $retryable:literal, $title:literal;)*) => {
        /// A stable error code. Clients may match on it; it never changes meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $title] $variant,)* }

        impl Code {
            /// Every code, in the order the documentation lists them.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The code as clients see it.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// The HTTP status it is answered with.
            pub fn status(self) -> StatusCode {
                match self { $(Code::$variant => StatusCode::$status,)* }
            }

            /// Whether the same request may succeed later.
            pub fn retryable(self) -> bool {
                match self { $(Code::$variant => $retryable,)* }
            }

            /// One sentence for a human.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }
        }
    };
}

codes! {
    BadRequest, "bad_request", BAD_REQUEST, false, "The request is malformed.";
    InvalidToken, "invalid_token", UNAUTHORIZED, false, "The session token is missing or not accepted.";
    InsufficientScope, "insufficient_scope", FORBIDDEN, false, "The session's scope does not allow this.";
    NoGrant, "no_grant", FORBIDDEN, false, "No grant allows this wallet to do this.";
    EnrolmentRefused, "enrolment_refused", FORBIDDEN, false, "This broker does not enrol this wallet.";
    Forbidden, "forbidden", FORBIDDEN, false, "The request is refused.";
    NotFound, "not_found", NOT_FOUND, false, "There is nothing here.";
    MethodNotAllowed, "method_not_allowed", METHOD_NOT_ALLOWED, false, "This path does not answer that method.";
    RequestTimeout, "request_timeout", REQUEST_TIMEOUT, true, "The request did not arrive in time.";
    Conflict, "conflict", CONFLICT, false, "The request conflicts with what is there.";
    BodyTooLarge, "body_too_large", PAYLOAD_TOO_LARGE, false, "The request body is too large.";
    UnsupportedMediaType, "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, false, "The request body has the wrong content type.";
    MisdirectedRequest, "misdirected_request", MISDIRECTED_REQUEST, false, "This server does not answer for that host.";
    RateLimited, "rate_limited", TOO_MANY_REQUESTS, true, "Too many requests.";
    HeadTooLarge, "head_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, false, "The request head is too large.";
    Internal, "internal", INTERNAL_SERVER_ERROR, false, "The broker failed.";
    StsRefused, "sts_refused", BAD_GATEWAY, false, "AWS STS refused the exchange.";
    StsInvalidAnswer, "sts_invalid_answer", BAD_GATEWAY, false, "AWS STS gave an answer that cannot be trusted.";
    StsUnavailable, "sts_unavailable", SERVICE_UNAVAILABLE, true, "AWS STS cannot be reached, or is throttling.";
    AuditUnavailable, "audit_unavailable", SERVICE_UNAVAILABLE, true, "The audit cannot be written, so nothing is minted.";
    StoreUnavailable, "store_unavailable", SERVICE_UNAVAILABLE, true, "The broker's store cannot be read.";
    NotReady, "not_ready", SERVICE_UNAVAILABLE, true, "The broker is not ready.";
    Overloaded, "overloaded", SERVICE_UNAVAILABLE, true, "The broker is at its limit of concurrent work.";
}

/// What went wrong with one request.
#[derive(Debug)]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// For the caller.
    pub detail: String,
    /// For the log; never sent.
    pub internal: Option<String>,
    /// How long the caller should wait before it tries again.
    pub retry_after: Option<Duration>,
    /// STS's own error code, where STS refused.
    pub upstream_code: Option<String>,
    /// The scope that would have sufficed (RFC 6750 section 3).
    pub scope: Option<String>,
    /// The methods that the path does answer (RFC 9110 section 15.5.6).
    pub allow: Option<String>,
    /// No token was presented at all: RFC 6750 asks for a challenge without an
    /// error code. The body does not differ.
    pub token_missing: bool,
}

impl Problem {
    /// A problem with this code and message for the caller.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            internal: None,
            retry_after: None,
            upstream_code: None,
            scope: None,
            allow: None,
            token_missing: false,
        }
    }

    /// 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, detail)
    }

    /// The one 401. One text for unknown, expired, revoked and malformed tokens, so that
    /// an answer tells nothing about what exists.
    pub fn invalid_token() -> Self {
        Self::new(Code::InvalidToken, "Present a valid session token: 'Authorization: Bearer aks_…'.")
    }

    /// 500, with the reason for the log alone.
    pub fn internal(reason: impl fmt::Display) -> Self {
        Self::new(Code::Internal, "The broker failed; its log has the reason under this request id.")
            .because(reason)
    }

    /// Adds the reason for the log.
    pub fn because(mut self, reason: impl fmt::Display) -> Self {
        self.internal = Some(reason.to_string());
        self
    }

    /// Adds `Retry-After`.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The document that the caller gets.
    pub fn document(&self, request_id: &str) -> ProblemDocument {
        ProblemDocument {
            kind: format!("{TYPE_BASE}{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: self.code.status().as_u16(),
            detail: self.detail.clone(),
            code: self.code.as_str().to_owned(),
            request_id: request_id.to_owned(),
            retryable: self.code.retryable(),
            upstream_code: self.upstream_code.clone(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.internal.as_deref().unwrap_or(&self.detail))
    }
}

impl std::error::Error for Problem {}

/// An `application/problem+json` body (RFC 9457 section 3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemDocument {
    /// A URI that names the kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, for a human.
    pub title: String,
    /// The HTTP status again.
    pub status: u16,
    /// This occurrence, for a human.
    pub detail: String,
    /// The stable code.
    pub code: String,
    /// The request, as in `x-request-id`.
    pub request_id: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// STS's own error code, where STS refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_code: Option<String>,
}
