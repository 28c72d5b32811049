//! `grant add|list|remove`.

use std::process::ExitCode;

use agentkeys_core::{Grant, RoleAlias, Wallet};
use clap::Subcommand;
use serde::{Deserialize, Serialize};

use super::{Global, output};
use crate::admin::grants::AddRequest;

#[derive(Debug, Subcommand)]
pub(super) enum GrantCommand {
    /// Let a wallet, or every wallet, use a role or an audience.
    Add {
        /// The wallet; every wallet if none is named.
        #[arg(long)]
        wallet: Option<Wallet>,
        /// The role alias of broker.yaml.
        #[arg(long, required_unless_present = "audience", conflicts_with = "audience")]
        role: Option<RoleAlias>,
        /// The audience of OIDC tokens.
        #[arg(long)]
        audience: Option<String>,
        /// Credentials only read.
        #[arg(long)]
        read_only: bool,
        /// The longest credential in seconds.
        #[arg(long, value_name = "SECONDS")]
        max_duration: Option<u32>,
        /// How long the grant lives, e.g. 30d; for ever if not said.
        #[arg(long, value_name = "DURATION")]
        ttl: Option<String>,
    },
    /// List written grants.
    List,
    /// Remove a grant.
    Remove {
        /// grt_…
        grant_id: String,
    },
}

#[derive(Deserialize)]
struct Grants {
    grants: Vec<Grant>,
}

#[derive(Serialize, Deserialize)]
struct Removed {
    removed: u64,
}

pub(super) fn run(global: &Global, command: GrantCommand) -> anyhow::Result<ExitCode> {
    let socket = global.socket()?;
    match command {
        GrantCommand::Add { wallet, role, audience, read_only, max_duration, ttl } => {
            let ttl = ttl.as_deref().map(agentkeys_core::duration::parse).transpose()?;
            let request = AddRequest {
                wallet,
                role,
                audience,
                read_only,
                max_duration_seconds: max_duration,
                ttl_seconds: ttl.map(|ttl| ttl.as_secs()),
            };
            let grant: Grant = socket.post("/admin/v1/grants", &request)?;
            if global.json {
                output::json(&grant)?;
            } else {
                println!("{}  {}  {}", grant.id, who(&grant), grant.target);
            }
        }
        GrantCommand::List => {
            let found: Grants = socket.get("/admin/v1/grants", &())?;
            if global.json {
                output::json_lines(&found.grants)?;
            } else {
                let rows: Vec<_> = found
                    .grants
                    .iter()
                    .map(|grant| {
                        [
                            grant.id.to_string(),
                            who(grant),
                            grant.target.to_string(),
                            if grant.read_only { "read" } else { "write" }.to_owned(),
                            grant.expires_at.map_or_else(|| "never".to_owned(), |end| end.to_string()),
                        ]
                    })
                    .collect();
                output::table(["GRANT", "WALLET", "TARGET", "ACCESS", "EXPIRES"], &rows);
            }
        }
        GrantCommand::Remove { grant_id } => {
            let removed: Removed = socket.delete(&format!("/admin/v1/grants/{grant_id}"))?;
            if global.json {
                output::json(&removed)?;
            } else {
                println!("removed {grant_id}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn who(grant: &Grant) -> String {
    grant.wallet.as_ref().map_or_else(|| "every wallet".to_owned(), ToString::to_string)
}
