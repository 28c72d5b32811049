//! Who am I.

use agentkeys_core::Session;
use agentkeys_core::wire::SessionView;
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;

use super::session_of;

/// `GET /v1/session`.
pub struct ShowSession;

#[async_trait]
impl Handler for ShowSession {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        Response::json(StatusCode::OK, &view(session_of(exchange)?.clone()))
    }
}

/// A session as its owner sees it.
pub fn view(session: Session) -> SessionView {
    SessionView {
        session_id: session.id,
        wallet: session.wallet,
        kind: session.kind,
        label: session.label,
        scope: session.scope,
        created_at: session.created_at,
        expires_at: session.expires_at,
        parent: session.parent,
    }
}
