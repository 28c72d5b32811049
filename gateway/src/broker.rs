//! The parts of a running broker, as handlers see them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agentkeys_core::credential_backend::CredentialBackend;
use agentkeys_core::enrolment::EnrolmentStore;
use agentkeys_core::pairing::PairingStore;
use agentkeys_core::store::{AuditLog, GrantStore, SessionStore};
use agentkeys_core::{Code, Problem, RoleAlias};
use agentkeys_filters::rate::Limits;

use crate::config::settings::Enrolment;
use crate::deployment::Deployment;
use crate::exchange::{CredentialExchange, SessionPolicy};
use crate::handlers::oauth::Pacing;
use crate::handlers::pairings::Guesses;
use crate::issuer::Issuer;
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::sign_in::Challenges;

/// Everything a handler may need.
pub struct Broker {
    /// Sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// Grants.
    pub grants: Arc<dyn GrantStore>,
    /// Which wallets have enrolled, and what admits others.
    pub enrolment: Arc<dyn EnrolmentStore>,
    /// Devices that wait for a session.
    pub pairings: Arc<dyn PairingStore>,
    /// Services' API keys.
    pub credentials: Arc<dyn CredentialBackend>,
    /// The audit.
    pub audit: Arc<dyn AuditLog>,
    /// OIDC tokens.
    pub issuer: Arc<Issuer>,
    /// STS.
    pub exchange: Arc<dyn CredentialExchange>,
    /// Session policies by role.
    pub policies: BTreeMap<RoleAlias, SessionPolicy>,
    /// The AWS account and what lies in it.
    pub deployment: Arc<Deployment>,
    /// Readiness checks.
    pub readiness: Arc<Readiness>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Quotas, shared with the filters.
    pub limits: Arc<Limits>,
    /// What wallets sign to prove their key.
    pub challenges: Challenges,
    /// Who may enrol.
    pub enrolment_policy: Enrolment,
    /// How fast devices poll.
    pub pacing: Pacing,
    /// Who guesses pairing codes.
    pub guesses: Guesses,
    /// The life of a master session.
    pub master_ttl: Duration,
    /// The life of a session that the operator issues, unless said.
    pub issued_ttl: Duration,
    /// The life of a pairing code.
    pub pairing_ttl: Duration,
    /// What to put into the STS source identity.
    pub source_identity: SourceIdentity,
}

/// What CloudTrail shows as the source identity of a mint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceIdentity {
    /// Nothing: the role's trust policy need not allow it.
    Off,
    /// The wallet.
    Wallet,
}

/// 503 for a store that does not answer, as in the filters.
pub fn store_problem(error: agentkeys_core::store::StoreError) -> Problem {
    Problem::new(Code::StoreUnavailable, "The broker's store cannot be used; try again shortly.")
        .because(error)
        .retry_after(Duration::from_secs(1))
}

/// 503 for an audit that cannot be written.
pub fn audit_problem(error: agentkeys_core::store::AuditError) -> Problem {
    Problem::new(
        Code::AuditUnavailable,
        "The audit cannot be written, so nothing was done; try again shortly.",
    )
    .because(error)
    .retry_after(Duration::from_secs(1))
}
