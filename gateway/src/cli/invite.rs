//! `invite create|list|revoke`.

use std::process::ExitCode;

use agentkeys_core::invite::{Invite, InviteId};
use agentkeys_core::{Timestamp, Wallet};
use clap::Subcommand;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{Global, output};
use crate::admin::invites::{CreateRequest, NewInvite};

#[derive(Debug, Subcommand)]
pub(super) enum InviteCommand {
    /// Create a one-time code with which a new wallet may enrol; shown this once.
    Create {
        /// How long it can be used, e.g. 3d.
        #[arg(long, value_name = "DURATION")]
        ttl: Option<String>,
        /// The only wallet that may use it (0x…); any wallet if none is named.
        #[arg(long)]
        wallet: Option<Wallet>,
    },
    /// List invites.
    List,
    /// Revoke an invite that nobody has used.
    Revoke {
        /// inv_…
        invite_id: String,
    },
}

#[derive(Deserialize)]
struct Invites {
    invites: Vec<Invite>,
}

#[derive(Serialize, Deserialize)]
struct Revoked {
    revoked: u64,
}

pub(super) fn run(global: &Global, command: InviteCommand) -> anyhow::Result<ExitCode> {
    let socket = global.socket()?;
    match command {
        InviteCommand::Create { ttl, wallet } => {
            let ttl = ttl.as_deref().map(agentkeys_core::duration::parse).transpose()?;
            let request = CreateRequest { wallet, ttl_seconds: ttl.map(|ttl| ttl.as_secs()) };
            let invite: NewInvite = socket.post("/admin/v1/invites", &request)?;
            if global.json {
                output::json(&invite)?;
            } else {
                println!("invite   {}", invite.invite_id);
                println!("expires  {}", invite.expires_at);
                println!("code     {}", invite.code.expose_secret());
                println!();
                println!("The code is shown this once, and admits one wallet.");
            }
        }
        InviteCommand::List => {
            let found: Invites = socket.get("/admin/v1/invites", &())?;
            if global.json {
                output::json_lines(&found.invites)?;
            } else {
                let rows: Vec<_> = found.invites.iter().map(row).collect();
                output::table(["INVITE", "FOR", "STATE", "EXPIRES"], &rows);
            }
        }
        InviteCommand::Revoke { invite_id } => {
            let id = InviteId::from_text(invite_id);
            let revoked: Revoked = socket.delete(&format!("/admin/v1/invites/{id}"))?;
            if global.json {
                output::json(&revoked)?;
            } else {
                println!("revoked {id}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(invite: &Invite) -> [String; 4] {
    let state = match &invite.used_by {
        Some(wallet) => format!("used by {wallet}"),
        None if invite.expires_at <= Timestamp::now() => "expired".to_owned(),
        None => "open".to_owned(),
    };
    let bound = invite.wallet.as_ref().map_or_else(|| "any wallet".to_owned(), ToString::to_string);
    [invite.id.to_string(), bound, state, invite.expires_at.to_string()]
}
