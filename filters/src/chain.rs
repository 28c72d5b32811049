//! A chain runs its filters in order, the handler, and the filters' way back.

use std::sync::Arc;

use agentkeys_core::Problem;
use async_trait::async_trait;
use bytes::Bytes;

use crate::exchange::Exchange;
use crate::filter::{Filter, Flow, Outcome};

/// Reads a request's body, bounded in size and time.
#[async_trait]
pub trait BodySource: Send {
    /// The whole body. Called at most once per request.
    async fn read(&mut self) -> Result<Bytes, Problem>;
}

#[async_trait]
impl BodySource for Bytes {
    async fn read(&mut self) -> Result<Bytes, Problem> {
        Ok(std::mem::take(self))
    }
}

/// The body of a request that has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoBody;

#[async_trait]
impl BodySource for NoBody {
    async fn read(&mut self) -> Result<Bytes, Problem> {
        Ok(Bytes::new())
    }
}

/// Answers what the chain let through.
#[async_trait]
pub trait Handler: Send + Sync {
    /// True if it looks at `exchange.body`.
    fn reads_body(&self) -> bool {
        false
    }

    /// Answers the request.
    async fn handle(&self, exchange: &mut Exchange) -> Outcome;
}

/// Filters in the order in which they see a request.
#[derive(Clone, Default)]
pub struct Chain {
    filters: Vec<Arc<dyn Filter>>,
}

/// What a chain must contain, and in which order, to be safe for its routes.
#[derive(Clone, Copy, Debug)]
pub struct ChainRules {
    /// Filters that must be there, each before the next.
    pub required_in_order: &'static [&'static str],
}

impl ChainRules {
    /// For routes that mint: authenticated, granted and audited, in that order,
    /// so that nothing unauthenticated is granted and nothing unaudited minted.
    pub const MINT: Self = Self { required_in_order: &["session_auth", "grant", "audit"] };
    /// For routes that need a session.
    pub const SESSION: Self = Self { required_in_order: &["session_auth"] };
    /// For public routes.
    pub const PUBLIC: Self = Self { required_in_order: &[] };
}

/// A chain that must not serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A required filter is not in the chain.
    #[error("the filter '{0}' is missing")]
    Missing(&'static str),
    /// A filter comes too late.
    #[error("the filter '{first}' must come before '{second}'")]
    Order {
        /// Which must come first.
        first: &'static str,
        /// Which came first.
        second: &'static str,
    },
    /// A filter is there twice.
    #[error("the filter '{0}' is in the chain twice")]
    Duplicate(String),
}

impl Chain {
    /// A chain of these filters.
    pub fn new(filters: Vec<Arc<dyn Filter>>) -> Self {
        Self { filters }
    }

    /// The filters' names, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.filters.iter().map(|filter| filter.name()).collect()
    }

    /// The same chain with only the filters that this predicate keeps.
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Self {
        Self { filters: self.filters.iter().filter(|f| keep(f.name())).cloned().collect() }
    }

    /// Checks the chain at start, so that a bad order never serves a request.
    pub fn check(&self, rules: ChainRules) -> Result<(), ChainError> {
        check_order(&self.names(), rules)
    }

    /// Runs the chain round the handler. The body is read when the first step
    /// that needs it is reached, and not at all if none is.
    pub async fn run(
        &self,
        exchange: &mut Exchange,
        body: &mut dyn BodySource,
        handler: &dyn Handler,
    ) -> Outcome {
        let mut outcome = self.inward(exchange, body, handler).await;
        for filter in self.filters.iter().rev() {
            outcome = filter.on_response(exchange, outcome).await;
        }
        outcome
    }

    async fn inward(
        &self,
        exchange: &mut Exchange,
        body: &mut dyn BodySource,
        handler: &dyn Handler,
    ) -> Outcome {
        let mut unread = Some(body);
        for filter in &self.filters {
            if filter.reads_body()
                && let Some(source) = unread.take()
            {
                exchange.body = source.read().await?;
            }
            match filter.on_request(exchange).await? {
                Flow::Continue => {}
                Flow::Respond(response) => return Ok(response),
            }
        }
        if handler.reads_body()
            && let Some(source) = unread.take()
        {
            exchange.body = source.read().await?;
        }
        handler.handle(exchange).await
    }
}

/// Checks the order of filters by name: what a chain of them would be checked for.
pub fn check_order<N: AsRef<str>>(names: &[N], rules: ChainRules) -> Result<(), ChainError> {
    for (i, name) in names.iter().enumerate() {
        if names[..i].iter().any(|earlier| earlier.as_ref() == name.as_ref()) {
            return Err(ChainError::Duplicate(name.as_ref().to_owned()));
        }
    }
    let mut last: Option<(usize, &'static str)> = None;
    for required in rules.required_in_order {
        let place =
            names.iter().position(|name| name.as_ref() == *required).ok_or(ChainError::Missing(required))?;
        if let Some((before, name)) = last
            && place < before
        {
            return Err(ChainError::Order { first: name, second: required });
        }
        last = Some((place, required));
    }
    Ok(())
}
