//! A scope as the space-separated tokens of OAuth 2 (RFC 6749 section 3.3):
//! `service:NAME`, `role:ALIAS`, `read_only`, `max_duration:SECONDS`, and
//! `no_services`/`no_roles` for the empty sets, which would otherwise read as
//! "every one". An unknown token is an error, never a wider scope.

use std::collections::BTreeSet;

use crate::scope::Scope;

/// A token of a scope string that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown scope token {0:?}: expected service:NAME, role:ALIAS, read_only, max_duration:SECONDS, no_services or no_roles"
)]
pub struct InvalidScopeToken(pub String);

/// Reads a scope string. The empty string is the widest scope: what it leaves
/// open is inherited from the parent by [`Scope::narrow`].
pub fn parse(text: &str) -> Result<Scope, InvalidScopeToken> {
    let mut scope = Scope::default();
    let (mut no_services, mut no_roles) = (false, false);
    for token in text.split_ascii_whitespace() {
        let bad = || InvalidScopeToken(token.chars().take(80).collect());
        match token.split_once(':') {
            Some(("service", name)) => {
                scope.services.get_or_insert_default().insert(name.parse().map_err(|_| bad())?);
            }
            Some(("role", name)) => {
                scope.roles.get_or_insert_default().insert(name.parse().map_err(|_| bad())?);
            }
            Some(("max_duration", seconds)) if scope.max_duration_seconds.is_none() => {
                scope.max_duration_seconds = Some(seconds.parse().map_err(|_| bad())?);
            }
            None if token == "read_only" => scope.read_only = true,
            None if token == "no_services" => no_services = true,
            None if token == "no_roles" => no_roles = true,
            _ => return Err(bad()),
        }
    }
    // "None of them" and a name at once is a mistake; the narrower cannot be guessed.
    for (none, named, token) in [
        (no_services, scope.services.is_some(), "no_services"),
        (no_roles, scope.roles.is_some(), "no_roles"),
    ] {
        if none && named {
            return Err(InvalidScopeToken(token.to_owned()));
        }
    }
    if no_services {
        scope.services = Some(BTreeSet::new());
    }
    if no_roles {
        scope.roles = Some(BTreeSet::new());
    }
    Ok(scope)
}

/// The text that [`parse`] reads back as this scope.
pub fn format(scope: &Scope) -> String {
    let mut tokens = Vec::new();
    match &scope.services {
        Some(set) if set.is_empty() => tokens.push("no_services".to_owned()),
        Some(set) => tokens.extend(set.iter().map(|name| format!("service:{name}"))),
        None => {}
    }
    match &scope.roles {
        Some(set) if set.is_empty() => tokens.push("no_roles".to_owned()),
        Some(set) => tokens.extend(set.iter().map(|name| format!("role:{name}"))),
        None => {}
    }
    if scope.read_only {
        tokens.push("read_only".to_owned());
    }
    if let Some(seconds) = scope.max_duration_seconds {
        tokens.push(format!("max_duration:{seconds}"));
    }
    tokens.join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_scope_survives_the_way_there_and_back(
            services in prop::option::of(prop::collection::btree_set("[a-z][a-z0-9._-]{0,8}", 0..4)),
            roles in prop::option::of(prop::collection::btree_set("[a-z][a-z0-9._-]{0,8}", 0..4)),
            read_only: bool,
            max_duration_seconds in prop::option::of(any::<u32>()),
        ) {
            let scope = Scope {
                services: services.map(|set| set.iter().map(|s| s.parse().unwrap()).collect()),
                roles: roles.map(|set| set.iter().map(|s| s.parse().unwrap()).collect()),
                read_only,
                max_duration_seconds,
            };
            prop_assert_eq!(parse(&format(&scope)), Ok(scope));
        }
    }

    #[test]
    fn a_misspelt_limit_is_an_error() {
        for text in [
            "readonly",
            "READ_ONLY",
            "service:",
            "service:Root",
            "role:*",
            "max_duration:",
            "max_duration:-1",
            "max_duration:900 max_duration:3600",
            "no_services service:openrouter",
            "openid",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
