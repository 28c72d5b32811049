//! A client of the running broker's Unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkeys_core::problem::ProblemDocument;
use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// Long enough to verify a large audit.
const TIMEOUT: Duration = Duration::from_secs(120);
const MAX_ANSWER: usize = 64 << 20;

/// The admin socket of one broker.
pub(super) struct AdminSocket {
    path: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl AdminSocket {
    pub(super) fn new(path: PathBuf) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { path, runtime })
    }

    /// Waits.
    pub(super) fn pause(&self, time: Duration) {
        // A timer can only be made inside of the runtime.
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// Does a broker answer there?
    pub(super) fn answers(&self) -> bool {
        std::os::unix::net::UnixStream::connect(&self.path).is_ok()
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> anyhow::Result<T> {
        let query = serde_urlencoded::to_string(query)?;
        let target = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        self.call(Method::GET, &target, Bytes::new())
    }

    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> anyhow::Result<T> {
        self.call(Method::POST, path, serde_json::to_vec(body)?.into())
    }

    pub(super) fn delete<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::DELETE, path, Bytes::new())
    }

    fn call<T: DeserializeOwned>(&self, method: Method, target: &str, body: Bytes) -> anyhow::Result<T> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let (status, body) = self.runtime.block_on(async {
            tokio::time::timeout(TIMEOUT, send(&self.path, request))
                .await
                .context("the broker does not answer")?
        })?;
        if !status.is_success() {
            let problem: ProblemDocument =
                serde_json::from_slice(&body).with_context(|| format!("the broker answered {status}"))?;
            bail!("{} ({}; request {})", problem.detail, problem.code, problem.request_id);
        }
        serde_json::from_slice(&body).context("the broker's answer is not understood; is it another version?")
    }
}

async fn send(path: &Path, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = UnixStream::connect(path).await.with_context(|| {
        format!(
            "no broker is running on the socket {}: start one with 'agentkeys-broker-server', or name its --config or --data-dir",
            path.display()
        )
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("the broker's answer broke off: {error}"))?
        .to_bytes();
    driver.abort();
    Ok((status, body))
}
