//! What a token says: the claims of an OIDC token that AWS maps to session tags.
//!
//! The wallet comes verbatim from the verified session. Nothing here shortens,
//! guesses or defaults an identity: what AWS would not take is refused.

use std::collections::BTreeMap;

use agentkeys_core::grant::is_audience;
use agentkeys_core::{MintId, Timestamp, Wallet};
use serde::Serialize;

use super::error::IssuerError;

/// The tag, and the top-level claim, that carry the wallet.
pub const WALLET_TAG: &str = "agentkeys_user_wallet";

/// The bounds of a token's life that may be asked for, in seconds.
pub const TTL_SECONDS: std::ops::RangeInclusive<u32> = 60..=3600;

/// What a mint asks of the issuer.
#[derive(Clone, Debug)]
pub struct MintClaims {
    /// Whom the token names.
    pub wallet: Wallet,
    /// Who it is for.
    pub audience: String,
    /// How long it should live.
    pub ttl_seconds: u32,
    /// When the session ends: the token never outlives it.
    pub session_expires_at: Timestamp,
    /// The mint, and the token's `jti`.
    pub mint_id: MintId,
    /// `sts:SourceIdentity`, where configured.
    pub source_identity: Option<String>,
    /// Now.
    pub now: Timestamp,
}

/// The claims as they are signed.
#[derive(Clone, Debug, Serialize)]
pub struct Claims {
    iss: String,
    sub: String,
    aud: String,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
    agentkeys_user_wallet: String,
    #[serde(rename = "https://aws.amazon.com/tags")]
    tags: Tags,
    #[serde(rename = "https://aws.amazon.com/source_identity", skip_serializing_if = "Option::is_none")]
    source_identity: Option<String>,
}

/// The one claim that IAM turns into principal tags. A claim of another name is
/// invisible to it, and an untagged session under a broad role reaches every wallet.
#[derive(Clone, Debug, Serialize)]
struct Tags {
    principal_tags: BTreeMap<&'static str, [String; 1]>,
    transitive_tag_keys: [&'static str; 1],
}

impl Claims {
    /// The claims of this mint, or why AWS would not take them.
    pub fn new(issuer: &str, mint: &MintClaims) -> Result<Self, IssuerError> {
        if !TTL_SECONDS.contains(&mint.ttl_seconds) {
            return Err(IssuerError::TtlOutOfRange(mint.ttl_seconds));
        }
        if !is_audience(&mint.audience) {
            return Err(IssuerError::BadAudience);
        }
        if mint.source_identity.as_deref().is_some_and(|text| !is_source_identity(text)) {
            return Err(IssuerError::BadSourceIdentity);
        }
        if mint.session_expires_at <= mint.now {
            return Err(IssuerError::SessionEnded);
        }
        let expires_at = mint.now.plus(mint.ttl_seconds.into()).min(mint.session_expires_at);
        let wallet = mint.wallet.as_str().to_owned();
        Ok(Self {
            iss: issuer.to_owned(),
            sub: subject(&mint.wallet),
            aud: mint.audience.clone(),
            iat: mint.now.unix(),
            nbf: mint.now.unix(),
            exp: expires_at.unix(),
            jti: mint.mint_id.to_string(),
            tags: Tags {
                principal_tags: BTreeMap::from([(WALLET_TAG, [wallet.clone()])]),
                transitive_tag_keys: [WALLET_TAG],
            },
            agentkeys_user_wallet: wallet,
            source_identity: mint.source_identity.clone(),
        })
    }

    /// When the token ends.
    pub fn expires_at(&self) -> Timestamp {
        Timestamp::from_unix(self.exp)
    }
}

/// The `sub` of a wallet's tokens.
pub fn subject(wallet: &Wallet) -> String {
    format!("agentkeys:agent:{wallet}")
}

/// Would AWS take it? 64 characters is what its older documentation allows.
pub fn is_source_identity(text: &str) -> bool {
    (2..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn mint() -> MintClaims {
        MintClaims {
            wallet: "0x52908400098527886E0F7030069857D2E4169EE7".parse().unwrap(),
            audience: "sts.amazonaws.com".to_owned(),
            ttl_seconds: 300,
            session_expires_at: Timestamp::from_unix(1_790_010_000),
            mint_id: "01K5ZZZZZZZZZZZZZZZZZZZZZZ".parse().unwrap(),
            source_identity: None,
            now: Timestamp::from_unix(1_790_000_000),
        }
    }

    #[test]
    fn the_claims_are_exactly_these() {
        let claims = Claims::new("https://broker.example.com", &mint()).unwrap();
        assert_eq!(
            serde_json::to_value(&claims).unwrap(),
            serde_json::json!({
                "iss": "https://broker.example.com",
                "sub": "agentkeys:agent:0x52908400098527886e0f7030069857d2e4169ee7",
                "aud": "sts.amazonaws.com",
                "iat": 1_790_000_000,
                "nbf": 1_790_000_000,
                "exp": 1_790_000_300,
                "jti": "01K5ZZZZZZZZZZZZZZZZZZZZZZ",
                "agentkeys_user_wallet": "0x52908400098527886e0f7030069857d2e4169ee7",
                "https://aws.amazon.com/tags": {
                    "principal_tags": {
                        "agentkeys_user_wallet": ["0x52908400098527886e0f7030069857d2e4169ee7"]
                    },
                    "transitive_tag_keys": ["agentkeys_user_wallet"]
                }
            })
        );
        let named = MintClaims { source_identity: Some("ses-1@broker".to_owned()), ..mint() };
        let json = serde_json::to_value(Claims::new("https://b.example", &named).unwrap()).unwrap();
        assert_eq!(json["https://aws.amazon.com/source_identity"], "ses-1@broker");
    }

    #[test]
    fn a_token_never_outlives_its_session() {
        let late = MintClaims { session_expires_at: Timestamp::from_unix(1_790_000_120), ..mint() };
        assert_eq!(Claims::new("https://b.example", &late).unwrap().expires_at().unix(), 1_790_000_120);
        let ended = MintClaims { session_expires_at: Timestamp::from_unix(1_790_000_000), ..mint() };
        assert!(matches!(Claims::new("https://b.example", &ended), Err(IssuerError::SessionEnded)));
    }

    #[test]
    fn what_aws_would_refuse_is_refused_and_never_shortened() {
        for ttl_seconds in [0, 59, 3601, u32::MAX] {
            let asked = MintClaims { ttl_seconds, ..mint() };
            assert!(matches!(Claims::new("i", &asked), Err(IssuerError::TtlOutOfRange(_))), "{ttl_seconds}");
        }
        for audience in ["", "two words", "snow\u{2603}", &"a".repeat(256)] {
            let asked = MintClaims { audience: audience.to_owned(), ..mint() };
            assert!(matches!(Claims::new("i", &asked), Err(IssuerError::BadAudience)), "{audience}");
        }
        for identity in ["", "a", "a b", "a\"b", "a/b", "\u{1f511}\u{1f511}", &"a".repeat(65)] {
            let asked = MintClaims { source_identity: Some(identity.to_owned()), ..mint() };
            assert!(matches!(Claims::new("i", &asked), Err(IssuerError::BadSourceIdentity)), "{identity}");
        }
    }
}
