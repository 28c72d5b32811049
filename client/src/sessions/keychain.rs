//! The system's keychain: Secret Service on Linux, the login keychain on macOS,
//! the Credential Manager on Windows. Each call is bounded: a keychain that asks
//! a person who is not there must not hang a script.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use keyring_core::api::CredentialStore;
use keyring_core::{Entry, Error};
use secrecy::{ExposeSecret, SecretString};

const SERVICE: &str = "agentkeys";
const LIMIT: Duration = Duration::from_secs(2);

pub(super) fn put(name: &str, secret: &SecretString) -> Result<(), String> {
    let (name, secret) = (name.to_owned(), secret.clone());
    bounded(LIMIT, move || entry(&name)?.set_password(secret.expose_secret()))
}

pub(super) fn get(name: &str) -> Result<Option<SecretString>, String> {
    let name = name.to_owned();
    bounded(LIMIT, move || match entry(&name)?.get_password() {
        Ok(text) => Ok(Some(SecretString::from(text))),
        Err(Error::NoEntry) => Ok(None),
        Err(error) => Err(error),
    })
}

pub(super) fn delete(name: &str) -> Result<(), String> {
    let name = name.to_owned();
    bounded(LIMIT, move || match entry(&name)?.delete_credential() {
        Ok(()) | Err(Error::NoEntry) => Ok(()),
        Err(error) => Err(error),
    })
}

fn entry(name: &str) -> Result<Entry, Error> {
    Entry::new_in_store(&store()?, SERVICE, name)
}

#[cfg(all(unix, not(target_os = "macos")))]
fn store() -> Result<Arc<CredentialStore>, Error> {
    Ok(zbus_secret_service_keyring_store::Store::new()?)
}

#[cfg(target_os = "macos")]
fn store() -> Result<Arc<CredentialStore>, Error> {
    Ok(apple_native_keyring_store::keychain::Store::new()?)
}

#[cfg(windows)]
fn store() -> Result<Arc<CredentialStore>, Error> {
    Ok(windows_native_keyring_store::Store::new()?)
}

/// Runs on a thread of its own and waits for at most `limit`. The thread of a
/// call that never returns is left behind; it holds nothing but its own copy.
fn bounded<T: Send + 'static>(
    limit: Duration,
    call: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, String> {
    let (answer, answered) = mpsc::channel();
    thread::Builder::new()
        .name("keychain".to_owned())
        .spawn(move || {
            // Nobody listens any more once the wait is over; the answer is then moot.
            let _ = answer.send(call());
        })
        .map_err(|error| format!("cannot be called: {error}"))?;
    match answered.recv_timeout(limit) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("failed: {}", reason(&error))),
        Err(RecvTimeoutError::Timeout) => Err(format!("did not answer within {} s", limit.as_secs())),
        Err(RecvTimeoutError::Disconnected) => Err("failed without a reason".to_owned()),
    }
}

/// Errors of this crate may carry the secret's bytes; only these texts are shown.
fn reason(error: &Error) -> String {
    match error {
        Error::PlatformFailure(cause) | Error::NoStorageAccess(cause) => cause.to_string(),
        Error::BadEncoding(_) | Error::BadDataFormat(..) => "what it holds is not text".to_owned(),
        Error::Ambiguous(_) => "it holds two entries by this name".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_keychain_that_never_answers_does_not_hang_the_caller() {
        let (_held, forever) = mpsc::channel::<()>();
        let began = Instant::now();
        let answer = bounded(Duration::from_millis(50), move || {
            let _ = forever.recv();
            Ok(())
        });
        assert!(answer.unwrap_err().contains("did not answer"));
        assert!(began.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn an_error_never_shows_the_bytes_that_were_found() {
        let error = Error::BadEncoding(b"aks_secret".to_vec());
        let text = bounded::<()>(LIMIT, move || Err(error)).unwrap_err();
        assert!(!text.contains("aks_") && !text.contains("97"), "{text}");
    }
}
