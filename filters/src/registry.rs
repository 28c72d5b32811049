//! Which filters exist, and how one line of `broker.yaml` becomes one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentkeys_core::store::{AuditLog, SessionStore};
use serde_json::Value;

use crate::audit::Audit;
use crate::filter::Filter;
use crate::grant::{GrantPolicy, Grants};
use crate::rate::Limits;
use crate::session_auth::SessionAuth;
use crate::session_limit::SessionLimit;
use crate::source_limit::SourceLimit;

/// What built-in filters rest on.
#[derive(Clone)]
pub struct Services {
    /// Sessions by token.
    pub sessions: Arc<dyn SessionStore>,
    /// Who may mint what.
    pub grants: Arc<GrantPolicy>,
    /// The audit.
    pub audit: Arc<dyn AuditLog>,
    /// Quotas, shared by every chain of the process.
    pub limits: Arc<Limits>,
}

/// One line under `filters:`.
#[derive(Clone, Debug, PartialEq)]
pub enum FilterConfig {
    /// Limits per client address, before authentication.
    SourceLimit,
    /// Authenticates the bearer token.
    SessionAuth,
    /// Limits per session and per wallet.
    SessionLimit,
    /// Decides whether a grant covers the mint.
    Grant,
    /// Records intent and outcome.
    Audit,
    /// A filter from another crate, with its settings.
    External {
        /// Its name in the registry.
        name: String,
        /// What stood under the name.
        settings: Value,
    },
}

impl FilterConfig {
    /// The name it was written under.
    pub fn name(&self) -> &str {
        match self {
            Self::SourceLimit => "source_limit",
            Self::SessionAuth => "session_auth",
            Self::SessionLimit => "session_limit",
            Self::Grant => "grant",
            Self::Audit => "audit",
            Self::External { name, .. } => name,
        }
    }

    /// Reads a name and what stood under it (`Null` for a bare name).
    pub fn parse(name: &str, settings: Value) -> Result<Self, RegistryError> {
        let built_in = match name {
            "source_limit" => Self::SourceLimit,
            "session_auth" => Self::SessionAuth,
            "session_limit" => Self::SessionLimit,
            "grant" => Self::Grant,
            "audit" => Self::Audit,
            _ => return Ok(Self::External { name: name.to_owned(), settings }),
        };
        if settings.is_null() {
            Ok(built_in)
        } else {
            Err(RegistryError::Settings {
                name: name.to_owned(),
                reason: "takes no settings here; its quotas stand under limits:".to_owned(),
            })
        }
    }
}

/// Why a filter cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// No such filter.
    #[error("there is no filter '{name}'; known are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Two filters claim the name.
    #[error("the filter '{0}' is registered twice")]
    Duplicate(String),
    /// Its settings are wrong.
    #[error("the filter '{name}' {reason}")]
    Settings {
        /// Which filter.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// Makes an external filter from its settings.
pub type Build = Box<dyn Fn(&Value, &Services) -> Result<Arc<dyn Filter>, String> + Send + Sync>;

/// The filters that a process knows: a plain value, filled in `main`.
#[derive(Default)]
pub struct Registry {
    external: BTreeMap<String, Build>,
}

const BUILT_IN: [&str; 5] = ["source_limit", "session_auth", "session_limit", "grant", "audit"];

impl Registry {
    /// The built-in filters only.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a filter of another crate. A name that is taken is an error: a
    /// later line must not silently replace an earlier one.
    pub fn register(
        mut self,
        name: &str,
        build: impl Fn(&Value, &Services) -> Result<Arc<dyn Filter>, String> + Send + Sync + 'static,
    ) -> Result<Self, RegistryError> {
        if BUILT_IN.contains(&name) || self.external.contains_key(name) {
            return Err(RegistryError::Duplicate(name.to_owned()));
        }
        self.external.insert(name.to_owned(), Box::new(build));
        Ok(self)
    }

    /// Every name, for error messages and `check`.
    pub fn names(&self) -> Vec<String> {
        BUILT_IN.iter().map(|n| (*n).to_owned()).chain(self.external.keys().cloned()).collect()
    }

    /// Makes one filter.
    pub fn build(
        &self,
        config: &FilterConfig,
        services: &Services,
    ) -> Result<Arc<dyn Filter>, RegistryError> {
        Ok(match config {
            FilterConfig::SourceLimit => Arc::new(SourceLimit::new(services.limits.clone())),
            FilterConfig::SessionAuth => {
                Arc::new(SessionAuth::new(services.sessions.clone(), services.limits.clone()))
            }
            FilterConfig::SessionLimit => Arc::new(SessionLimit::new(services.limits.clone())),
            FilterConfig::Grant => Arc::new(Grants::new(services.grants.clone())),
            FilterConfig::Audit => Arc::new(Audit::new(services.audit.clone())),
            FilterConfig::External { name, settings } => {
                let build = self.external.get(name).ok_or_else(|| RegistryError::Unknown {
                    name: name.clone(),
                    known: self.names().join(", "),
                })?;
                build(settings, services)
                    .map_err(|reason| RegistryError::Settings { name: name.clone(), reason })?
            }
        })
    }
}
