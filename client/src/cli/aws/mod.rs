//! `agentkeys aws`: credentials for whatever reads AWS's own conventions.

mod configure;
mod console_env;
mod credentials;
mod exec;

use agentkeys_core::RoleAlias;
use agentkeys_core::wire::{MintAwsRequest, MintAwsResponse};
use clap::{Args, Subcommand};

use super::context::Context;
use super::failure::Failure;
use super::progress;
use super::scope_options::seconds;
use crate::daemon::socket;
use crate::exit::Exit;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a profile whose credentials come from here into the AWS config file
    Configure(configure::Options),
    /// Print credentials as a `credential_process` does (SDKs call this)
    Credentials(Minting),
    /// Run a command with credentials in its environment, and in no other
    Exec(exec::Options),
    /// Print the `export` lines that give this shell credentials
    ConsoleEnv(Minting),
}

/// What to mint.
#[derive(Args, Clone, Debug, Default)]
pub struct Minting {
    /// The role alias (default: the broker's)
    #[arg(long, value_name = "ROLE")]
    role: Option<RoleAlias>,
    /// A credential that only reads
    #[arg(long)]
    read_only: bool,
    /// How long it lives, from 15m (default: as long as allowed)
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    duration: Option<u32>,
}

pub async fn run(context: &Context<'_>, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Configure(options) => configure::run(context, &options).await,
        Command::Credentials(minting) => credentials::run(context, &minting).await,
        Command::Exec(options) => exec::run(context, options).await,
        Command::ConsoleEnv(minting) => console_env::run(context, &minting).await,
    }
}

/// The daemon's credential, where one runs for this very session and request;
/// else a fresh one. Nothing is ever kept on disk.
async fn mint(context: &Context<'_>, minting: &Minting) -> Result<MintAwsResponse, Failure> {
    let record = context.session()?;
    if minting.duration.is_none() {
        let wanted = socket::Wanted {
            session_id: &record.session_id,
            role: minting.role.as_ref(),
            read_only: minting.read_only,
        };
        let path = socket::path(&context.store, &record.broker_url, &record.identity);
        if let Some(minted) = socket::ask(&path, &wanted).await {
            return Ok(minted);
        }
    }
    let (_, broker) = context.broker()?;
    let request = MintAwsRequest {
        role: minting.role.clone(),
        duration_seconds: minting.duration,
        read_only: minting.read_only.then_some(true),
    };
    Ok(progress::during("Minting", broker.mint_aws(&request)).await?)
}
