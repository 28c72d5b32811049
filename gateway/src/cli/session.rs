//! `session issue|list|show|revoke`.

use std::process::ExitCode;

use agentkeys_core::wire::NewSessionResponse;
use agentkeys_core::{RoleAlias, Session, SessionId, Timestamp, Wallet};
use clap::Subcommand;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::{Global, output};
use crate::admin::sessions::{IssueRequest, ListQuery};

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// Issue a session; its token is shown this once.
    Issue {
        /// The wallet (0x…); a new one is assigned if none is named.
        #[arg(long)]
        wallet: Option<Wallet>,
        /// What to call it.
        #[arg(long)]
        label: Option<String>,
        /// How long it lives, e.g. 12h.
        #[arg(long, value_name = "DURATION")]
        ttl: Option<String>,
        /// The only role it may mint for.
        #[arg(long)]
        role: Option<RoleAlias>,
        /// Its credentials only read.
        #[arg(long)]
        read_only: bool,
    },
    /// List live sessions.
    List {
        /// Only this wallet's.
        #[arg(long)]
        wallet: Option<Wallet>,
        /// Expired and revoked ones too.
        #[arg(long)]
        all: bool,
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show one session.
    Show {
        /// ses_…
        session_id: SessionId,
    },
    /// Revoke a session and all that descend from it.
    Revoke {
        /// ses_…
        session_id: SessionId,
    },
}

#[derive(Deserialize)]
struct Sessions {
    sessions: Vec<Session>,
}

#[derive(Serialize, Deserialize)]
struct Revoked {
    revoked: u64,
}

pub(super) fn run(global: &Global, command: SessionCommand) -> anyhow::Result<ExitCode> {
    let socket = global.socket()?;
    match command {
        SessionCommand::Issue { wallet, label, ttl, role, read_only } => {
            let ttl = ttl.as_deref().map(agentkeys_core::duration::parse).transpose()?;
            let request =
                IssueRequest { wallet, label, ttl_seconds: ttl.map(|ttl| ttl.as_secs()), role, read_only };
            let issued: NewSessionResponse = socket.post("/admin/v1/sessions", &request)?;
            if global.json {
                output::json(&issued)?;
            } else {
                println!("session  {}", issued.session_id);
                println!("wallet   {}", issued.wallet);
                println!("expires  {}", issued.expires_at);
                println!("token    {}", issued.token.expose_secret());
                println!();
                println!("The token is shown this once. Hand it over; its holder runs: agentkeys login");
            }
        }
        SessionCommand::List { wallet, all, limit } => {
            let found: Sessions = socket.get("/admin/v1/sessions", &ListQuery { wallet, all, limit })?;
            if global.json {
                output::json_lines(&found.sessions)?;
            } else {
                let rows: Vec<_> = found.sessions.iter().map(row).collect();
                output::table(["SESSION", "WALLET", "KIND", "STATE", "EXPIRES", "LABEL"], &rows);
            }
        }
        SessionCommand::Show { session_id } => {
            let session: Session = socket.get(&format!("/admin/v1/sessions/{session_id}"), &())?;
            if global.json {
                output::json(&session)?;
            } else {
                println!("{}", serde_json::to_string_pretty(&session)?);
            }
        }
        SessionCommand::Revoke { session_id } => {
            let revoked: Revoked = socket.delete(&format!("/admin/v1/sessions/{session_id}"))?;
            if global.json {
                output::json(&revoked)?;
            } else {
                println!("{} live sessions revoked", revoked.revoked);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(session: &Session) -> [String; 6] {
    let state = match session.revoked_at {
        Some(_) => "revoked",
        None if session.is_live(Timestamp::now()) => "live",
        None => "expired",
    };
    [
        session.id.to_string(),
        session.wallet.to_string(),
        format!("{:?}", session.kind).to_lowercase(),
        state.to_owned(),
        session.expires_at.to_string(),
        session.label.clone().unwrap_or_default(),
    ]
}
