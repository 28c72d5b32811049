//! `agentkeys approve` and `agentkeys deny`: a device shows a code, a person
//! sees who asks for what, and decides.

use std::time::Duration;

use agentkeys_core::pairing_wire::{ApprovePairingRequest, PairingView};
use agentkeys_core::{UserCode, duration, scope_text};
use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::scope_options::{ScopeOptions, ttl};
use super::{progress, prompt, whoami};
use crate::exit::Exit;

/// The options.
#[derive(Args, Debug)]
pub struct Approve {
    /// The code that the device shows
    code: UserCode,
    #[command(flatten)]
    scope: ScopeOptions,
    /// How long its session lives, such as 12h (default: what it proposes, else the broker's)
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    ttl: Option<Duration>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// The options.
#[derive(Args, Debug)]
pub struct Deny {
    /// The code that the device shows
    code: UserCode,
}

pub async fn approve(context: &Context<'_>, options: Approve) -> Result<Exit, Failure> {
    let (own, broker) = context.broker()?;
    let asked = progress::during("Asking the broker", broker.pairing(&options.code)).await?;
    // What the approver names replaces what the device proposes; they are not mixed.
    let scope = if options.scope.is_empty() { asked.scope.clone() } else { options.scope.scope() };
    let ttl_seconds = options.ttl.map(|ttl| ttl.as_secs()).or(asked.ttl_seconds);
    if !options.yes {
        describe(context, &asked);
        let life = ttl_seconds.map(|s| format!(" for {}", duration::format(Duration::from_secs(s))));
        let granted = whoami::scope(&scope_text::format(&scope));
        let life = life.unwrap_or_default();
        let question = format!("Let it in for {} with {granted}{life}?", own.wallet);
        if !prompt::confirm(&question, "--yes")? {
            return Err(Failure::new(Exit::Failed, "nothing was approved")
                .next(format!("`agentkeys deny {}` turns the device away", options.code)));
        }
    }
    let request = ApprovePairingRequest { scope, ttl_seconds };
    let decision = progress::during("Approving", broker.approve(&options.code, &request)).await?;
    let granted = decision.scope.as_ref().unwrap_or(&request.scope);
    let granted = whoami::scope(&scope_text::format(granted));
    let mut value =
        serde_json::to_value(&decision).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    // Where nothing was asked, this is the one place that says who was let in, and to what.
    value["granted"] = json!(granted);
    value["wallet"] = json!(own.wallet);
    value["device"] = json!({ "label": asked.label, "source": asked.source });
    let mut rows = vec![
        ("approved", decision.user_code.to_string()),
        ("device", format!("{} at {}", named(&asked), clean(&asked.source))),
        ("wallet", own.wallet.to_string()),
        ("scope", granted),
    ];
    rows.extend(decision.expires_at.map(|at| ("expires", at.to_string())));
    context.output.fact(&value, &rows)
}

pub async fn deny(context: &Context<'_>, options: Deny) -> Result<Exit, Failure> {
    let (_, broker) = context.broker()?;
    let decision = progress::during("Denying", broker.deny(&options.code)).await?;
    context.output.fact(&decision, &[("denied", decision.user_code.to_string())])
}

fn describe(context: &Context<'_>, asked: &PairingView) {
    context.output.note(&format!(
        "{} asks from {}, {} ago, for: {}",
        named(asked),
        clean(&asked.source),
        duration::format(Duration::from_secs(asked.age_seconds)),
        whoami::scope(&scope_text::format(&asked.scope)),
    ));
}

fn named(asked: &PairingView) -> String {
    asked.label.as_deref().map_or_else(|| "a device without a name".to_owned(), clean)
}

/// A device's words never move the cursor of this terminal.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
