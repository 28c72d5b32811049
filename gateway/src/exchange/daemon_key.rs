//! The operator's long-lived AWS key. It signs requests to STS and goes nowhere
//! else: it is not printed, and no credential that a client gets may equal it.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, future};
use secrecy::{ExposeSecret, SecretString};

/// One access key.
#[derive(Clone)]
pub struct DaemonKey {
    access_key_id: SecretString,
    secret_access_key: SecretString,
}

/// The texts are not an access key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {0} of the daemon key is empty or holds characters that no AWS key has (a stray quote, space or line end?)"
)]
pub struct InvalidDaemonKey(pub &'static str);

impl DaemonKey {
    /// From two secrets, as they were resolved.
    pub fn new(
        access_key_id: SecretString,
        secret_access_key: SecretString,
    ) -> Result<Self, InvalidDaemonKey> {
        let word = |text: &str, least: usize| {
            (least..=128).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+/=.".contains(&b))
        };
        if !word(access_key_id.expose_secret(), 3) {
            return Err(InvalidDaemonKey("access key id"));
        }
        if !word(secret_access_key.expose_secret(), 3) {
            return Err(InvalidDaemonKey("secret access key"));
        }
        Ok(Self { access_key_id, secret_access_key })
    }

    /// As the SDK wants it.
    pub(super) fn credentials(&self) -> Credentials {
        Credentials::new(
            self.access_key_id.expose_secret(),
            self.secret_access_key.expose_secret(),
            None,
            None,
            "the broker's daemon key",
        )
    }

    /// Is this its id, or its secret?
    pub fn is_part(&self, text: &str) -> bool {
        self.access_key_id.expose_secret() == text || self.secret_access_key.expose_secret() == text
    }
}

impl fmt::Debug for DaemonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DaemonKey([REDACTED])")
    }
}

/// Where the key is taken from at each call, so that a reload can replace it.
#[derive(Clone, Debug, Default)]
pub struct DaemonKeySlot(Arc<ArcSwapOption<DaemonKey>>);

impl DaemonKeySlot {
    /// A slot with this key, or none.
    pub fn new(key: Option<DaemonKey>) -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee(key)))
    }

    /// The key of this moment.
    pub fn load(&self) -> Option<Arc<DaemonKey>> {
        self.0.load_full()
    }

    /// Replaces it; calls under way finish with the old one.
    pub fn store(&self, key: Option<DaemonKey>) {
        self.0.store(key.map(Arc::new));
    }
}

impl ProvideCredentials for DaemonKeySlot {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(match self.load() {
            Some(key) => Ok(key.credentials()),
            None => Err(CredentialsError::not_loaded("the broker has no daemon key")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_printed_and_a_pasted_line_end_is_noticed() {
        let key = DaemonKey::new("AKIDEXAMPLE".into(), "c2VjcmV0/c2VjcmV0".into()).unwrap();
        let slot = DaemonKeySlot::new(Some(key));
        for text in [format!("{slot:?}"), format!("{:?}", slot.load())] {
            assert!(text.contains("REDACTED") && !text.contains("AKID") && !text.contains("c2V"), "{text}");
        }
        assert!(DaemonKey::new("AKIDEXAMPLE".into(), "c2VjcmV0\n".into()).is_err());
        assert!(DaemonKey::new("".into(), "c2VjcmV0".into()).is_err());
        assert!(DaemonKey::new("\"AKIDEXAMPLE\"".into(), "c2VjcmV0".into()).is_err());
    }
}
