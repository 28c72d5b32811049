//! Temporary AWS credentials as STS gives them. They cannot be printed.

use secrecy::SecretString;

use crate::timestamp::Timestamp;

/// One set of temporary credentials.
#[derive(Clone, Debug)]
pub struct AwsCredentials {
    /// The access key id (`ASIA…`): not a secret by itself.
    pub access_key_id: String,
    /// The secret key.
    pub secret_access_key: SecretString,
    /// The session token.
    pub session_token: SecretString,
    /// When they end.
    pub expiration: Timestamp,
}
