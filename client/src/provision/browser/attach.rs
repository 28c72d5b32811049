//! The user's own browser, over the WebSocket of its debugging port. Loopback
//! only: what travels here is a password and a key, in the clear.

use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Url};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};

use super::BrowserError;
use super::cdp::Messages;
use crate::provision::loopback::is_loopback;

/// A screenshot is the largest message.
const LARGEST: usize = 64 << 20;

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "webSocketDebuggerUrl")]
    address: String,
}

/// Attaches to the browser at `CDP_URL`: `http://127.0.0.1:9222` or its `ws://` address.
pub async fn attach(cdp_url: &str) -> Result<Messages, BrowserError> {
    let url: Url = cdp_url.parse().map_err(|_| BrowserError::NotLoopback)?;
    let url = loopback(url)?;
    let address = match url.scheme() {
        "ws" => url,
        "http" => discover(url).await?,
        _ => return Err(BrowserError::NotLoopback),
    };
    let config = WebSocketConfig::default().max_message_size(Some(LARGEST)).max_frame_size(Some(LARGEST));
    let (socket, _) = tokio_tungstenite::connect_async_with_config(address.as_str(), Some(config), true)
        .await
        .map_err(|error| BrowserError::NotAttached(error.to_string()))?;
    let (mut sink, mut stream) = socket.split();
    let (out, mut to_send) = mpsc::channel::<String>(8);
    let (received, back) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Some(text) = to_send.recv().await {
            if sink.send(Message::text(text)).await.is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(Ok(message)) = stream.next().await {
            if let Message::Text(text) = message
                && received.send(text.to_string()).await.is_err()
            {
                break;
            }
        }
    });
    Ok(Messages { out, back })
}

async fn discover(mut url: Url) -> Result<Url, BrowserError> {
    let failed = |error: String| BrowserError::NotAttached(error);
    url.set_path("/json/version");
    let client = Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .timeout(std::time::Duration::from_secs(5))
        .build()
        .map_err(|e| failed(e.to_string()))?;
    let answer = client.get(url.clone()).send().await.map_err(|e| failed(e.to_string()))?;
    let body = answer.error_for_status().map_err(|e| failed(e.to_string()))?.bytes().await;
    let body = body.map_err(|e| failed(e.to_string()))?;
    let version: Version =
        serde_json::from_slice(&body).map_err(|_| failed("what answers there is no browser".to_owned()))?;
    loopback(version.address.parse().map_err(|_| BrowserError::NotLoopback)?)
}

fn loopback(url: Url) -> Result<Url, BrowserError> {
    if url.host_str().is_some_and(is_loopback) { Ok(url) } else { Err(BrowserError::NotLoopback) }
}
