//! The exchange over real sockets against an STS that misbehaves on demand: what
//! reaches it, how often it is asked, and what a caller hears.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail by panicking")]

mod answers;
mod fault_sts;
mod pressure;
mod requests;
mod rig;
mod secrecy;
