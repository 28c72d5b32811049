//! `agentkeys aws exec`: a command with credentials, and nothing for its parent.

use std::ffi::OsString;

use clap::Args;

use super::{Minting, mint};
use crate::aws::shapes::{FOREIGN_VARIABLES, variables};
use crate::cli::{Context, Failure, child};
use crate::exit::Exit;

/// The options.
#[derive(Args, Debug)]
pub struct Options {
    #[command(flatten)]
    minting: Minting,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub async fn run(context: &Context<'_>, options: Options) -> Result<Exit, Failure> {
    let minted = mint(context, &options.minting).await?;
    let with: Vec<_> = variables(&minted).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    child::become_command(&options.command, &with, FOREIGN_VARIABLES)
}
