//! The wire types of deciding about a pairing: what an approver sees, says and
//! hears. The device's own side is RFC 8628, in [`crate::oauth`].

use serde::{Deserialize, Serialize};

use crate::scope::Scope;
use crate::timestamp::Timestamp;
use crate::user_code::UserCode;

/// `GET /v1/pairings/{user_code}`: what a master sees before it decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingView {
    /// The code.
    pub user_code: UserCode,
    /// What the device calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The scope it proposes.
    pub scope: Scope,
    /// The life it proposes, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// The address that asked.
    pub source: String,
    /// How long ago it asked, in seconds.
    pub age_seconds: u64,
    /// When the code ends.
    pub expires_at: Timestamp,
}

/// `POST /v1/pairings/{user_code}/approve`. `/deny` takes no body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovePairingRequest {
    /// What the device's session may do. Required: an absent scope must never
    /// read as "everything".
    pub scope: Scope,
    /// Its life in seconds; the broker's default for issued sessions unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// The answer to an approval or a denial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingDecision {
    /// The code.
    pub user_code: UserCode,
    /// Approved, or denied.
    pub approved: bool,
    /// What the session will be allowed, where approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// When the session will end, where approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}
