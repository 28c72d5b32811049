//! The options that narrow a session, wherever one is made.

use std::time::Duration;

use agentkeys_core::scope::Service;
use agentkeys_core::{RoleAlias, Scope, duration};
use clap::Args;

/// What a new session may do; what is left open is inherited.
#[derive(Args, Clone, Debug, Default)]
pub struct ScopeOptions {
    /// A service whose stored key it may reach (again for more; default: all of the parent's)
    #[arg(long, value_name = "SERVICE")]
    pub service: Vec<Service>,
    /// A role alias it may mint for (again for more; default: all of the parent's)
    #[arg(long, value_name = "ROLE")]
    pub role: Vec<RoleAlias>,
    /// It may only read
    #[arg(long)]
    pub read_only: bool,
    /// The longest AWS credential it may mint, such as 15m
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub max_duration: Option<u32>,
}

impl ScopeOptions {
    /// The scope.
    pub fn scope(&self) -> Scope {
        Scope {
            services: (!self.service.is_empty()).then(|| self.service.iter().cloned().collect()),
            roles: (!self.role.is_empty()).then(|| self.role.iter().cloned().collect()),
            read_only: self.read_only,
            max_duration_seconds: self.max_duration,
        }
    }

    /// Was anything said?
    pub fn is_empty(&self) -> bool {
        self.scope() == Scope::default()
    }
}

/// A duration such as `12h`.
pub fn ttl(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(duration) if duration.as_secs() == 0 => Err("must be at least a second".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// A duration in whole seconds.
pub fn seconds(text: &str) -> Result<u32, String> {
    u32::try_from(ttl(text)?.as_secs()).map_err(|_| "is too long".to_owned())
}
