//! The JSON that clients and the broker exchange. Requests refuse unknown
//! fields, so that a misspelt limit is an error and not a wider credential.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use crate::grant::RoleAlias;
use crate::mint_id::MintId;
use crate::scope::Scope;
use crate::session::{SessionId, SessionKind};
use crate::timestamp::Timestamp;
use crate::wallet::Wallet;

/// `POST /v1/mint-oidc-jwt`. An empty body is `{}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintJwtRequest {
    /// Who the token is for; `sts.amazonaws.com` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The token's life in seconds, 60 to 3600; 300 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u32>,
}

/// The answer to [`MintJwtRequest`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MintJwtResponse {
    /// The signed token.
    #[serde(serialize_with = "expose")]
    pub jwt: SecretString,
    /// The wallet it names.
    pub wallet: Wallet,
    /// When it ends.
    pub expiration: Timestamp,
    /// The key that signed it.
    pub kid: String,
    /// The mint.
    pub mint_id: MintId,
}

/// `POST /v1/mint-aws-creds`. An empty body is `{}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MintAwsRequest {
    /// The role alias. Unless said: the broker's default role, or the only one that is granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleAlias>,
    /// The credential's life in seconds, 900 to the ceiling; the ceiling unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<u32>,
    /// Ask for a credential that only reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

/// The answer to [`MintAwsRequest`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MintAwsResponse {
    /// The access key id.
    pub access_key_id: String,
    /// The secret key.
    #[serde(serialize_with = "expose")]
    pub secret_access_key: SecretString,
    /// The session token.
    #[serde(serialize_with = "expose")]
    pub session_token: SecretString,
    /// When they end.
    pub expiration: Timestamp,
    /// The wallet they reach.
    pub wallet: Wallet,
    /// The role that was assumed.
    pub role_arn: String,
    /// The AWS region to use.
    pub region: String,
    /// What else a client needs to know.
    pub environment: Environment,
    /// The mint.
    pub mint_id: MintId,
}

/// `GET /v1/environment`: all that a client needs besides credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The AWS region.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// The wallet's own prefix in it, ending in `/`.
    pub prefix: String,
    /// The mail domain.
    pub mail_domain: String,
    /// An address at that domain whose mail arrives under the prefix.
    pub signup_address: String,
    /// Another S3 endpoint, where the operator configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3_endpoint: Option<String>,
}

/// `GET /v1/session`: who am I.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// The session.
    pub session_id: SessionId,
    /// The wallet it acts for.
    pub wallet: Wallet,
    /// How it came to be.
    pub kind: SessionKind,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// What it may do.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SessionId>,
}

/// `GET /v1/sessions`: the caller's own session and those that descend from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    /// Newest first; live ones only.
    pub sessions: Vec<SessionView>,
}

/// A new session: the one time its token is shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NewSessionResponse {
    /// The bearer token.
    #[serde(serialize_with = "expose")]
    pub token: SecretString,
    /// Its id.
    pub session_id: SessionId,
    /// The wallet it acts for.
    pub wallet: Wallet,
    /// When it ends.
    pub expires_at: Timestamp,
    /// What it may do.
    pub scope: Scope,
}

/// `POST /v1/sessions/challenge`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// The wallet that will sign.
    pub wallet: Wallet,
}

/// The answer to [`ChallengeRequest`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChallengeResponse {
    /// The EIP-4361 message to sign as it stands (`personal_sign`).
    pub message: String,
    /// The nonce in it; single use.
    pub nonce: String,
    /// When the nonce ends.
    pub expires_at: Timestamp,
}

/// `POST /v1/sessions`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartSessionRequest {
    /// The message of the challenge, byte for byte.
    pub message: String,
    /// The 65-byte recoverable signature, `0x` and 130 hexadecimal digits.
    pub signature: String,
    /// The operator's one-time code, where enrolment asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invite: Option<String>,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// `PUT /v1/credentials/{service}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreCredentialRequest {
    /// The secret; at most 65,536 bytes.
    #[serde(serialize_with = "expose")]
    pub value: SecretString,
}

/// `GET /v1/credentials/{service}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredCredential {
    /// The service.
    pub service: String,
    /// The secret.
    #[serde(serialize_with = "expose")]
    pub value: SecretString,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// One row of `GET /v1/credentials`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialSummary {
    /// The service.
    pub service: String,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// `GET /v1/credentials`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialList {
    /// By service.
    pub credentials: Vec<CredentialSummary>,
}

/// The one way a secret is written into JSON: on purpose, in a wire type.
pub fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}
