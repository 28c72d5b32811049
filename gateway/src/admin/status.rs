//! What runs here: the version and how it mints.

use std::sync::Arc;

use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;
use serde_json::json;

use crate::broker::Broker;

/// `GET /admin/v1/status`.
pub struct Status(pub Arc<Broker>);

#[async_trait]
impl Handler for Status {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        let broker = &self.0;
        let report = broker.readiness.snapshot(&broker.metrics);
        Response::json(
            StatusCode::OK,
            &json!({
                "version": env!("CARGO_PKG_VERSION"),
                "issuer": broker.issuer.url().as_str(),
                "exchange": broker.exchange.mode().to_string(),
                "account": broker.deployment.account().map(|account| account.id.clone()),
                "readiness": report,
            }),
        )
    }
}
