//! The AgentKeys broker: session in, temporary AWS credentials out.
//!
//! `routes` is the table to read first; `main.rs` tells how a process starts.
//! Rooms: `edge` (the only one that knows Pingora), `handlers`, `issuer` (OIDC
//! tokens), `exchange` (AWS STS), `store` (SQLite), `admin` (the operator's
//! socket), `aws` (what the account needs, and whether it has it), `cli`,
//! `config`, `metrics`.

pub mod admin;
pub mod assemble;
pub mod aws;
pub mod broker;
pub mod cli;
pub mod config;
pub mod deployment;
pub mod edge;
pub mod exchange;
pub mod handlers;
pub mod issuer;
pub mod logging;
pub mod metrics;
pub mod readiness;
pub mod routes;
pub mod sign_in;
pub mod store;
