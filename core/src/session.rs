//! A session: who holds a bearer token, what it may do and until when.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::mint_id::random_ulid;
use crate::scope::Scope;
use crate::timestamp::Timestamp;
use crate::wallet::Wallet;

/// `ses_` and a ULID. Safe to log: it names a session and opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SessionId(String);

/// The text is not a session id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a session id is ses_ followed by 26 letters and digits")]
pub struct InvalidSessionId;

impl SessionId {
    /// A new id.
    pub fn generate() -> Self {
        Self(format!("ses_{}", random_ulid()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, InvalidSessionId> {
        let id = text.strip_prefix("ses_").ok_or(InvalidSessionId)?;
        if id.len() == 26 && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSessionId)
        }
    }
}

impl TryFrom<String> for SessionId {
    type Error = InvalidSessionId;

    fn try_from(text: String) -> Result<Self, InvalidSessionId> {
        text.parse()
    }
}

impl From<SessionId> for String {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a session came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// A wallet proved its key (`POST /v1/sessions`).
    Master,
    /// The operator issued it (`session issue`).
    Issued,
    /// Another session made it, narrower than itself.
    Child,
}

/// One session as the store knows it. It never holds the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its id.
    #[serde(rename = "session_id")]
    pub id: SessionId,
    /// The wallet it acts for.
    pub wallet: Wallet,
    /// How it came to be.
    pub kind: SessionKind,
    /// What its owner calls it; at most 64 printable characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The session it descends from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SessionId>,
    /// What it may do.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it, or an ancestor, was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

impl Session {
    /// Is it neither expired nor revoked at `now`?
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && now < self.expires_at
    }
}

/// Is this a label: 1 to 64 printable characters, none of them a control?
pub fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}
