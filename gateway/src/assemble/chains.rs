//! The chains of the routes, from `filters:`, and the check of their order.

use std::sync::Arc;

use agentkeys_core::RoleAlias;
use agentkeys_filters::grant::GrantPolicy;
use agentkeys_filters::{Chain, ChainRules, Filter, FilterConfig, Registry, RegistryError, Services};

use crate::broker::Broker;
use crate::config::Settings;

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
pub fn chain_problems(settings: &Settings, registry: &Registry) -> Vec<String> {
    let known = registry.names();
    let mut problems: Vec<String> = settings
        .filters
        .iter()
        .filter_map(|entry| match &entry.config {
            FilterConfig::External { name, .. } if !known.contains(name) => {
                let error = RegistryError::Unknown { name: name.clone(), known: known.join(", ") };
                Some(format!("{}: filters: {error}", entry.origin))
            }
            _ => None,
        })
        .collect();
    if problems.is_empty() {
        let names: Vec<String> =
            settings.filters.iter().map(|entry| entry.config.name().to_owned()).collect();
        if let Err(error) = agentkeys_filters::check_order(&names, ChainRules::MINT) {
            let place =
                settings.filters.first().map_or_else(String::new, |entry| format!("{}: ", entry.origin));
            problems.push(format!("{place}filters: {error}"));
        }
        for required in ["source_limit", "session_limit"] {
            if !names.iter().any(|name| name == required) {
                let place =
                    settings.filters.first().map_or_else(String::new, |entry| format!("{}: ", entry.origin));
                problems.push(format!("{place}filters: the filter '{required}' is missing"));
            }
        }
    }
    let default_role: Option<&RoleAlias> = settings.default_role.as_ref();
    if let Some(role) = default_role
        && !settings.roles.contains_key(role)
    {
        problems.push(format!("grants.default_role: there is no role '{role}' under roles:"));
    }
    problems
}
