//! Why a key was not made.

use super::browser::BrowserError;
use super::mail::S3Error;
use super::recipe::RecipeError;

/// Why a key was not made. Never carries a password, a code or a key.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// The recipe cannot be used.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The browser, outside of any step.
    #[error(transparent)]
    Browser(#[from] BrowserError),
    /// The mailbox, outside of any step.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// A step was not done.
    #[error("{place}: {reason}{picture}")]
    Step {
        /// File, line, step.
        place: String,
        /// What happened.
        reason: String,
        /// Where a picture of it is.
        picture: String,
    },
    /// The key is not accepted.
    #[error("the new key is not accepted: GET {address} answers {status}")]
    NotAccepted {
        /// Where it was tried.
        address: String,
        /// The status.
        status: u16,
    },
    /// The service's API cannot be asked.
    #[error("cannot check the new key: {0}")]
    NotChecked(String),
    /// A local resource.
    #[error("{0}")]
    Local(String),
}
