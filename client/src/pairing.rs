//! The device's side of pairing (RFC 8628): show a code, wait for a master's word.

use std::time::Duration;

use agentkeys_core::oauth::{
    DeviceAuthorizationRequest, DeviceAuthorizationResponse, OAuthErrorCode, TokenRequest, TokenResponse,
};
use agentkeys_core::{BearerToken, Scope, SessionKind, Timestamp, scope_text};
use secrecy::ExposeSecret;

use crate::broker::{Broker, BrokerError};
use crate::sessions::{Choice, Keeper, SessionRecord};

/// What the device proposes to the approver.
#[derive(Clone, Debug, Default)]
pub struct Proposal {
    /// What it wants to be allowed.
    pub scope: Scope,
    /// For how long.
    pub ttl: Option<Duration>,
    /// What it calls itself.
    pub label: Option<String>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum PairingError {
    /// The approver said no.
    #[error("the pairing was denied")]
    Denied,
    /// Nobody said anything in time.
    #[error("the pairing code has ended without an answer")]
    Ended,
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// It answered with something that is not a session token.
    #[error("the broker answered with something that is not a session token")]
    NotAToken,
}

/// Asks for a code.
pub async fn begin(
    broker: &Broker,
    proposal: &Proposal,
) -> Result<DeviceAuthorizationResponse, PairingError> {
    let request = DeviceAuthorizationRequest {
        client_id: Some("agentkeys".to_owned()),
        scope: Some(scope_text::format(&proposal.scope)),
        label: proposal.label.clone(),
        expires_in: proposal.ttl.map(|ttl| ttl.as_secs()),
    };
    Ok(broker.device_authorization(&request).await?)
}

/// Polls until a master has decided or the code has ended. A broker that is
/// away for a while is asked again: the code outlives a restart of the network.
pub async fn wait(
    broker: &Broker,
    started: &DeviceAuthorizationResponse,
) -> Result<TokenResponse, PairingError> {
    let end = tokio::time::Instant::now() + Duration::from_secs(started.expires_in);
    let mut interval = Duration::from_secs(started.interval.clamp(1, 60));
    loop {
        if tokio::time::Instant::now() + interval >= end {
            return Err(PairingError::Ended);
        }
        tokio::time::sleep(interval).await;
        let request = TokenRequest::device(started.device_code.clone());
        match broker.token(&request).await {
            Ok(answer) => return Ok(answer),
            Err(BrokerError::OAuth(error)) => match error.error {
                OAuthErrorCode::AuthorizationPending => {}
                OAuthErrorCode::SlowDown => interval += Duration::from_secs(5),
                OAuthErrorCode::AccessDenied => return Err(PairingError::Denied),
                OAuthErrorCode::ExpiredToken => return Err(PairingError::Ended),
                _ => return Err(BrokerError::OAuth(error).into()),
            },
            Err(BrokerError::Unreachable { .. } | BrokerError::TimedOut(_)) => {
                interval = (interval * 2).min(Duration::from_secs(60));
            }
            Err(BrokerError::Problem { document, retry_after }) if document.retryable => {
                interval = interval.max(retry_after.unwrap_or_default()).min(Duration::from_secs(60));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// The record and token to keep for an answer.
pub fn record(choice: &Choice, answer: &TokenResponse) -> Result<(SessionRecord, BearerToken), PairingError> {
    let token =
        BearerToken::parse(answer.access_token.expose_secret()).map_err(|_| PairingError::NotAToken)?;
    let record = SessionRecord {
        broker_url: choice.broker_url.clone(),
        identity: choice.identity.clone(),
        session_id: answer.session_id.clone(),
        wallet: answer.wallet.clone(),
        kind: SessionKind::Child,
        expires_at: Timestamp::now().plus(answer.expires_in),
        kept_in: Keeper::File,
    };
    Ok((record, token))
}
