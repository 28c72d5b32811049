//! One minted credential in each of the shapes that SDKs read. Field names are
//! AWS's own; a missing expiration would make an SDK keep a key forever, so
//! every shape has one.

use agentkeys_core::wire::{MintAwsResponse, expose};
use agentkeys_core::{RoleAlias, SessionId};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// What a `credential_process` prints.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ProcessAnswer<'a> {
    version: u8,
    access_key_id: &'a str,
    #[serde(serialize_with = "expose_ref")]
    secret_access_key: &'a SecretString,
    #[serde(serialize_with = "expose_ref")]
    session_token: &'a SecretString,
    expiration: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
}

impl<'a> From<&'a MintAwsResponse> for ProcessAnswer<'a> {
    fn from(minted: &'a MintAwsResponse) -> Self {
        Self {
            version: 1,
            access_key_id: &minted.access_key_id,
            secret_access_key: &minted.secret_access_key,
            session_token: &minted.session_token,
            expiration: minted.expiration.to_string(),
            account_id: account(&minted.role_arn),
        }
    }
}

/// What a container endpoint answers: `Token`, not `SessionToken`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerAnswer<'a> {
    access_key_id: &'a str,
    #[serde(serialize_with = "expose_ref")]
    secret_access_key: &'a SecretString,
    #[serde(serialize_with = "expose_ref")]
    token: &'a SecretString,
    expiration: String,
    role_arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account_id: Option<&'a str>,
}

impl<'a> From<&'a MintAwsResponse> for ContainerAnswer<'a> {
    fn from(minted: &'a MintAwsResponse) -> Self {
        Self {
            access_key_id: &minted.access_key_id,
            secret_access_key: &minted.secret_access_key,
            token: &minted.session_token,
            expiration: minted.expiration.to_string(),
            role_arn: &minted.role_arn,
            account_id: account(&minted.role_arn),
        }
    }
}

/// What the instance metadata service answers.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetadataAnswer<'a> {
    code: &'static str,
    last_updated: String,
    #[serde(rename = "Type")]
    kind: &'static str,
    access_key_id: &'a str,
    #[serde(serialize_with = "expose_ref")]
    secret_access_key: &'a SecretString,
    #[serde(serialize_with = "expose_ref")]
    token: &'a SecretString,
    expiration: String,
}

impl<'a> MetadataAnswer<'a> {
    /// The answer for a credential that was minted at `minted_at`.
    pub fn new(minted: &'a MintAwsResponse, minted_at: agentkeys_core::Timestamp) -> Self {
        Self {
            code: "Success",
            last_updated: minted_at.to_string(),
            kind: "AWS-HMAC",
            access_key_id: &minted.access_key_id,
            secret_access_key: &minted.secret_access_key,
            token: &minted.session_token,
            expiration: minted.expiration.to_string(),
        }
    }
}

/// What the daemon hands to the command line over its socket: the credential,
/// and for whom and what it was minted, so that the other side can tell whether
/// it is the one it would have minted itself.
#[derive(Serialize, Deserialize)]
pub struct SocketAnswer {
    /// The session it was minted for.
    pub session_id: SessionId,
    /// The role that was asked for.
    pub role: Option<RoleAlias>,
    /// Was reading alone asked for?
    pub read_only: bool,
    /// The credential.
    pub minted: MintAwsResponse,
}

/// The variables that give a child process this credential and its place.
pub fn variables(minted: &MintAwsResponse) -> Vec<(&'static str, SecretString)> {
    let environment = &minted.environment;
    let mut all: Vec<(&'static str, SecretString)> = vec![
        ("AWS_ACCESS_KEY_ID", minted.access_key_id.clone().into()),
        ("AWS_SECRET_ACCESS_KEY", minted.secret_access_key.clone()),
        ("AWS_SESSION_TOKEN", minted.session_token.clone()),
        ("AWS_CREDENTIAL_EXPIRATION", minted.expiration.to_string().into()),
        ("AWS_REGION", minted.region.clone().into()),
        ("AWS_DEFAULT_REGION", minted.region.clone().into()),
        ("AGENTKEYS_USER_WALLET", minted.wallet.as_str().into()),
        ("AGENTKEYS_BUCKET", environment.bucket.clone().into()),
        ("AGENTKEYS_PREFIX", environment.prefix.clone().into()),
        ("AGENTKEYS_MAIL_DOMAIN", environment.mail_domain.clone().into()),
        ("AGENTKEYS_SIGNUP_EMAIL", environment.signup_address.clone().into()),
    ];
    if let Some(endpoint) = &environment.s3_endpoint {
        all.push(("AWS_ENDPOINT_URL_S3", endpoint.clone().into()));
    }
    all
}

/// Variables of the parent by which an SDK would find another identity than the
/// one given, or in addition to it.
pub const FOREIGN_VARIABLES: &[&str] = &[
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_SECURITY_TOKEN",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
];

/// The account in `arn:aws:iam::123456789012:role/…`.
fn account(role_arn: &str) -> Option<&str> {
    role_arn.split(':').nth(4).filter(|account| account.len() == 12)
}

fn expose_ref<S: serde::Serializer>(secret: &&SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    expose(secret, serializer)
}

/// A text as one word of a POSIX shell.
pub fn shell_word(text: &SecretString) -> SecretString {
    SecretString::from(format!("'{}'", text.expose_secret().replace('\'', r"'\''")))
}
