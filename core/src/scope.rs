//! What a session may do. A child's scope is made from its parent's and a
//! request by [`Scope::narrow`], which can only take away.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::grant::RoleAlias;

/// The limits of a session. The default is the widest: a master session's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// The services whose stored credentials it may reach; `None` is every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<BTreeSet<Service>>,
    /// The role aliases it may mint for; `None` is every one a grant allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<BTreeSet<RoleAlias>>,
    /// True: minted credentials read only, stored credentials cannot change.
    #[serde(default)]
    pub read_only: bool,
    /// The longest minted credential, in seconds; `None` is the role's ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration_seconds: Option<u32>,
}

/// A request asked for more than the parent holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the requested scope is wider than the parent's: {0}")]
pub struct WidensParent(pub &'static str);

impl Scope {
    /// The scope of a child that asks for `requested`. What the request leaves
    /// open is inherited; what it names must lie within `self`.
    pub fn narrow(&self, requested: &Scope) -> Result<Scope, WidensParent> {
        Ok(Scope {
            services: subset(&self.services, &requested.services).ok_or(WidensParent("services"))?,
            roles: subset(&self.roles, &requested.roles).ok_or(WidensParent("roles"))?,
            read_only: self.read_only || requested.read_only,
            max_duration_seconds: match (self.max_duration_seconds, requested.max_duration_seconds) {
                (Some(parent), Some(child)) if child > parent => {
                    return Err(WidensParent("max_duration_seconds"));
                }
                (parent, child) => child.or(parent),
            },
        })
    }

    /// May this session reach the stored credential of `service`?
    pub fn allows_service(&self, service: &Service) -> bool {
        self.services.as_ref().is_none_or(|set| set.contains(service))
    }

    /// May this session mint for `role`?
    pub fn allows_role(&self, role: &RoleAlias) -> bool {
        self.roles.as_ref().is_none_or(|set| set.contains(role))
    }
}

fn subset<T: Ord + Clone>(
    parent: &Option<BTreeSet<T>>,
    child: &Option<BTreeSet<T>>,
) -> Option<Option<BTreeSet<T>>> {
    match (parent, child) {
        (parent, None) => Some(parent.clone()),
        (None, Some(child)) => Some(Some(child.clone())),
        (Some(parent), Some(child)) => child.is_subset(parent).then(|| Some(child.clone())),
    }
}

/// The name of a service with a stored credential: 1 to 64 of `a-z 0-9 . _ -`,
/// beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Service(String);

/// The text is not a service name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a service is 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")]
pub struct InvalidService;

impl Service {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Service {
    type Err = InvalidService;

    fn from_str(text: &str) -> Result<Self, InvalidService> {
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidService) }
    }
}

impl TryFrom<String> for Service {
    type Error = InvalidService;

    fn try_from(text: String) -> Result<Self, InvalidService> {
        text.parse()
    }
}

impl From<Service> for String {
    fn from(service: Service) -> Self {
        service.0
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The one rule for names that appear in paths, policies and configuration.
/// Upper case is refused rather than folded, so two spellings never differ.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        && text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scopes() -> impl Strategy<Value = Scope> {
        let names = prop::option::of(prop::collection::btree_set("[a-d]", 0..4));
        (names.clone(), names, any::<bool>(), prop::option::of(900u32..5000)).prop_map(
            |(services, roles, read_only, max_duration_seconds)| Scope {
                services: services.map(|set| set.iter().map(|s| s.parse().unwrap()).collect()),
                roles: roles.map(|set| set.iter().map(|s| s.parse().unwrap()).collect()),
                read_only,
                max_duration_seconds,
            },
        )
    }

    proptest! {
        #[test]
        fn a_child_is_never_more_than_its_parent(parent in scopes(), asked in scopes()) {
            if let Ok(child) = parent.narrow(&asked) {
                for name in ["a", "b", "c", "d"] {
                    let service = name.parse().unwrap();
                    let role = name.parse().unwrap();
                    prop_assert!(!child.allows_service(&service) || parent.allows_service(&service));
                    prop_assert!(!child.allows_role(&role) || parent.allows_role(&role));
                }
                prop_assert!(child.read_only || !parent.read_only);
                prop_assert!(
                    child.max_duration_seconds.unwrap_or(u32::MAX)
                        <= parent.max_duration_seconds.unwrap_or(u32::MAX)
                );
                // And it honours what was asked.
                prop_assert!(child.read_only || !asked.read_only);
            }
        }
    }

    #[test]
    fn names_are_canonical_or_refused() {
        for bad in ["", "Root", "a/b", "..", ".a", "-a", "a b", "é", "a\n", &"a".repeat(65)] {
            assert!(bad.parse::<Service>().is_err(), "{bad:?}");
        }
        assert!("openrouter".parse::<Service>().is_ok());
    }
}
