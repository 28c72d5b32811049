//! `POST /oauth/revoke` (RFC 7009). A session revokes itself or what descends
//! from it; whatever else the token is, the answer is that nothing was revoked.

use std::sync::Arc;

use agentkeys_core::oauth::{OAuthErrorCode, RevokeRequest, RevokeResponse};
use agentkeys_core::{BearerToken, Session, SessionId, Timestamp};
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};

use super::{Failure, answer, form};
use crate::broker::Broker;
use crate::handlers::ledger::Ledger;
use crate::handlers::session_of;

/// `POST /oauth/revoke`.
pub struct Revoke(pub Arc<Broker>);

#[async_trait]
impl Handler for Revoke {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        answer(revoke(&self.0, exchange).await)
    }
}

async fn revoke(broker: &Broker, exchange: &Exchange) -> Result<Response, Failure> {
    let caller = session_of(exchange)?;
    let request: RevokeRequest = form::read(exchange)?;
    let target = match (&request.token, &request.session_id) {
        (Some(token), None) => by_token(broker, token).await?,
        (None, Some(id)) => broker.sessions.by_id(id).await?,
        _ => {
            return Err(Failure::oauth(
                OAuthErrorCode::InvalidRequest,
                "name a token or a session_id, not both",
            ));
        }
    };
    let mut revoked = 0;
    if let Some(target) = target
        && within_reach(broker, caller, &target.id).await?
    {
        // Revoked first: a record that cannot be written must not keep a stolen
        // token alive. The caller sees the 503 and tries again.
        revoked = broker.sessions.revoke(&target.id, Timestamp::now()).await?;
        Ledger::new(broker, exchange, "session_revoke")
            .about(&target)
            .target(format!("by:{}", caller.id))
            .detail(format!("{revoked} live sessions revoked"))
            .event()
            .await?;
    }
    Ok(Response::secret_json(StatusCode::OK, &RevokeResponse { revoked })?)
}

/// The session of a token, live or not; `None` for a text that is no token.
pub(super) async fn by_token(broker: &Broker, token: &SecretString) -> Result<Option<Session>, Failure> {
    match BearerToken::parse(token.expose_secret()) {
        Ok(token) => Ok(broker.sessions.by_token(&token.hash()).await?),
        Err(_) => Ok(None),
    }
}

/// Is it the caller's own session, or one that descends from it?
pub(super) async fn within_reach(
    broker: &Broker,
    caller: &Session,
    target: &SessionId,
) -> Result<bool, Failure> {
    Ok(*target == caller.id || broker.sessions.descends_from(target, &caller.id).await?)
}
