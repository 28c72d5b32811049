//! Where one secret goes: the keychain, or a file under `secrets/`.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{Kept, StoreError, file_error, keychain};
use crate::files;
use crate::settings::StoreChoice;

/// Where a secret lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keeper {
    /// The system's keychain.
    Keychain,
    /// A file of mode 0600.
    File,
}

impl fmt::Display for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keychain => "keychain",
            Self::File => "file",
        })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Secrets {
    directory: PathBuf,
    choice: StoreChoice,
}

impl Secrets {
    pub fn new(home: &Path, choice: StoreChoice) -> Self {
        Self { directory: home.join("secrets"), choice }
    }

    pub fn put(&self, name: &str, secret: &SecretString) -> Result<Kept, StoreError> {
        let fallback = match self.choice {
            StoreChoice::File => None,
            StoreChoice::Auto | StoreChoice::Keychain => match keychain::put(name, secret) {
                Ok(()) => return Ok(Kept { keeper: Keeper::Keychain, fallback: None }),
                Err(reason) if self.choice == StoreChoice::Keychain => {
                    return Err(StoreError::Keychain(reason));
                }
                Err(reason) => Some(format!("the keychain {reason}")),
            },
        };
        let path = self.path(name);
        files::write_private(&path, secret.expose_secret().as_bytes()).map_err(file_error(&path))?;
        Ok(Kept { keeper: Keeper::File, fallback })
    }

    pub fn get(&self, keeper: Keeper, name: &str) -> Result<Option<SecretString>, StoreError> {
        match keeper {
            Keeper::Keychain => keychain::get(name).map_err(StoreError::Keychain),
            Keeper::File => {
                let path = self.path(name);
                let Some(bytes) = files::read_private(&path).map_err(file_error(&path))? else {
                    return Ok(None);
                };
                Ok(std::str::from_utf8(&bytes).ok().map(SecretString::from))
            }
        }
    }

    pub fn delete(&self, keeper: Keeper, name: &str) -> Result<(), StoreError> {
        match keeper {
            Keeper::Keychain => keychain::delete(name).map_err(StoreError::Keychain),
            Keeper::File => {
                let path = self.path(name);
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Err(file_error(&path)(error))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// A digest: a URL in a file's name could lead anywhere.
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(short_digest(name))
    }
}

/// 32 hexadecimal digits that stand for a name in paths.
pub fn short_digest(name: &str) -> String {
    let digest = digest::digest(&digest::SHA256, name.as_bytes());
    digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
