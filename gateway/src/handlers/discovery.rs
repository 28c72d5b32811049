//! OpenID Connect discovery and the published keys: what AWS fetches.

use std::sync::Arc;

use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::{HeaderValue, StatusCode, header};

use crate::issuer::{Issuer, JWKS_CACHE_CONTROL};

/// `GET /.well-known/openid-configuration`.
pub struct Discovery(pub Arc<Issuer>);

#[async_trait]
impl Handler for Discovery {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        Ok(Response::empty(StatusCode::OK)
            .with_body("application/json", self.0.discovery())
            .header(header::CACHE_CONTROL, HeaderValue::from_static(JWKS_CACHE_CONTROL)))
    }
}

/// `GET /.well-known/jwks.json`.
pub struct Jwks(pub Arc<Issuer>);

#[async_trait]
impl Handler for Jwks {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let jwks = self.0.jwks();
        let unchanged = exchange
            .request
            .headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            // Weak comparison, as RFC 9110 section 13.1.2 asks of If-None-Match.
            .any(|tag| tag.trim() == "*" || tag.trim().trim_start_matches("W/") == jwks.etag);
        let response = if unchanged {
            Response::empty(StatusCode::NOT_MODIFIED)
        } else {
            Response::empty(StatusCode::OK).with_body("application/json", jwks.body.clone())
        };
        let response = match HeaderValue::from_str(&jwks.etag) {
            Ok(etag) => response.header(header::ETAG, etag),
            Err(_) => response,
        };
        Ok(response.header(header::CACHE_CONTROL, HeaderValue::from_static(JWKS_CACHE_CONTROL)))
    }
}
