//! The chains of the routes, from `filters:`, and the check of their order.

use std::sync::Arc;

use agentkeys_filters::grant::GrantPolicy;
use agentkeys_filters::{Chain, ChainRules, Filter, FilterConfig, Registry, RegistryError, Services};

use crate::broker::Broker;
use crate::config::{ConfigError, Settings};

/// The chain of each kind of route.
pub(super) struct Chains {
    /// What `filters:` says.
    pub mint: Chain,
    /// The same without what concerns mints alone.
    pub session: Chain,
    /// Only what needs no session.
    pub public: Chain,
}

pub(super) fn chains(
    settings: &Settings,
    registry: &Registry,
    broker: &Broker,
) -> Result<Chains, RegistryError> {
    let ceilings =
        settings.roles.iter().map(|(alias, role)| (alias.clone(), role.max_duration_seconds)).collect();
    let services = Services {
        sessions: broker.sessions.clone(),
        grants: Arc::new(GrantPolicy::new(broker.grants.clone(), settings.default_role.clone(), ceilings)),
        audit: broker.audit.clone(),
        limits: broker.limits.clone(),
    };
    let filters = settings
        .filters
        .iter()
        .map(|entry| registry.build(&entry.config, &services))
        .collect::<Result<Vec<Arc<dyn Filter>>, _>>()?;
    let mint = Chain::new(filters);
    Ok(Chains {
        session: mint.only(|name| name != "grant"),
        public: mint.only(|name| !matches!(name, "session_auth" | "session_limit" | "grant")),
        mint,
    })
}

/// Everything wrong with `filters:`: unknown names, duplicates, an order that
/// would let something unauthenticated or unaudited through.
pub fn chain_problems(settings: &Settings, registry: &Registry) -> Vec<ConfigError> {
    let known = registry.names();
    let mut problems: Vec<ConfigError> = settings
        .filters
        .iter()
        .filter_map(|entry| match &entry.config {
            FilterConfig::External { name, .. } if !known.contains(name) => {
                let error = RegistryError::Unknown { name: name.clone(), known: known.join(", ") };
                Some(ConfigError::new(entry.origin.clone(), "filters", error.to_string()))
            }
            _ => None,
        })
        .collect();
    let Some(first) = settings.filters.first() else { return problems };
    if problems.is_empty() {
        let names: Vec<String> =
            settings.filters.iter().map(|entry| entry.config.name().to_owned()).collect();
        let mut problem = |message: String| {
            problems.push(ConfigError::new(first.origin.clone(), "filters", message));
        };
        if let Err(error) = agentkeys_filters::check_order(&names, ChainRules::MINT) {
            problem(error.to_string());
        }
        for required in ["source_limit", "session_limit"] {
            if !names.iter().any(|name| name == required) {
                problem(format!("the filter '{required}' is missing"));
            }
        }
    }
    problems
}
