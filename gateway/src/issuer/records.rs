//! The states of the keys and the rules by which they change: next → current →
//! retired → gone, with overlap. Pure: time comes in, nothing is read or written.

use std::time::Duration;

use agentkeys_core::{Timestamp, duration};
use serde::{Deserialize, Serialize};

use super::error::KeyError;
use super::key::PublicJwk;
use super::settings::IssuerSettings;

/// The most keys that are ever published. AWS takes 100; a broker that nears this
/// has a rotation that runs away.
pub const MAX_PUBLISHED: usize = 10;

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// Published, does not sign yet.
    Next,
    /// Signs.
    Current,
    /// Published until what it signed has ended; its private half is gone.
    Retired,
}

/// One key as `keys.json` and `keys list` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Its state.
    pub state: KeyState,
    /// When it was made.
    pub created_at: Timestamp,
    /// When a running broker first published it.
    pub published_at: Option<Timestamp>,
    /// When it began to sign.
    pub activated_at: Option<Timestamp>,
    /// When it stopped signing.
    pub retired_at: Option<Timestamp>,
    /// The public half.
    pub jwk: PublicJwk,
}

/// What happened to a key, for the log and the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum KeyEvent {
    /// A key was made.
    Generated {
        /// The key.
        kid: String,
        /// The state it begins in.
        state: KeyState,
    },
    /// Another key signs.
    Rotated {
        /// The key that signed.
        from: String,
        /// The key that signs.
        to: String,
    },
    /// A key is no longer published.
    Removed {
        /// The key.
        kid: String,
    },
    /// Another process, or an operator, changed the keys.
    Reloaded,
}

/// All keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyRecords {
    /// In the order in which they were made.
    pub keys: Vec<KeyRecord>,
}

impl KeyRecords {
    /// The key in this state; there is at most one that is next or current.
    pub fn in_state(&self, state: KeyState) -> Option<&KeyRecord> {
        self.keys.iter().find(|key| key.state == state)
    }

    /// Adds a key: the first one signs at once, since nobody holds an older set.
    pub fn add(&mut self, jwk: PublicJwk, now: Timestamp) -> Result<KeyEvent, KeyError> {
        if let Some(next) = self.in_state(KeyState::Next) {
            return Err(KeyError::NextExists { kid: next.jwk.kid().to_owned() });
        }
        if self.keys.len() >= MAX_PUBLISHED {
            return Err(KeyError::TooMany { count: self.keys.len(), limit: MAX_PUBLISHED });
        }
        let first = self.in_state(KeyState::Current).is_none();
        let state = if first { KeyState::Current } else { KeyState::Next };
        let kid = jwk.kid().to_owned();
        self.keys.push(KeyRecord {
            state,
            created_at: now,
            published_at: None,
            activated_at: first.then_some(now),
            retired_at: None,
            jwk,
        });
        Ok(KeyEvent::Generated { kid, state })
    }

    /// Lets the next key sign, if those who cache the set can know it by now.
    pub fn rotate(&mut self, now: Timestamp, force: bool, wait: Duration) -> Result<KeyEvent, KeyError> {
        let next = self
            .in_state(KeyState::Next)
            .ok_or_else(|| KeyError::NoNextKey { wait: duration::format(wait) })?;
        let to = next.jwk.kid().to_owned();
        let ready = next.published_at.map(|at| at.plus(wait.as_secs()));
        if !force && ready.is_none_or(|at| now < at) {
            return Err(KeyError::PublishedTooShort {
                kid: to,
                at: ready.unwrap_or_else(|| now.plus(wait.as_secs())),
            });
        }
        let mut from = String::new();
        for key in &mut self.keys {
            match key.state {
                KeyState::Current => {
                    key.state = KeyState::Retired;
                    key.retired_at = Some(now);
                    key.jwk.kid().clone_into(&mut from);
                }
                KeyState::Next => {
                    key.state = KeyState::Current;
                    key.activated_at = Some(now);
                    key.published_at.get_or_insert(now);
                }
                KeyState::Retired => {}
            }
        }
        Ok(KeyEvent::Rotated { from, to })
    }

    /// Drops a key that never signed, or one that is retired. A retired one stays
    /// until its tokens have ended unless `immediately` (it was stolen).
    pub fn retire(&mut self, kid: &str, immediately: bool, until: Duration) -> Result<KeyEvent, KeyError> {
        let found = self.keys.iter().position(|key| key.jwk.kid() == kid);
        let at = found.ok_or_else(|| KeyError::UnknownKey { kid: kid.to_owned() })?;
        match self.keys[at].state {
            KeyState::Current => return Err(KeyError::CurrentKey { kid: kid.to_owned() }),
            KeyState::Retired if !immediately => {
                let retired_at = self.keys[at].retired_at.unwrap_or(self.keys[at].created_at);
                return Err(KeyError::StillNeeded {
                    kid: kid.to_owned(),
                    at: retired_at.plus(until.as_secs()),
                });
            }
            KeyState::Next | KeyState::Retired => {}
        }
        self.keys.remove(at);
        Ok(KeyEvent::Removed { kid: kid.to_owned() })
    }

    /// Notes that a running broker publishes them all.
    pub fn mark_published(&mut self, now: Timestamp) {
        for key in &mut self.keys {
            key.published_at.get_or_insert(now);
        }
    }

    /// Drops retired keys whose tokens have all ended.
    pub fn expire(&mut self, now: Timestamp, retire_after: Duration) -> Vec<KeyEvent> {
        let ended = |key: &KeyRecord| {
            key.state == KeyState::Retired
                && key.retired_at.is_some_and(|at| at.plus(retire_after.as_secs()) <= now)
        };
        let gone = self.keys.iter().filter(|key| ended(key));
        let events = gone.map(|key| KeyEvent::Removed { kid: key.jwk.kid().to_owned() }).collect();
        self.keys.retain(|key| !ended(key));
        events
    }

    /// Is it time to make the next key?
    pub fn next_is_due(&self, now: Timestamp, settings: &IssuerSettings) -> bool {
        let Some(rotation) = settings.rotation else { return false };
        let lead = rotation.saturating_sub(settings.publish_before);
        self.in_state(KeyState::Next).is_none()
            && self.current_age(now).is_some_and(|age| age >= lead.as_secs())
    }

    /// Is it time, and safe, to let the next key sign?
    pub fn rotation_is_due(&self, now: Timestamp, settings: &IssuerSettings) -> bool {
        let Some(rotation) = settings.rotation else { return false };
        let published = self.in_state(KeyState::Next).and_then(|next| next.published_at);
        self.current_age(now).is_some_and(|age| age >= rotation.as_secs())
            && published.is_some_and(|at| at.plus(settings.publish_before.as_secs()) <= now)
    }

    /// What is wrong with records that were read from a file, if anything is.
    pub fn fault(&self) -> Option<&'static str> {
        let count = |state| self.keys.iter().filter(|key| key.state == state).count();
        if self.keys.len() > MAX_PUBLISHED {
            Some("it holds more keys than may be published")
        } else if count(KeyState::Current) > 1 || count(KeyState::Next) > 1 {
            Some("more than one key is current, or next")
        } else if self.keys.iter().any(|key| !key.jwk.is_sound()) {
            Some("a public key is not on the curve, or its id is not its thumbprint")
        } else if self.keys.iter().any(|key| key.state == KeyState::Retired && key.retired_at.is_none()) {
            Some("a retired key has no retired_at")
        } else {
            None
        }
    }

    fn current_age(&self, now: Timestamp) -> Option<u64> {
        let current = self.in_state(KeyState::Current)?;
        Some(now.seconds_since(current.activated_at.unwrap_or(current.created_at)))
    }
}

impl std::fmt::Display for KeyEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Generated { kid, state: KeyState::Current } => write!(f, "made the signing key {kid}"),
            Self::Generated { kid, .. } => write!(f, "made the next signing key {kid}"),
            Self::Rotated { from, to } => write!(f, "the key {to} signs now instead of {from}"),
            Self::Removed { kid } => write!(f, "the key {kid} is no longer published"),
            Self::Reloaded => f.write_str("the signing keys were changed elsewhere and read again"),
        }
    }
}
