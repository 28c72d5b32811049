//! The endpoint that `AWS_CONTAINER_CREDENTIALS_FULL_URI` names, and `/healthz`.

use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode};
use secrecy::SecretString;
use serde_json::json;

use super::answer::{self, Answer};
use super::guard;
use super::state::Credentials;
use crate::aws::shapes::ContainerAnswer;

/// Where the credentials are.
pub const PATH: &str = "/credentials";
/// SDKs give up after two seconds.
pub const PATIENCE: Duration = Duration::from_millis(1_500);

pub struct Container {
    pub credentials: Credentials,
    pub token: SecretString,
}

impl Container {
    pub async fn answer(&self, parts: &Parts) -> Answer {
        match (&parts.method, parts.uri.path()) {
            (&Method::GET, PATH) => {
                if !guard::is_authorized(&parts.headers, &self.token) {
                    let message = "the Authorization header does not carry the token of the token file";
                    return answer::refusal(StatusCode::UNAUTHORIZED, "unauthorized", message);
                }
                match self.credentials.obtain(PATIENCE).await {
                    Ok(held) => answer::json(StatusCode::OK, &ContainerAnswer::from(&held.minted)),
                    Err(trouble) => answer::trouble(&trouble),
                }
            }
            (&Method::GET, "/healthz") => health(&self.credentials),
            (_, PATH | "/healthz") => {
                answer::refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "only GET is answered")
            }
            _ => answer::refusal(StatusCode::NOT_FOUND, "not_found", "there is nothing here"),
        }
    }
}

/// 200 while there is a credential to hand out, 503 with the reason otherwise.
pub fn health(credentials: &Credentials) -> Answer {
    let snapshot = credentials.snapshot();
    let usable = snapshot.usable();
    let status = if usable.is_some() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if usable.is_some() { "ok" } else { "unavailable" },
        "expiration": usable.as_ref().map(|held| held.minted.expiration),
        "wallet": usable.as_ref().map(|held| &held.minted.wallet),
        "session_id": usable.as_ref().map(|held| &held.session_id),
        "trouble": snapshot.trouble.as_ref().map(|trouble| trouble.code()),
        "detail": snapshot.trouble.as_ref().map(ToString::to_string),
    });
    answer::json(status, &body)
}
