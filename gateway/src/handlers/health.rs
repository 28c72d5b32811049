//! Liveness, which rests on nothing, readiness, which rests on cached checks, and
//! the metrics page.

use std::sync::Arc;

use agentkeys_core::Problem;
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;
use serde_json::json;

use crate::metrics::Metrics;
use crate::readiness::Readiness;

/// `GET /healthz`.
pub struct Health;

#[async_trait]
impl Handler for Health {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        Response::json(StatusCode::OK, &json!({"status": "ok"}))
    }
}

/// `GET /readyz`.
pub struct Ready {
    /// The checks.
    pub readiness: Arc<Readiness>,
    /// Their metric.
    pub metrics: Arc<Metrics>,
}

#[async_trait]
impl Handler for Ready {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        let report = self.readiness.snapshot(&self.metrics);
        let status = if report.status == "ready" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Response::json(status, &report)
    }
}

/// `GET /metrics`.
pub struct MetricsPage {
    /// What is shown.
    pub metrics: Arc<Metrics>,
    /// Brings gauges up to date that nothing else does.
    pub refresh: Arc<dyn Fn() + Send + Sync>,
}

#[async_trait]
impl Handler for MetricsPage {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        (self.refresh)();
        let page = self.metrics.render().map_err(Problem::internal)?;
        Ok(Response::empty(StatusCode::OK).with_body("text/plain; version=0.0.4; charset=utf-8", page))
    }
}
