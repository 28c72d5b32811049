//! Which stored session is meant. Where two fit, the answer is an error that
//! lists them.

use super::{SessionRecord, Store, StoreError};
use crate::identity::Identity;
use crate::settings::{BrokerUrl, Settings, SettingsError};

/// Why no session was chosen.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// None fits.
    #[error("there is no session{0}")]
    None(String),
    /// More than one fits.
    #[error("more than one session fits{}", listed(.0))]
    Ambiguous(Vec<SessionRecord>),
    /// They cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The broker that was meant may not be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

/// The broker and identity that a command is about, session or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The broker.
    pub broker_url: BrokerUrl,
    /// The identity.
    pub identity: Identity,
}

/// The one stored session that fits what the settings name.
pub fn choose(store: &Store, settings: &Settings) -> Result<SessionRecord, SelectError> {
    let mut fitting = fitting(store, settings)?;
    match (fitting.pop(), fitting.is_empty()) {
        (Some(record), true) => {
            settings.allow(&record.broker_url)?;
            Ok(record)
        }
        (Some(record), false) => {
            fitting.push(record);
            Err(SelectError::Ambiguous(fitting))
        }
        (None, _) => Err(SelectError::None(described(settings))),
    }
}

/// Where a new session goes: what the settings name, else what is there, else
/// the local broker and the identity `default`.
pub fn target(store: &Store, settings: &Settings) -> Result<Choice, SelectError> {
    let fitting = fitting(store, settings)?;
    let broker_url = match &settings.broker_url.value {
        Some(url) => url.clone(),
        None => {
            let mut urls: Vec<_> = fitting.iter().map(|record| &record.broker_url).collect();
            urls.sort_unstable();
            urls.dedup();
            match urls.as_slice() {
                [] => local(),
                [one] => (*one).clone(),
                _ => return Err(SelectError::Ambiguous(fitting)),
            }
        }
    };
    settings.allow(&broker_url)?;
    let identity = match (&settings.identity.value, fitting.as_slice()) {
        (Some(identity), _) => identity.clone(),
        (None, []) => Identity::default(),
        (None, [one]) => one.identity.clone(),
        (None, _) => return Err(SelectError::Ambiguous(fitting)),
    };
    Ok(Choice { broker_url, identity })
}

fn fitting(store: &Store, settings: &Settings) -> Result<Vec<SessionRecord>, StoreError> {
    let mut records = store.sessions()?;
    records.retain(|record| {
        settings.broker_url.value.as_ref().is_none_or(|url| *url == record.broker_url)
            && settings.identity.value.as_ref().is_none_or(|name| *name == record.identity)
    });
    Ok(records)
}

#[allow(clippy::expect_used, reason = "a constant; the test of this room reads it")]
fn local() -> BrokerUrl {
    BrokerUrl::LOCAL.parse().expect("a constant URL")
}

fn described(settings: &Settings) -> String {
    let mut text = String::new();
    if let Some(identity) = &settings.identity.value {
        text.push_str(&format!(" of {identity}"));
    }
    if let Some(url) = &settings.broker_url.value {
        text.push_str(&format!(" at {url}"));
    }
    text
}

fn listed(records: &[SessionRecord]) -> String {
    records
        .iter()
        .map(|r| format!("\n  --broker-url {} --identity {}  ({})", r.broker_url, r.identity, r.wallet))
        .collect()
}
