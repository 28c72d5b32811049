//! AES-256-GCM over one stored value. The wallet, the service and the version
//! are authenticated with it, so a row that is moved or exchanged in the
//! database opens nothing.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

const DOMAIN: &[u8] = b"agentkeys-credential-v1";

/// The key that seals stored credentials. It cannot be printed.
pub struct SealingKey {
    key: LessSafeKey,
    id: [u8; 8],
}

/// The text is not 32 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealing key is 32 random bytes, as base64 or as 64 hexadecimal digits")]
pub struct InvalidSealingKey;

/// What a value is bound to.
pub(super) struct Place<'a> {
    pub wallet: &'a str,
    pub service: &'a str,
    pub version: i64,
}

/// A sealed value as a row keeps it.
pub(super) struct Sealed {
    pub key_id: [u8; 8],
    pub nonce: [u8; 12],
    pub bytes: Vec<u8>,
}

/// Why a value does not open or seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SealError {
    #[error("it is sealed under another key")]
    OtherKey,
    #[error("it was altered, or belongs elsewhere")]
    Altered,
    #[error("the crypto library refused")]
    Refused,
}

impl SealingKey {
    /// Reads a key as an operator keeps it: base64, URL-safe or not, or hexadecimal.
    pub fn parse(text: &SecretString) -> Result<Self, InvalidSealingKey> {
        let text = text.expose_secret().trim();
        let bytes = if text.len() == 64 {
            from_hex(text)
        } else {
            let bare = text.trim_end_matches('=');
            STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(bare)).ok().map(Zeroizing::new)
        };
        Self::from_bytes(&bytes.ok_or(InvalidSealingKey)?)
    }

    /// A new random key, and the text that [`SealingKey::parse`] reads back.
    pub fn generate() -> Result<(Self, Zeroizing<String>), InvalidSealingKey> {
        let mut bytes = Zeroizing::new([0u8; 32]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| InvalidSealingKey)?;
        let text = Zeroizing::new(STANDARD.encode(bytes.as_slice()));
        Ok((Self::from_bytes(bytes.as_slice())?, text))
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidSealingKey> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| InvalidSealingKey)?;
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(DOMAIN);
        context.update(b"-key-id");
        context.update(bytes);
        let mut id = [0u8; 8];
        id.copy_from_slice(&context.finish().as_ref()[..8]);
        Ok(Self { key: LessSafeKey::new(key), id })
    }

    pub(super) fn seal(&self, place: &Place<'_>, value: &SecretString) -> Result<Sealed, SealError> {
        let mut nonce = [0u8; 12];
        rand::fill(&mut nonce).map_err(|_| SealError::Refused)?;
        let value = value.expose_secret().as_bytes();
        // Room for the tag at once: a growing buffer would leave the clear text behind.
        let mut bytes = Vec::with_capacity(value.len() + AES_256_GCM.tag_len());
        bytes.extend_from_slice(value);
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(authenticated(place)),
                &mut bytes,
            )
            .map_err(|_| SealError::Refused)?;
        Ok(Sealed { key_id: self.id, nonce, bytes })
    }

    pub(super) fn open(&self, place: &Place<'_>, sealed: Sealed) -> Result<SecretString, SealError> {
        if sealed.key_id != self.id {
            return Err(SealError::OtherKey);
        }
        let mut bytes = Zeroizing::new(sealed.bytes);
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let value = self
            .key
            .open_in_place(nonce, Aad::from(authenticated(place)), &mut bytes)
            .map_err(|_| SealError::Altered)?;
        let text = std::str::from_utf8(value).map_err(|_| SealError::Altered)?;
        Ok(SecretString::from(text))
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(REDACTED)")
    }
}

/// Each part with its length, so that no two places read alike.
fn authenticated(place: &Place<'_>) -> Vec<u8> {
    let mut bytes = DOMAIN.to_vec();
    for part in [place.wallet, place.service] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes.extend_from_slice(&place.version.to_be_bytes());
    bytes
}

fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for i in (0..text.len()).step_by(2) {
        bytes.push(u8::from_str_radix(&text[i..i + 2], 16).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'static> = Place { wallet: "0xaa", service: "openrouter", version: 1 };

    #[test]
    fn what_is_sealed_opens_in_its_own_place_under_its_own_key_only() {
        let (key, text) = SealingKey::generate().unwrap();
        let value = SecretString::from("sk-or-v1-canary");
        let seal = || key.seal(&PLACE, &value).unwrap();
        assert!(!seal().bytes.windows(6).any(|window| window == b"canary"));
        let again = SealingKey::parse(&SecretString::from(text.as_str())).unwrap();
        assert_eq!(again.open(&PLACE, seal()).unwrap().expose_secret(), "sk-or-v1-canary");
        for elsewhere in [
            Place { wallet: "0xab", ..PLACE },
            Place { service: "openroutes", ..PLACE },
            Place { version: 2, ..PLACE },
            Place { wallet: "0xaao", service: "penrouter", version: 1 },
        ] {
            assert_eq!(key.open(&elsewhere, seal()).err(), Some(SealError::Altered));
        }
        let mut altered = seal();
        altered.bytes[0] ^= 1;
        assert_eq!(key.open(&PLACE, altered).err(), Some(SealError::Altered));
        let (other, _) = SealingKey::generate().unwrap();
        assert_eq!(other.open(&PLACE, seal()).err(), Some(SealError::OtherKey));
    }

    #[test]
    fn a_key_is_32_bytes_however_it_is_written() {
        let zeros = SealingKey::parse(&SecretString::from("0".repeat(64))).unwrap();
        let base64 = SealingKey::parse(&SecretString::from(STANDARD.encode([0u8; 32]))).unwrap();
        let url_safe = SealingKey::parse(&SecretString::from(URL_SAFE_NO_PAD.encode([0u8; 32]))).unwrap();
        assert_eq!(zeros.id, base64.id);
        assert_eq!(zeros.id, url_safe.id);
        for bad in ["", "password", &"0".repeat(62), &STANDARD.encode([0u8; 31]), &"g".repeat(64)] {
            assert!(SealingKey::parse(&SecretString::from(bad)).is_err(), "{bad}");
        }
        assert_eq!(format!("{zeros:?}"), "SealingKey(REDACTED)");
    }
}
