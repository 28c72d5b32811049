//! The edge: sockets, TLS and HTTP. The only room that knows Pingora.
//!
//! [`listener`] accepts, [`guard`] caps connections, [`watched`] and
//! [`deadline`] give each request head a deadline, [`proxy`] is Pingora's hook
//! into [`crate::routes`], [`body`] and [`respond`] read and write, [`unparsed`]
//! answers what is no request. Pingora's own
//! defaults bound none of this: no deadline on a head, no idle limit, no cap on
//! connections or bodies.

mod body;
mod client_address;
mod deadline;
mod guard;
mod listener;
mod proxy;
mod respond;
pub mod shutdown;
pub mod tls;
mod unparsed;
mod watched;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::metrics::Metrics;
use crate::routes::Router;

pub use listener::{BindError, Bound, Server};

/// Every limit of the edge. `limits:` in `broker.yaml`.
#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time for a whole request head, from its first byte.
    pub head: Duration,
    /// Time for a whole request body.
    pub body: Duration,
    /// How long a kept-alive connection may wait for its next request.
    pub idle: Duration,
    /// Open connections, over all public listeners.
    pub connections_total: usize,
    /// Open connections per client address (an IPv6 /64 is one).
    pub connections_per_source: usize,
    /// Bytes of a request head.
    pub head_bytes: usize,
    /// Fields of a request head.
    pub head_fields: usize,
    /// Bytes of a request body.
    pub body_bytes: usize,
    /// Requests per connection.
    pub requests_per_connection: u32,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// What a listener listens on.
#[derive(Clone, Debug)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket, made with mode 0600.
    Unix(PathBuf),
}

/// One listener: where, with which TLS, and what it serves.
pub struct ListenerSpec {
    /// Its name in metrics: `public`, `admin`, `metrics`.
    pub name: &'static str,
    /// Where.
    pub address: Address,
    /// The server certificate; `None` is plain http.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// What it serves.
    pub router: Arc<Router>,
    /// Its limits.
    pub settings: Arc<EdgeSettings>,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
}
