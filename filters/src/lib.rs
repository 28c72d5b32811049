//! The filter API of the gateway, and the filters that come with it.
//!
//! A request passes a [`Chain`] of [`Filter`]s before its handler and, in
//! reverse order, after it. A filter sees an [`Exchange`] and nothing of the
//! server beneath, so it is tested without a socket. `docs/writing-a-filter.md`
//! walks through writing one in a crate of your own.
#![warn(missing_docs)]

mod chain;
mod exchange;
mod filter;
mod registry;
mod response;

pub mod audit;
pub mod grant;
pub mod rate;
pub mod session_auth;
pub mod session_limit;
pub mod source_limit;

pub use chain::{BodySource, Chain, ChainError, ChainRules, Handler, NoBody, check_order};
pub use exchange::{AuthFailure, Exchange, Mint, MintKind, MintRequest, Peer, RateState};
pub use filter::{Filter, Flow, Outcome};
pub use registry::{FilterConfig, Registry, RegistryError, Services};
pub use response::Response;

/// Re-exported so that a filter crate needs no direct dependency for the trait.
pub use async_trait::async_trait;
