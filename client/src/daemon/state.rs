//! What the daemon holds, and how the endpoints ask for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use agentkeys_core::wire::MintAwsResponse;
use agentkeys_core::{SessionId, Timestamp};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use super::schedule;

/// A credential, and for whom and when it was minted.
#[derive(Debug)]
pub struct Held {
    /// The session it was minted for.
    pub session_id: SessionId,
    /// When.
    pub minted_at: Timestamp,
    /// The credential.
    pub minted: MintAwsResponse,
}

/// Why there is no (fresh) credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing was tried yet.
    Starting,
    /// Nobody is logged in.
    NoSession,
    /// The broker does not accept the session: ended or revoked.
    SessionRefused,
    /// The broker accepts the session and refuses the credential.
    Forbidden(String),
    /// The broker cannot be had; it is tried again.
    Broker(String),
}

impl Trouble {
    /// Would waiting a moment help?
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Starting | Self::Broker(_))
    }

    /// A word for scripts.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::NoSession => "no_session",
            Self::SessionRefused => "session_refused",
            Self::Forbidden(_) => "forbidden",
            Self::Broker(_) => "broker_unavailable",
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("no credential has been minted yet"),
            Self::NoSession => f.write_str("there is no session: run `agentkeys login` or `agentkeys init`"),
            Self::SessionRefused => {
                f.write_str("the session has ended or was revoked: run `agentkeys login` or `agentkeys init`")
            }
            Self::Forbidden(reason) | Self::Broker(reason) => f.write_str(reason),
        }
    }
}

/// What is known at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The credential.
    pub held: Option<Arc<Held>>,
    /// What is wrong, if anything.
    pub trouble: Option<Trouble>,
}

/// Where the endpoints ask.
#[derive(Clone)]
pub struct Credentials {
    snapshots: watch::Receiver<Snapshot>,
    wanted: Arc<Notify>,
}

impl Credentials {
    pub(super) fn new(snapshots: watch::Receiver<Snapshot>, wanted: Arc<Notify>) -> Self {
        Self { snapshots, wanted }
    }

    /// A credential that has not ended. Where there is none, all callers wait
    /// for the same mint, and no longer than `patience`.
    pub async fn obtain(&self, patience: Duration) -> Result<Arc<Held>, Trouble> {
        let deadline = Instant::now() + patience;
        let mut snapshots = self.snapshots.clone();
        loop {
            let snapshot = snapshots.borrow_and_update().clone();
            if let Some(held) = snapshot.usable() {
                return Ok(held);
            }
            let trouble = snapshot.trouble.unwrap_or(Trouble::Starting);
            if !trouble.is_passing() {
                return Err(trouble);
            }
            self.wanted.notify_one();
            match timeout_at(deadline, snapshots.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return Err(trouble),
            }
        }
    }

    /// To be told when what is known changes.
    pub(super) fn changes(&self) -> watch::Receiver<Snapshot> {
        self.snapshots.clone()
    }

    /// What is known now.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshots.borrow().clone()
    }
}

impl Snapshot {
    /// The credential, unless it has ended.
    pub fn usable(&self) -> Option<Arc<Held>> {
        self.held.clone().filter(|held| schedule::is_usable(held.minted.expiration, Timestamp::now()))
    }
}
