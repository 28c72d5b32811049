//! What can go wrong in the issuer, in the operator's words. No variant ever
//! holds key material.

use std::path::PathBuf;

use agentkeys_core::{Code, Problem, Timestamp};

/// A private file or its directory is not as private as it must be.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It can be read or written by others.
    #[error("{path} has mode {mode:04o}, so others may read it; run: chmod {wanted:o} {path}")]
    LooseMode {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The mode it should have.
        wanted: u32,
    },
    /// Another user owns it.
    #[error(
        "{path} belongs to user {owner}, not to user {expected} that runs the broker; run: chown {expected} {path}"
    )]
    ForeignOwner {
        /// The file.
        path: PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who should.
        expected: u32,
    },
    /// It is a symbolic link.
    #[error("{path} is a symbolic link; put the file itself there")]
    SymbolicLink {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory, a FIFO or a device, or not a directory where one is due.
    #[error("{path} is not a regular {wanted}")]
    WrongKind {
        /// The file.
        path: PathBuf,
        /// `file` or `directory`.
        wanted: &'static str,
    },
    /// It is larger than such a file can be.
    #[error("{path} is larger than {limit} bytes, so it is not what the broker wrote")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
}

/// The keys cannot be read, changed or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file is missing, too open or unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not a PKCS#8 PEM of a P-256 key.
    #[error("{path} is not a P-256 private key in PKCS#8 PEM ('-----BEGIN PRIVATE KEY-----')")]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The file holds another key than the one its record names.
    #[error(
        "{path} holds a key with the id {found}, but its record says {recorded}; restore the right file from a backup"
    )]
    WrongKey {
        /// The file.
        path: PathBuf,
        /// The id of the key in it.
        found: String,
        /// The id in `keys.json`.
        recorded: String,
    },
    /// `keys.json` cannot be understood.
    #[error("{path} cannot be read: {reason}")]
    BadRecord {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Key files lie there without the record of their states.
    #[error(
        "{directory} holds private keys but no keys.json, so it is unknown which one may sign; restore keys.json from a backup, or move the files away"
    )]
    OrphanKeys {
        /// The directory.
        directory: PathBuf,
    },
    /// Another process is changing the keys at this moment.
    #[error("another process is changing the keys in {directory}; try again")]
    Busy {
        /// The directory.
        directory: PathBuf,
    },
    /// No key can sign, and this broker does not make one by itself.
    #[error(
        "there is no signing key in {place}, and this broker never makes one silently: run 'agentkeys-broker-server keys generate' (a lost key directory would otherwise change the identity that AWS trusts)"
    )]
    NoCurrentKey {
        /// Where it looked.
        place: String,
    },
    /// A next key is there already.
    #[error(
        "the key {kid} is next already; run 'keys rotate' to let it sign, or 'keys retire {kid}' to drop it"
    )]
    NextExists {
        /// The next key.
        kid: String,
    },
    /// There is nothing to rotate to.
    #[error(
        "there is no next key; run 'keys generate' first and wait until it has been published for {wait}"
    )]
    NoNextKey {
        /// `publish_before`, as an operator writes it.
        wait: String,
    },
    /// The next key is not known to those who verify yet.
    #[error(
        "the key {kid} may sign from {at} on: until then AWS may hold a copy of the key set without it; '--force' rotates at once and may break exchanges for a while"
    )]
    PublishedTooShort {
        /// The next key.
        kid: String,
        /// When it may sign.
        at: Timestamp,
    },
    /// The current key cannot be taken away.
    #[error("the key {kid} signs now; run 'keys rotate' first, then retire it")]
    CurrentKey {
        /// The current key.
        kid: String,
    },
    /// A retired key still verifies tokens.
    #[error(
        "the key {kid} is retired and leaves the key set at {at}, when the last token it signed has ended; '--now' drops it at once, and those tokens with it"
    )]
    StillNeeded {
        /// The key.
        kid: String,
        /// When it leaves by itself.
        at: Timestamp,
    },
    /// There is no such key.
    #[error("there is no key {kid}; 'keys list' shows them")]
    UnknownKey {
        /// What was asked for.
        kid: String,
    },
    /// Too many keys would be published.
    #[error(
        "{count} keys are published already, and {limit} is the most; wait until a retired key leaves, or drop one with 'keys retire KID --now'"
    )]
    TooMany {
        /// How many there are.
        count: usize,
        /// The cap.
        limit: usize,
    },
    /// The keys live elsewhere (KMS), so this process cannot change them.
    #[error("these keys are held by {place}; they change there and in broker.yaml")]
    ReadOnly {
        /// Where they live.
        place: String,
    },
    /// A setting would break those who cache the key set.
    #[error("{0}")]
    Settings(String),
    /// The crypto library refused.
    #[error("the crypto library failed: {0}")]
    Crypto(&'static str),
}

/// A setting of the issuer is out of bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct SettingError {
    /// The setting, as in broker.yaml.
    pub key: &'static str,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// A token cannot be minted.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// Asked for a life outside the bounds.
    #[error("ttl_seconds is {0}; it must lie between 60 and 3600")]
    TtlOutOfRange(u32),
    /// Asked for an audience that is none.
    #[error("an audience is 1 to 255 printable ASCII characters without a space")]
    BadAudience,
    /// The source identity would be refused by AWS.
    #[error("a source identity is 2 to 64 letters, digits and any of _+=,.@-")]
    BadSourceIdentity,
    /// The session has ended.
    #[error("the session has ended")]
    SessionEnded,
    /// The key did not sign.
    #[error("the key {kid} did not sign: {reason}")]
    Sign {
        /// The key.
        kid: String,
        /// Why.
        reason: String,
    },
    /// The header or claims did not become JSON.
    #[error("the token cannot be written: {0}")]
    Encode(#[from] serde_json::Error),
}

impl From<IssuerError> for Problem {
    fn from(error: IssuerError) -> Self {
        match error {
            IssuerError::TtlOutOfRange(_) | IssuerError::BadAudience => Self::bad_request(error.to_string()),
            IssuerError::SessionEnded => Self::invalid_token().because(error),
            IssuerError::Sign { .. } => {
                Self::new(Code::NotReady, "The broker's signing key cannot be used at the moment.")
                    .because(error)
                    .retry_after(std::time::Duration::from_secs(5))
            }
            IssuerError::BadSourceIdentity | IssuerError::Encode(_) => Self::internal(error),
        }
    }
}
