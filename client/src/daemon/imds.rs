//! The part of the instance metadata service (IMDSv2) that SDKs read. There is
//! no version 1: every read needs a token from a `PUT`.

use agentkeys_core::Timestamp;
use aws_lc_rs::{hmac, rand};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::answer::{self, Answer};
use super::container::PATIENCE;
use super::state::{Credentials, Held, Trouble};
use crate::aws::shapes::MetadataAnswer;

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
/// What the role is called here: SDKs only carry it from one request to the next.
const ROLE: &str = "agentkeys";

pub struct Metadata {
    credentials: Credentials,
    key: hmac::Key,
}

impl Metadata {
    /// Tokens are signed, not stored, so asking for many costs no memory.
    pub fn new(credentials: Credentials) -> Result<Self, agentkeys_core::token::NoRandomness> {
        let mut secret = [0u8; 32];
        rand::fill(&mut secret).map_err(|_| agentkeys_core::token::NoRandomness)?;
        Ok(Self { credentials, key: hmac::Key::new(hmac::HMAC_SHA256, &secret) })
    }

    pub async fn answer(&self, parts: &Parts) -> Answer {
        let path = parts.uri.path();
        if path == "/latest/api/token" {
            return match parts.method {
                Method::PUT => self.issue(&parts.headers),
                _ => not_allowed(),
            };
        }
        if parts.method != Method::GET {
            return not_allowed();
        }
        if !self.is_accepted(&parts.headers) {
            return answer::text(StatusCode::UNAUTHORIZED, "401 - Unauthorized");
        }
        match path {
            "/latest/meta-data/iam/security-credentials" | ROLES => match self.obtain().await {
                Ok(_) => answer::text(StatusCode::OK, ROLE),
                Err(trouble) => answer::trouble(&trouble),
            },
            "/latest/meta-data/placement/region" => match self.obtain().await {
                Ok(held) => answer::text(StatusCode::OK, held.minted.region.clone()),
                Err(trouble) => answer::trouble(&trouble),
            },
            "/latest/meta-data/placement/availability-zone"
            | "/latest/meta-data/placement/availability-zone/" => match self.obtain().await {
                // SDKs cut the last letter off to learn the region.
                Ok(held) => answer::text(StatusCode::OK, format!("{}a", held.minted.region)),
                Err(trouble) => answer::trouble(&trouble),
            },
            _ if path.strip_prefix(ROLES) == Some(ROLE) => match self.obtain().await {
                Ok(held) => answer::json(StatusCode::OK, &MetadataAnswer::new(&held.minted, held.minted_at)),
                Err(trouble) => answer::trouble(&trouble),
            },
            _ => answer::text(StatusCode::NOT_FOUND, "404 - Not Found"),
        }
    }

    async fn obtain(&self) -> Result<std::sync::Arc<Held>, Trouble> {
        // SDKs give the metadata service one second, so half the usual wait.
        self.credentials.obtain(PATIENCE / 2).await
    }

    fn issue(&self, headers: &HeaderMap) -> Answer {
        let seconds = headers.get(TTL).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let Some(seconds) = seconds.filter(|seconds| (1..=21_600).contains(seconds)) else {
            return answer::text(StatusCode::BAD_REQUEST, "400 - Bad Request");
        };
        let end = Timestamp::now().plus(seconds).unix();
        let tag = hmac::sign(&self.key, &end.to_be_bytes());
        let tag: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut answer = answer::text(StatusCode::OK, format!("{end:016x}{tag}"));
        answer.headers_mut().insert(TTL, HeaderValue::from(seconds));
        answer
    }

    fn is_accepted(&self, headers: &HeaderMap) -> bool {
        let verified = || {
            let text = headers.get(TOKEN)?.to_str().ok().filter(|text| text.len() == 80)?;
            let end = i64::from_str_radix(text.get(..16)?, 16).ok()?;
            let tag = (16..80)
                .step_by(2)
                .map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok())
                .collect::<Option<Vec<u8>>>()?;
            hmac::verify(&self.key, &end.to_be_bytes(), &tag).ok()?;
            (Timestamp::now().unix() < end).then_some(())
        };
        verified().is_some()
    }
}

fn not_allowed() -> Answer {
    answer::text(StatusCode::METHOD_NOT_ALLOWED, "405 - Method Not Allowed")
}
