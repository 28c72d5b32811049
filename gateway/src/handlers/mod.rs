//! Handlers: each takes an exchange and returns a response or a problem. They
//! know nothing of sockets, and authenticate nobody: the chain before them did.

pub mod child;
pub mod credentials;
pub mod discovery;
pub mod enrolment;
pub mod environment;
pub mod health;
pub mod ledger;
pub mod mint;
pub mod oauth;
pub mod openapi;
pub mod pairings;
pub mod session;

use agentkeys_core::{Problem, Session};
use agentkeys_filters::Exchange;
use serde::de::DeserializeOwned;

/// The session that `session_auth` found. A route without that filter in its
/// chain fails here, closed.
pub fn session_of(exchange: &Exchange) -> Result<&Session, Problem> {
    exchange.session.as_ref().ok_or_else(|| Problem::internal("the route's chain has no session_auth"))
}

/// Reads a JSON body. The parser's message may quote the body, so it names only
/// the place: some bodies carry secrets.
pub fn json_body<T: DeserializeOwned>(exchange: &Exchange) -> Result<T, Problem> {
    // A struct can also be read from an array of its fields: nobody means that.
    if !exchange.body.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::bad_request("The body is not a JSON object."));
    }
    serde_json::from_slice(&exchange.body).map_err(|error| {
        Problem::bad_request(format!(
            "The body is not the JSON that this path takes (line {}, column {}).",
            error.line(),
            error.column()
        ))
    })
}
