//! A P-256 signing key: made here, kept as PKCS#8 PEM, named by its RFC 7638
//! thumbprint. The private half is wiped from memory when the value is dropped
//! and is never printed.

use std::fmt;
use std::path::Path;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::elliptic_curve::sec1::ToSec1Point;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::error::KeyError;

/// A private key.
pub struct SigningKey(p256::SecretKey);

/// The public half, as the key set shows it. It has no field for a private one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicJwk {
    kty: Kty,
    crv: Crv,
    x: String,
    y: String,
    #[serde(rename = "use")]
    usage: Usage,
    alg: Alg,
    kid: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kty {
    #[serde(rename = "EC")]
    Ec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Crv {
    #[serde(rename = "P-256")]
    P256,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Usage {
    #[serde(rename = "sig")]
    Sig,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Alg {
    #[serde(rename = "ES256")]
    Es256,
}

impl SigningKey {
    /// A new key from the crypto library's random source.
    pub fn generate() -> Result<Self, KeyError> {
        // A draw outside the curve's order has odds of one in 2^32; a second one settles it.
        for _ in 0..8 {
            let mut bytes = Zeroizing::new([0u8; 32]);
            aws_lc_rs::rand::fill(bytes.as_mut_slice())
                .map_err(|_| KeyError::Crypto("the random source failed"))?;
            if let Ok(secret) = p256::SecretKey::from_slice(bytes.as_slice()) {
                return Ok(Self(secret));
            }
        }
        Err(KeyError::Crypto("the random source gives no usable key"))
    }

    /// Reads a PKCS#8 PEM; `path` is for the message alone.
    pub fn from_pem(pem: &[u8], path: &Path) -> Result<Self, KeyError> {
        let text = std::str::from_utf8(pem).map_err(|_| KeyError::NotAKey { path: path.to_owned() })?;
        p256::SecretKey::from_pkcs8_pem(text)
            .map(Self)
            .map_err(|_| KeyError::NotAKey { path: path.to_owned() })
    }

    /// The PKCS#8 PEM.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        self.0.to_pkcs8_pem(LineEnding::LF).map_err(|_| KeyError::Crypto("the key does not become PEM"))
    }

    /// The public half.
    pub fn public_jwk(&self) -> Result<PublicJwk, KeyError> {
        PublicJwk::from_sec1(self.0.public_key().to_sec1_point(false).as_bytes())
    }

    /// The pair that signs, parsed once: parsing costs more than half a signature.
    pub fn pair(&self) -> Result<EcdsaKeyPair, KeyError> {
        let der = self.0.to_pkcs8_der().map_err(|_| KeyError::Crypto("the key does not become DER"))?;
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_bytes())
            .map_err(|_| KeyError::Crypto("the key is not accepted for ES256"))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([REDACTED])")
    }
}

impl PublicJwk {
    /// From an uncompressed SEC1 point: `04`, then x and y of 32 bytes each. The
    /// point's coordinates have a fixed width, so a leading zero stays.
    pub fn from_sec1(point: &[u8]) -> Result<Self, KeyError> {
        match point {
            [4, coordinates @ ..]
                if coordinates.len() == 64 && p256::PublicKey::from_sec1_bytes(point).is_ok() =>
            {
                let x = URL_SAFE_NO_PAD.encode(&coordinates[..32]);
                let y = URL_SAFE_NO_PAD.encode(&coordinates[32..]);
                let kid = thumbprint(&x, &y);
                Ok(Self { kty: Kty::Ec, crv: Crv::P256, x, y, usage: Usage::Sig, alg: Alg::Es256, kid })
            }
            _ => Err(KeyError::Crypto("the public key is not an uncompressed P-256 point")),
        }
    }

    /// The key's id.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The coordinates, base64url.
    pub fn coordinates(&self) -> (&str, &str) {
        (&self.x, &self.y)
    }

    /// Is this a point on the curve whose id is its thumbprint? What was read from
    /// a file must be asked; what this process made need not.
    pub fn is_sound(&self) -> bool {
        let (Ok(x), Ok(y)) = (URL_SAFE_NO_PAD.decode(&self.x), URL_SAFE_NO_PAD.decode(&self.y)) else {
            return false;
        };
        let point = [&[4u8][..], &x, &y].concat();
        Self::from_sec1(&point).is_ok_and(|sound| sound == *self)
    }
}

/// RFC 7638: SHA-256 over the required members in lexicographic order.
fn thumbprint(x: &str, y: &str) -> String {
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_reads_back_as_the_same_key_and_nothing_prints_it() {
        let key = SigningKey::generate().unwrap();
        let pem = key.to_pem().unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let again = SigningKey::from_pem(pem.as_bytes(), Path::new("k.pem")).unwrap();
        assert_eq!(again.public_jwk().unwrap(), key.public_jwk().unwrap());
        assert_eq!(format!("{key:?}"), "SigningKey([REDACTED])");
        let json = serde_json::to_value(key.public_jwk().unwrap()).unwrap();
        let mut members: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        members.sort();
        assert_eq!(members, ["alg", "crv", "kid", "kty", "use", "x", "y"], "and never d");
    }

    #[test]
    fn coordinates_with_leading_zeros_keep_their_width() {
        // One key in 128 has a coordinate that begins with a zero byte.
        let found = (1u32..20_000).find_map(|n| {
            let mut scalar = [0u8; 32];
            scalar[28..].copy_from_slice(&n.to_be_bytes());
            let key = SigningKey(p256::SecretKey::from_slice(&scalar).unwrap());
            let point = key.0.public_key().to_sec1_point(false);
            (point.as_bytes()[1] == 0).then_some(key)
        });
        let jwk = found.unwrap().public_jwk().unwrap();
        assert!(jwk.x.starts_with("A"), "{}", jwk.x);
        for coordinate in [&jwk.x, &jwk.y] {
            assert_eq!(coordinate.len(), 43);
            assert_eq!(URL_SAFE_NO_PAD.decode(coordinate).unwrap().len(), 32);
        }
        assert!(jwk.is_sound());
    }

    #[test]
    fn the_thumbprint_is_the_one_other_implementations_compute() {
        let jwk = SigningKey::generate().unwrap().public_jwk().unwrap();
        let theirs: jsonwebtoken::jwk::Jwk =
            serde_json::from_value(serde_json::to_value(&jwk).unwrap()).unwrap();
        assert_eq!(theirs.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256).unwrap(), jwk.kid());
        assert_eq!(jwk.kid().len(), 43);
    }

    #[test]
    fn a_record_with_a_swapped_coordinate_is_not_sound() {
        let mut jwk = SigningKey::generate().unwrap().public_jwk().unwrap();
        std::mem::swap(&mut jwk.x, &mut jwk.y);
        assert!(!jwk.is_sound());
    }

    #[test]
    fn other_curves_and_texts_are_no_keys() {
        for text in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "\u{0}"] {
            assert!(matches!(
                SigningKey::from_pem(text.as_bytes(), Path::new("k")),
                Err(KeyError::NotAKey { .. })
            ));
        }
    }
}
