//! Audit: intent before a mint, outcome before its answer leaves, and every
//! refusal.
//!
//! The one rule: no credential without a durable record of it. Where the record
//! cannot be written the answer becomes a 503 and the credential is dropped.

use std::sync::Arc;
use std::time::Duration;

use agentkeys_core::audit::{AuditEntry, Phase};
use agentkeys_core::store::{AuditError, AuditLog};
use agentkeys_core::{Code, Problem};
use async_trait::async_trait;

use crate::exchange::{Exchange, MintRequest};
use crate::filter::{Filter, Flow, Outcome};

/// The filter `audit`.
pub struct Audit {
    log: Arc<dyn AuditLog>,
}

impl Audit {
    /// Into this log.
    pub fn new(log: Arc<dyn AuditLog>) -> Self {
        Self { log }
    }
}

#[async_trait]
impl Filter for Audit {
    fn name(&self) -> &'static str {
        "audit"
    }

    async fn on_request(&self, exchange: &mut Exchange) -> Result<Flow, Problem> {
        if exchange.mint_kind.is_some() {
            self.log.write(entry(exchange, Phase::Intent, "pending")).await.map_err(unavailable)?;
            exchange.audited = true;
        }
        Ok(Flow::Continue)
    }

    async fn on_response(&self, exchange: &mut Exchange, outcome: Outcome) -> Outcome {
        if !exchange.audited {
            if let Err(problem) = &outcome
                && is_refusal(problem.code)
            {
                let record = entry(exchange, Phase::Refusal, problem.code.as_str());
                self.log.note(with_detail(record, problem.internal.as_deref()));
            }
            return outcome;
        }
        let record = match &outcome {
            Ok(_) => with_detail(entry(exchange, Phase::Outcome, "granted"), exchange.mint.detail.as_deref()),
            Err(problem) => with_detail(
                entry(exchange, Phase::Outcome, problem.code.as_str()),
                problem.upstream_code.as_deref().or(exchange.mint.detail.as_deref()),
            ),
        };
        match (self.log.write(record).await, outcome) {
            (Ok(()), outcome) => outcome,
            (Err(error), Ok(_credential)) => {
                // It may become durable after all, late: say that nothing left.
                self.log.note(entry(exchange, Phase::Outcome, "withheld"));
                Err(unavailable(error))
            }
            (Err(error), Err(problem)) => {
                tracing::error!(mint_id = %exchange.mint_id, %error, "the outcome of a failed mint is not audited");
                Err(problem)
            }
        }
    }
}

/// What the caller did wrong, or was not allowed: not the broker's own failures,
/// which the log and the metrics carry.
fn is_refusal(code: Code) -> bool {
    matches!(code.status().as_u16(), 401 | 403 | 429)
}

fn entry(exchange: &Exchange, phase: Phase, outcome: &str) -> AuditEntry {
    let action = exchange.mint_kind.map_or(exchange.route, |kind| kind.action());
    let target = exchange.grant.as_ref().map(|grant| grant.target.to_string()).or_else(|| {
        match exchange.mint_request.as_ref()? {
            MintRequest::Aws(request) => request.role.as_ref().map(|role| format!("role:{role}")),
            MintRequest::Jwt(request) => {
                let audience = request.audience.as_deref()?;
                Some(format!("audience:{}", audience.chars().take(255).collect::<String>()))
            }
        }
    });
    AuditEntry {
        session_id: exchange.session.as_ref().map(|session| session.id.to_string()),
        wallet: exchange.session.as_ref().map(|session| session.wallet.to_string()),
        target,
        kid: exchange.mint.kid.clone(),
        session_name: exchange.mint.session_name.clone(),
        source: exchange.peer.source.map(|address| address.to_string()),
        ..AuditEntry::new(phase, exchange.mint_id.to_string(), action, outcome)
    }
}

fn with_detail(entry: AuditEntry, detail: Option<&str>) -> AuditEntry {
    match detail {
        Some(detail) => entry.detail(detail),
        None => entry,
    }
}

fn unavailable(error: AuditError) -> Problem {
    Problem::new(
        Code::AuditUnavailable,
        "The audit cannot be written, so nothing was minted; try again shortly.",
    )
    .because(error)
    .retry_after(Duration::from_secs(1))
}
