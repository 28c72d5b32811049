//! The trait a filter implements, and what it may answer.

use agentkeys_core::Problem;
use async_trait::async_trait;

use crate::exchange::Exchange;
use crate::response::Response;

/// How a request ended, as the way back sees it: an answer, or a problem that
/// the edge will turn into one.
pub type Outcome = Result<Response, Problem>;

/// What happens after a filter has seen a request.
#[must_use = "a Flow that is dropped lets nothing through and answers nothing"]
#[derive(Debug)]
pub enum Flow {
    /// The next filter, or the handler, goes on.
    Continue,
    /// This is the answer; neither later filters nor the handler see the request.
    Respond(Response),
}

/// One step on the way of a request.
#[async_trait]
pub trait Filter: Send + Sync {
    /// The name it is known by in `broker.yaml`, in logs and in metrics.
    fn name(&self) -> &'static str;

    /// True if `on_request` looks at `exchange.body`. The body is read, bounded
    /// in size and time, just before the first filter that says so: whoever
    /// comes earlier refuses a caller without reading a byte of it.
    fn reads_body(&self) -> bool {
        false
    }

    /// Sees the request on its way in.
    async fn on_request(&self, exchange: &mut Exchange) -> Result<Flow, Problem>;

    /// Sees the outcome on its way out, wherever the chain stopped: it runs even
    /// for a request that an earlier filter turned away. Returns what the
    /// caller gets.
    async fn on_response(&self, exchange: &mut Exchange, outcome: Outcome) -> Outcome {
        let _ = exchange;
        outcome
    }
}
