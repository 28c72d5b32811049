//! Whose key the daemon key is: asked once in the background, then remembered.
//! Readiness reads what is remembered and never calls AWS.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use aws_sdk_sts::Client;
use serde::Serialize;

use super::client;
use super::daemon_key::DaemonKeySlot;
use super::error::ExchangeError;
use super::failure::Failure;
use super::gate::{AttemptError, Gate, Operation};
use super::role_arn::{is_account, is_partition};
use super::settings::ExchangeSettings;

/// The daemon key's own identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CallerIdentity {
    /// Twelve digits.
    pub account: String,
    /// The user's ARN.
    pub arn: String,
    /// `aws`, `aws-cn`, …
    pub partition: String,
}

/// Asks, and remembers.
pub struct IdentityWatch {
    client: Client,
    gate: Arc<Gate>,
    key: DaemonKeySlot,
    known: ArcSwapOption<CallerIdentity>,
    last_error: ArcSwapOption<String>,
}

impl IdentityWatch {
    /// Nothing is asked yet.
    pub fn new(settings: &ExchangeSettings, gate: Arc<Gate>, key: DaemonKeySlot) -> Self {
        let client = client::signed(settings, &key);
        Self { client, gate, key, known: ArcSwapOption::empty(), last_error: ArcSwapOption::empty() }
    }

    /// What is known.
    pub fn identity(&self) -> Option<Arc<CallerIdentity>> {
        self.known.load_full()
    }

    /// Why nothing is known yet, for readiness.
    pub fn last_error(&self) -> Option<Arc<String>> {
        self.last_error.load_full()
    }

    /// Asks until it is known. A refusal is asked again too: IAM needs a while for
    /// a new key, and the operator may be replacing a wrong one right now.
    pub async fn learn(&self, first_pause: Duration, longest_pause: Duration) -> Arc<CallerIdentity> {
        let mut pause = first_pause;
        loop {
            match self.ask().await {
                Ok(identity) => return identity,
                Err(error) => {
                    tracing::warn!(%error, retry_in = ?pause, "the daemon key's account is not known yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest_pause);
                }
            }
        }
    }

    /// Asks once, and remembers the outcome.
    pub async fn ask(&self) -> Result<Arc<CallerIdentity>, ExchangeError> {
        match self.fetch().await {
            Ok(identity) => {
                let identity = Arc::new(identity);
                self.known.store(Some(Arc::clone(&identity)));
                self.last_error.store(None);
                Ok(identity)
            }
            Err(error) => {
                self.last_error.store(Some(Arc::new(error.to_string())));
                Err(error)
            }
        }
    }

    async fn fetch(&self) -> Result<CallerIdentity, ExchangeError> {
        if self.key.load().is_none() {
            return Err(ExchangeError::NoDaemonKey("GetCallerIdentity"));
        }
        let call = async {
            let sent = self.client.get_caller_identity().send().await;
            let output = sent.map_err(|error| Failure::from_sdk(&error))?;
            let read = read(output.account().unwrap_or_default(), output.arn().unwrap_or_default());
            read.map_err(|reason| Failure::invalid(reason).into())
        };
        self.gate.count(Operation::GetCallerIdentity, call).await.map_err(|error| match error {
            AttemptError::Sts(failure) => failure.into_error(),
            AttemptError::Local(error) => error,
        })
    }
}

fn read(account: &str, arn: &str) -> Result<CallerIdentity, &'static str> {
    let mut parts = arn.split(':');
    let (Some("arn"), Some(partition)) = (parts.next(), parts.next()) else {
        return Err("the caller's ARN is none");
    };
    if !is_account(account)
        || !is_partition(partition)
        || arn.len() > 2_048
        || !arn.bytes().all(|b| b.is_ascii_graphic())
    {
        return Err("the caller's account or ARN is none");
    }
    if parts.nth(2) != Some(account) {
        return Err("the caller's account and ARN differ");
    }
    Ok(CallerIdentity { account: account.to_owned(), arn: arn.to_owned(), partition: partition.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_and_the_arn_must_agree() {
        let identity = read("123456789012", "arn:aws-cn:iam::123456789012:user/agentkeys-daemon").unwrap();
        assert_eq!(identity.partition, "aws-cn");
        assert!(read("123456789012", "arn:aws:iam::999999999999:user/agentkeys-daemon").is_err());
        assert!(read("", "arn:aws:iam:::user/x").is_err());
        assert!(read("123456789012", "").is_err());
    }
}
