//! Limits requests per client address, before anything is parsed or looked up.

use std::sync::Arc;

use agentkeys_core::{Code, Problem};
use async_trait::async_trait;

use crate::exchange::Exchange;
use crate::filter::{Filter, Flow};
use crate::rate::Limits;

/// The filter `source_limit`.
pub struct SourceLimit {
    limits: Arc<Limits>,
}

impl SourceLimit {
    /// Over these limits.
    pub fn new(limits: Arc<Limits>) -> Self {
        Self { limits }
    }
}

#[async_trait]
impl Filter for SourceLimit {
    fn name(&self) -> &'static str {
        "source_limit"
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Result<Flow, Problem> {
        // Without an address there is nothing to count by: closed, not open.
        let source = exchange.peer.source.ok_or_else(|| {
            Problem::new(Code::Forbidden, "The client's address is not known.").because("no peer address")
        })?;
        match self.limits.source(source) {
            Ok(state) => {
                exchange.rates.push(state);
                Ok(Flow::Continue)
            }
            Err(limited) => {
                exchange.rates.push(limited.state);
                exchange.limited_by = Some("source");
                Err(limited.problem())
            }
        }
    }
}
