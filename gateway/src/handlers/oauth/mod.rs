//! The OAuth 2 endpoints: device authorization (RFC 8628), token exchange
//! (RFC 8693), revocation (RFC 7009) and introspection (RFC 7662).
//!
//! A 400 that RFC 6749 section 5.2 defines has that standard's body; every other
//! failure is a problem document as elsewhere.

mod device;
mod device_code;
pub mod form;
mod introspect;
mod pacing;
mod revoke;
mod token;

use agentkeys_core::oauth::{ACCESS_TOKEN_TYPE, OAuthError, OAuthErrorCode, TokenResponse};
use agentkeys_core::store::StoreError;
use agentkeys_core::{BearerToken, Problem, Session, Timestamp, scope_text};
use agentkeys_filters::{Outcome, Response};
use http::StatusCode;

pub use device::{DeviceAuthorization, PairPage};
pub use introspect::Introspect;
pub use pacing::Pacing;
pub use revoke::Revoke;
pub use token::Token;

use super::child::NoChild;
use crate::broker::store_problem;

/// Why a request failed: as RFC 6749 says it, or as a problem.
#[derive(Debug)]
pub enum Failure {
    /// A 400 with the standard's body.
    OAuth(OAuthError),
    /// A problem document.
    Problem(Problem),
}

impl Failure {
    /// A failure of the standard's.
    pub fn oauth(code: OAuthErrorCode, description: impl Into<String>) -> Self {
        Self::OAuth(OAuthError::new(code, description))
    }

    /// Its stable code, for the audit.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Problem(problem) => problem.code.as_str(),
            Self::OAuth(error) => match error.error {
                OAuthErrorCode::InvalidRequest => "invalid_request",
                OAuthErrorCode::InvalidGrant => "invalid_grant",
                OAuthErrorCode::InvalidScope => "invalid_scope",
                OAuthErrorCode::UnsupportedGrantType => "unsupported_grant_type",
                OAuthErrorCode::AuthorizationPending => "authorization_pending",
                OAuthErrorCode::SlowDown => "slow_down",
                OAuthErrorCode::AccessDenied => "access_denied",
                OAuthErrorCode::ExpiredToken => "expired_token",
            },
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<OAuthError> for Failure {
    fn from(error: OAuthError) -> Self {
        Self::OAuth(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Problem(store_problem(error))
    }
}

impl From<NoChild> for Failure {
    fn from(error: NoChild) -> Self {
        let code = match error {
            NoChild::Wider(_) => OAuthErrorCode::InvalidScope,
            NoChild::NoLife | NoChild::Label => OAuthErrorCode::InvalidRequest,
        };
        Self::oauth(code, error.to_string())
    }
}

/// The answer to a request that may fail either way.
fn answer(result: Result<Response, Failure>) -> Outcome {
    match result {
        Ok(response) => Ok(response),
        Err(Failure::Problem(problem)) => Err(problem),
        Err(Failure::OAuth(error)) => Response::secret_json(StatusCode::BAD_REQUEST, &error),
    }
}

/// A new session's token, on its way to its owner.
fn token_response(session: Session, token: BearerToken, now: Timestamp) -> Result<Response, Failure> {
    let response = TokenResponse {
        access_token: token.into_secret(),
        issued_token_type: ACCESS_TOKEN_TYPE.to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: session.expires_at.seconds_since(now),
        scope: scope_text::format(&session.scope),
        session_id: session.id,
        wallet: session.wallet,
    };
    Ok(Response::secret_json(StatusCode::OK, &response)?)
}
