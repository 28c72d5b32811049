//! `agentkeys session`: the sessions below this one.

use std::time::Duration;

use agentkeys_core::oauth::{RevokeRequest, TokenRequest};
use agentkeys_core::{SessionId, scope_text};
use clap::{Args, Subcommand};
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::scope_options::{ScopeOptions, ttl};
use super::{login, progress, whoami};
use crate::exit::Exit;
use crate::identity::Identity;
use crate::pairing;
use crate::sessions::Choice;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List this session and those that descend from it
    List,
    /// Revoke a session that descends from this one (or this one itself)
    Revoke(Revoke),
    /// Make a narrower session, for an agent or a device
    Child(Child),
}

/// The options.
#[derive(Args, Debug)]
pub struct Revoke {
    /// The session, as `session list` shows it
    session_id: SessionId,
}

/// The options.
#[derive(Args, Debug)]
pub struct Child {
    #[command(flatten)]
    scope: ScopeOptions,
    /// How long it lives, such as 30m or 12h (default: the broker's; never past this session)
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    ttl: Option<Duration>,
    /// What to call it
    #[arg(long)]
    label: Option<String>,
    /// Keep it on this machine under this identity, and do not show its token
    #[arg(long, value_name = "NAME")]
    save_as: Option<Identity>,
}

pub async fn run(context: &Context<'_>, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::List => list(context).await,
        Command::Revoke(options) => revoke(context, options).await,
        Command::Child(options) => child(context, options).await,
    }
}

async fn list(context: &Context<'_>) -> Result<Exit, Failure> {
    let (record, broker) = context.broker()?;
    let found = progress::during("Asking the broker", broker.sessions()).await?;
    context.output.table(
        &found.sessions,
        &["SESSION", "KIND", "LABEL", "SCOPE", "EXPIRES", ""],
        |view| {
            vec![
                view.session_id.to_string(),
                format!("{:?}", view.kind).to_lowercase(),
                view.label.clone().unwrap_or_default(),
                whoami::scope(&scope_text::format(&view.scope)),
                view.expires_at.to_string(),
                if view.session_id == record.session_id { "this one" } else { "" }.to_owned(),
            ]
        },
        "There is no session.",
    )
}

async fn revoke(context: &Context<'_>, options: Revoke) -> Result<Exit, Failure> {
    let (record, broker) = context.broker()?;
    let request = RevokeRequest { session_id: Some(options.session_id.clone()), ..RevokeRequest::default() };
    let answer = progress::during("Revoking", broker.revoke(&request)).await?;
    if answer.revoked == 0 {
        return Err(Failure::new(Exit::NotFound, format!("no live session {} is yours", options.session_id))
            .next("`agentkeys session list` shows those that are"));
    }
    if options.session_id == record.session_id {
        context.store.forget(&record)?;
    }
    context.output.fact(&answer, &[("revoked", answer.revoked.to_string())])
}

async fn child(context: &Context<'_>, options: Child) -> Result<Exit, Failure> {
    let (record, broker) = context.broker()?;
    let parent = context.store.token(&record)?.into_secret();
    let scope = options.scope.scope();
    let request = TokenRequest::exchange(parent, &scope, options.ttl.map(|ttl| ttl.as_secs()), options.label);
    let answer = progress::during("Asking the broker", broker.token(&request)).await?;
    let identity = options.save_as.clone().unwrap_or(record.identity);
    let choice = Choice { broker_url: record.broker_url, identity };
    let (child, token) = pairing::record(&choice, &answer)?;
    let mut value = json!({
        "session_id": child.session_id, "wallet": child.wallet, "expires_at": child.expires_at,
        "scope": scope_text::parse(&answer.scope).ok(), "broker_url": child.broker_url,
    });
    let mut rows = vec![
        ("session", child.session_id.to_string()),
        ("scope", whoami::scope(&answer.scope)),
        ("expires", child.expires_at.to_string()),
    ];
    if options.save_as.is_some() {
        login::say_replaced(context, &child)?;
        value["identity"] = json!(child.identity);
        rows.push(("identity", child.identity.to_string()));
        context.keep(child, &token)?;
    } else {
        value["token"] = json!(token.expose());
        rows.push(("token", token.expose().to_owned()));
        context.output.note("This token is shown once. Give it to one agent alone.");
    }
    context.output.fact(&value, &rows)
}
