//! The AgentKeys broker: session in, temporary AWS credentials out.
//!
//! `routes` is the table to read first; `main.rs` tells how a process starts.
//! Rooms: `edge` (the only one that knows Pingora), `handlers`, `issuer` (OIDC
//! tokens), `exchange` (AWS STS), `store` (SQLite), `admin` (the operator's
//! socket), `cli`, `config`, `metrics`.

pub mod config;
pub mod edge;
pub mod exchange;
pub mod issuer;
pub mod metrics;
pub mod routes;
pub mod store;
