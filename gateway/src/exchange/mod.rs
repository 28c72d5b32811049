//! The STS exchange. With the KMS signer and the secret references, the only room that imports an AWS crate.
//!
//! Two modes behind one trait; both send a session policy, wait a bounded time and
//! trust nothing that comes back. A failure never falls through to another mode,
//! another identity or the operator's own key.

pub mod answer;
mod answer_limit;
pub mod assume_role;
pub mod breaker;
pub mod client;
pub mod daemon_key;
pub mod error;
pub mod failure;
pub mod gate;
pub mod identity;
mod policy_template;
pub mod prefix;
pub mod role_arn;
pub mod session_policy;
pub mod settings;
pub mod web_identity;
pub mod wire;

use std::fmt;
use std::sync::Arc;

use agentkeys_core::{AwsCredentials, MintId, Timestamp, Wallet};
use async_trait::async_trait;

pub use assume_role::AssumeRole;
pub use daemon_key::{DaemonKey, DaemonKeySlot};
pub use error::ExchangeError;
pub use gate::Gate;
pub use identity::{CallerIdentity, IdentityWatch};
pub use prefix::PrefixTemplate;
pub use role_arn::RoleArn;
pub use session_policy::{PolicyError, PolicyValues, SessionPolicy};
pub use settings::ExchangeSettings;
pub use web_identity::WebIdentity;

use crate::issuer::claims::is_source_identity;
use crate::issuer::{Issuer, IssuerUrl};

/// How credentials are got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeMode {
    /// `sts:AssumeRoleWithWebIdentity`.
    WebIdentity,
    /// Signed `sts:AssumeRole`.
    AssumeRole,
}

impl fmt::Display for ExchangeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WebIdentity => "web_identity",
            Self::AssumeRole => "assume_role",
        })
    }
}

/// Got by asking STS; the one thing a handler knows of this room.
#[async_trait]
pub trait CredentialExchange: Send + Sync {
    /// Which mode it is.
    fn mode(&self) -> ExchangeMode;

    /// One exchange.
    async fn exchange(&self, request: &ExchangeRequest) -> Result<ExchangeAnswer, ExchangeError>;
}

/// What one mint asks for.
#[derive(Clone, Debug)]
pub struct ExchangeRequest {
    /// Whose credential it is.
    pub wallet: Wallet,
    /// When the session ends: the credential never outlives it.
    pub session_expires_at: Timestamp,
    /// The role.
    pub role_arn: RoleArn,
    /// From [`session_name`].
    pub session_name: String,
    /// The credential's life, 900 to 43,200 s.
    pub duration_seconds: u32,
    /// From [`SessionPolicy::render`].
    pub policy: String,
    /// The mint.
    pub mint_id: MintId,
    /// `sts:SourceIdentity`, where configured.
    pub source_identity: Option<String>,
    /// Now.
    pub now: Timestamp,
}

/// What came back, and can be trusted.
#[derive(Clone, Debug)]
pub struct ExchangeAnswer {
    /// The credentials.
    pub credentials: AwsCredentials,
    /// The assumed role; `None` only from an STS that is not AWS.
    pub assumed_role_arn: Option<String>,
    /// The key that signed the token, where there was one.
    pub kid: Option<String>,
    /// STS's own id of the request.
    pub request_id: Option<String>,
    /// How full the session policy is, in percent.
    pub packed_policy_size: Option<i32>,
}

impl ExchangeRequest {
    /// The life to ask for: never past the session's end, and nothing that STS
    /// would refuse anyway.
    fn checked_duration(&self) -> Result<u32, ExchangeError> {
        let bad = |reason: &str| Err(ExchangeError::BadRequest(reason.to_owned()));
        if !(900..=43_200).contains(&self.duration_seconds) {
            return bad("a duration outside 900 to 43200 seconds");
        }
        if !is_session_name(&self.session_name) || !self.session_name.contains(&self.mint_id.to_string()) {
            return bad("a session name that is none, or lacks the mint id");
        }
        if self.policy.is_empty() || self.policy.chars().count() > session_policy::MAX_POLICY_CHARS {
            return bad("no session policy, or one that is too long");
        }
        if self.source_identity.as_deref().is_some_and(|text| !is_source_identity(text)) {
            return bad("a source identity that is none");
        }
        let left = self.session_expires_at.seconds_since(self.now);
        let duration = u64::from(self.duration_seconds).min(left);
        match u32::try_from(duration) {
            Ok(seconds) if seconds >= 900 => Ok(seconds),
            _ => Err(ExchangeError::SessionTooShort(left)),
        }
    }

    /// The time of an attempt: the request's own for the first, the clock's after.
    fn now_at(&self, retry: u32) -> Timestamp {
        if retry == 0 { self.now } else { Timestamp::now() }
    }
}

/// The name that CloudTrail shows: the mint id, then as much of the wallet as fits.
/// The wallet is there for the eye; the tag carries it whole.
pub fn session_name(mint_id: MintId, wallet: &Wallet) -> String {
    let mut name = format!("{mint_id}-{wallet}");
    name.truncate(64);
    name
}

fn is_session_name(text: &str) -> bool {
    (2..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
}

/// `aws.exchange`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeSetting {
    /// By the issuer.
    #[default]
    Auto,
    /// Always federate.
    WebIdentity,
    /// Always sign.
    AssumeRole,
}

/// The mode and the reason, which is logged at start.
pub fn choose(setting: ModeSetting, issuer: &IssuerUrl) -> (ExchangeMode, String) {
    match setting {
        ModeSetting::WebIdentity => (ExchangeMode::WebIdentity, "aws.exchange says web_identity".to_owned()),
        ModeSetting::AssumeRole => (ExchangeMode::AssumeRole, "aws.exchange says assume_role".to_owned()),
        ModeSetting::Auto if issuer.is_public_https() => (
            ExchangeMode::WebIdentity,
            format!("the issuer {issuer} is a public https URL, so AWS can fetch its keys"),
        ),
        ModeSetting::Auto => (
            ExchangeMode::AssumeRole,
            format!("the issuer {issuer} is not a public https URL, so AWS cannot fetch its keys"),
        ),
    }
}

/// The exchange of a mode. Build it where it will run: connections belong to the
/// runtime that first uses them.
pub fn build(
    mode: ExchangeMode,
    settings: &ExchangeSettings,
    issuer: Arc<Issuer>,
    gate: Arc<Gate>,
    key: DaemonKeySlot,
) -> Arc<dyn CredentialExchange> {
    match mode {
        ExchangeMode::WebIdentity => Arc::new(WebIdentity::new(settings, issuer, gate, key)),
        ExchangeMode::AssumeRole => Arc::new(AssumeRole::new(settings, gate, key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ExchangeRequest {
        let wallet = Wallet::from_bytes([0xab; 20]);
        let mint_id = MintId::generate();
        ExchangeRequest {
            session_name: session_name(mint_id, &wallet),
            wallet,
            session_expires_at: Timestamp::from_unix(1_790_010_000),
            role_arn: "arn:aws:iam::123456789012:role/agentkeys-agent".parse().unwrap(),
            duration_seconds: 3_600,
            policy: "{}".to_owned(),
            mint_id,
            source_identity: None,
            now: Timestamp::from_unix(1_790_000_000),
        }
    }

    #[test]
    fn a_session_name_is_one_that_aws_takes_and_names_the_mint() {
        let request = request();
        assert!(is_session_name(&request.session_name));
        assert_eq!(request.session_name.len(), 64);
        assert!(request.session_name.starts_with(&format!("{}-0xabab", request.mint_id)));
    }

    #[test]
    fn a_credential_never_outlives_its_session() {
        let now = Timestamp::from_unix(1_790_000_000);
        assert_eq!(request().checked_duration().unwrap(), 3_600);
        let ends_soon = ExchangeRequest { session_expires_at: now.plus(1_000), ..request() };
        assert_eq!(ends_soon.checked_duration().unwrap(), 1_000);
        let too_soon = ExchangeRequest { session_expires_at: now.plus(899), ..request() };
        assert!(matches!(too_soon.checked_duration(), Err(ExchangeError::SessionTooShort(899))));
    }

    #[test]
    fn what_sts_never_takes_is_not_sent() {
        for request in [
            ExchangeRequest { duration_seconds: 899, ..request() },
            ExchangeRequest { duration_seconds: 43_201, ..request() },
            ExchangeRequest { session_name: "no-mint-id".to_owned(), ..request() },
            ExchangeRequest { policy: String::new(), ..request() },
            ExchangeRequest { policy: "x".repeat(2_049), ..request() },
            ExchangeRequest { source_identity: Some("a b".to_owned()), ..request() },
        ] {
            assert!(matches!(request.checked_duration(), Err(ExchangeError::BadRequest(_))), "{request:?}");
        }
    }

    #[test]
    fn auto_federates_only_where_aws_can_reach_the_keys() {
        for (issuer, mode) in [
            ("https://broker.example.com", ExchangeMode::WebIdentity),
            ("http://localhost:8090", ExchangeMode::AssumeRole),
            ("https://broker.example.com:8443", ExchangeMode::AssumeRole),
            ("https://10.0.0.1", ExchangeMode::AssumeRole),
        ] {
            let (chosen, reason) = choose(ModeSetting::Auto, &IssuerUrl::parse(issuer).unwrap());
            assert_eq!(chosen, mode, "{issuer}");
            assert!(reason.contains(issuer), "{reason}");
        }
        let local = IssuerUrl::parse("http://localhost:8090").unwrap();
        assert_eq!(choose(ModeSetting::WebIdentity, &local).0, ExchangeMode::WebIdentity);
    }
}
