//! What the issuer is told, and the bounds that keep a rotation from breaking
//! those who cache the key set.

use std::path::PathBuf;
use std::time::Duration;

use agentkeys_core::duration;

use super::error::SettingError;
use super::url::IssuerUrl;

/// For how long a verifier may keep a copy of the key set.
pub const JWKS_MAX_AGE: Duration = Duration::from_secs(300);

/// The header that goes out with the key set and the discovery document.
pub const JWKS_CACHE_CONTROL: &str = "public, max-age=300";

/// The longest life of a token.
pub const MAX_TOKEN_TTL: Duration = Duration::from_secs(3600);

/// The issuer's settings.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// `issuer`.
    pub url: IssuerUrl,
    /// Where keys that are files live.
    pub directory: PathBuf,
    /// `signing_key.rotation`: how long a key signs; `None` rotates by command only.
    pub rotation: Option<Duration>,
    /// `signing_key.publish_before`: how long a key is published before it signs.
    pub publish_before: Duration,
    /// `signing_key.retire_after`: how long a key stays published after it signed last.
    pub retire_after: Duration,
    /// Make a missing key (the local shape) or refuse to start (a hosted broker).
    pub generate_missing: bool,
    /// Lets tests and demos rotate faster than caches allow.
    pub development: bool,
}

impl IssuerSettings {
    /// The defaults of `broker.yaml`.
    pub fn new(url: IssuerUrl, directory: PathBuf) -> Self {
        Self {
            url,
            directory,
            rotation: Some(Duration::from_secs(30 * 86_400)),
            publish_before: Duration::from_secs(86_400),
            retire_after: Duration::from_secs(7_200),
            generate_missing: false,
            development: false,
        }
    }

    /// Every setting that is out of bounds, so that all are named at once.
    pub fn errors(&self) -> Vec<SettingError> {
        let mut errors = Vec::new();
        let mut wrong = |key, reason: String| errors.push(SettingError { key, reason });
        if !self.development {
            if self.publish_before < JWKS_MAX_AGE {
                wrong(
                    "signing_key.publish_before",
                    format!(
                        "{} is shorter than the {} for which the key set may be cached: tokens of a new key would be refused",
                        duration::format(self.publish_before),
                        duration::format(JWKS_MAX_AGE)
                    ),
                );
            }
            let least = MAX_TOKEN_TTL + JWKS_MAX_AGE;
            if self.retire_after < least {
                wrong(
                    "signing_key.retire_after",
                    format!(
                        "{} is shorter than {}, the longest token and the cache of the key set together: valid tokens would be refused",
                        duration::format(self.retire_after),
                        duration::format(least)
                    ),
                );
            }
        }
        if let Some(rotation) = self.rotation
            && rotation <= self.publish_before
        {
            wrong(
                "signing_key.rotation",
                format!(
                    "{} leaves no time to publish the next key for {} first",
                    duration::format(rotation),
                    duration::format(self.publish_before)
                ),
            );
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> IssuerSettings {
        IssuerSettings::new(IssuerUrl::parse("http://localhost:8090").unwrap(), PathBuf::from("signing-keys"))
    }

    #[test]
    fn a_key_that_signs_before_caches_know_it_is_refused_unless_in_development() {
        let mut settings = settings();
        assert_eq!(settings.errors(), []);
        settings.publish_before = Duration::from_secs(299);
        settings.retire_after = Duration::from_secs(3_899);
        let keys: Vec<_> = settings.errors().iter().map(|e| e.key).collect();
        assert_eq!(keys, ["signing_key.publish_before", "signing_key.retire_after"]);
        settings.development = true;
        assert_eq!(settings.errors(), []);
        settings.rotation = Some(settings.publish_before);
        assert_eq!(settings.errors()[0].key, "signing_key.rotation");
    }
}
