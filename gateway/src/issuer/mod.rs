//! OIDC tokens: claims, the keyring, signers, discovery and JWKS.
//!
//! The issuer signs what a verified session asks for and publishes the keys to
//! verify it. It never takes an identity from a request, never signs past the
//! session's end, and never lets a private key leave its memory or its 0600 file.

pub mod claims;
pub mod directory;
pub mod documents;
pub mod error;
pub mod key;
pub mod keyring;
pub mod private_file;
pub mod records;
pub mod settings;
pub mod signer;
pub mod url;

use std::sync::Arc;
use std::time::Duration;

use agentkeys_core::Timestamp;
use bytes::Bytes;
use secrecy::SecretString;

pub use claims::{MintClaims, WALLET_TAG};
pub use directory::KeyDirectory;
pub use documents::JwksDocument;
pub use error::{IssuerError, KeyError};
pub use keyring::Keyring;
pub use records::{KeyEvent, KeyRecord, KeyState};
pub use settings::{IssuerSettings, JWKS_CACHE_CONTROL};
pub use url::IssuerUrl;

use crate::metrics::Metrics;

/// A clock that tests can hold still.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A signed token. Printing it shows the key and the end, never the token.
#[derive(Clone, Debug)]
pub struct SignedJwt {
    /// The compact form.
    pub token: SecretString,
    /// The key that signed.
    pub kid: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// The one place that signs.
pub struct Issuer {
    url: IssuerUrl,
    keyring: Keyring,
    discovery: Bytes,
    metrics: Arc<Metrics>,
}

impl Issuer {
    /// Opens the keys on disk; what it had to make is in the events. Settings that
    /// are out of bounds are refused before a file is touched. Blocks on files.
    pub fn open(
        settings: &IssuerSettings,
        metrics: Arc<Metrics>,
        now: Timestamp,
    ) -> Result<(Self, Vec<KeyEvent>), KeyError> {
        let errors: Vec<String> = settings.errors().iter().map(ToString::to_string).collect();
        if !errors.is_empty() {
            return Err(KeyError::Settings(errors.join("; ")));
        }
        let (keyring, events) = Keyring::open(settings, now)?;
        Ok((Self::new(settings.url.clone(), keyring, metrics, now)?, events))
    }

    /// Over keys from elsewhere, such as KMS.
    pub fn new(
        url: IssuerUrl,
        keyring: Keyring,
        metrics: Arc<Metrics>,
        now: Timestamp,
    ) -> Result<Self, KeyError> {
        let discovery = documents::discovery(&url)
            .map_err(|_| KeyError::Crypto("the discovery document does not become JSON"))?;
        let issuer = Self { url, keyring, discovery, metrics };
        issuer.observe(now);
        Ok(issuer)
    }

    /// Signs a token of these claims.
    pub async fn mint(&self, mint: MintClaims) -> Result<SignedJwt, IssuerError> {
        let claims = claims::Claims::new(self.url.as_str(), &mint)?;
        let ring = self.keyring.ring();
        let token = signer::encode(ring.signer().as_ref(), &claims).await?;
        self.metrics.signatures.inc();
        let kid = ring.signer().public_jwk().kid().to_owned();
        Ok(SignedJwt { token, kid, expires_at: claims.expires_at() })
    }

    /// The issuer's URL.
    pub fn url(&self) -> &IssuerUrl {
        &self.url
    }

    /// The key that signs now.
    pub fn current_kid(&self) -> String {
        self.keyring.ring().signer().public_jwk().kid().to_owned()
    }

    /// The key set as it is served.
    pub fn jwks(&self) -> JwksDocument {
        self.keyring.ring().jwks().clone()
    }

    /// The discovery document as it is served.
    pub fn discovery(&self) -> Bytes {
        self.discovery.clone()
    }

    /// Every published key, for `keys list`.
    pub fn key_list(&self) -> Vec<KeyRecord> {
        self.keyring.ring().records().to_vec()
    }

    /// `keys generate`. Blocks on files.
    pub fn generate_key(&self, now: Timestamp) -> Result<KeyEvent, KeyError> {
        self.observing(now, self.keyring.generate(now))
    }

    /// `keys rotate [--force]`. Blocks on files.
    pub fn rotate_key(&self, now: Timestamp, force: bool) -> Result<Vec<KeyEvent>, KeyError> {
        self.observing(now, self.keyring.rotate(now, force))
    }

    /// `keys retire KID [--now]`. Blocks on files.
    pub fn retire_key(&self, kid: &str, immediately: bool, now: Timestamp) -> Result<KeyEvent, KeyError> {
        self.observing(now, self.keyring.retire(kid, immediately))
    }

    /// Takes up changes made elsewhere and rotates what is due. Blocks on files.
    pub fn tick(&self, now: Timestamp) -> Result<Vec<KeyEvent>, KeyError> {
        self.observing(now, self.keyring.tick(now))
    }

    fn observing<T>(&self, now: Timestamp, done: Result<T, KeyError>) -> Result<T, KeyError> {
        self.observe(now);
        done
    }

    /// Brings the keys' metrics up to date.
    pub fn observe(&self, now: Timestamp) {
        let ring = self.keyring.ring();
        for (state, label) in [(KeyState::Current, "current"), (KeyState::Next, "next")] {
            let age = ring.records().iter().find(|key| key.state == state);
            let age = age.map(|key| now.seconds_since(key.created_at) as f64);
            match age {
                Some(age) => self.metrics.signing_key_age_seconds.with_label_values(&[label]).set(age),
                // A key that is no longer there has no age; the series ends. It may never have begun.
                None => drop(self.metrics.signing_key_age_seconds.remove_label_values(&[label])),
            }
        }
    }
}

/// Keeps the keys in order until it is dropped: the background task of a serving
/// broker. An error leaves the keys in use as they are and is tried again.
pub async fn keep_rotating(issuer: Arc<Issuer>, clock: Clock, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (issuer, now) = (Arc::clone(&issuer), clock());
        match tokio::task::spawn_blocking(move || issuer.tick(now)).await {
            Ok(Ok(events)) => events.iter().for_each(|event| tracing::info!("{event}")),
            Ok(Err(error)) => {
                tracing::error!(%error, "the signing keys could not be looked after; those in use stay")
            }
            Err(error) => tracing::error!(%error, "the task that looks after the signing keys failed"),
        }
    }
}

#[cfg(test)]
mod tests;
