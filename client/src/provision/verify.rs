//! Proves a key at the service itself: each address must answer 200 to it.

use std::time::Duration;

use reqwest::{Client, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::ProvisionError;
use super::loopback::is_loopback;

/// A new key may take a moment until the whole service knows it.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(500);

/// Asks with the key, and again while it is not known yet.
pub async fn accepted(address: &str, key: &SecretString) -> Result<(), ProvisionError> {
    let failed = |reason: String| ProvisionError::NotChecked(reason);
    let url: Url = address.parse().map_err(|_| failed(format!("{address:?} is not an address")))?;
    let local = url.host_str().is_some_and(is_loopback);
    if url.scheme() != "https" && !local {
        return Err(failed(format!("{address} would show the key to the network")));
    }
    let mut builder = Client::builder().timeout(Duration::from_secs(15)).redirect(redirect::Policy::none());
    if local {
        builder = builder.no_proxy();
    }
    if url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    let client = builder.build().map_err(|error| failed(error.to_string()))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.get(url.clone()).bearer_auth(key.expose_secret()).send().await;
        let status = answer.map_err(|error| failed(error.to_string()))?.status();
        if status.is_success() {
            return Ok(());
        }
        if Instant::now() + PAUSE > deadline {
            return Err(ProvisionError::NotAccepted { address: address.to_owned(), status: status.as_u16() });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
