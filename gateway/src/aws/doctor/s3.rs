//! One object in the bucket: written and removed with minted credentials.

use agentkeys_core::AwsCredentials;
use bytes::Bytes;
use http::{Method, StatusCode};

use super::Doctor;
use super::account::element;
use crate::exchange::wire::{SigningKey, sign_request};

/// What S3 said to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Done,
    Denied,
    /// Neither: S3's code, or why there was none.
    Other(String),
}

impl Doctor<'_> {
    /// Why S3 is not asked at all.
    pub(super) fn s3_is_out_of_reach(&self) -> Option<&'static str> {
        (self.foreign() && self.settings.environment.s3_endpoint.is_none())
            .then_some("aws.sts_endpoint is not AWS, and environment.s3_endpoint is not set")
    }

    /// Writes an object and removes it again; what cannot be removed is noted in `left`.
    pub(super) async fn write(&self, minted: &AwsCredentials, key: &str, left: &mut Vec<String>) -> Write {
        let written = self.object(Method::PUT, minted, key).await;
        if written == Write::Done && self.object(Method::DELETE, minted, key).await != Write::Done {
            left.push(format!("s3://{}/{key}", self.plan.bucket));
        }
        written
    }

    async fn object(&self, method: Method, minted: &AwsCredentials, key: &str) -> Write {
        match self.call(method, minted, key).await {
            Ok(written) => written,
            Err(reason) => Write::Other(reason),
        }
    }

    async fn call(&self, method: Method, minted: &AwsCredentials, key: &str) -> Result<Write, String> {
        let body = if method == Method::PUT { Bytes::from("agentkeys-doctor\n") } else { Bytes::new() };
        let mut request = http::Request::builder()
            .method(method)
            .uri(self.object_url(key))
            .body(body)
            .map_err(|error| error.to_string())?;
        sign_request(&mut request, &SigningKey::from(minted), "s3", &self.plan.region)
            .map_err(|error| error.to_string())?;
        let response = self.wire.send(request).await.map_err(|error| format!("S3: {error}"))?;
        let status = response.status();
        let xml = String::from_utf8_lossy(response.body());
        let code = element(&xml, "Code").unwrap_or_else(|| status.to_string());
        Ok(match (status, code.as_str()) {
            (status, _) if status.is_success() => Write::Done,
            (StatusCode::FORBIDDEN, "AccessDenied") => Write::Denied,
            _ => Write::Other(format!("S3 answered {code}")),
        })
    }

    /// By the bucket's own host at AWS; by path elsewhere, and where a dot in the
    /// bucket's name would break the certificate.
    fn object_url(&self, key: &str) -> String {
        let bucket = &self.plan.bucket;
        if let Some(endpoint) = &self.settings.environment.s3_endpoint {
            return format!("{}/{bucket}/{key}", endpoint.as_str());
        }
        let host = format!("s3.{}.{}", self.plan.region, self.partition().dns_suffix);
        if bucket.contains('.') {
            format!("https://{host}/{bucket}/{key}")
        } else {
            format!("https://{bucket}.{host}/{key}")
        }
    }
}
