//! Who am I, and which sessions descend from mine.

use std::sync::Arc;

use agentkeys_core::Session;
use agentkeys_core::store::SessionQuery;
use agentkeys_core::wire::{SessionList, SessionView};
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;

use super::session_of;
use crate::broker::{Broker, store_problem};

/// `GET /v1/session`.
pub struct ShowSession;

#[async_trait]
impl Handler for ShowSession {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        Response::json(StatusCode::OK, &view(session_of(exchange)?.clone()))
    }
}

/// `GET /v1/sessions`.
pub struct ListSessions(pub Arc<Broker>);

#[async_trait]
impl Handler for ListSessions {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let root = Some(session_of(exchange)?.id.clone());
        let found = self
            .0
            .sessions
            .list(&SessionQuery { root, ..SessionQuery::default() })
            .await
            .map_err(store_problem)?;
        let sessions = found.into_iter().map(view).collect();
        Response::secret_json(StatusCode::OK, &SessionList { sessions })
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
