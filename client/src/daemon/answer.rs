//! The daemon's own answers: JSON, never cached, never sniffed.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;

use super::state::Trouble;

pub type Answer = Response<Full<Bytes>>;

pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => with_body(status, "application/json", body),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written");
            with_body(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "")
        }
    }
}

pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_body(status, "text/plain", body)
}

/// A refusal in the shape that SDKs show to their users.
pub fn refusal(status: StatusCode, code: &str, message: &str) -> Answer {
    json(status, &json!({ "code": code, "message": message }))
}

/// There is no credential to hand out.
pub fn trouble(trouble: &Trouble) -> Answer {
    let status = if trouble.is_passing() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::FORBIDDEN };
    let mut answer = refusal(status, trouble.code(), &trouble.to_string());
    if trouble.is_passing() {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    answer
}

fn with_body(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
