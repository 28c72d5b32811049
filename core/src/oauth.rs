//! The wire types of the OAuth 2 endpoints and of pairing: device authorization
//! (RFC 8628), token exchange (RFC 8693), revocation (RFC 7009), introspection
//! (RFC 7662).
//!
//! Requests are form-encoded, so their fields are flat. As RFC 6749 asks, an
//! unknown parameter is ignored here (unlike in [`crate::wire`]); a limit is
//! safe all the same, since an unknown *scope token* is refused.

use secrecy::SecretString;
use serde::{Deserialize, Serialize, Serializer};

use crate::scope::Scope;
use crate::session::SessionId;
use crate::user_code::UserCode;
use crate::wallet::Wallet;
use crate::wire::expose;

/// `grant_type` of a device that polls (RFC 8628 section 3.4).
pub const GRANT_DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// `grant_type` of a token exchange (RFC 8693 section 2.1).
pub const GRANT_TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The only token type that is exchanged or issued (RFC 8693 section 3).
pub const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// `POST /oauth/device_authorization`: a device proposes what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAuthorizationRequest {
    /// The kind of client; informative, since any device may ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The scope it proposes ([`crate::scope_text`]); the approver decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// What it calls itself, shown to the approver.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The session's life that it proposes, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// The answer to [`DeviceAuthorizationRequest`] (RFC 8628 section 3.2).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeviceAuthorizationResponse {
    /// What the device polls with; a secret.
    #[serde(serialize_with = "expose")]
    pub device_code: SecretString,
    /// What the person carries to the approver.
    pub user_code: UserCode,
    /// Where, or how, a person approves.
    pub verification_uri: String,
    /// The same with the code in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_uri_complete: Option<String>,
    /// The life of both codes, in seconds.
    pub expires_in: u64,
    /// The least time between two polls, in seconds; 5 where absent.
    #[serde(default = "five")]
    pub interval: u64,
}

fn five() -> u64 {
    5
}

/// `POST /oauth/token`, both grants in one flat form; see [`TokenRequest::grant`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TokenRequest {
    /// [`GRANT_DEVICE_CODE`] or [`GRANT_TOKEN_EXCHANGE`].
    pub grant_type: String,
    /// The kind of client; informative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Device grant: the device's code.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_some")]
    pub device_code: Option<SecretString>,
    /// Exchange: the parent's token.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_some")]
    pub subject_token: Option<SecretString>,
    /// Exchange: [`ACCESS_TOKEN_TYPE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_token_type: Option<String>,
    /// Exchange: [`ACCESS_TOKEN_TYPE`], or absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_token_type: Option<String>,
    /// Exchange: the child's scope ([`crate::scope_text`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Exchange, an extension: the child's life in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// Exchange, an extension: what to call the child.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// What a [`TokenRequest`] asks for.
#[derive(Clone, Debug)]
pub enum TokenGrant {
    /// A device polls for its session.
    Device {
        /// The device's code.
        device_code: SecretString,
    },
    /// A session makes a narrower child of itself.
    Exchange {
        /// The parent's token.
        subject_token: SecretString,
        /// What the child may do; what it leaves open is inherited.
        scope: Scope,
        /// The child's life in seconds.
        expires_in: Option<u64>,
        /// What to call the child.
        label: Option<String>,
    },
}

impl TokenRequest {
    /// The form of a device that polls.
    pub fn device(device_code: SecretString) -> Self {
        Self { grant_type: GRANT_DEVICE_CODE.to_owned(), device_code: Some(device_code), ..Self::default() }
    }

    /// The form of a session that makes a child.
    pub fn exchange(
        subject_token: SecretString,
        scope: &Scope,
        expires_in: Option<u64>,
        label: Option<String>,
    ) -> Self {
        Self {
            grant_type: GRANT_TOKEN_EXCHANGE.to_owned(),
            subject_token: Some(subject_token),
            subject_token_type: Some(ACCESS_TOKEN_TYPE.to_owned()),
            scope: Some(crate::scope_text::format(scope)),
            expires_in,
            label,
            ..Self::default()
        }
    }

    /// The grant, or the RFC 6749 section 5.2 error to answer with.
    pub fn grant(self) -> Result<TokenGrant, OAuthError> {
        match self.grant_type.as_str() {
            GRANT_DEVICE_CODE => match self.device_code {
                Some(device_code) => Ok(TokenGrant::Device { device_code }),
                None => Err(OAuthError::new(OAuthErrorCode::InvalidRequest, "device_code is missing")),
            },
            GRANT_TOKEN_EXCHANGE => {
                if self.subject_token_type.as_deref() != Some(ACCESS_TOKEN_TYPE)
                    || self.requested_token_type.is_some_and(|kind| kind != ACCESS_TOKEN_TYPE)
                {
                    return Err(OAuthError::new(
                        OAuthErrorCode::InvalidRequest,
                        format!("only tokens of the type {ACCESS_TOKEN_TYPE} are exchanged"),
                    ));
                }
                let Some(subject_token) = self.subject_token else {
                    return Err(OAuthError::new(OAuthErrorCode::InvalidRequest, "subject_token is missing"));
                };
                let scope = crate::scope_text::parse(self.scope.as_deref().unwrap_or_default())
                    .map_err(|error| OAuthError::new(OAuthErrorCode::InvalidScope, error.to_string()))?;
                Ok(TokenGrant::Exchange {
                    subject_token,
                    scope,
                    expires_in: self.expires_in,
                    label: self.label,
                })
            }
            _ => Err(OAuthError::new(
                OAuthErrorCode::UnsupportedGrantType,
                format!("grant_type is {GRANT_DEVICE_CODE} or {GRANT_TOKEN_EXCHANGE}"),
            )),
        }
    }
}

/// A new session by either grant (RFC 6749 section 5.1, RFC 8693 section 2.2.1).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenResponse {
    /// The bearer token.
    #[serde(serialize_with = "expose")]
    pub access_token: SecretString,
    /// [`ACCESS_TOKEN_TYPE`].
    pub issued_token_type: String,
    /// `Bearer`.
    pub token_type: String,
    /// The session's life in seconds.
    pub expires_in: u64,
    /// What it may do ([`crate::scope_text`]); always said, since it may be
    /// less than was asked.
    pub scope: String,
    /// An extension: the session.
    pub session_id: SessionId,
    /// An extension: the wallet it acts for.
    pub wallet: Wallet,
}

/// `POST /oauth/revoke` (RFC 7009): a token, or, an extension, a session's id.
/// Exactly one of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RevokeRequest {
    /// The token.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "expose_some")]
    pub token: Option<SecretString>,
    /// Ignored: there is one type of token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type_hint: Option<String>,
    /// The session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
}

/// The answer to [`RevokeRequest`]: 200 also where there was nothing to revoke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeResponse {
    /// How many sessions were live until now, descendants counted.
    pub revoked: u64,
}

/// `POST /oauth/introspect` (RFC 7662).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IntrospectRequest {
    /// The token.
    #[serde(serialize_with = "expose")]
    pub token: SecretString,
    /// Ignored: there is one type of token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type_hint: Option<String>,
}

/// The answer to [`IntrospectRequest`]. A token that is unknown, ended or out
/// of the caller's reach is `{"active": false}` and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntrospectResponse {
    /// Is it a live session within the caller's reach?
    pub active: bool,
    /// What it may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// `Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_type: Option<String>,
    /// When it ends, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    /// When it was made, in Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iat: Option<i64>,
    /// `agentkeys:agent:<wallet>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// An extension: the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// An extension: the wallet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<Wallet>,
}

/// The error codes of RFC 6749 section 5.2, RFC 8628 section 3.5 and RFC 8693
/// section 2.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OAuthErrorCode {
    /// A parameter is missing, repeated or malformed.
    InvalidRequest,
    /// The device code or subject token is not accepted.
    InvalidGrant,
    /// The scope is malformed, or wider than the parent's.
    InvalidScope,
    /// Neither of the two grants.
    UnsupportedGrantType,
    /// Poll again after `interval` seconds.
    AuthorizationPending,
    /// Poll again, five seconds slower than until now.
    SlowDown,
    /// The approver said no.
    AccessDenied,
    /// The device code has ended.
    ExpiredToken,
}

/// The body of a 400 from `/oauth/*` that RFC 6749 section 5.2 defines. Other
/// failures (401, 403, 429, 5xx) are problem documents as everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OAuthError {
    /// The code.
    pub error: OAuthErrorCode,
    /// For a human.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_description: Option<String>,
}

impl OAuthError {
    /// An error with a text for a human.
    pub fn new(error: OAuthErrorCode, description: impl Into<String>) -> Self {
        Self { error, error_description: Some(description.into()) }
    }
}

fn expose_some<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => expose(secret, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> TokenRequest {
        let scope = crate::scope_text::parse("service:openrouter read_only").unwrap();
        TokenRequest::exchange("parent".into(), &scope, Some(900), None)
    }

    #[test]
    fn an_exchange_says_what_the_child_may_do() {
        let Ok(TokenGrant::Exchange { scope, expires_in, .. }) = exchange().grant() else { panic!() };
        assert!(scope.read_only);
        assert_eq!(expires_in, Some(900));
    }

    #[test]
    fn a_request_that_is_not_understood_gets_the_error_of_the_standard() {
        let error = |request: TokenRequest| request.grant().err().map(|e| e.error);
        assert_eq!(
            error(TokenRequest { grant_type: "password".into(), ..exchange() }),
            Some(OAuthErrorCode::UnsupportedGrantType)
        );
        assert_eq!(
            error(TokenRequest { scope: Some("readonly".into()), ..exchange() }),
            Some(OAuthErrorCode::InvalidScope)
        );
        assert_eq!(
            error(TokenRequest { subject_token_type: None, ..exchange() }),
            Some(OAuthErrorCode::InvalidRequest)
        );
        assert_eq!(
            error(TokenRequest { device_code: None, ..TokenRequest::device("x".into()) }),
            Some(OAuthErrorCode::InvalidRequest)
        );
    }

    #[test]
    fn debug_shows_neither_code_nor_token() {
        let text = format!("{:?} {:?}", exchange(), TokenRequest::device("device-secret".into()));
        assert!(!text.contains("parent") && !text.contains("device-secret"), "{text}");
    }

    #[test]
    fn codes_are_spelt_as_the_standards_spell_them() {
        let body = serde_json::to_string(&OAuthError {
            error: OAuthErrorCode::AuthorizationPending,
            error_description: None,
        });
        assert_eq!(body.unwrap(), r#"{"error":"authorization_pending"}"#);
    }
}
