//! `POST /oauth/introspect` (RFC 7662), within the caller's reach. Unknown, ended
//! and other people's tokens get the same three words.

use std::sync::Arc;

use agentkeys_core::oauth::{IntrospectRequest, IntrospectResponse};
use agentkeys_core::{Session, Timestamp, scope_text};
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;

use super::revoke::{by_token, within_reach};
use super::{Failure, answer, form};
use crate::broker::Broker;
use crate::handlers::session_of;

/// `POST /oauth/introspect`.
pub struct Introspect(pub Arc<Broker>);

#[async_trait]
impl Handler for Introspect {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        answer(introspect(&self.0, exchange).await)
    }
}

async fn introspect(broker: &Broker, exchange: &Exchange) -> Result<Response, Failure> {
    let caller = session_of(exchange)?;
    let request: IntrospectRequest = form::read(exchange)?;
    let found = by_token(broker, &request.token).await?.filter(|found| found.is_live(Timestamp::now()));
    let shown = match found {
        Some(found) if within_reach(broker, caller, &found.id).await? => describe(found),
        _ => IntrospectResponse::default(),
    };
    Ok(Response::secret_json(StatusCode::OK, &shown)?)
}

fn describe(session: Session) -> IntrospectResponse {
    IntrospectResponse {
        active: true,
        scope: Some(scope_text::format(&session.scope)),
        token_type: Some("Bearer".to_owned()),
        exp: Some(session.expires_at.unix()),
        iat: Some(session.created_at.unix()),
        sub: Some(format!("agentkeys:agent:{}", session.wallet)),
        session_id: Some(session.id),
        wallet: Some(session.wallet),
    }
}
