//! Makes a child session out of its parent and a request. The one place that
//! does, so that no path to a session can be wider than its parent.

use agentkeys_core::scope::WidensParent;
use agentkeys_core::session::is_label;
use agentkeys_core::{Scope, Session, SessionId, SessionKind, Timestamp};

/// What a child is asked to be.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// What it may do; what is left open is inherited.
    pub scope: Scope,
    /// Its life in seconds; the broker's default unless said.
    pub ttl_seconds: Option<u64>,
    /// What to call it.
    pub label: Option<String>,
}

/// Why there is no such child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoChild {
    /// It would be more than its parent.
    #[error(transparent)]
    Wider(#[from] WidensParent),
    /// A life of no time.
    #[error("a session lives for at least one second")]
    NoLife,
    /// Not a label.
    #[error("a label is 1 to 64 printable characters")]
    Label,
}

/// The child of `parent` that `wanted` asks for. A life longer than the parent's
/// is cut to it, and the answer says so; a wider scope is refused.
pub fn child_of(
    parent: &Session,
    wanted: Wanted,
    default_ttl_seconds: u64,
    now: Timestamp,
) -> Result<Session, NoChild> {
    let ttl = wanted.ttl_seconds.unwrap_or(default_ttl_seconds);
    if ttl == 0 || parent.expires_at <= now {
        return Err(NoChild::NoLife);
    }
    if wanted.label.as_deref().is_some_and(|label| !is_label(label)) {
        return Err(NoChild::Label);
    }
    Ok(Session {
        id: SessionId::generate(),
        wallet: parent.wallet.clone(),
        kind: SessionKind::Child,
        label: wanted.label,
        parent: Some(parent.id.clone()),
        scope: parent.scope.narrow(&wanted.scope)?,
        created_at: now,
        expires_at: now.plus(ttl).min(parent.expires_at),
        revoked_at: None,
    })
}

#[cfg(test)]
mod tests {
    use agentkeys_core::oauth::{TokenGrant, TokenRequest};
    use proptest::prelude::*;

    use super::*;
    use crate::handlers::oauth::form;

    const NOW: Timestamp = Timestamp::from_unix(1_790_000_000);

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

    fn parent(scope: Scope, life: u64) -> Session {
        Session {
            id: SessionId::generate(),
            wallet: agentkeys_core::Wallet::from_bytes([7; 20]),
            kind: SessionKind::Master,
            label: None,
            parent: None,
            scope,
            created_at: NOW,
            expires_at: NOW.plus(life),
            revoked_at: None,
        }
    }

    /// As a client sends it: the form, its fields, the grant, the child.
    fn through_http(parent: &Session, asked: &Scope, ttl: Option<u64>) -> Option<Session> {
        let request = TokenRequest::exchange("aks_x".into(), asked, ttl, None);
        let body = serde_urlencoded::to_string(&request).unwrap();
        let request: TokenRequest = form::fields(body.as_bytes()).unwrap();
        let TokenGrant::Exchange { scope, expires_in, label, .. } = request.grant().unwrap() else {
            panic!()
        };
        child_of(parent, Wanted { scope, ttl_seconds: expires_in, label }, 43_200, NOW).ok()
    }

    proptest! {
        #[test]
        fn no_chain_of_requests_makes_a_child_more_than_its_parent(
            root in scopes(),
            life in 1u64..100_000,
            asked in prop::collection::vec((scopes(), prop::option::of(1u64..200_000)), 1..5),
        ) {
            let mut parent = parent(root, life);
            for (scope, ttl) in asked {
                let Some(child) = through_http(&parent, &scope, ttl) else { continue };
                for name in ["a", "b", "c", "d"] {
                    let (service, role) = (name.parse().unwrap(), name.parse().unwrap());
                    prop_assert!(!child.scope.allows_service(&service) || parent.scope.allows_service(&service));
                    prop_assert!(!child.scope.allows_role(&role) || parent.scope.allows_role(&role));
                }
                prop_assert!(child.scope.read_only || !parent.scope.read_only);
                prop_assert!(
                    child.scope.max_duration_seconds.unwrap_or(u32::MAX)
                        <= parent.scope.max_duration_seconds.unwrap_or(u32::MAX)
                );
                prop_assert!(child.expires_at <= parent.expires_at && child.expires_at > NOW);
                prop_assert!(child.expires_at <= NOW.plus(ttl.unwrap_or(43_200)));
                prop_assert_eq!(&child.wallet, &parent.wallet);
                prop_assert_eq!(child.parent.as_ref(), Some(&parent.id));
                prop_assert_eq!(child.kind, SessionKind::Child);
                parent = child;
            }
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let narrow = parent(Scope { read_only: true, ..Scope::default() }, 60);
        let wanted = |ttl, label: Option<&str>| Wanted {
            ttl_seconds: ttl,
            label: label.map(str::to_owned),
            ..Wanted::default()
        };
        assert_eq!(child_of(&narrow, wanted(Some(0), None), 60, NOW), Err(NoChild::NoLife));
        assert_eq!(child_of(&narrow, wanted(None, Some("\n")), 60, NOW), Err(NoChild::Label));
        assert_eq!(child_of(&narrow, Wanted::default(), 60, NOW.plus(60)), Err(NoChild::NoLife));
        let child = child_of(&narrow, wanted(Some(u64::MAX), Some("ci")), 60, NOW).unwrap();
        assert!(child.scope.read_only);
        assert_eq!(child.expires_at, narrow.expires_at);
    }
}
