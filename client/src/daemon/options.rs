//! The daemon's command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use agentkeys_core::scope::Service;
use agentkeys_core::wire::MintAwsRequest;
use agentkeys_core::{RoleAlias, Scope};
use clap::Parser;

use crate::cli::duration_option;
use crate::exit;
use crate::pairing::Proposal;
use crate::settings::Flags;

/// Keep AWS credentials fresh on this machine and serve them to SDKs, with nothing but a bearer
/// token and the broker's URL
#[derive(Debug, Parser)]
#[command(name = "agentkeys-daemon", version, about, after_help = exit::HELP)]
pub struct Options {
    #[command(flatten)]
    pub(super) flags: Flags,
    /// Where the container-credentials endpoint answers: an address of this machine alone
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9911", value_parser = loopback)]
    pub(super) listen: SocketAddr,
    /// Where the endpoint's authorization token is written [default: under the home directory]
    #[arg(long, value_name = "PATH")]
    pub(super) token_file: Option<PathBuf>,
    /// Answer as the instance metadata service (IMDSv2) too. Every user of this machine can ask it
    #[arg(long, value_name = "ADDRESS", value_parser = loopback)]
    pub(super) imds: Option<SocketAddr>,
    /// The role alias to mint for (default: the broker's)
    #[arg(long, value_name = "ROLE")]
    pub(super) role: Option<RoleAlias>,
    /// Mint credentials that only read
    #[arg(long)]
    pub(super) read_only: bool,
    /// Where there is no session, show a code for a master to approve
    #[arg(long)]
    pub(super) pair: bool,
    /// With --pair: propose these services (again for more)
    #[arg(long, value_name = "SERVICE", requires = "pair")]
    pub(super) pair_service: Vec<Service>,
    /// With --pair: propose this life, such as 12h
    #[arg(long, value_name = "DURATION", requires = "pair", value_parser = duration_option)]
    pub(super) pair_ttl: Option<Duration>,
    /// With --pair: what to call this device
    #[arg(long, requires = "pair")]
    pub(super) label: Option<String>,
    /// How often to ask whether the session was revoked
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration_option)]
    pub(super) check_every: Duration,
    /// Print the `ready` line as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Options {
    /// What is minted.
    pub(super) fn request(&self) -> MintAwsRequest {
        MintAwsRequest {
            role: self.role.clone(),
            duration_seconds: None,
            read_only: self.read_only.then_some(true),
        }
    }

    /// What is proposed to the approver.
    pub(super) fn proposal(&self) -> Proposal {
        Proposal {
            scope: Scope {
                services: (!self.pair_service.is_empty())
                    .then(|| self.pair_service.iter().cloned().collect()),
                roles: self.role.clone().map(|role| [role].into()),
                read_only: self.read_only,
                max_duration_seconds: None,
            },
            ttl: self.pair_ttl,
            label: self.label.clone(),
        }
    }
}

/// Credentials are for this machine: no other address can be listened on.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "expected an address such as 127.0.0.1:9911")?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("only an address of this machine alone (127.0.0.1 or [::1]) is allowed".to_owned())
    }
}
