//! Can AWS read who the issuer is and with which keys it signs? Fetched by its
//! public URL, from the outside in, as AWS does: no redirect, five seconds.

use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::Value;

use super::Doctor;
use super::clock::{self, Observed};
use super::row::Row;
use crate::issuer::{KeyDirectory, KeyState};

const CHECKS: [&str; 5] = ["issuer_url", "discovery", "issuer_bytes", "jwks", "signing_key"];
/// IAM takes no longer URL, and no larger key set.
const MAX_KEYS: usize = 100;

impl Doctor<'_> {
    /// The rows of the issuer, and its clock where it answered.
    pub(super) async fn issuer(&self) -> (Vec<Row>, Option<Observed>) {
        if !self.federates() {
            let why = "assume_role: AWS never fetches anything from the issuer";
            return (CHECKS.map(|name| Row::skip(name, why)).to_vec(), None);
        }
        let mut rows = vec![self.issuer_url()];
        let issuer = &self.plan.issuer;
        let url = format!("{issuer}/.well-known/openid-configuration");
        let (discovery, observed) = match self.document(&url).await {
            Ok(found) => found,
            Err(reason) => {
                rows.push(Row::fail("discovery", reason, reach(&url)));
                let why = "the discovery document was not read";
                rows.extend(CHECKS[2..].iter().map(|name| Row::skip(*name, why)));
                return (rows, None);
            }
        };
        rows.push(Row::pass("discovery", format!("{url} answered in {:?}", observed.took)));
        rows.push(issuer_bytes(issuer, &discovery));
        rows.extend(self.keys(&discovery).await);
        (rows, Some(observed))
    }

    fn issuer_url(&self) -> Row {
        let issuer = &self.settings.issuer;
        if issuer.is_public_https() {
            return Row::pass("issuer_url", format!("{issuer}: https, no port, no trailing slash"));
        }
        Row::fail(
            "issuer_url",
            format!("{issuer} cannot be an OIDC provider of IAM"),
            "set issuer in broker.yaml to a public https URL without a port or trailing slash, or aws.exchange to assume_role",
        )
    }

    async fn keys(&self, discovery: &Value) -> [Row; 2] {
        let skipped = |why: &str| Row::skip("signing_key", why);
        let Some(uri) = discovery["jwks_uri"].as_str() else {
            let fix = "something else answers at the issuer's URL: point it at the broker";
            return [
                Row::fail("jwks", "the discovery document names no jwks_uri", fix),
                skipped("no key set was read"),
            ];
        };
        let (set, observed) = match self.document(uri).await {
            Ok(found) => found,
            Err(reason) => return [Row::fail("jwks", reason, reach(uri)), skipped("no key set was read")],
        };
        let keys = set["keys"].as_array().cloned().unwrap_or_default();
        if keys.is_empty() || keys.len() > MAX_KEYS {
            let detail = format!("{uri} holds {} keys; AWS takes 1 to {MAX_KEYS}", keys.len());
            let fix = "let the broker itself answer at jwks_uri, without a cache or static file before it";
            return [Row::fail("jwks", detail, fix), skipped("the key set is none")];
        }
        let jwks = Row::pass("jwks", format!("{uri}: {} keys in {:?}", keys.len(), observed.took));
        [jwks, self.signing_key(&keys)]
    }

    /// Is the key that signs now among those that AWS reads?
    fn signing_key(&self, published: &[Value]) -> Row {
        const NAME: &str = "signing_key";
        let listed = match self.settings.issuer_settings().map(|settings| KeyDirectory::new(settings).list())
        {
            Ok(Ok(listed)) => listed,
            Ok(Err(error)) => {
                return Row::unknown(NAME, error.to_string(), "run the doctor as the broker's user");
            }
            Err(error) => return Row::unknown(NAME, error.to_string(), "correct the issuer in broker.yaml"),
        };
        let Some(current) = listed.iter().find(|key| key.state == KeyState::Current) else {
            return Row::fail(
                NAME,
                "this broker has no signing key",
                "run 'agentkeys-broker-server keys generate', or name the right --data-dir",
            );
        };
        let kid = current.jwk.kid();
        let Some(found) = published.iter().find(|key| key["kid"] == kid) else {
            return Row::fail(
                NAME,
                format!("the published key set lacks the current key {kid}"),
                "a cache or another broker answers at the issuer's URL: purge it, or point the URL at this broker",
            );
        };
        match key_fault(found) {
            None => Row::pass(NAME, format!("the current key {kid} is published")),
            Some(fault) => Row::fail(
                NAME,
                format!("the published key {kid} {fault}"),
                "something between AWS and the broker rewrites the key set: let it pass unchanged",
            ),
        }
    }

    /// A JSON object, and when and how fast it came.
    async fn document(&self, url: &str) -> Result<(Value, Observed), String> {
        let started = Instant::now();
        let response = self.wire.get(url).await.map_err(|error| format!("{url}: {error}"))?;
        let observed = clock::observe(response.headers(), started.elapsed());
        let status = response.status();
        if status.is_redirection() {
            return Err(format!("{url} redirects ({status}), which AWS does not follow"));
        }
        if !status.is_success() {
            return Err(format!("{url} answered {status}"));
        }
        let document = parse(response.body()).ok_or_else(|| format!("{url} is no JSON object"))?;
        Ok((document, observed))
    }
}

fn parse(body: &Bytes) -> Option<Value> {
    serde_json::from_slice(body).ok().filter(Value::is_object)
}

fn reach(url: &str) -> String {
    format!(
        "make {url} answer 200 within 5 s to anybody on the internet, with a certificate that public roots know; a private one needs --ca-file here and cannot serve AWS"
    )
}

fn issuer_bytes(configured: &str, discovery: &Value) -> Row {
    const NAME: &str = "issuer_bytes";
    match discovery["issuer"].as_str() {
        Some(found) if found == configured => {
            Row::pass(NAME, format!("the discovery document says {configured}, byte for byte"))
        }
        found => Row::fail(
            NAME,
            format!(
                "the discovery document says {:?}, broker.yaml {configured:?}",
                found.unwrap_or("nothing")
            ),
            "AWS compares them byte by byte: let the URL lead to this broker, and run it with this configuration",
        ),
    }
}

/// What makes AWS pass a key over.
fn key_fault(key: &Value) -> Option<String> {
    for (name, wanted) in [("kty", "EC"), ("crv", "P-256"), ("alg", "ES256"), ("use", "sig")] {
        if key[name] != wanted {
            return Some(format!("has a {name} other than {wanted}"));
        }
    }
    for name in ["x", "y"] {
        let bytes = key[name].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        match bytes.map(|bytes| bytes.len()) {
            Some(32) => {}
            Some(length) => return Some(format!("has a coordinate {name} of {length} bytes instead of 32")),
            None => return Some(format!("has no coordinate {name} in unpadded base64url")),
        }
    }
    key.get("d").map(|_| "shows its private half: retire it at once".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_trailing_slash_is_another_issuer() {
        let row = issuer_bytes("https://a.example", &json!({ "issuer": "https://a.example/" }));
        assert_eq!(row.status, super::super::Status::Fail);
    }

    #[test]
    fn a_coordinate_that_lost_its_leading_zero_is_noticed() {
        let whole = URL_SAFE_NO_PAD.encode([7; 32]);
        let mut key =
            json!({ "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "x": whole, "y": whole });
        assert_eq!(key_fault(&key), None);
        key["y"] = URL_SAFE_NO_PAD.encode([7; 31]).into();
        assert!(key_fault(&key).unwrap().contains("31 bytes"));
        key["y"] = "=".into();
        assert!(key_fault(&key).unwrap().contains("base64url"));
    }
}
