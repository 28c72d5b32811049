//! `agentkeys aws credentials`: what a `credential_process` prints.

use super::{Minting, mint};
use crate::aws::shapes::ProcessAnswer;
use crate::cli::{Context, Failure};
use crate::exit::Exit;

pub async fn run(context: &Context<'_>, minting: &Minting) -> Result<Exit, Failure> {
    let minted = mint(context, minting).await?;
    context.output.document(&ProcessAnswer::from(&minted))
}
