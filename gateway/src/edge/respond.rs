//! Writes an answer: the one place where a problem becomes HTTP.

use agentkeys_core::{Code, Problem};
use agentkeys_filters::{Exchange, RateState, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::date::get_cached_date;
use pingora_proxy::Session;

/// The RFC 9457 answer to a problem.
pub(super) fn problem_response(problem: &Problem, request_id: &str) -> Response {
    let document = problem.document(request_id);
    // A map of strings and numbers always serialises.
    let body = serde_json::to_vec(&document).unwrap_or_default();
    let mut response = Response::empty(problem.code.status())
        .with_body("application/problem+json", body)
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(challenge) = challenge(problem) {
        set(&mut response, header::WWW_AUTHENTICATE, &challenge);
    }
    if let Some(wait) = problem.retry_after {
        set(&mut response, header::RETRY_AFTER, &wait.as_secs().max(1).to_string());
    }
    if let Some(allow) = &problem.allow {
        set(&mut response, header::ALLOW, allow);
    }
    response
}

/// RFC 6750 section 3: no error code where no token was presented at all.
fn challenge(problem: &Problem) -> Option<String> {
    let realm = r#"Bearer realm="agentkeys""#;
    match problem.code.status() {
        StatusCode::UNAUTHORIZED if problem.token_missing => Some(realm.to_owned()),
        StatusCode::UNAUTHORIZED => Some(format!(r#"{realm}, error="invalid_token""#)),
        StatusCode::FORBIDDEN => {
            let scope =
                problem.scope.as_ref().map(|scope| format!(r#", scope="{scope}""#)).unwrap_or_default();
            Some(format!(r#"{realm}, error="insufficient_scope"{scope}"#))
        }
        _ => None,
    }
}

/// Adds what every answer carries.
pub(super) fn complete(response: &mut Response, exchange: &Exchange) {
    identify(response, &exchange.request_id, exchange.peer.tls);
    if let Some(tightest) = exchange.rates.iter().min_by_key(|state| state.remaining) {
        set(response, HeaderName::from_static("ratelimit-policy"), &policies(&exchange.rates));
        let state = format!(r#""{}";r={};t={}"#, tightest.policy, tightest.remaining, tightest.reset_seconds);
        set(response, HeaderName::from_static("ratelimit"), &state);
    }
}

/// Adds what even an answer to no request carries.
pub(super) fn identify(response: &mut Response, request_id: &str, tls: bool) {
    set(response, HeaderName::from_static("x-request-id"), request_id);
    set(response, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    if tls {
        set(response, header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
}

fn policies(rates: &[RateState]) -> String {
    let policies: Vec<String> = rates
        .iter()
        .map(|state| format!(r#""{}";q={};w={}"#, state.policy, state.quota, state.window_seconds))
        .collect();
    policies.join(", ")
}

/// A value that is no header value is left out: every one set here is made of
/// numbers, our own names and checked text.
fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers.insert(name, value);
    }
}

/// Writes head and body.
pub(super) async fn write(session: &mut Session, response: &Response) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(response.status, Some(response.headers.len() + 3))?;
    for (name, value) in &response.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    head.insert_header(header::DATE, get_cached_date())?;
    let bodiless = response.status == StatusCode::NO_CONTENT || response.status == StatusCode::NOT_MODIFIED;
    if !bodiless {
        head.insert_header(header::CONTENT_LENGTH, response.body.len().to_string())?;
    }
    let end = bodiless || response.body.is_empty();
    session.write_response_header(Box::new(head), end).await?;
    if !end {
        session.write_response_body(Some(response.body.clone()), true).await?;
    }
    Ok(())
}

/// What a panic in a handler becomes.
pub(super) fn panicked() -> Problem {
    Problem::new(Code::Internal, "The broker failed; its log has the reason under this request id.")
        .because("the handler panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_token_is_challenged_without_an_error_and_a_bad_one_with() {
        let mut problem = Problem::invalid_token();
        let bad = problem_response(&problem, "r");
        problem.token_missing = true;
        let missing = problem_response(&problem, "r");
        assert_eq!(
            bad.headers[header::WWW_AUTHENTICATE],
            r#"Bearer realm="agentkeys", error="invalid_token""#
        );
        assert_eq!(missing.headers[header::WWW_AUTHENTICATE], r#"Bearer realm="agentkeys""#);
        assert_eq!(bad.body, missing.body);
    }

    #[test]
    fn what_is_internal_stays_inside() {
        let response = problem_response(&Problem::internal("/secret/path is full"), "r");
        assert!(!String::from_utf8_lossy(&response.body).contains("secret"));
    }
}
