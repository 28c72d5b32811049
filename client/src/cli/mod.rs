//! The `agentkeys` command: one file per group of commands.
//!
//! Facts go to stdout (JSON with `--json`), everything else to stderr. A secret
//! is taken from a prompt or stdin, never from an argument, where `ps` and the
//! shell's history would show it.

pub mod aws;
mod child;
mod config;
mod context;
mod credential;
mod failure;
mod generate;
mod init;
mod login;
mod logout;
mod output;
mod pairing;
mod progress;
mod prompt;
mod provision;
mod run;
mod scope_options;
mod session;
mod whoami;

use clap::{CommandFactory, Parser, Subcommand};

pub use context::Context;
pub use failure::Failure;
pub use scope_options::{ScopeOptions, ttl as duration_option};

use crate::exit::{self, Exit};
use crate::settings::{Flags, Variables};

/// AWS credentials and API keys from an AgentKeys broker, with nothing on this machine but a
/// bearer token
#[derive(Debug, Parser)]
#[command(name = "agentkeys", version, after_help = exit::HELP, propagate_version = true)]
pub struct Arguments {
    #[command(flatten)]
    flags: Flags,
    /// Print facts as JSON
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a wallet key on this machine and start its 30-day master session
    Init(init::Options),
    /// Keep a session token that the operator gave you
    Login(login::Options),
    /// Show which session, wallet and broker are in use
    Whoami,
    /// Revoke the session at the broker and forget it here
    Logout(logout::Options),
    /// List, revoke and make sessions
    #[command(subcommand)]
    Session(session::Command),
    /// Let a device in that shows a pairing code
    Approve(pairing::Approve),
    /// Turn a device away that shows a pairing code
    Deny(pairing::Deny),
    /// Store a service's API key (from a prompt or stdin)
    Store(credential::Store),
    /// Read a service's API key
    Read(credential::Read),
    /// List the services that have a stored API key
    List,
    /// Remove a service's API key
    #[command(alias = "remove")]
    Rm(credential::Remove),
    /// Sign up at a service in a real browser, and store the API key that it gives
    Provision(provision::Options),
    /// Run a command with stored API keys in its environment
    Run(run::Options),
    /// Show the region, bucket, prefix and mail address that the broker gives you
    Environment,
    /// Give AWS credentials to SDKs, commands and shells
    #[command(subcommand)]
    Aws(aws::Command),
    /// Show every setting, its value and where the value came from
    Config,
    /// Print a completion script for a shell
    Completions(generate::Completions),
    /// Print the manual page, or write one per command into a directory
    Man(generate::Man),
}

/// Runs one command line.
pub async fn run(arguments: Arguments, variables: Variables<'_>) -> Result<Exit, Failure> {
    // These need no settings, so that a broken config.toml cannot stand in the way.
    match &arguments.command {
        Command::Completions(options) => return generate::completions(options),
        Command::Man(options) => return generate::man(options),
        _ => {}
    }
    let context = Context::new(&arguments.flags, arguments.json, variables)?;
    match arguments.command {
        Command::Init(options) => init::run(&context, options).await,
        Command::Login(options) => login::run(&context, options).await,
        Command::Whoami => whoami::run(&context).await,
        Command::Logout(options) => logout::run(&context, options).await,
        Command::Session(command) => session::run(&context, command).await,
        Command::Approve(options) => pairing::approve(&context, options).await,
        Command::Deny(options) => pairing::deny(&context, options).await,
        Command::Store(options) => credential::store(&context, options).await,
        Command::Read(options) => credential::read(&context, options).await,
        Command::List => credential::list(&context).await,
        Command::Rm(options) => credential::remove(&context, options).await,
        Command::Provision(options) => provision::run(&context, options).await,
        Command::Run(options) => run::run(&context, options).await,
        Command::Environment => whoami::environment(&context).await,
        Command::Aws(command) => aws::run(&context, command).await,
        Command::Config => config::run(&context),
        Command::Completions(_) | Command::Man(_) => Ok(Exit::Done),
    }
}

/// The command line's own description, for completions and manual pages.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Was JSON asked for? Errors are then JSON too.
pub fn wants_json(arguments: &Arguments) -> bool {
    arguments.json
}
