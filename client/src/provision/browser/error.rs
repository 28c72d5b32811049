//! What can go wrong between here and a browser.

use std::path::PathBuf;

/// Why the browser did not do it. None of these ever carries typed text.
#[derive(Debug, thiserror::Error)]
pub enum BrowserError {
    /// There is none.
    #[error("no Chrome or Chromium was found")]
    NotFound,
    /// It cannot be started.
    #[error("cannot start {program}: {reason}")]
    NotStarted {
        /// The program.
        program: PathBuf,
        /// Why.
        reason: String,
    },
    /// `CDP_URL` is not one that a password may be sent to.
    #[error("CDP_URL must be this machine's, such as http://127.0.0.1:9222")]
    NotLoopback,
    /// Nothing usable answers at `CDP_URL`.
    #[error("cannot attach to the browser at CDP_URL: {0}")]
    NotAttached(String),
    /// The connection ended.
    #[error("the browser went away{0}")]
    Gone(String),
    /// It did not answer in time.
    #[error("the browser did not answer {0} in time")]
    Silent(&'static str),
    /// It refused a command.
    #[error("the browser refused {method}: {reason}")]
    Refused {
        /// The command.
        method: &'static str,
        /// Why.
        reason: String,
    },
    /// An address did not open.
    #[error("the page did not open: {0}")]
    NotOpened(String),
    /// A local file.
    #[error("{0}")]
    File(#[from] std::io::Error),
}
