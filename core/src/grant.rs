//! Grants: which wallet may mint for which role alias or audience, until when,
//! and under which ceiling. No grant, no mint.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::mint_id::random_ulid;
use crate::scope::is_name;
use crate::timestamp::Timestamp;
use crate::wallet::Wallet;

/// The operator's short name of an AWS role, as written under `roles:`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleAlias(String);

/// The text is not a role alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role alias is 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")]
pub struct InvalidRoleAlias;

impl RoleAlias {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RoleAlias {
    type Err = InvalidRoleAlias;

    fn from_str(text: &str) -> Result<Self, InvalidRoleAlias> {
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidRoleAlias) }
    }
}

impl TryFrom<String> for RoleAlias {
    type Error = InvalidRoleAlias;

    fn try_from(text: String) -> Result<Self, InvalidRoleAlias> {
        text.parse()
    }
}

impl From<RoleAlias> for String {
    fn from(alias: RoleAlias) -> Self {
        alias.0
    }
}

impl fmt::Display for RoleAlias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a mint is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MintTarget {
    /// AWS credentials of a role.
    Role(RoleAlias),
    /// An OIDC token for an audience.
    Audience(String),
}

impl fmt::Display for MintTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Role(alias) => write!(f, "role:{alias}"),
            Self::Audience(audience) => write!(f, "audience:{audience}"),
        }
    }
}

/// Is this an audience: 1 to 255 printable ASCII characters without a space?
pub fn is_audience(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// `grt_` and a ULID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantId(String);

impl GrantId {
    /// A new id.
    pub fn generate() -> Self {
        Self(format!("grt_{}", random_ulid()))
    }

    /// An id as an operator or the store spells it.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GrantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One written grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its id.
    #[serde(rename = "grant_id")]
    pub id: GrantId,
    /// The wallet it is for; `None` is every wallet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<Wallet>,
    /// What it allows.
    pub target: MintTarget,
    /// Credentials minted under it only read.
    #[serde(default)]
    pub read_only: bool,
    /// The longest credential, in seconds; `None` is the role's own ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration_seconds: Option<u32>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it ends; `None` is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Grant {
    /// Does it allow `wallet` to mint for `target` at `now`?
    pub fn covers(&self, wallet: &Wallet, target: &MintTarget, now: Timestamp) -> bool {
        self.target == *target
            && self.wallet.as_ref().is_none_or(|granted| granted == wallet)
            && self.expires_at.is_none_or(|end| now < end)
    }
}

/// What the grant filter decided: the mint's target and its ceiling, with the
/// grant's, the session's and the request's limits already folded in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantDecision {
    /// What the mint is for.
    pub target: MintTarget,
    /// The grant that allowed it; `None` for the configured default.
    pub grant: Option<GrantId>,
    /// The credential may only read.
    pub read_only: bool,
    /// How long the credential lives, in seconds.
    pub duration_seconds: u32,
}
