//! Single HTTP requests for what the SDK has no client for here: an issuer's
//! documents, IAM and S3. The same HTTP and TLS stack as the SDK's, no redirects,
//! a bounded time and a bounded answer; SigV4 where a request is signed.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use secrecy::ExposeSecret;

use super::daemon_key::DaemonKey;
use agentkeys_core::AwsCredentials;

/// Far more than any answer that is asked for here.
const MAX_ANSWER: usize = 1 << 20;

/// Sends requests.
#[derive(Debug)]
pub struct Wire {
    direct: Connector,
    proxied: Connector,
    timeout: Duration,
}

/// A request had no answer.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// It was not reached, or broke off.
    #[error("{0}")]
    Transport(String),
    /// The request could not be made.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// The file of certificates cannot be read.
    #[error("{path}: {source}")]
    CaFile {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds no certificate: the TLS stack would not say so.
    #[error("{0}: no PEM certificate is in it")]
    NoCertificate(String),
}

impl Wire {
    /// Trusts the system's roots, and those in `ca_file` too.
    pub fn new(ca_file: Option<&Path>, timeout: Duration) -> Result<Self, WireError> {
        let mut roots = TrustStore::default();
        if let Some(path) = ca_file {
            let path_text = path.display().to_string();
            let pem = std::fs::read(path)
                .map_err(|source| WireError::CaFile { path: path_text.clone(), source })?;
            if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
                return Err(WireError::NoCertificate(path_text));
            }
            roots = roots.with_pem_certificate(pem);
        }
        let context = TlsContext::builder().with_trust_store(roots).build();
        let context = context.map_err(|error| WireError::Request(error.to_string()))?;
        let connector = |proxy| {
            Connector::builder()
                .proxy_config(proxy)
                .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
                .tls_context(context.clone())
                .build()
        };
        Ok(Self {
            direct: connector(ProxyConfig::disabled()),
            proxied: connector(ProxyConfig::from_env()),
            timeout,
        })
    }

    /// One request and its whole answer.
    pub async fn send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, WireError> {
        // In the clear means loopback here: a proxy has no business there.
        let plain = request.uri().scheme_str() == Some("http");
        let connector = if plain { &self.direct } else { &self.proxied };
        let request = HttpRequest::try_from(request.map(SdkBody::from))
            .map_err(|error| WireError::Request(error.to_string()))?;
        let exchange = async {
            let response =
                connector.call(request).await.map_err(|error| WireError::Transport(chain(&error)))?;
            let response =
                response.try_into_http1x().map_err(|error| WireError::Transport(error.to_string()))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| WireError::Transport(chain(error.as_ref())))?;
            Ok(http::Response::from_parts(parts, body.to_bytes()))
        };
        tokio::time::timeout(self.timeout, exchange).await.map_err(|_| WireError::Timeout(self.timeout))?
    }

    /// A plain GET.
    pub async fn get(&self, url: &str) -> Result<http::Response<Bytes>, WireError> {
        let request = http::Request::get(url).header(http::header::ACCEPT, "application/json");
        let request = request.body(Bytes::new()).map_err(|error| WireError::Request(error.to_string()))?;
        self.send(request).await
    }
}

/// What a request is signed with.
#[derive(Clone, Debug)]
pub struct SigningKey(Credentials);

impl From<&DaemonKey> for SigningKey {
    fn from(key: &DaemonKey) -> Self {
        Self(key.credentials())
    }
}

impl From<&AwsCredentials> for SigningKey {
    fn from(minted: &AwsCredentials) -> Self {
        Self(Credentials::new(
            &minted.access_key_id,
            minted.secret_access_key.expose_secret(),
            Some(minted.session_token.expose_secret().to_owned()),
            None,
            "a mint",
        ))
    }
}

/// Signs a request for a service in a region.
pub fn sign_request(
    request: &mut http::Request<Bytes>,
    key: &SigningKey,
    service: &str,
    region: &str,
) -> Result<(), WireError> {
    let mut settings = SigningSettings::default();
    if service == "s3" {
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    }
    let failed = |error: &dyn Error| WireError::Request(error.to_string());
    let identity = key.0.clone().into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .map_err(|error| failed(&error))?
        .into();
    let uri = request.uri().to_string();
    let headers: Vec<(&str, &str)> = request
        .headers()
        .iter()
        .filter_map(|(name, value)| value.to_str().ok().map(|value| (name.as_str(), value)))
        .collect();
    let signable = SignableRequest::new(
        request.method().as_str(),
        &uri,
        headers.into_iter(),
        SignableBody::Bytes(request.body()),
    )
    .map_err(|error| failed(&error))?;
    let (instructions, _) = sign(signable, &parameters).map_err(|error| failed(&error))?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

/// The whole chain of causes: the first says only that dispatching failed.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut parts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if parts.last() != Some(&text) {
            parts.push(text);
        }
        source = cause.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_request_carries_the_session_token_and_hides_the_secret() {
        let minted = AwsCredentials {
            access_key_id: "ASIAEXAMPLE".to_owned(),
            secret_access_key: "c2VjcmV0".into(),
            session_token: "dG9rZW4".into(),
            expiration: agentkeys_core::Timestamp::now(),
        };
        let key = SigningKey::from(&minted);
        assert!(!format!("{key:?}").contains("c2VjcmV0"));
        let mut request = http::Request::put("https://b.s3.us-east-1.amazonaws.com/bots/0x/a")
            .body(Bytes::from("x"))
            .unwrap();
        sign_request(&mut request, &key, "s3", "us-east-1").unwrap();
        let header = |name: &str| request.headers().get(name).unwrap().to_str().unwrap().to_owned();
        assert!(header("authorization").contains("/us-east-1/s3/aws4_request"));
        assert_eq!(header("x-amz-security-token"), "dG9rZW4");
        assert_eq!(header("x-amz-content-sha256").len(), 64);
    }

    #[test]
    fn a_ca_file_without_a_certificate_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(
            Wire::new(Some(file.path()), Duration::from_secs(1)),
            Err(WireError::NoCertificate(_))
        ));
    }
}
