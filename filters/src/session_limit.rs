//! Limits requests per session, and per wallet over all of its sessions.

use std::sync::Arc;

use agentkeys_core::Problem;
use async_trait::async_trait;

use crate::exchange::Exchange;
use crate::filter::{Filter, Flow};
use crate::rate::Limits;

/// The filter `session_limit`.
pub struct SessionLimit {
    limits: Arc<Limits>,
}

impl SessionLimit {
    /// Over these limits.
    pub fn new(limits: Arc<Limits>) -> Self {
        Self { limits }
    }
}

#[async_trait]
impl Filter for SessionLimit {
    fn name(&self) -> &'static str {
        "session_limit"
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Result<Flow, Problem> {
        let session = exchange
            .session
            .as_ref()
            .ok_or_else(|| Problem::internal("session_limit before session_auth"))?;
        let checks =
            [("session", self.limits.session(&session.id)), ("wallet", self.limits.wallet(&session.wallet))];
        for (limiter, result) in checks {
            match result {
                Ok(state) => exchange.rates.push(state),
                Err(limited) => {
                    exchange.rates.push(limited.state);
                    exchange.limited_by = Some(limiter);
                    return Err(limited.problem());
                }
            }
        }
        Ok(Flow::Continue)
    }
}
