//! The broker's domain: what a wallet, a session, a grant, a mint and an audit
//! record are, the wire types both sides speak, and the problems callers see.
//!
//! This crate does no I/O. It must never open a file, a socket or a database;
//! the traits in [`store`] say what the rooms that do must offer.
#![warn(missing_docs)]

pub mod audit;
pub mod credential;
pub mod credential_backend;
pub mod duration;
pub mod enrolment;
pub mod grant;
pub mod invite;
pub mod mint_id;
pub mod oauth;
pub mod pairing;
pub mod pairing_wire;
pub mod problem;
pub mod scope;
pub mod scope_text;
pub mod session;
pub mod store;
pub mod timestamp;
pub mod token;
pub mod user_code;
pub mod wallet;
pub mod wire;

pub use credential::AwsCredentials;
pub use grant::{Grant, GrantDecision, GrantId, MintTarget, RoleAlias};
pub use mint_id::MintId;
pub use problem::{Code, Problem};
pub use scope::Scope;
pub use session::{Session, SessionId, SessionKind};
pub use timestamp::Timestamp;
pub use token::{BearerToken, TokenHash};
pub use user_code::UserCode;
pub use wallet::Wallet;
