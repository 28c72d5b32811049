//! Opaque bearer tokens: `aks_`, 43 base-62 characters (256 random bits) and a
//! 6-character CRC-32 checksum, so that a typo is refused without a look-up and
//! a secret scanner can tell a real token from noise.
//!
//! A token is shown to its owner once. Everything else sees its SHA-256.

use std::fmt;

use aws_lc_rs::{digest, rand};
use secrecy::{ExposeSecret, SecretString};

const PREFIX: &str = "aks_";
const RANDOM_CHARS: usize = 43;
const CHECK_CHARS: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The length of every token, in characters.
pub const TOKEN_LENGTH: usize = PREFIX.len() + RANDOM_CHARS + CHECK_CHARS;

/// A bearer token in the clear. It cannot be printed, only exposed on purpose.
#[derive(Clone)]
pub struct BearerToken(SecretString);

/// The text is not a token: wrong prefix, length, alphabet or checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a session token (aks_…)")]
pub struct MalformedToken;

/// The system's random source failed; no token can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system's random source failed")]
pub struct NoRandomness;

impl BearerToken {
    /// A new random token.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut text = String::with_capacity(TOKEN_LENGTH);
        text.push_str(PREFIX);
        let mut pool = [0u8; 64];
        while text.len() < PREFIX.len() + RANDOM_CHARS {
            rand::fill(&mut pool).map_err(|_| NoRandomness)?;
            for byte in pool {
                // Rejection keeps each character uniform: 248 = 4 × 62.
                if byte < 248 && text.len() < PREFIX.len() + RANDOM_CHARS {
                    text.push(char::from(ALPHABET[usize::from(byte % 62)]));
                }
            }
        }
        let check = checksum(&text);
        text.push_str(&check);
        Ok(Self(SecretString::from(text)))
    }

    /// Reads a token; anything whose checksum is off is malformed.
    pub fn parse(text: &str) -> Result<Self, MalformedToken> {
        if text.len() != TOKEN_LENGTH || !text.starts_with(PREFIX) {
            return Err(MalformedToken);
        }
        if !text.bytes().skip(PREFIX.len()).all(|b| b.is_ascii_alphanumeric()) {
            return Err(MalformedToken);
        }
        let (body, check) = text.split_at(TOKEN_LENGTH - CHECK_CHARS);
        if checksum(body) != check {
            return Err(MalformedToken);
        }
        Ok(Self(SecretString::from(text.to_owned())))
    }

    /// What the store keeps and looks up by.
    pub fn hash(&self) -> TokenHash {
        let digest = digest::digest(&digest::SHA256, self.0.expose_secret().as_bytes());
        let mut bytes = [0u8; 32];
        bytes.copy_from_slice(digest.as_ref());
        TokenHash(bytes)
    }

    /// The clear text, for the one response that hands it to its owner.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// The token as a secret string, for a wire type.
    pub fn into_secret(self) -> SecretString {
        self.0
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(REDACTED)")
    }
}

/// The SHA-256 of a token: what is stored, compared and looked up.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash read back from the store.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(REDACTED)")
    }
}

fn checksum(body: &str) -> String {
    let mut crc = crc32fast::hash(body.as_bytes());
    let mut chars = [b'0'; CHECK_CHARS];
    for slot in chars.iter_mut().rev() {
        *slot = ALPHABET[(crc % 62) as usize];
        crc /= 62;
    }
    chars.iter().map(|b| char::from(*b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_token_is_read_back_and_hashes_alike() {
        let token = BearerToken::generate().unwrap();
        assert_eq!(token.expose().len(), TOKEN_LENGTH);
        assert_eq!(BearerToken::parse(token.expose()).unwrap().hash(), token.hash());
        assert_ne!(BearerToken::generate().unwrap().hash(), token.hash());
    }

    #[test]
    fn one_changed_character_is_malformed() {
        let token = BearerToken::generate().unwrap();
        let text = token.expose();
        for i in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[i] = if bytes[i] == b'x' { b'y' } else { b'x' };
            let altered = String::from_utf8(bytes).unwrap();
            assert!(BearerToken::parse(&altered).is_err(), "position {i}");
        }
        for text in ["", "aks_", &text[..text.len() - 1], &format!("{text} "), &"é".repeat(30)] {
            assert!(BearerToken::parse(text).is_err());
        }
    }

    #[test]
    fn debug_never_shows_the_token() {
        let token = BearerToken::generate().unwrap();
        assert!(!format!("{token:?} {:?}", token.hash()).contains(&token.expose()[4..12]));
    }
}
