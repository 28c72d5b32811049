//! The operator's API on the Unix socket. The socket's mode 0600 is the
//! authentication, so none of these routes may ever stand on another listener.
//!
//! What changes something is audited, durably, before it is answered.

pub mod audit;
pub mod grants;
pub mod invites;
pub mod keys;
pub mod pairings;
pub mod sessions;
pub mod status;

use std::sync::Arc;

use agentkeys_core::Problem;
use agentkeys_core::audit::{AuditEntry, Phase};
use agentkeys_filters::{Chain, Exchange};
use http::Method;
use serde::de::DeserializeOwned;

use crate::broker::{Broker, audit_problem};
use crate::routes::Route;

/// The rows of the admin listener.
pub fn routes(broker: &Arc<Broker>) -> Vec<Route> {
    let open = Chain::default();
    vec![
        Route::new(Method::GET, "/admin/v1/status", &open, status::Status(broker.clone())),
        Route::new(Method::POST, "/admin/v1/sessions", &open, sessions::Issue(broker.clone())),
        Route::new(Method::GET, "/admin/v1/sessions", &open, sessions::List(broker.clone())),
        Route::new(Method::GET, "/admin/v1/sessions/{session_id}", &open, sessions::Show(broker.clone())),
        Route::new(
            Method::DELETE,
            "/admin/v1/sessions/{session_id}",
            &open,
            sessions::Revoke(broker.clone()),
        ),
        Route::new(Method::POST, "/admin/v1/grants", &open, grants::Add(broker.clone())),
        Route::new(Method::GET, "/admin/v1/grants", &open, grants::List(broker.clone())),
        Route::new(Method::DELETE, "/admin/v1/grants/{grant_id}", &open, grants::Remove(broker.clone())),
        Route::new(Method::POST, "/admin/v1/invites", &open, invites::Create(broker.clone())),
        Route::new(Method::GET, "/admin/v1/invites", &open, invites::List(broker.clone())),
        Route::new(Method::DELETE, "/admin/v1/invites/{invite_id}", &open, invites::Revoke(broker.clone())),
        Route::new(Method::GET, "/admin/v1/pairings", &open, pairings::List(broker.clone())),
        Route::new(
            Method::POST,
            "/admin/v1/pairings/{user_code}/approve",
            &open,
            pairings::Approve(broker.clone()),
        ),
        Route::new(
            Method::POST,
            "/admin/v1/pairings/{user_code}/deny",
            &open,
            pairings::Deny(broker.clone()),
        ),
        Route::new(Method::GET, "/admin/v1/audit", &open, audit::List(broker.clone())),
        Route::new(Method::POST, "/admin/v1/audit/verify", &open, audit::Verify(broker.clone())),
        Route::new(Method::GET, "/admin/v1/keys", &open, keys::List(broker.clone())),
        Route::new(Method::POST, "/admin/v1/keys/generate", &open, keys::Generate(broker.clone())),
        Route::new(Method::POST, "/admin/v1/keys/rotate", &open, keys::Rotate(broker.clone())),
        Route::new(Method::DELETE, "/admin/v1/keys/{kid}", &open, keys::Retire(broker.clone())),
    ]
}

/// Records what the operator did; fails if that cannot be made durable.
async fn record(
    broker: &Broker,
    exchange: &Exchange,
    action: &str,
    fill: impl FnOnce(AuditEntry) -> AuditEntry,
) -> Result<(), Problem> {
    let entry = AuditEntry {
        source: Some("operator".to_owned()),
        ..AuditEntry::new(Phase::Event, exchange.mint_id.to_string(), action, "granted")
    };
    broker.audit.write(fill(entry)).await.map_err(audit_problem)
}

/// The query of a request, typed.
fn query<T: DeserializeOwned>(exchange: &Exchange) -> Result<T, Problem> {
    serde_urlencoded::from_str(exchange.request.uri.query().unwrap_or_default())
        .map_err(|error| Problem::bad_request(format!("The query is not accepted: {error}.")))
}
