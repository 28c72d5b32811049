//! `POST /oauth/token`: a device that polls for its session, or a session that
//! makes a narrower child of itself. The caller proves itself by the code or the
//! token in the form; no bearer header is looked at.

use std::sync::Arc;
use std::time::Instant;

use agentkeys_core::oauth::{OAuthErrorCode, TokenGrant, TokenRequest};
use agentkeys_core::pairing::{Approval, Pairing, PairingState};
use agentkeys_core::store::StoreError;
use agentkeys_core::{
    BearerToken, Problem, Session, SessionId, SessionKind, Timestamp, TokenHash, scope_text,
};
use agentkeys_filters::rate::Limited;
use agentkeys_filters::session_auth::{NotAuthenticated, count_failure, live_session};
use agentkeys_filters::{AuthFailure, Exchange, Handler, Outcome, RateState, Response};
use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::{Failure, answer, device_code, form, token_response};
use crate::broker::Broker;
use crate::handlers::child::{Wanted, child_of};
use crate::handlers::ledger::{Ledger, hand_out};

/// `POST /oauth/token`.
pub struct Token(pub Arc<Broker>);

#[async_trait]
impl Handler for Token {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        answer(grant(&self.0, exchange).await)
    }
}

async fn grant(broker: &Broker, exchange: &mut Exchange) -> Result<Response, Failure> {
    match form::read::<TokenRequest>(exchange)?.grant()? {
        TokenGrant::Device { device_code } => poll(broker, exchange, &device_code).await,
        TokenGrant::Exchange { subject_token, scope, expires_in, label } => {
            let parent = authenticate(broker, exchange, &subject_token).await?;
            exchange.session = Some(parent.clone());
            exchange_token(broker, exchange, &parent, Wanted { scope, ttl_seconds: expires_in, label }).await
        }
    }
}

/// The session behind a subject token, by the rules of `session_auth` and
/// `session_limit`.
async fn authenticate(
    broker: &Broker,
    exchange: &mut Exchange,
    subject_token: &SecretString,
) -> Result<Session, Failure> {
    let looked_up = match BearerToken::parse(subject_token.expose_secret()) {
        Ok(token) => live_session(broker.sessions.as_ref(), token).await,
        Err(_) => Err(NotAuthenticated::Failed(AuthFailure::Malformed)),
    };
    let session = match looked_up {
        Ok(session) => session,
        Err(NotAuthenticated::Problem(problem)) => return Err(problem.into()),
        Err(NotAuthenticated::Failed(reason)) => {
            exchange.auth_failure = Some(reason);
            count_failure(&broker.limits, exchange)?;
            Ledger::new(broker, exchange, "session_child").refusal("invalid_grant");
            return Err(Failure::oauth(OAuthErrorCode::InvalidGrant, "the subject token is not accepted"));
        }
    };
    count(exchange, "session", broker.limits.session(&session.id))?;
    count(exchange, "wallet", broker.limits.wallet(&session.wallet))?;
    Ok(session)
}

fn count(
    exchange: &mut Exchange,
    limiter: &'static str,
    result: Result<RateState, Limited>,
) -> Result<(), Problem> {
    match result {
        Ok(state) => {
            exchange.rates.push(state);
            Ok(())
        }
        Err(limited) => {
            exchange.rates.push(limited.state);
            exchange.limited_by = Some(limiter);
            Err(limited.problem())
        }
    }
}

async fn exchange_token(
    broker: &Broker,
    exchange: &Exchange,
    parent: &Session,
    wanted: Wanted,
) -> Result<Response, Failure> {
    let now = Timestamp::now();
    let child = child_of(parent, wanted, broker.issued_ttl.as_secs(), now)?;
    let token = BearerToken::generate().map_err(Problem::internal)?;
    let ledger = Ledger::new(broker, exchange, "session_child")
        .about(&child)
        .target(format!("parent:{}", parent.id))
        .detail(scope_text::format(&child.scope));
    let write = async {
        broker.sessions.insert(&child, &token.hash()).await.map_err(|error| match error {
            StoreError::ParentNotLive => {
                Failure::oauth(OAuthErrorCode::InvalidGrant, "the subject token is not accepted")
            }
            other => other.into(),
        })
    };
    hand_out(broker.sessions.as_ref(), &ledger, &child, write).await?;
    token_response(child, token, now)
}

async fn poll(
    broker: &Broker,
    exchange: &mut Exchange,
    device_code: &SecretString,
) -> Result<Response, Failure> {
    let found = match device_code::hash(device_code) {
        Some(device) => broker.pairings.by_device(&device).await?.map(|pairing| (device, pairing)),
        None => None,
    };
    let Some((device, pairing)) = found else {
        exchange.auth_failure = Some(AuthFailure::Unknown);
        count_failure(&broker.limits, exchange)?;
        return Err(Failure::oauth(OAuthErrorCode::InvalidGrant, "the device code is not accepted"));
    };
    if !broker.pacing.keeps(device, Instant::now()) {
        return Err(Failure::oauth(OAuthErrorCode::SlowDown, "wait five seconds longer between polls"));
    }
    let now = Timestamp::now();
    match &pairing.state {
        PairingState::Taken => {
            Err(Failure::oauth(OAuthErrorCode::InvalidGrant, "the device code has been used"))
        }
        PairingState::Denied => Err(Failure::oauth(OAuthErrorCode::AccessDenied, "the pairing was denied")),
        _ if now >= pairing.expires_at => {
            Err(Failure::oauth(OAuthErrorCode::ExpiredToken, "the device code has ended"))
        }
        PairingState::Pending => {
            Err(Failure::oauth(OAuthErrorCode::AuthorizationPending, "nobody has decided yet"))
        }
        PairingState::Approved(approval) => {
            pick_up(broker, exchange, device, &pairing, approval.clone(), now).await
        }
    }
}

/// The device's session, made at this moment and handed out this once.
async fn pick_up(
    broker: &Broker,
    exchange: &Exchange,
    device: TokenHash,
    pairing: &Pairing,
    approval: Approval,
    now: Timestamp,
) -> Result<Response, Failure> {
    let kind = if approval.parent.is_some() { SessionKind::Child } else { SessionKind::Issued };
    let session = Session {
        id: SessionId::generate(),
        wallet: approval.wallet,
        kind,
        label: pairing.label.clone(),
        parent: approval.parent,
        scope: approval.scope,
        created_at: now,
        expires_at: approval.expires_at,
        revoked_at: None,
    };
    let token = BearerToken::generate().map_err(Problem::internal)?;
    let by =
        session.parent.as_ref().map_or_else(|| "operator".to_owned(), |parent| format!("parent:{parent}"));
    let ledger = Ledger::new(broker, exchange, "device_pair")
        .about(&session)
        .target(by)
        .detail(scope_text::format(&session.scope));
    let write = async {
        match broker.pairings.take(&device, &session, &token.hash()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Failure::oauth(OAuthErrorCode::InvalidGrant, "the device code has been used")),
            Err(StoreError::ParentNotLive) => {
                Err(Failure::oauth(OAuthErrorCode::AccessDenied, "the approver's session has ended"))
            }
            Err(other) => Err(other.into()),
        }
    };
    hand_out(broker.sessions.as_ref(), &ledger, &session, write).await?;
    broker.pacing.forget(&device);
    token_response(session, token, now)
}
