//! A pairing: a device that has no session asks for one, and somebody who has
//! one decides (RFC 8628).

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::scope::Scope;
use crate::session::{Session, SessionId};
use crate::store::StoreError;
use crate::timestamp::Timestamp;
use crate::token::TokenHash;
use crate::user_code::UserCode;
use crate::wallet::Wallet;

/// What was decided about a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// The wallet that the device's session will act for.
    pub wallet: Wallet,
    /// The approver's session, whose child it will be; `None` where the operator
    /// approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SessionId>,
    /// What it may do.
    pub scope: Scope,
    /// When it will end.
    pub expires_at: Timestamp,
}

/// Where a pairing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairingState {
    /// Nobody has decided.
    Pending,
    /// The device may fetch its session, once.
    Approved(Approval),
    /// The device gets none.
    Denied,
    /// The device has fetched its session.
    Taken,
}

/// One pairing as the store knows it. It never holds the device's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairing {
    /// What the person carries.
    pub user_code: UserCode,
    /// What the device calls itself.
    pub label: Option<String>,
    /// The scope it proposes.
    pub scope: Scope,
    /// The life it proposes, in seconds.
    pub ttl_seconds: Option<u64>,
    /// The address that asked.
    pub source: String,
    /// When it asked.
    pub created_at: Timestamp,
    /// When both codes end.
    pub expires_at: Timestamp,
    /// Where it stands.
    pub state: PairingState,
}

impl Pairing {
    /// Does it wait for a decision at `now`?
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.state == PairingState::Pending && now < self.expires_at
    }
}

/// A decision about a pairing.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Let it in.
    Approve(Approval),
    /// Turn it away.
    Deny,
}

/// How many pairings may wait at once: anybody can ask for one.
#[derive(Clone, Copy, Debug)]
pub struct PairingBounds {
    /// From one address.
    pub per_source: usize,
    /// In all.
    pub total: usize,
}

/// Pairings.
#[async_trait]
pub trait PairingStore: Send + Sync {
    /// Writes a pairing; `Full` at a bound, `Exists` where the user code is taken.
    async fn open(
        &self,
        pairing: &Pairing,
        device: &TokenHash,
        bounds: PairingBounds,
    ) -> Result<(), StoreError>;

    /// The pairing with this user code, whatever its state.
    async fn by_user_code(&self, code: &UserCode) -> Result<Option<Pairing>, StoreError>;

    /// The pairing of this device code, whatever its state.
    async fn by_device(&self, device: &TokenHash) -> Result<Option<Pairing>, StoreError>;

    /// Decides a pairing that waits; false if none waits under this code.
    async fn decide(&self, code: &UserCode, decision: Decision, at: Timestamp) -> Result<bool, StoreError>;

    /// Marks an approved pairing as taken and writes the device's session, both
    /// or neither; false if it was not there to be taken.
    async fn take(
        &self,
        device: &TokenHash,
        session: &Session,
        token: &TokenHash,
    ) -> Result<bool, StoreError>;

    /// Those that wait at `now`, newest first.
    async fn pending(&self, now: Timestamp) -> Result<Vec<Pairing>, StoreError>;
}
