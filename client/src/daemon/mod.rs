//! `agentkeys-daemon`: keeps one session's AWS credentials fresh, in memory
//! alone, and serves them on this machine the ways SDKs ask for them.
//!
//! One task ([`keeper`]) mints; everything else reads what it holds
//! ([`state`]). No answer ever carries a credential that is empty or has ended.

mod answer;
mod container;
mod enter;
mod guard;
mod imds;
mod keeper;
mod options;
mod schedule;
mod server;
mod session_watch;
pub mod socket;
mod start;
pub mod state;

pub use options::Options;
pub use start::run;

use clap::CommandFactory;

/// The command line's own description, for completions and manual pages.
pub fn command() -> clap::Command {
    Options::command()
}
