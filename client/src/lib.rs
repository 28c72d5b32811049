//! The client side of the broker: the `agentkeys` command and `agentkeys-daemon`.
//!
//! Read [`cli`] for what a person types and [`daemon`] for what stays running;
//! both stand on [`broker`] (HTTP), [`sessions`] (what is kept on this machine)
//! and [`settings`]. No room here ever writes AWS keys to disk, and no secret
//! goes into an argument list, a log or a `Debug` text.

#![forbid(unsafe_code)]

pub mod aws;
pub mod broker;
pub mod cli;
pub mod daemon;
pub mod exit;
pub mod files;
pub mod identity;
pub mod jitter;
pub mod pairing;
pub mod provision;
pub mod sessions;
pub mod settings;
pub mod wallet_key;
