//! An audit that can be written until it cannot: between the intent and the outcome.

use std::sync::{Arc, Mutex};

use agentkeys_core::audit::{AuditRecord, Verification};
use agentkeys_core::store::{AuditError, StoreError};
use agentkeys_core::{BearerToken, Code, Scope, SessionId, SessionKind, Wallet};
use async_trait::async_trait;

use super::*;
use crate::metrics::Metrics;
use crate::store::{Store, StoreSettings};

/// Fails from this phase on, and keeps what it was given.
struct Failing {
    at: Option<Phase>,
    seen: Mutex<Vec<(Phase, String)>>,
}

impl Failing {
    fn new(at: Option<Phase>) -> Self {
        Self { at, seen: Mutex::new(Vec::new()) }
    }

    fn seen(&self) -> Vec<(Phase, String)> {
        self.seen.lock().unwrap().clone()
    }

    fn keep(&self, entry: AuditEntry) {
        self.seen.lock().unwrap().push((entry.phase, entry.outcome));
    }
}

#[async_trait]
impl AuditLog for Failing {
    async fn write(&self, entry: AuditEntry) -> Result<(), AuditError> {
        if Some(entry.phase) == self.at {
            return Err(AuditError::Deadline);
        }
        self.keep(entry);
        Ok(())
    }

    fn note(&self, entry: AuditEntry) {
        self.keep(entry);
    }

    async fn tail(&self, _: usize) -> Result<Vec<AuditRecord>, StoreError> {
        Ok(Vec::new())
    }

    async fn after(&self, _: u64, _: usize) -> Result<Vec<AuditRecord>, StoreError> {
        Ok(Vec::new())
    }

    async fn of_mint(&self, _: &str) -> Result<Vec<AuditRecord>, StoreError> {
        Ok(Vec::new())
    }

    async fn verify(&self) -> Result<Verification, StoreError> {
        Err(StoreError::Unavailable("not kept".into()))
    }

    fn healthy(&self) -> bool {
        self.at.is_none()
    }
}

fn ledger(log: &Failing) -> Ledger<'_> {
    Ledger { log, draft: AuditEntry::new(Phase::Event, "01J", "session_start", "") }
}

/// What the caller gets, what was recorded, and whether the session lives.
async fn start(fails_at: Option<Phase>, insert: bool) -> (Option<Code>, Vec<(Phase, String)>, bool) {
    let directory = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new().unwrap());
    let settings = StoreSettings { state_path: directory.path().join("state.sqlite"), metrics };
    let sessions = Store::open(settings).unwrap().sessions();
    let (log, now) = (Failing::new(fails_at), Timestamp::now());
    let session = Session {
        id: SessionId::generate(),
        wallet: Wallet::from_bytes([7; 20]),
        kind: SessionKind::Master,
        label: None,
        parent: None,
        scope: Scope::default(),
        created_at: now,
        expires_at: now.plus(60),
        revoked_at: None,
    };
    let token = BearerToken::generate().unwrap();
    let write = async {
        if !insert {
            return Err(Failure::Problem(Problem::new(Code::EnrolmentRefused, "no")));
        }
        Ok(sessions.insert(&session, &token.hash()).await?)
    };
    let result = hand_out(sessions.as_ref(), &ledger(&log), &session, write).await;
    let code = result.err().map(|failure| match failure {
        Failure::Problem(problem) => problem.code,
        Failure::OAuth(error) => panic!("{error:?}"),
    });
    let found = sessions.by_token(&token.hash()).await.unwrap();
    (code, log.seen(), found.is_some_and(|session| session.is_live(Timestamp::now())))
}

fn said(entries: &[(Phase, &str)]) -> Vec<(Phase, String)> {
    entries.iter().map(|(phase, outcome)| (*phase, (*outcome).to_owned())).collect()
}

#[tokio::test]
async fn a_session_lives_only_between_two_durable_records() {
    let intent = (Phase::Intent, "pending");
    let granted = said(&[intent, (Phase::Outcome, "granted")]);
    assert_eq!(start(None, true).await, (None, granted, true));
    let refused = said(&[intent, (Phase::Outcome, "enrolment_refused")]);
    assert_eq!(start(None, false).await, (Some(Code::EnrolmentRefused), refused, false));
    let unavailable = Some(Code::AuditUnavailable);
    assert_eq!(start(Some(Phase::Intent), true).await, (unavailable, Vec::new(), false));
    let withheld = said(&[intent, (Phase::Outcome, "withheld")]);
    assert_eq!(start(Some(Phase::Outcome), true).await, (unavailable, withheld, false));
}

#[tokio::test]
async fn what_is_done_to_a_secret_is_not_reported_without_its_record() {
    for (at, written) in [(Phase::Intent, false), (Phase::Outcome, true)] {
        let log = Failing::new(Some(at));
        let mut done = false;
        let result = ledger(&log)
            .around(async {
                done = true;
                Ok(())
            })
            .await;
        assert!(matches!(result, Err(Failure::Problem(problem)) if problem.code == Code::AuditUnavailable));
        assert_eq!(done, written);
    }
}
