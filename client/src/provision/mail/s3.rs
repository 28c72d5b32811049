//! Two operations of S3, list and get, signed with the minted credentials over
//! the client's own HTTP stack. Keys are never written anywhere.

use std::time::{Duration, SystemTime};

use agentkeys_core::Timestamp;
use agentkeys_core::wire::MintAwsResponse;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use http::header;
use reqwest::{Client, Response, Url, redirect};
use secrecy::ExposeSecret;

use crate::provision::loopback::is_loopback;

/// Of a listing's page, or of a message: what is larger is not read.
const LARGEST: usize = 8 << 20;

/// Why S3 did not answer as hoped.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// The endpoint or the credentials cannot be used.
    #[error("cannot ask S3: {0}")]
    Setup(String),
    /// No answer.
    #[error("cannot reach S3 at {host}: {reason}")]
    Unreachable {
        /// Where.
        host: String,
        /// Why.
        reason: String,
    },
    /// S3 says no.
    #[error("S3 answers {status}{code} to {what}")]
    Refused {
        /// The status.
        status: u16,
        /// S3's own code, in brackets.
        code: String,
        /// What was asked.
        what: &'static str,
    },
    /// An answer that is not S3's.
    #[error("S3 answered something that cannot be read: {0}")]
    Unreadable(String),
}

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// When it was written, by S3's clock.
    pub modified: Timestamp,
    /// Its size.
    pub size: u64,
}

/// A whole listing, and S3's time when it began.
#[derive(Debug)]
pub struct Listing {
    /// The objects.
    pub objects: Vec<Object>,
    /// S3's clock.
    pub at: Timestamp,
}

/// One bucket.
pub struct Bucket {
    base: Url,
    region: String,
    identity: Identity,
    client: Client,
}

impl Bucket {
    /// The bucket that the broker named, with the credentials that it minted.
    pub fn new(minted: &MintAwsResponse) -> Result<Self, S3Error> {
        let environment = &minted.environment;
        let base = base(environment.s3_endpoint.as_deref(), &environment.bucket, &minted.region)?;
        let mut builder = Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .redirect(redirect::Policy::none());
        if base.host_str().is_some_and(is_loopback) {
            builder = builder.no_proxy();
        }
        if base.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        let credentials = Credentials::new(
            minted.access_key_id.clone(),
            minted.secret_access_key.expose_secret().to_owned(),
            Some(minted.session_token.expose_secret().to_owned()),
            None,
            "agentkeys-broker",
        );
        Ok(Self {
            base,
            region: minted.region.clone(),
            identity: credentials.into(),
            client: builder.build().map_err(|e| S3Error::Setup(e.to_string()))?,
        })
    }

    /// Every object under a prefix, page by page.
    pub async fn list(&self, prefix: &str) -> Result<Listing, S3Error> {
        let mut objects = Vec::new();
        let mut at = None;
        let mut next: Option<String> = None;
        loop {
            let mut url = self.base.clone();
            {
                let mut query = url.query_pairs_mut();
                query.append_pair("list-type", "2").append_pair("prefix", prefix);
                if let Some(token) = &next {
                    query.append_pair("continuation-token", token);
                }
            }
            let response = self.get(url, "list the wallet's mail").await?;
            at = at.or_else(|| date(&response));
            let body = whole(response).await?;
            let page = super::listing::read(&String::from_utf8_lossy(&body)).map_err(S3Error::Unreadable)?;
            objects.extend(page.objects);
            // A server that says the same page twice would be listed for ever.
            if page.next.is_none() || page.next == next {
                break;
            }
            next = page.next;
        }
        Ok(Listing { objects, at: at.unwrap_or_else(Timestamp::now) })
    }

    /// An object's content.
    pub async fn read(&self, key: &str) -> Result<Vec<u8>, S3Error> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| S3Error::Setup("the endpoint has no path".to_owned()))?
            .pop_if_empty()
            .extend(key.split('/'));
        whole(self.get(url, "read a message").await?).await
    }

    async fn get(&self, url: Url, what: &'static str) -> Result<Response, S3Error> {
        let setup = |error: String| S3Error::Setup(error);
        // A `+` for a space is form encoding, which S3's signature does not know.
        let url: Url = url.as_str().replace('+', "%20").parse().map_err(|e| setup(format!("{e}")))?;
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let parameters = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .map_err(|e| setup(e.to_string()))?
            .into();
        let signable =
            SignableRequest::new("GET", url.as_str(), std::iter::empty(), SignableBody::Bytes(&[]))
                .map_err(|e| setup(e.to_string()))?;
        let (instructions, _) = sign(signable, &parameters).map_err(|e| setup(e.to_string()))?.into_parts();
        let mut request =
            http::Request::builder().uri(url.as_str()).body(Vec::new()).map_err(|e| setup(e.to_string()))?;
        instructions.apply_to_request_http1x(&mut request);
        let request = request.try_into().map_err(|e: reqwest::Error| setup(e.to_string()))?;
        let response = self.client.execute(request).await.map_err(|error| S3Error::Unreachable {
            host: url.host_str().unwrap_or_default().to_owned(),
            reason: if error.is_timeout() {
                "no answer in time".to_owned()
            } else {
                error.without_url().to_string()
            },
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let body = whole(response).await.unwrap_or_default();
        let code = super::listing::error_code(&String::from_utf8_lossy(&body));
        Err(S3Error::Refused {
            status,
            code: code.map(|code| format!(" ({code})")).unwrap_or_default(),
            what,
        })
    }
}

/// Path style at a named endpoint and for names that no certificate fits, else
/// the bucket's own host.
fn base(endpoint: Option<&str>, bucket: &str, region: &str) -> Result<Url, S3Error> {
    let text = match endpoint {
        Some(endpoint) => format!("{}/{bucket}/", endpoint.trim_end_matches('/')),
        None if bucket.contains('.') => format!("https://s3.{region}.amazonaws.com/{bucket}/"),
        None => format!("https://{bucket}.s3.{region}.amazonaws.com/"),
    };
    let url: Url = text.parse().map_err(|_| S3Error::Setup(format!("{text} is not an address")))?;
    let private = url.scheme() == "https" || url.host_str().is_some_and(is_loopback);
    if private { Ok(url) } else { Err(S3Error::Setup("plain http to another machine's S3".to_owned())) }
}

async fn whole(mut response: Response) -> Result<Vec<u8>, S3Error> {
    let mut body = Vec::new();
    let broken = |error: reqwest::Error| S3Error::Unreadable(error.without_url().to_string());
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > LARGEST {
            return Err(S3Error::Unreadable("it is too large".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn date(response: &Response) -> Option<Timestamp> {
    let text = response.headers().get(header::DATE)?.to_str().ok()?;
    let at = httpdate::parse_http_date(text).ok()?;
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    Some(Timestamp::from_unix(i64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::base;

    #[test]
    fn the_bucket_is_found_where_it_answers() {
        let at = |endpoint, bucket| base(endpoint, bucket, "eu-west-1").map(|url| url.to_string());
        assert_eq!(at(None, "mail").unwrap(), "https://mail.s3.eu-west-1.amazonaws.com/");
        assert_eq!(at(None, "my.mail").unwrap(), "https://s3.eu-west-1.amazonaws.com/my.mail/");
        assert_eq!(at(Some("http://127.0.0.1:9000/"), "mail").unwrap(), "http://127.0.0.1:9000/mail/");
        assert!(at(Some("http://s3.example.com"), "mail").is_err(), "a session token in the clear");
    }
}
