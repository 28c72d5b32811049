//! Readiness from cached checks. A probe reads what is known; it never calls AWS
//! or a database, so that probing often costs nothing and breaks nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::metrics::Metrics;

/// The runbook's section about readiness; each check has an anchor in it.
const RUNBOOK: &str = "docs/operator-runbook.md#ready-";

/// What readiness rests on, in the order in which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// The process is not ending.
    Serving,
    /// The audit can be written.
    Audit,
    /// The store can be read.
    Store,
    /// There is a key to sign with.
    SigningKey,
    /// The account that `auto` values rest on is known.
    AwsAccount,
    /// The breaker before STS is closed.
    Sts,
}

impl Check {
    /// Every check.
    pub const ALL: [Self; 6] =
        [Self::Serving, Self::Audit, Self::Store, Self::SigningKey, Self::AwsAccount, Self::Sts];

    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Audit => "audit",
            Self::Store => "store",
            Self::SigningKey => "signing_key",
            Self::AwsAccount => "aws_account",
            Self::Sts => "sts",
        }
    }
}

/// One row of `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    /// The check.
    pub name: String,
    /// `pass` or `fail`.
    pub status: String,
    /// Why it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where to read what to do.
    pub runbook: String,
}

/// `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// `ready` or `not_ready`.
    pub status: String,
    /// Every check.
    pub checks: Vec<CheckReport>,
}

/// The last known state of each check. One that nobody has reported fails.
#[derive(Default)]
pub struct Readiness {
    states: Mutex<BTreeMap<Check, Result<(), String>>>,
}

impl Readiness {
    /// Nothing known: not ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports a check. The reason is shown to anybody who asks, so it names no
    /// path, key or account.
    pub fn report(&self, check: Check, state: Result<(), &str>) {
        let state = state.map_err(str::to_owned);
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let before = states.insert(check, state.clone());
        if before.as_ref() != Some(&state) {
            match &state {
                Ok(()) => tracing::info!(check = check.as_str(), "readiness check passes"),
                Err(reason) => tracing::warn!(check = check.as_str(), %reason, "readiness check fails"),
            }
        }
    }

    /// All of them, and their metric.
    pub fn snapshot(&self, metrics: &Metrics) -> Report {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let checks: Vec<CheckReport> = Check::ALL
            .iter()
            .map(|check| {
                let reason = match states.get(check) {
                    Some(Ok(())) => None,
                    Some(Err(reason)) => Some(reason.clone()),
                    None => Some("not checked yet".to_owned()),
                };
                metrics.ready.with_label_values(&[check.as_str()]).set(i64::from(reason.is_none()));
                CheckReport {
                    name: check.as_str().to_owned(),
                    status: if reason.is_none() { "pass" } else { "fail" }.to_owned(),
                    reason,
                    runbook: format!("{RUNBOOK}{}", check.as_str()),
                }
            })
            .collect();
        let ready = checks.iter().all(|check| check.reason.is_none());
        Report { status: if ready { "ready" } else { "not_ready" }.to_owned(), checks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_reported_fails_and_every_check_counts() {
        let (readiness, metrics) = (Readiness::new(), Metrics::new().unwrap());
        assert_eq!(readiness.snapshot(&metrics).status, "not_ready");
        for check in Check::ALL {
            readiness.report(check, Ok(()));
        }
        assert_eq!(readiness.snapshot(&metrics).status, "ready");
        readiness.report(Check::Audit, Err("cannot be written"));
        let report = readiness.snapshot(&metrics);
        assert_eq!(report.status, "not_ready");
        assert_eq!(report.checks[1].reason.as_deref(), Some("cannot be written"));
    }
}
