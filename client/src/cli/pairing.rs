//! `agentkeys approve` and `agentkeys deny`: a device shows a code, a person
//! sees who asks for what, and decides.

use std::time::Duration;

use agentkeys_core::oauth::{ApprovePairingRequest, PairingView};
use agentkeys_core::{UserCode, duration, scope_text};
use clap::Args;

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
    let (_, broker) = context.broker()?;
    let asked = progress::during("Asking the broker", broker.pairing(&options.code)).await?;
    // What the approver names replaces what the device proposes; they are not mixed.
    let scope = if options.scope.is_empty() { asked.scope.clone() } else { options.scope.scope() };
    let ttl_seconds = options.ttl.map(|ttl| ttl.as_secs()).or(asked.ttl_seconds);
    if !options.yes {
        describe(context, &asked);
        let life = ttl_seconds.map(|s| format!(" for {}", duration::format(Duration::from_secs(s))));
        let granted = whoami::scope(&scope_text::format(&scope));
        let question = format!("Let it in with {granted}{}?", life.unwrap_or_default());
        if !prompt::confirm(&question, "--yes")? {
            return Err(Failure::new(Exit::Failed, "nothing was approved")
                .next(format!("`agentkeys deny {}` turns the device away", options.code)));
        }
    }
    let request = ApprovePairingRequest { scope, ttl_seconds };
    let decision = progress::during("Approving", broker.approve(&options.code, &request)).await?;
    let granted = decision.scope.as_ref().unwrap_or(&request.scope);
    let mut rows = vec![
        ("approved", decision.user_code.to_string()),
        ("scope", whoami::scope(&scope_text::format(granted))),
    ];
    rows.extend(decision.expires_at.map(|at| ("expires", at.to_string())));
    context.output.fact(&decision, &rows)
}

pub async fn deny(context: &Context<'_>, options: Deny) -> Result<Exit, Failure> {
    let (_, broker) = context.broker()?;
    let decision = progress::during("Denying", broker.deny(&options.code)).await?;
    context.output.fact(&decision, &[("denied", decision.user_code.to_string())])
}

fn describe(context: &Context<'_>, asked: &PairingView) {
    let clean = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
    let label = asked.label.as_deref().map_or("a device without a name".to_owned(), clean);
    context.output.note(&format!(
        "{label} asks from {}, {} ago, for: {}",
        clean(&asked.source),
        duration::format(Duration::from_secs(asked.age_seconds)),
        whoami::scope(&scope_text::format(&asked.scope)),
    ));
}
