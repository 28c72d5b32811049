//! `pair list|approve|deny`.

use std::process::ExitCode;

use agentkeys_core::pairing_wire::{PairingDecision, PairingView};
use agentkeys_core::scope::Service;
use agentkeys_core::{RoleAlias, Scope, UserCode, Wallet, scope_text};
use clap::{Args, Subcommand};
use serde::Deserialize;

use super::{Global, output};
use crate::admin::pairings::ApproveRequest;

#[derive(Debug, Subcommand)]
pub(super) enum PairCommand {
    /// List devices that wait to be let in.
    List,
    /// Let a device in with a session that you issue.
    Approve(Approve),
    /// Turn a device away.
    Deny {
        /// The code that the device shows.
        code: UserCode,
    },
}

#[derive(Debug, Args)]
pub(super) struct Approve {
    /// The code that the device shows.
    code: UserCode,
    /// The wallet (0x…); a new one is assigned if none is named.
    #[arg(long)]
    wallet: Option<Wallet>,
    /// A role it may mint for; every role if none is named.
    #[arg(long = "role", value_name = "ALIAS")]
    roles: Vec<RoleAlias>,
    /// A service whose stored key it may reach; every one if none is named.
    #[arg(long = "service", value_name = "NAME")]
    services: Vec<Service>,
    /// It only reads.
    #[arg(long)]
    read_only: bool,
    /// The longest credential in seconds.
    #[arg(long, value_name = "SECONDS")]
    max_duration: Option<u32>,
    /// How long its session lives, e.g. 12h.
    #[arg(long, value_name = "DURATION")]
    ttl: Option<String>,
}

#[derive(Deserialize)]
struct Pairings {
    pairings: Vec<PairingView>,
}

pub(super) fn run(global: &Global, command: PairCommand) -> anyhow::Result<ExitCode> {
    let socket = global.socket()?;
    let decision: PairingDecision = match command {
        PairCommand::List => {
            let found: Pairings = socket.get("/admin/v1/pairings", &())?;
            if global.json {
                output::json_lines(&found.pairings)?;
            } else {
                let rows: Vec<_> = found.pairings.iter().map(row).collect();
                output::table(["CODE", "FROM", "AGE", "LABEL", "ASKS FOR"], &rows);
            }
            return Ok(ExitCode::SUCCESS);
        }
        PairCommand::Approve(approve) => {
            let ttl = approve.ttl.as_deref().map(agentkeys_core::duration::parse).transpose()?;
            let request = ApproveRequest {
                wallet: approve.wallet,
                scope: Scope {
                    services: some_of(approve.services),
                    roles: some_of(approve.roles),
                    read_only: approve.read_only,
                    max_duration_seconds: approve.max_duration,
                },
                ttl_seconds: ttl.map(|ttl| ttl.as_secs()),
            };
            socket.post(&format!("/admin/v1/pairings/{}/approve", approve.code), &request)?
        }
        PairCommand::Deny { code } => socket.post(&format!("/admin/v1/pairings/{code}/deny"), &())?,
    };
    if global.json {
        output::json(&decision)?;
    } else {
        let said = if decision.approved { "approved" } else { "denied" };
        let until = decision.expires_at.map(|end| format!(", until {end}")).unwrap_or_default();
        let scope = decision.scope.as_ref().map(|scope| format!(", for {}", asked_for(scope)));
        println!("{said} {}{}{until}", decision.user_code, scope.unwrap_or_default());
    }
    Ok(ExitCode::SUCCESS)
}

fn some_of<T: Ord>(named: Vec<T>) -> Option<std::collections::BTreeSet<T>> {
    (!named.is_empty()).then(|| named.into_iter().collect())
}

fn row(view: &PairingView) -> [String; 5] {
    [
        view.user_code.to_string(),
        view.source.clone(),
        format!("{} s", view.age_seconds),
        view.label.clone().unwrap_or_default(),
        asked_for(&view.scope),
    ]
}

fn asked_for(scope: &Scope) -> String {
    let text = scope_text::format(scope);
    if text.is_empty() { "everything".to_owned() } else { text }
}
