//! Authenticates the bearer token (RFC 6750 section 2.1).
//!
//! Every refusal reads the same to the caller: unknown, expired, revoked and
//! malformed differ in the metric alone.

use std::sync::Arc;

use agentkeys_core::store::SessionStore;
use agentkeys_core::{BearerToken, Code, Problem, Session, Timestamp};
use async_trait::async_trait;
use http::{HeaderMap, header};

use crate::exchange::{AuthFailure, Exchange};
use crate::filter::{Filter, Flow};
use crate::rate::Limits;

/// The filter `session_auth`.
pub struct SessionAuth {
    sessions: Arc<dyn SessionStore>,
    limits: Arc<Limits>,
}

impl SessionAuth {
    /// Against this store; failures count against these limits.
    pub fn new(sessions: Arc<dyn SessionStore>, limits: Arc<Limits>) -> Self {
        Self { sessions, limits }
    }

    async fn authenticate(&self, headers: &HeaderMap) -> Result<Session, NotAuthenticated> {
        let token = bearer_token(headers)?;
        live_session(self.sessions.as_ref(), token).await
    }
}

/// Why there is no session behind a token.
#[derive(Debug)]
pub enum NotAuthenticated {
    /// The token is not accepted.
    Failed(AuthFailure),
    /// It could not be looked up.
    Problem(Problem),
}

/// The live session of a token, wherever the token was found.
pub async fn live_session(
    sessions: &dyn SessionStore,
    token: BearerToken,
) -> Result<Session, NotAuthenticated> {
    let session = sessions
        .by_token(&token.hash())
        .await
        .map_err(|error| NotAuthenticated::Problem(store_unavailable(error)))?
        .ok_or(NotAuthenticated::Failed(AuthFailure::Unknown))?;
    if session.revoked_at.is_some() {
        return Err(NotAuthenticated::Failed(AuthFailure::Revoked));
    }
    if !session.is_live(Timestamp::now()) {
        return Err(NotAuthenticated::Failed(AuthFailure::Expired));
    }
    Ok(session)
}

/// Counts a failed proof against its source; a 429 once there were too many.
/// Only failures count: a client behind the same address that holds a good token
/// is not locked out by one that guesses.
pub fn count_failure(limits: &Limits, exchange: &mut Exchange) -> Result<(), Problem> {
    if let Some(source) = exchange.peer.source
        && let Err(limited) = limits.failed_auth(source)
    {
        exchange.rates.push(limited.state);
        exchange.limited_by = Some("failed_auth");
        return Err(limited.problem());
    }
    Ok(())
}

#[async_trait]
impl Filter for SessionAuth {
    fn name(&self) -> &'static str {
        "session_auth"
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Result<Flow, Problem> {
        match self.authenticate(&exchange.request.headers).await {
            Ok(session) => {
                exchange.session = Some(session);
                Ok(Flow::Continue)
            }
            Err(NotAuthenticated::Problem(problem)) => Err(problem),
            Err(NotAuthenticated::Failed(reason)) => {
                exchange.auth_failure = Some(reason);
                count_failure(&self.limits, exchange)?;
                let mut problem = Problem::invalid_token().because(reason.as_str());
                problem.token_missing = reason == AuthFailure::Missing;
                Err(problem)
            }
        }
    }
}

fn bearer_token(headers: &HeaderMap) -> Result<BearerToken, NotAuthenticated> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(NotAuthenticated::Failed(AuthFailure::Missing))?;
    if values.next().is_some() {
        // Two readers of such a request could each believe another one.
        return Err(NotAuthenticated::Problem(Problem::bad_request("Send one Authorization field.")));
    }
    let malformed = || NotAuthenticated::Failed(AuthFailure::Malformed);
    let text = value.to_str().map_err(|_| malformed())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(malformed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed());
    }
    BearerToken::parse(token.trim_matches(' ')).map_err(|_| malformed())
}

/// 503: a store that cannot answer is a refusal, never an open door.
pub(crate) fn store_unavailable(error: impl std::fmt::Display) -> Problem {
    Problem::new(Code::StoreUnavailable, "The broker's store cannot be read; try again shortly.")
        .because(error)
        .retry_after(std::time::Duration::from_secs(1))
}
