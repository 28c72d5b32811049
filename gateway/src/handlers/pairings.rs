//! The approver's side of pairing: look at what a device asks for, let it in or
//! turn it away. The device's session becomes a child of the approver's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agentkeys_core::pairing::{Approval, Decision, Pairing};
use agentkeys_core::pairing_wire::{ApprovePairingRequest, PairingDecision, PairingView};
use agentkeys_core::{Code, Problem, Scope, Session, SessionKind, Timestamp, UserCode, scope_text};
use agentkeys_filters::session_auth::count_failure;
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;

use super::child::{NoChild, Wanted, child_of};
use super::ledger::Ledger;
use super::{json_body, session_of};
use crate::broker::{Broker, store_problem};

/// `GET /v1/pairings/{user_code}`.
pub struct ShowPairing(pub Arc<Broker>);

#[async_trait]
impl Handler for ShowPairing {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        approver(exchange)?;
        let pairing = waiting(&self.0, exchange).await?;
        Response::secret_json(StatusCode::OK, &view(pairing, Timestamp::now()))
    }
}

/// `POST /v1/pairings/{user_code}/approve`.
pub struct ApprovePairing(pub Arc<Broker>);

#[async_trait]
impl Handler for ApprovePairing {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let broker = &self.0;
        let parent = approver(exchange)?;
        let request: ApprovePairingRequest = json_body(exchange)?;
        let pairing = waiting(broker, exchange).await?;
        let wanted = Wanted { scope: request.scope, ttl_seconds: request.ttl_seconds, label: None };
        let child =
            child_of(&parent, wanted, broker.issued_ttl.as_secs(), Timestamp::now()).map_err(|error| {
                match error {
                    NoChild::Wider(_) => Problem::new(Code::InsufficientScope, format!("{error}.")),
                    NoChild::NoLife | NoChild::Label => Problem::bad_request(format!("{error}.")),
                }
            })?;
        let approval = Approval {
            wallet: child.wallet,
            parent: child.parent,
            scope: child.scope,
            expires_at: child.expires_at,
        };
        decide(broker, exchange, pairing, Decision::Approve(approval)).await
    }
}

/// `POST /v1/pairings/{user_code}/deny`.
pub struct DenyPairing(pub Arc<Broker>);

#[async_trait]
impl Handler for DenyPairing {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        approver(exchange)?;
        let pairing = waiting(&self.0, exchange).await?;
        decide(&self.0, exchange, pairing, Decision::Deny).await
    }
}

/// A session that may let devices in: a master's, or one that the operator issued
/// without narrowing it. A narrowed one was not given out to be passed on.
fn approver(exchange: &Exchange) -> Result<Session, Problem> {
    let session = session_of(exchange)?;
    let unscoped = session.scope == Scope::default();
    match session.kind {
        SessionKind::Master => Ok(session.clone()),
        SessionKind::Issued if unscoped => Ok(session.clone()),
        SessionKind::Issued | SessionKind::Child => Err(Problem::new(
            Code::InsufficientScope,
            "Only a master session, or an issued one without a narrower scope, decides about devices.",
        )),
    }
}

/// The pairing that waits under the code in the path. Codes are short, so wrong
/// ones count, and whoever has guessed too often is not told of a right one.
async fn waiting(broker: &Broker, exchange: &mut Exchange) -> Result<Pairing, Problem> {
    broker.guesses.check(exchange)?;
    let code: Option<UserCode> = exchange.resource.as_deref().unwrap_or_default().parse().ok();
    let now = Timestamp::now();
    let found = match code {
        Some(code) => broker.pairings.by_user_code(&code).await.map_err(store_problem)?,
        None => None,
    };
    match found.filter(|pairing| pairing.is_pending(now)) {
        Some(pairing) => Ok(pairing),
        None => {
            broker.guesses.wrong(&broker.limits, exchange)?;
            Err(nothing_waits())
        }
    }
}

async fn decide(broker: &Broker, exchange: &Exchange, pairing: Pairing, decision: Decision) -> Outcome {
    let (action, scope, expires_at) = match &decision {
        Decision::Approve(approval) => {
            ("device_approve", Some(approval.scope.clone()), Some(approval.expires_at))
        }
        Decision::Deny => ("device_deny", None, None),
    };
    let ledger = Ledger::new(broker, exchange, action)
        .target(format!("device:{}", pairing.source))
        .detail(scope.as_ref().map(scope_text::format).unwrap_or_default());
    // Recorded before it is in force.
    ledger.event().await?;
    let decided = broker
        .pairings
        .decide(&pairing.user_code, decision, Timestamp::now())
        .await
        .map_err(store_problem)?;
    if !decided {
        ledger.refusal("not_found");
        return Err(nothing_waits());
    }
    let approved = scope.is_some();
    Response::secret_json(
        StatusCode::OK,
        &PairingDecision { user_code: pairing.user_code, approved, scope, expires_at },
    )
}

fn nothing_waits() -> Problem {
    Problem::new(Code::NotFound, "No device waits under this code; it may have ended or been used.")
}

/// A pairing as its approver sees it.
pub fn view(pairing: Pairing, now: Timestamp) -> PairingView {
    PairingView {
        user_code: pairing.user_code,
        label: pairing.label,
        scope: pairing.scope,
        ttl_seconds: pairing.ttl_seconds,
        source: pairing.source,
        age_seconds: now.seconds_since(pairing.created_at),
        expires_at: pairing.expires_at,
    }
}

/// Sources that have guessed too often, until they may guess again.
#[derive(Default)]
pub struct Guesses {
    locked: Mutex<HashMap<IpAddr, Instant>>,
}

/// The most sources remembered; past it the oldest entries go first.
const MAX_LOCKED: usize = 10_000;

impl Guesses {
    /// Refuses a source that is locked out, whatever it asks for.
    fn check(&self, exchange: &mut Exchange) -> Result<(), Problem> {
        let Some(source) = exchange.peer.source else { return Ok(()) };
        let until = self.locked.lock().unwrap_or_else(PoisonError::into_inner).get(&source).copied();
        match until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(wait) if !wait.is_zero() => {
                exchange.limited_by = Some("failed_auth");
                Err(Problem::new(Code::RateLimited, "Too many wrong pairing codes; wait before the next.")
                    .retry_after(wait))
            }
            _ => Ok(()),
        }
    }

    /// Counts a wrong code; locks the source out once the quota is used up.
    fn wrong(
        &self,
        limits: &agentkeys_filters::rate::Limits,
        exchange: &mut Exchange,
    ) -> Result<(), Problem> {
        let Err(problem) = count_failure(limits, exchange) else { return Ok(()) };
        if let Some(source) = exchange.peer.source {
            let now = Instant::now();
            let mut locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
            if locked.len() >= MAX_LOCKED {
                locked.retain(|_, until| *until > now);
            }
            if locked.len() < MAX_LOCKED {
                locked.insert(source, now + problem.retry_after.unwrap_or(Duration::from_secs(1)));
            }
        }
        Err(problem)
    }
}
