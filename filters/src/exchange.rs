//! One request and all that its way through the chain has found out.
//!
//! Fields are named: there is no map of strings and no bag of types, so a reader
//! sees here everything that one filter can tell another.

use std::net::IpAddr;
use std::time::Instant;

use agentkeys_core::session::Session;
use agentkeys_core::wire::{MintAwsRequest, MintJwtRequest};
use agentkeys_core::{GrantDecision, MintId};
use bytes::Bytes;

/// Where the request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The other end of the socket; `None` on a Unix socket.
    pub socket: Option<IpAddr>,
    /// The client: the socket's address, or what trusted proxies say. Limits and
    /// the audit use this one.
    pub source: Option<IpAddr>,
    /// Whether the connection is encrypted up to this process.
    pub tls: bool,
}

impl Peer {
    /// Is the client on this very machine, with no proxy in between?
    pub fn is_loopback(&self) -> bool {
        self.socket.is_some_and(|address| address.is_loopback())
            && self.source.is_some_and(|address| address.is_loopback())
    }
}

/// What a route mints, if it mints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MintKind {
    /// `POST /v1/mint-aws-creds`.
    AwsCredentials,
    /// `POST /v1/mint-oidc-jwt`.
    OidcJwt,
}

impl MintKind {
    /// The action's name in the audit and the label in metrics.
    pub fn action(self) -> &'static str {
        match self {
            Self::AwsCredentials => "mint_aws_creds",
            Self::OidcJwt => "mint_oidc_jwt",
        }
    }
}

/// A mint request as read from the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MintRequest {
    /// For AWS credentials.
    Aws(MintAwsRequest),
    /// For an OIDC token.
    Jwt(MintJwtRequest),
}

/// What a mint has come to, filled in step by step and read by the audit.
#[derive(Clone, Debug, Default)]
pub struct Mint {
    /// The key that signs; set once it is chosen.
    pub kid: Option<String>,
    /// The STS session name; set before STS is called.
    pub session_name: Option<String>,
    /// What else the audit should keep, such as STS's request id.
    pub detail: Option<String>,
}

/// Why a caller was not authenticated. The label of a metric: never a text that
/// a caller controls, and never sent to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthFailure {
    /// No `Authorization` header.
    Missing,
    /// Not a bearer token, or its checksum is off.
    Malformed,
    /// No such session.
    Unknown,
    /// It has ended.
    Expired,
    /// It was revoked.
    Revoked,
}

impl AuthFailure {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Missing, Self::Malformed, Self::Unknown, Self::Expired, Self::Revoked];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// The state of one limiter after this request, for the `RateLimit` and
/// `RateLimit-Policy` fields (draft-ietf-httpapi-ratelimit-headers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateState {
    /// The policy's name.
    pub policy: &'static str,
    /// The quota: requests per window.
    pub quota: u32,
    /// The window, in seconds.
    pub window_seconds: u32,
    /// Requests that may still be made at once.
    pub remaining: u32,
    /// Seconds until the quota is whole again, or until the next request may come.
    pub reset_seconds: u32,
}

/// One request on its way through the chain.
#[derive(Debug)]
pub struct Exchange {
    /// Method, URI and headers.
    pub request: http::request::Parts,
    /// The body; empty until a filter or the handler asks for it.
    pub body: Bytes,
    /// Where it came from.
    pub peer: Peer,
    /// The request's id, as in `x-request-id`.
    pub request_id: String,
    /// The mint's id; also names a refused request in the audit.
    pub mint_id: MintId,
    /// The route's stable name: the label of metrics, e.g. `/v1/session`.
    pub route: &'static str,
    /// The text in place of the route's braces, e.g. the service in
    /// `/v1/credentials/{service}`; not decoded.
    pub resource: Option<String>,
    /// What the route mints.
    pub mint_kind: Option<MintKind>,
    /// When the head had been read.
    pub started: Instant,
    /// Set by `session_auth`.
    pub session: Option<Session>,
    /// Set by `session_auth` where it refused.
    pub auth_failure: Option<AuthFailure>,
    /// Set by `grant`.
    pub mint_request: Option<MintRequest>,
    /// Set by `grant`.
    pub grant: Option<GrantDecision>,
    /// Set by `audit` once the intent is durable. A handler that mints refuses
    /// to go on without it.
    pub audited: bool,
    /// Filled by the handler that mints.
    pub mint: Mint,
    /// Set by each limiter.
    pub rates: Vec<RateState>,
    /// The limiter that turned the request away.
    pub limited_by: Option<&'static str>,
}

impl Exchange {
    /// A request that no filter has seen yet.
    pub fn new(request: http::request::Parts, peer: Peer, request_id: String, route: &'static str) -> Self {
        Self {
            request,
            body: Bytes::new(),
            peer,
            request_id,
            mint_id: MintId::generate(),
            route,
            resource: None,
            mint_kind: None,
            started: Instant::now(),
            session: None,
            auth_failure: None,
            mint_request: None,
            grant: None,
            audited: false,
            mint: Mint::default(),
            rates: Vec::new(),
            limited_by: None,
        }
    }

    /// A request as a unit test makes it: `POST path` from this address.
    pub fn for_test(path: &'static str, source: IpAddr) -> Self {
        let mut request = http::Request::new(()).into_parts().0;
        request.method = http::Method::POST;
        request.uri = http::Uri::from_static(path);
        let peer = Peer { socket: Some(source), source: Some(source), tls: false };
        Self::new(request, peer, "test-request".to_owned(), path)
    }
}
