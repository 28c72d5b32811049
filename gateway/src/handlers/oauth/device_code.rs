//! The device's secret half of a pairing: 256 random bits that only the device
//! holds. The store keeps its SHA-256.

use agentkeys_core::TokenHash;
use agentkeys_core::token::NoRandomness;
use aws_lc_rs::{digest, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

const PREFIX: &str = "akd_";
const LENGTH: usize = PREFIX.len() + 43;

/// A new device code.
pub(super) fn generate() -> Result<SecretString, NoRandomness> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| NoRandomness)?;
    Ok(SecretString::from(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes.as_slice()))))
}

/// What the store knows a device by; `None` for what no device was ever given.
pub(super) fn hash(code: &SecretString) -> Option<TokenHash> {
    let text = code.expose_secret();
    if text.len() != LENGTH || !text.starts_with(PREFIX) {
        return None;
    }
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let mut bytes = [0u8; 32];
    bytes.copy_from_slice(digest.as_ref());
    Some(TokenHash::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_code_has_a_hash_and_another_text_has_none() {
        let code = generate().unwrap();
        assert!(hash(&code).is_some());
        assert_ne!(hash(&code), hash(&generate().unwrap()));
        for bad in ["", "akd_", "aks_0123456789012345678901234567890123456789012"] {
            assert_eq!(hash(&bad.into()), None);
        }
    }
}
