//! `store`, `read`, `list` and `rm`: a service's API key, kept at the broker for
//! this wallet.

use agentkeys_core::scope::Service;
use agentkeys_core::wire::StoreCredentialRequest;
use clap::Args;
use secrecy::ExposeSecret;
use serde_json::json;
use zeroize::Zeroizing;

use super::context::Context;
use super::failure::Failure;
use super::{progress, prompt};
use crate::exit::Exit;

/// The options.
#[derive(Args, Debug)]
pub struct Store {
    /// The service, such as openrouter. The key itself comes from a prompt or from stdin
    service: Service,
}

/// The options.
#[derive(Args, Debug)]
pub struct Read {
    /// The service
    service: Service,
}

/// The options.
#[derive(Args, Debug)]
pub struct Remove {
    /// The service
    service: Service,
}

pub async fn store(context: &Context<'_>, options: Store) -> Result<Exit, Failure> {
    let (_, broker) = context.broker()?;
    let value = prompt::secret(&format!("API key of {}", options.service), false)?;
    let request = StoreCredentialRequest { value };
    progress::during("Storing", broker.store_credential(&options.service, &request)).await?;
    context.output.fact(
        &json!({ "service": options.service, "stored": true }),
        &[("stored", options.service.to_string())],
    )
}

pub async fn read(context: &Context<'_>, options: Read) -> Result<Exit, Failure> {
    let (_, broker) = context.broker()?;
    let found = progress::during("Reading", broker.read_credential(&options.service)).await?;
    if context.output.is_json() {
        return context.output.document(&found);
    }
    // A pipe gets the value and not a byte more; a terminal gets a line.
    let mut bytes = Zeroizing::new(found.value.expose_secret().as_bytes().to_vec());
    if context.output.is_terminal() {
        bytes.push(b'\n');
    }
    context.output.raw(&bytes)
}

pub async fn list(context: &Context<'_>) -> Result<Exit, Failure> {
    let (_, broker) = context.broker()?;
    let found = progress::during("Asking the broker", broker.credentials()).await?;
    context.output.table(
        &found.credentials,
        &["SERVICE", "UPDATED"],
        |row| vec![row.service.clone(), row.updated_at.to_string()],
        "Nothing is stored yet; `agentkeys store SERVICE` does.",
    )
}

pub async fn remove(context: &Context<'_>, options: Remove) -> Result<Exit, Failure> {
    let (_, broker) = context.broker()?;
    progress::during("Removing", broker.remove_credential(&options.service)).await?;
    context.output.fact(
        &json!({ "service": options.service, "removed": true }),
        &[("removed", options.service.to_string())],
    )
}
