//! The broker over HTTP: one connection pool, bounded time, retries only where
//! the broker's own problem document says that one may help.
//!
//! Redirects are not followed, so a token goes to the broker and nowhere else.

mod endpoints;
mod error;

use std::path::Path;
use std::time::{Duration, Instant};

use http::{Method, StatusCode, header};
use reqwest::{Certificate, Client, Request, Response, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::BrokerError;

use crate::jitter;
use crate::settings::{BrokerUrl, Settings};

/// No answer of the broker is larger.
const ANSWER_LIMIT: usize = 1 << 20;
const ATTEMPTS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(250);

/// A broker, and the session to speak for, if any.
#[derive(Clone, Debug)]
pub struct Broker {
    url: BrokerUrl,
    client: Client,
    token: Option<SecretString>,
    timeout: Duration,
}

/// What a request carries.
enum Body<'a, T: Serialize> {
    Nothing,
    Json(&'a T),
    Form(&'a T),
}

impl Broker {
    /// A client of this broker, without a session.
    pub fn new(url: &BrokerUrl, settings: &Settings) -> Result<Self, BrokerError> {
        let mut builder = Client::builder()
            .connect_timeout(settings.connect_timeout.value)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("agentkeys/", env!("CARGO_PKG_VERSION")));
        if url.is_loopback() {
            // A proxy would otherwise be handed the token of a local broker.
            builder = builder.no_proxy();
        }
        if !url.is_https() {
            // No TLS, so the system's roots (which may be absent) are not needed.
            builder = builder.tls_certs_only([]);
        } else if let Some(path) = &settings.ca_file.value {
            builder = builder.tls_certs_merge(certificates(path)?);
        }
        let client = builder.build().map_err(|e| BrokerError::Setup(error::chain(&e)))?;
        Ok(Self { url: url.clone(), client, token: None, timeout: settings.timeout.value })
    }

    /// The same broker, speaking for this session.
    pub fn with_token(mut self, token: SecretString) -> Self {
        self.token = Some(token);
        self
    }

    /// The same broker with another bound on the whole of one operation.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Its address.
    pub fn url(&self) -> &BrokerUrl {
        &self.url
    }

    async fn call<T: Serialize, A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body<'_, T>,
    ) -> Result<A, BrokerError> {
        let answer = self.exchange(self.request(method, path, body)?).await?;
        serde_json::from_slice(&answer)
            .map_err(|_| BrokerError::Unexpected(format!("{} answered something else", self.url)))
    }

    fn request<T: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Body<'_, T>,
    ) -> Result<Request, BrokerError> {
        let url = self.url.at(path).map_err(|e| BrokerError::Setup(e.to_string()))?;
        let mut builder = self.client.request(method, url).header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            builder = builder.bearer_auth(token.expose_secret());
        }
        builder = match body {
            Body::Nothing => builder,
            Body::Json(value) => {
                let text = serde_json::to_vec(value).map_err(|e| BrokerError::Setup(e.to_string()))?;
                builder.header(header::CONTENT_TYPE, "application/json").body(text)
            }
            Body::Form(value) => builder.form(value),
        };
        builder.build().map_err(|e| BrokerError::Setup(error::chain(&e)))
    }

    /// Sends until an answer, an error that a retry cannot help, or the end of
    /// the time for the whole operation.
    async fn exchange(&self, request: Request) -> Result<Vec<u8>, BrokerError> {
        let deadline = Instant::now() + self.timeout;
        let mut backoff = FIRST_BACKOFF;
        for attempt in 1.. {
            let mut this = request.try_clone().ok_or_else(|| BrokerError::Setup("body".to_owned()))?;
            let left = deadline.saturating_duration_since(Instant::now());
            *this.timeout_mut() = Some(left);
            let error = match self.once(this).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = match &error {
                BrokerError::Problem { document, retry_after } if document.retryable => {
                    // The broker's word is the least; the jitter spreads clients beyond it.
                    retry_after.unwrap_or(backoff / 2) + jitter::up_to(backoff / 2)
                }
                _ => return Err(error),
            };
            if attempt >= ATTEMPTS || Instant::now() + wait >= deadline {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            backoff *= 2;
        }
        Err(BrokerError::TimedOut(self.url.clone()))
    }

    async fn once(&self, request: Request) -> Result<Vec<u8>, BrokerError> {
        let response = self.client.execute(request).await.map_err(|e| self.transport(&e))?;
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = self.body(response).await?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(error::refusal(&self.url, status, retry_after, &body))
        }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, BrokerError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.transport(&e))? {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                return Err(BrokerError::Unexpected(format!("{} answered too much", self.url)));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn transport(&self, error: &reqwest::Error) -> BrokerError {
        if error.is_timeout() {
            return BrokerError::TimedOut(self.url.clone());
        }
        BrokerError::Unreachable { url: self.url.clone(), reason: error::chain(error) }
    }
}

/// `Retry-After` in either of its forms (RFC 9110 section 10.2.3).
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(std::time::SystemTime::now()).unwrap_or_default())
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, BrokerError> {
    let unusable = |reason: String| BrokerError::Setup(format!("{}: {reason}", path.display()));
    let pem = std::fs::read(path).map_err(|e| unusable(e.to_string()))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|e| unusable(error::chain(&e)))?;
    if found.is_empty() {
        return Err(unusable("there is no certificate in it".to_owned()));
    }
    Ok(found)
}

/// Is this answer the broker saying that the session is over?
pub fn is_session_refused(error: &BrokerError) -> bool {
    matches!(error, BrokerError::Problem { document, .. } if document.status == StatusCode::UNAUTHORIZED.as_u16())
}
