//! What a client needs besides credentials, so that the URL is its only setting.

use std::sync::Arc;

use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;

use super::session_of;
use crate::deployment::Deployment;

/// `GET /v1/environment`.
pub struct ShowEnvironment(pub Arc<Deployment>);

#[async_trait]
impl Handler for ShowEnvironment {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let session = session_of(exchange)?;
        Response::json(StatusCode::OK, &self.0.environment(&session.wallet)?)
    }
}
