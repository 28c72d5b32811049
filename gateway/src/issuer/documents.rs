//! The two documents that a verifier fetches: the key set and the discovery
//! document. Both are written once per change and served as they stand.
//!
//! Only ES256 is listed. OpenID Connect Discovery asks for RS256 as well; a broker
//! that signs with no RSA key lists what it does.

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Serialize;

use super::key::PublicJwk;
use super::url::IssuerUrl;

/// A key set, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwksDocument {
    /// The JSON.
    pub body: Bytes,
    /// A strong entity tag of it, with its quotes.
    pub etag: String,
}

#[derive(Serialize)]
struct KeySet<'a> {
    keys: &'a [&'a PublicJwk],
}

#[derive(Serialize)]
struct Discovery<'a> {
    issuer: &'a str,
    jwks_uri: String,
    response_types_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
    id_token_signing_alg_values_supported: [&'static str; 1],
    claims_supported: &'a [&'static str],
}

/// Every claim that a token may hold.
const CLAIMS: [&str; 10] = [
    "iss",
    "sub",
    "aud",
    "iat",
    "nbf",
    "exp",
    "jti",
    super::claims::WALLET_TAG,
    "https://aws.amazon.com/tags",
    "https://aws.amazon.com/source_identity",
];

impl JwksDocument {
    /// The set of these keys, in this order.
    pub fn of(keys: &[&PublicJwk]) -> Result<Self, serde_json::Error> {
        let body = serde_json::to_vec(&KeySet { keys })?;
        let hash = digest::digest(&digest::SHA256, &body);
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]));
        Ok(Self { body: body.into(), etag })
    }
}

/// The discovery document of this issuer.
pub fn discovery(url: &IssuerUrl) -> Result<Bytes, serde_json::Error> {
    let document = Discovery {
        issuer: url.as_str(),
        jwks_uri: url.jwks_uri(),
        response_types_supported: ["id_token"],
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: ["ES256"],
        claims_supported: &CLAIMS,
    };
    Ok(serde_json::to_vec(&document)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::key::SigningKey;

    #[test]
    fn the_tag_changes_with_the_keys_and_only_then() {
        let (a, b) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let (a, b) = (a.public_jwk().unwrap(), b.public_jwk().unwrap());
        let one = JwksDocument::of(&[&a]).unwrap();
        assert_eq!(one, JwksDocument::of(&[&a]).unwrap());
        assert_ne!(one.etag, JwksDocument::of(&[&a, &b]).unwrap().etag);
        assert!(one.etag.starts_with('"') && one.etag.ends_with('"'), "strong: no W/");
    }

    #[test]
    fn discovery_names_the_configured_issuer_and_only_es256() {
        let body = discovery(&IssuerUrl::parse("https://broker.example.com/team").unwrap()).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["issuer"], "https://broker.example.com/team");
        assert_eq!(json["jwks_uri"], "https://broker.example.com/team/.well-known/jwks.json");
        assert_eq!(json["id_token_signing_alg_values_supported"], serde_json::json!(["ES256"]));
        assert_eq!(json["subject_types_supported"], serde_json::json!(["public"]));
        assert_eq!(json["response_types_supported"], serde_json::json!(["id_token"]));
    }
}
