//! Who signed a message with `personal_sign` (EIP-191, version 0x45).

use agentkeys_core::Wallet;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sha3::{Digest, Keccak256};

/// The text is not a signature that proves anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignature {
    /// Not `0x` and 130 hexadecimal digits.
    #[error("a signature is 0x and 130 hexadecimal digits: r, s and v")]
    Spelling,
    /// `v` is none of 0, 1, 27, 28.
    #[error("the signature's v is 27 or 28 (or 0 or 1)")]
    RecoveryId,
    /// `r` or `s` is out of range, or `s` is the greater of its two forms, which
    /// would make a second valid text of one signature.
    #[error("the signature's r or s is out of range")]
    Range,
    /// No key makes this signature.
    #[error("the signature belongs to no key")]
    NoKey,
}

/// The wallet whose key signed `message`.
pub fn signer(message: &str, signature: &str) -> Result<Wallet, InvalidSignature> {
    let bytes = spelt(signature).ok_or(InvalidSignature::Spelling)?;
    let recovery = match bytes[64] {
        v @ (0 | 1) => v,
        v @ (27 | 28) => v - 27,
        _ => return Err(InvalidSignature::RecoveryId),
    };
    let recovery = RecoveryId::from_byte(recovery).ok_or(InvalidSignature::RecoveryId)?;
    let signature = Signature::from_slice(&bytes[..64]).map_err(|_| InvalidSignature::Range)?;
    if signature.normalize_s() != signature {
        return Err(InvalidSignature::Range);
    }
    let digest = Keccak256::new()
        .chain_update(format!("\x19Ethereum Signed Message:\n{}", message.len()))
        .chain_update(message)
        .finalize();
    let key = VerifyingKey::recover_from_prehash(&digest, &signature, recovery)
        .map_err(|_| InvalidSignature::NoKey)?;
    Ok(address(&key))
}

/// The last twenty bytes of the Keccak-256 of the public point.
fn address(key: &VerifyingKey) -> Wallet {
    let point = key.to_sec1_point(false);
    let digest = Keccak256::digest(&point.as_bytes()[1..]);
    let mut address = [0u8; 20];
    address.copy_from_slice(&digest[12..]);
    Wallet::from_bytes(address)
}

fn spelt(text: &str) -> Option<[u8; 65]> {
    let digits = text.strip_prefix("0x")?;
    if digits.len() != 130 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0u8; 65];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
