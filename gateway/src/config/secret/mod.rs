//! References to secrets, and reading what they name. A configuration holds the
//! reference; the secret itself is read once, at start, into a type that cannot
//! be printed. No message here repeats a secret or what might be one.

mod file;
mod op;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

use super::data_dir::Places;
use super::document::Value;
use super::environment::Environment;

/// The longest wait for a secret that a program fetches.
pub const FETCH_DEADLINE: Duration = Duration::from_secs(15);
/// More than any secret; less than harm.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

const HOW: &str = "write a reference: env:NAME, file:PATH or op://vault/item/field";

/// Where a secret is. Safe to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// `env:NAME`.
    Variable(String),
    /// `file:PATH`.
    File(PathBuf),
    /// `op://vault/item/field`.
    OnePassword(String),
    /// `kms:BASE64`: sealed with AWS KMS.
    Kms(String),
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The variable is not there.
    #[error("the variable {0} is not set")]
    Unset(String),
    /// The file cannot be used.
    #[error("the secret file {path} {reason}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// 1Password's CLI did not give it.
    #[error("{reference} {reason}")]
    OnePassword {
        /// Which.
        reference: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Recognised for later.
    #[error("kms: references are not built yet; use env:, file: or op://")]
    KmsNotBuilt,
}

impl SecretRef {
    pub(super) fn parse(value: &Value, places: &Places) -> Result<Self, String> {
        let Value::Text(text) = value else {
            return Err(format!("is {}; {HOW}", value.kind()));
        };
        if let Some(name) = text.strip_prefix("env:") {
            return if is_variable(name) {
                Ok(Self::Variable(name.to_owned()))
            } else {
                Err("names no environment variable after env: (letters, digits and '_')".to_owned())
            };
        }
        if let Some(path) = text.strip_prefix("file:") {
            return match path {
                "" => Err("names no path after file:".to_owned()),
                path if path.chars().any(char::is_control) => Err("holds a control character".to_owned()),
                path => places.file(path).map(Self::File),
            };
        }
        if let Some(path) = text.strip_prefix("op://") {
            let segments: Vec<_> = path.split('/').collect();
            let whole = (3..=4).contains(&segments.len())
                && segments.iter().all(|segment| !segment.trim().is_empty())
                && text.len() <= 1024
                && !text.chars().any(char::is_control);
            return if whole {
                Ok(Self::OnePassword(text.clone()))
            } else {
                Err("is not op://vault/item/field or op://vault/item/section/field".to_owned())
            };
        }
        if let Some(sealed) = text.strip_prefix("kms:") {
            return match STANDARD.decode(sealed) {
                Ok(bytes) if !bytes.is_empty() => Err(SecretError::KmsNotBuilt.to_string()),
                _ => Err("has no base64 after kms:".to_owned()),
            };
        }
        Err(format!("holds the secret itself, which is refused here (and should be replaced now); {HOW}"))
    }

    /// False where it names a variable that is not set.
    pub(super) fn is_set(&self, environment: &Environment) -> bool {
        match self {
            Self::Variable(name) => environment.has(name),
            _ => true,
        }
    }

    /// Reads the secret. Nothing waits longer than `deadline`.
    pub async fn resolve(
        &self,
        environment: &Environment,
        deadline: Duration,
    ) -> Result<SecretString, SecretError> {
        match self {
            Self::Variable(name) => {
                environment.secret(name).cloned().ok_or_else(|| SecretError::Unset(name.clone()))
            }
            Self::File(path) => {
                let (path, named) = (path.clone(), path.clone());
                tokio::task::spawn_blocking(move || file::read(&path)).await.unwrap_or_else(|_| {
                    Err(SecretError::File {
                        path: named,
                        reason: "could not be read: the reader stopped".to_owned(),
                    })
                })
            }
            Self::OnePassword(reference) => op::read(reference, environment, deadline).await,
            Self::Kms(_) => Err(SecretError::KmsNotBuilt),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::OnePassword(reference) => f.write_str(reference),
            Self::Kms(_) => f.write_str("kms:…"),
        }
    }
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 128
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// References to the two halves of the operator's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonKey {
    /// The access key id.
    pub access_key_id: SecretRef,
    /// The secret access key.
    pub secret_access_key: SecretRef,
}

/// The operator's key itself, not yet looked at; `exchange::DaemonKey` does.
/// Its `Debug` shows nothing.
#[derive(Clone, Debug)]
pub struct ResolvedDaemonKey {
    /// The access key id.
    pub access_key_id: SecretString,
    /// The secret access key.
    pub secret_access_key: SecretString,
}

impl DaemonKey {
    /// Reads both halves, at the same time.
    pub async fn resolve(
        &self,
        environment: &Environment,
        deadline: Duration,
    ) -> Result<ResolvedDaemonKey, SecretError> {
        let (access_key_id, secret_access_key) = tokio::try_join!(
            self.access_key_id.resolve(environment, deadline),
            self.secret_access_key.resolve(environment, deadline),
        )?;
        Ok(ResolvedDaemonKey { access_key_id, secret_access_key })
    }
}

/// Bytes that were read, as a secret: UTF-8, not empty, without the newline at
/// the end that editors and CLIs add.
fn finish(bytes: zeroize::Zeroizing<Vec<u8>>) -> Result<SecretString, &'static str> {
    if bytes.len() as u64 > MAX_SECRET_BYTES {
        return Err("is larger than 64 KiB, which is no secret of ours");
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| "is not UTF-8 text")?;
    let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() { Err("is empty") } else { Ok(SecretString::from(text)) }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn parse(text: &str) -> Result<SecretRef, String> {
        let places = Places::new(None, &Environment::from_pairs([("HOME", "/home/o")]));
        SecretRef::parse(&Value::Text(text.to_owned()), &places)
    }

    #[test]
    fn references_are_read_and_secrets_refused_without_an_echo() {
        assert_eq!(parse("env:MY_KEY"), Ok(SecretRef::Variable("MY_KEY".to_owned())));
        assert_eq!(parse("file:~/key"), Ok(SecretRef::File("/home/o/key".into())));
        assert!(matches!(parse("op://vault/item/field"), Ok(SecretRef::OnePassword(_))));
        for (text, why) in [
            ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYCANARY", "holds the secret itself"),
            ("env:wJalr/CANARY", "names no environment variable"),
            ("env:", "names no environment variable"),
            ("file:", "names no path"),
            ("op://vault/CANARY", "is not op://vault/item/field"),
            ("op://vault//CANARY", "is not op://vault/item/field"),
            ("kms:CANARY!", "has no base64"),
            ("kms:Q0FOQVJZ", "not built yet"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("CANARY") && !error.contains("Q0FO"), "{error}");
        }
    }

    #[tokio::test]
    async fn the_key_is_read_and_cannot_be_printed() {
        let environment = Environment::from_pairs([
            ("ID", "AKIACANARYCANARYCANA"),
            ("SECRET", "canarycanarycanarycanarycanarycanarycana"),
        ]);
        let variable = |name: &str| SecretRef::Variable(name.to_owned());
        let key = DaemonKey { access_key_id: variable("ID"), secret_access_key: variable("SECRET") };
        let read = key.resolve(&environment, FETCH_DEADLINE).await.unwrap();
        assert_eq!(read.access_key_id.expose_secret(), "AKIACANARYCANARYCANA");
        let printed = format!("{read:?} {key:?} {environment:?}").to_lowercase();
        assert!(!printed.contains("canary"), "{printed}");

        let key = DaemonKey { access_key_id: variable("ID"), secret_access_key: variable("ABSENT") };
        let error = key.resolve(&environment, FETCH_DEADLINE).await.unwrap_err();
        assert_eq!(error.to_string(), "the variable ABSENT is not set");
    }
}
