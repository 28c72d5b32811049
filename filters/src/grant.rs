//! Decides whether a grant covers a mint, and folds every ceiling into one
//! decision: the role's, the grant's, the session's and the request's.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentkeys_core::grant::{Grant, is_audience};
use agentkeys_core::store::GrantStore;
use agentkeys_core::wire::{MintAwsRequest, MintJwtRequest};
use agentkeys_core::{Code, GrantDecision, MintTarget, Problem, RoleAlias, Session, Timestamp};
use async_trait::async_trait;
use serde::de::DeserializeOwned;

use crate::exchange::{Exchange, MintKind, MintRequest};
use crate::filter::{Filter, Flow};
use crate::session_auth::store_unavailable;

/// The audience of AWS STS.
pub const STS_AUDIENCE: &str = "sts.amazonaws.com";
/// The shortest credential that STS gives, in seconds.
pub const STS_MIN_DURATION: u32 = 900;
const JWT_TTL: u32 = 300;
const JWT_TTL_RANGE: std::ops::RangeInclusive<u32> = 60..=3600;

/// What the operator configured of roles and grants.
pub struct GrantPolicy {
    store: Arc<dyn GrantStore>,
    default_role: Option<RoleAlias>,
    ceilings: BTreeMap<RoleAlias, u32>,
}

impl GrantPolicy {
    /// `ceilings` are the configured roles with their longest duration in
    /// seconds; `default_role` is granted to every wallet where it is set.
    pub fn new(
        store: Arc<dyn GrantStore>,
        default_role: Option<RoleAlias>,
        ceilings: BTreeMap<RoleAlias, u32>,
    ) -> Self {
        Self { store, default_role, ceilings }
    }

    /// Decides a mint of `session`.
    pub async fn decide(
        &self,
        session: &Session,
        request: &MintRequest,
        now: Timestamp,
    ) -> Result<GrantDecision, Problem> {
        match request {
            MintRequest::Aws(request) => self.decide_role(session, request, now).await,
            MintRequest::Jwt(request) => self.decide_audience(session, request, now).await,
        }
    }

    async fn decide_role(
        &self,
        session: &Session,
        request: &MintAwsRequest,
        now: Timestamp,
    ) -> Result<GrantDecision, Problem> {
        let role = match (&request.role, &self.default_role) {
            (Some(role), _) | (None, Some(role)) => role.clone(),
            (None, None) => self.only_role(session, now).await?,
        };
        if !session.scope.allows_role(&role) {
            let mut problem =
                Problem::new(Code::InsufficientScope, format!("This session may not use the role '{role}'."));
            problem.scope = Some(format!("role:{role}"));
            return Err(problem);
        }
        // A role that is not configured reads like one that is not granted.
        let refusal = || no_grant(format!("No grant lets this wallet use the role '{role}'."));
        let role_ceiling = *self.ceilings.get(&role).ok_or_else(refusal)?;
        let target = MintTarget::Role(role.clone());
        let is_default = self.default_role.as_ref() == Some(&role);
        let grant = self.covering(session, &target, now).await?;
        if grant.is_none() && !is_default {
            return Err(refusal());
        }
        let limits = [
            Some(role_ceiling),
            grant.as_ref().and_then(|g| g.max_duration_seconds),
            session.scope.max_duration_seconds,
        ];
        let ceiling = limits.into_iter().flatten().min().unwrap_or(role_ceiling);
        Ok(GrantDecision {
            target,
            read_only: session.scope.read_only
                || request.read_only.unwrap_or(false)
                || grant.as_ref().is_some_and(|g| g.read_only),
            duration_seconds: aws_duration(request.duration_seconds, ceiling, session, grant.as_ref(), now)?,
            grant: grant.map(|g| g.id),
        })
    }

    /// What a request means that names no role where none is the default: the one
    /// role that the session may use and a grant covers. A client that knew the
    /// local broker so needs nothing but the hosted one's URL.
    async fn only_role(&self, session: &Session, now: Timestamp) -> Result<RoleAlias, Problem> {
        let mut covered = Vec::new();
        for role in self.ceilings.keys().filter(|role| session.scope.allows_role(role)) {
            if self.covering(session, &MintTarget::Role(role.clone()), now).await?.is_some() {
                covered.push(role.clone());
            }
        }
        match (covered.pop(), covered.is_empty()) {
            (Some(role), true) => Ok(role),
            (Some(_), false) => Err(no_grant("This wallet may use more than one role: name one in 'role'.")),
            (None, _) => Err(no_grant("No grant lets this wallet use any role.")),
        }
    }

    async fn decide_audience(
        &self,
        session: &Session,
        request: &MintJwtRequest,
        now: Timestamp,
    ) -> Result<GrantDecision, Problem> {
        let audience = request.audience.as_deref().unwrap_or(STS_AUDIENCE);
        if !is_audience(audience) {
            return Err(Problem::bad_request(
                "'audience' is 1 to 255 printable ASCII characters without a space.",
            ));
        }
        let ttl = request.ttl_seconds.unwrap_or(JWT_TTL);
        if !JWT_TTL_RANGE.contains(&ttl) {
            return Err(Problem::bad_request("'ttl_seconds' is 60 to 3600."));
        }
        let target = MintTarget::Audience(audience.to_owned());
        let grant = self.covering(session, &target, now).await?;
        let covered_by_default = audience == STS_AUDIENCE && self.default_role.is_some();
        if grant.is_none() && !covered_by_default {
            return Err(no_grant(format!("No grant lets this wallet mint for the audience '{audience}'.")));
        }
        // Whoever holds a token for STS exchanges it there without our session
        // policy, so a narrowed session must not get one.
        if audience == STS_AUDIENCE && self.is_narrowed(session, grant.as_ref()) {
            return Err(Problem::new(
                Code::InsufficientScope,
                "This session is narrowed, and a token for AWS STS would escape that: use /v1/mint-aws-creds.",
            ));
        }
        let remaining = session.expires_at.seconds_since(now);
        Ok(GrantDecision {
            target,
            grant: grant.map(|g| g.id),
            read_only: false,
            duration_seconds: u32::try_from(remaining).unwrap_or(u32::MAX).min(ttl),
        })
    }

    fn is_narrowed(&self, session: &Session, grant: Option<&Grant>) -> bool {
        session.scope.read_only
            || session.scope.max_duration_seconds.is_some()
            || !self.ceilings.keys().all(|role| session.scope.allows_role(role))
            || grant.is_some_and(|g| g.read_only || g.max_duration_seconds.is_some())
    }

    /// The grant that counts: the wallet's own before everybody's, the newest
    /// before older ones. A wallet's own grant is also its ceiling, so it counts
    /// before the configured default.
    async fn covering(
        &self,
        session: &Session,
        target: &MintTarget,
        now: Timestamp,
    ) -> Result<Option<Grant>, Problem> {
        let grants = self.store.find(&session.wallet, target).await.map_err(store_unavailable)?;
        Ok(grants
            .into_iter()
            .filter(|grant| grant.covers(&session.wallet, target, now))
            .max_by_key(|grant| (grant.wallet.is_some(), grant.created_at, grant.id.as_str().to_owned())))
    }
}

/// Never past the session's end, nor the grant's: a credential outlives neither.
fn aws_duration(
    asked: Option<u32>,
    ceiling: u32,
    session: &Session,
    grant: Option<&Grant>,
    now: Timestamp,
) -> Result<u32, Problem> {
    if let Some(asked) = asked {
        if asked < STS_MIN_DURATION {
            return Err(Problem::bad_request(format!(
                "'duration_seconds' is at least {STS_MIN_DURATION}: AWS STS gives none shorter."
            )));
        }
        if asked > ceiling {
            return Err(Problem::new(
                Code::InsufficientScope,
                format!("'duration_seconds' is at most {ceiling} for this session and role."),
            ));
        }
    }
    let end = grant.and_then(|g| g.expires_at).map_or(session.expires_at, |end| end.min(session.expires_at));
    let remaining = u32::try_from(end.seconds_since(now)).unwrap_or(u32::MAX);
    let duration = asked.unwrap_or(ceiling).min(remaining);
    if duration < STS_MIN_DURATION {
        return Err(Problem::new(
            Code::InsufficientScope,
            format!(
                "The session, the grant or its ceiling leaves {duration} s, and AWS STS gives no credential \
                 shorter than {STS_MIN_DURATION} s."
            ),
        ));
    }
    Ok(duration)
}

fn no_grant(detail: impl Into<String>) -> Problem {
    Problem::new(Code::NoGrant, detail)
}

/// The filter `grant`.
pub struct Grants {
    policy: Arc<GrantPolicy>,
}

impl Grants {
    /// Under this policy.
    pub fn new(policy: Arc<GrantPolicy>) -> Self {
        Self { policy }
    }
}

#[async_trait]
impl Filter for Grants {
    fn name(&self) -> &'static str {
        "grant"
    }

    fn reads_body(&self) -> bool {
        true
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Result<Flow, Problem> {
        let Some(kind) = exchange.mint_kind else { return Ok(Flow::Continue) };
        let request = match kind {
            _ if !is_json(exchange) => {
                return Err(Problem::new(
                    Code::UnsupportedMediaType,
                    "Send the body as 'Content-Type: application/json'.",
                ));
            }
            MintKind::AwsCredentials => MintRequest::Aws(parse(&exchange.body)?),
            MintKind::OidcJwt => MintRequest::Jwt(parse(&exchange.body)?),
        };
        let session =
            exchange.session.as_ref().ok_or_else(|| Problem::internal("grant before session_auth"))?;
        let decision = self.policy.decide(session, &request, Timestamp::now()).await;
        exchange.mint_request = Some(request);
        exchange.grant = Some(decision?);
        Ok(Flow::Continue)
    }
}

/// JSON, unlabelled, or what curl calls a body unless told: the parser decides
/// about those. Anything else was meant for somebody else.
fn is_json(exchange: &Exchange) -> bool {
    let Some(value) = exchange.request.headers.get(http::header::CONTENT_TYPE) else { return true };
    let kind = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    exchange.body.is_empty()
        || kind.eq_ignore_ascii_case("application/json")
        || kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn parse<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    // A struct can also be read from an array of its fields: nobody means that.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(Problem::bad_request("The body is not a JSON object."));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("The body is not accepted: {error}.")))
}
