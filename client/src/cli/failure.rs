//! How a command fails: an exit code, what happened, and what to do next.

use std::io::{self, Write};

use serde_json::json;

use crate::aws::config_file::ConfigError;
use crate::broker::BrokerError;
use crate::exit::Exit;
use crate::pairing::PairingError;
use crate::sessions::{SelectError, StoreError};
use crate::settings::SettingsError;
use crate::wallet_key::WalletKeyError;
use crate::wallet_key::sign_in::Unsignable;

/// Why a command did not do it.
#[derive(Debug)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened.
    pub message: String,
    /// What to do next.
    pub next: Option<String>,
    /// The broker's stable code, where it was the broker.
    pub code: Option<String>,
}

impl Failure {
    /// A failure with this code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), next: None, code: None }
    }

    /// Adds what to do next.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Says it on stderr.
    pub fn report(&self, json: bool) {
        let text = if json {
            let error = json!({
                "error": {
                    "message": self.message, "next": self.next, "code": self.code,
                    "exit_code": self.exit.code(),
                }
            });
            format!("{error}\n")
        } else {
            let next = self.next.as_ref().map(|next| format!("  → {next}\n")).unwrap_or_default();
            // The broker's words never move the cursor of this terminal.
            format!("agentkeys: {}\n{next}", self.message)
                .replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
        };
        // Where stderr is closed there is nobody left to tell; the exit code stands.
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

const LOG_IN: &str = "log in: `agentkeys login` with a token from the operator, or `agentkeys init` with a \
                      wallet of your own";

impl From<BrokerError> for Failure {
    fn from(error: BrokerError) -> Self {
        let message = error.to_string();
        match error {
            BrokerError::Unreachable { .. } | BrokerError::TimedOut(_) => {
                Self::new(Exit::Unavailable, message)
                    .next("is the broker running, and is the address right? `agentkeys config` shows it")
            }
            BrokerError::Problem { document, retry_after } => {
                let (exit, next) = match document.status {
                    401 => (Exit::NotLoggedIn, Some(LOG_IN.to_owned())),
                    403 => (Exit::Refused, Some("ask the operator, or use a session that may".to_owned())),
                    404 => (Exit::NotFound, None),
                    _ if document.retryable => {
                        let when = match retry_after {
                            Some(wait) => format!("try again in {} s", wait.as_secs().max(1)),
                            None => "try again in a moment".to_owned(),
                        };
                        (Exit::Unavailable, Some(when))
                    }
                    _ => (Exit::Failed, None),
                };
                Self { exit, message, next, code: Some(document.code) }
            }
            BrokerError::OAuth(_) => Self::new(Exit::Refused, message),
            BrokerError::Setup(_) => Self::new(Exit::Settings, message),
            BrokerError::Unexpected(_) | BrokerError::UnusableCredential(_) => {
                Self::new(Exit::Failed, message)
            }
        }
    }
}

impl From<SelectError> for Failure {
    fn from(error: SelectError) -> Self {
        let message = error.to_string();
        match error {
            SelectError::None(_) => Self::new(Exit::NotLoggedIn, message).next(LOG_IN),
            SelectError::Ambiguous(_) => Self::new(Exit::Ambiguous, message).next(
                "name one with --broker-url and --identity, or AGENTKEYS_BROKER_URL and AGENTKEYS_IDENTITY",
            ),
            SelectError::Store(error) => error.into(),
            SelectError::Settings(error) => error.into(),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::Missing(..) => Self::new(Exit::NotLoggedIn, message).next(LOG_IN),
            StoreError::Keychain(_) => Self::new(Exit::LocalStore, message)
                .next("unlock it and try again, or set AGENTKEYS_SESSION_STORE=file and log in again"),
            StoreError::File { .. } | StoreError::Damaged(_) => Self::new(Exit::LocalStore, message),
        }
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::new(Exit::Settings, error.to_string())
            .next("flag > environment > config.toml > default; `agentkeys config` shows each")
    }
}

impl From<PairingError> for Failure {
    fn from(error: PairingError) -> Self {
        match error {
            PairingError::Broker(error) => error.into(),
            PairingError::Denied => Self::new(Exit::Refused, error.to_string()),
            other => Self::new(Exit::Failed, other.to_string()),
        }
    }
}

impl From<WalletKeyError> for Failure {
    fn from(error: WalletKeyError) -> Self {
        Self::new(Exit::LocalStore, error.to_string())
    }
}

impl From<Unsignable> for Failure {
    fn from(error: Unsignable) -> Self {
        Self::new(Exit::Failed, format!("nothing was signed: {error}"))
            .next("use the broker's own address, as its `issuer` names it")
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let failure = Self::new(Exit::Failed, error.to_string());
        match error {
            ConfigError::Taken { .. } => failure.next("give another one: `--profile NAME`"),
            _ => failure,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::LocalStore, error.to_string())
    }
}
