//! The audit of what handlers do: one [`Ledger`] per request and action.
//!
//! Whatever hands out a token or a stored secret goes through here. No token and
//! no secret leaves unless its record is durable.

use std::future::Future;

use agentkeys_core::audit::{AuditEntry, Phase};
use agentkeys_core::store::{AuditLog, SessionStore};
use agentkeys_core::{Problem, Session, Timestamp};
use agentkeys_filters::Exchange;

use super::oauth::Failure;
use crate::broker::{Broker, audit_problem};

/// What the records of one action have in common.
pub struct Ledger<'b> {
    log: &'b dyn AuditLog,
    draft: AuditEntry,
}

impl<'b> Ledger<'b> {
    /// For this action of this request. Its session, if it has one, is named.
    pub fn new(broker: &'b Broker, exchange: &Exchange, action: &'static str) -> Self {
        let session = exchange.session.as_ref();
        Self {
            log: broker.audit.as_ref(),
            draft: AuditEntry {
                session_id: session.map(|session| session.id.to_string()),
                wallet: session.map(|session| session.wallet.to_string()),
                source: exchange.peer.source.map(|address| address.to_string()),
                ..AuditEntry::new(Phase::Event, exchange.mint_id.to_string(), action, "")
            },
        }
    }

    /// About this session, not the caller's.
    pub fn about(mut self, session: &Session) -> Self {
        self.draft.session_id = Some(session.id.to_string());
        self.draft.wallet = Some(session.wallet.to_string());
        self
    }

    /// What it is done to.
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.draft.target = Some(target.into());
        self
    }

    /// Anything else worth keeping.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.draft = self.draft.detail(detail);
        self
    }

    /// One durable record that it is done.
    pub async fn event(&self) -> Result<(), Problem> {
        self.write(Phase::Event, "granted").await
    }

    /// A refusal; nobody waits for it.
    pub fn refusal(&self, code: &str) {
        self.log.note(self.entry(Phase::Refusal, code));
    }

    /// Does `work` between a durable intent and a durable outcome.
    pub async fn around<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, Failure> {
        self.write(Phase::Intent, "pending").await?;
        match work.await {
            Ok(value) => {
                self.write(Phase::Outcome, "granted").await?;
                Ok(value)
            }
            Err(failure) => {
                // What failed was not handed out: its record may come late.
                self.log.note(self.entry(Phase::Outcome, failure.code()));
                Err(failure)
            }
        }
    }

    async fn write(&self, phase: Phase, outcome: &str) -> Result<(), Problem> {
        self.log.write(self.entry(phase, outcome)).await.map_err(audit_problem)
    }

    fn entry(&self, phase: Phase, outcome: &str) -> AuditEntry {
        let now = AuditEntry::new(phase, "", "", "").at_ms;
        AuditEntry { at_ms: now, phase, outcome: outcome.to_owned(), ..self.draft.clone() }
    }
}

/// Writes a new session between intent and outcome. If the outcome cannot be made
/// durable the session is revoked: its token goes nowhere.
pub async fn hand_out(
    sessions: &dyn SessionStore,
    ledger: &Ledger<'_>,
    session: &Session,
    write: impl Future<Output = Result<(), Failure>> + Send,
) -> Result<(), Failure> {
    ledger.write(Phase::Intent, "pending").await?;
    if let Err(failure) = write.await {
        ledger.log.note(ledger.entry(Phase::Outcome, failure.code()));
        return Err(failure);
    }
    let Err(problem) = ledger.write(Phase::Outcome, "granted").await else { return Ok(()) };
    // It may become durable after all, late: say that nothing left.
    ledger.log.note(ledger.entry(Phase::Outcome, "withheld"));
    if let Err(error) = sessions.revoke(&session.id, Timestamp::now()).await {
        tracing::error!(session_id = %session.id, %error, "a session whose token was withheld is not revoked");
    }
    Err(problem.into())
}

#[cfg(test)]
mod tests;
