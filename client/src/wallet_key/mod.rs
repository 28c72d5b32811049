//! The wallet's own key: made here, kept in the keychain, used to sign one
//! thing only, a broker's sign-in message that names this wallet and that broker.

pub mod sign_in;

use std::fmt;

use agentkeys_core::Wallet;
use aws_lc_rs::rand;
use k256::ecdsa::SigningKey;
use secrecy::{ExposeSecret, SecretString};
use sha3::{Digest, Keccak256};
use zeroize::Zeroizing;

/// A secp256k1 key. It cannot be printed.
pub struct WalletKey(SigningKey);

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalletKeyError {
    /// What is kept is not a key.
    #[error("the kept wallet key is damaged")]
    Damaged,
    /// The system gives no randomness.
    #[error("the system's random source failed")]
    NoRandomness,
}

impl WalletKey {
    /// A new random key.
    pub fn generate() -> Result<Self, WalletKeyError> {
        loop {
            let mut bytes = Zeroizing::new([0u8; 32]);
            rand::fill(bytes.as_mut_slice()).map_err(|_| WalletKeyError::NoRandomness)?;
            // All but one in 2^128 of them are keys.
            if let Ok(key) = SigningKey::from_slice(bytes.as_slice()) {
                return Ok(Self(key));
            }
        }
    }

    /// Reads the text that [`Self::to_secret`] wrote.
    pub fn from_secret(text: &SecretString) -> Result<Self, WalletKeyError> {
        let bytes = from_hex(text.expose_secret()).ok_or(WalletKeyError::Damaged)?;
        SigningKey::from_slice(&bytes).map(Self).map_err(|_| WalletKeyError::Damaged)
    }

    /// The key as 64 hexadecimal digits, for the keychain alone.
    pub fn to_secret(&self) -> SecretString {
        let bytes = Zeroizing::new(self.0.to_bytes());
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        SecretString::from(text)
    }

    /// The address: the last twenty bytes of the Keccak-256 of the public point.
    pub fn wallet(&self) -> Wallet {
        let point = self.0.verifying_key().to_sec1_point(false);
        let digest = Keccak256::digest(&point.as_bytes()[1..]);
        let mut address = [0u8; 20];
        address.copy_from_slice(&digest[12..]);
        Wallet::from_bytes(address)
    }

    /// `personal_sign` (EIP-191, version 0x45): 65 bytes r, s, v as hexadecimal.
    pub fn personal_sign(&self, message: &str) -> String {
        let digest = Keccak256::new()
            .chain_update(format!("\x19Ethereum Signed Message:\n{}", message.len()))
            .chain_update(message)
            .finalize();
        let (signature, recovery) = self.0.sign_prehash_recoverable(&digest);
        let mut text = String::from("0x");
        for byte in signature.to_bytes() {
            text.push_str(&format!("{byte:02x}"));
        }
        text.push_str(&format!("{:02x}", 27 + recovery.to_byte()));
        text
    }
}

impl fmt::Debug for WalletKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WalletKey({})", self.wallet())
    }
}

fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(32));
    for i in (0..text.len()).step_by(2) {
        bytes.push(u8::from_str_radix(&text[i..i + 2], 16).ok()?);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

    use super::*;

    fn key(text: &str) -> WalletKey {
        WalletKey::from_secret(&text.into()).unwrap()
    }

    /// Keys and addresses that other software made: the first two accounts of
    /// the "test test … junk" mnemonic, and the key 1.
    #[test]
    fn known_keys_have_their_known_addresses() {
        for (secret, address) in [
            (
                "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
                "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266",
            ),
            (
                "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
                "0x70997970c51812dc3a010c7d01b50e0d17dc79c8",
            ),
            (
                "0000000000000000000000000000000000000000000000000000000000000001",
                "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf",
            ),
        ] {
            assert_eq!(key(secret).wallet().as_str(), address);
            assert_eq!(key(secret).to_secret().expose_secret(), secret);
        }
    }

    /// The example of the web3.js documentation (`accounts.sign`, "Some data").
    #[test]
    fn a_signature_is_the_one_that_other_wallets_make() {
        let key = key("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318");
        assert_eq!(
            key.personal_sign("Some data"),
            "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd\
             6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c"
        );
    }

    #[test]
    fn the_signer_is_recovered_from_the_signature() {
        let key = WalletKey::generate().unwrap();
        let message = "a message — not ASCII alone";
        let text = key.personal_sign(message);
        let bytes: Vec<u8> =
            (2..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect();
        let digest = Keccak256::digest(
            [format!("\x19Ethereum Signed Message:\n{}", message.len()).as_bytes(), message.as_bytes()]
                .concat(),
        );
        let recovered = VerifyingKey::recover_from_prehash(
            &digest,
            &Signature::from_slice(&bytes[..64]).unwrap(),
            RecoveryId::from_byte(bytes[64] - 27).unwrap(),
        )
        .unwrap();
        assert_eq!(&recovered, key.0.verifying_key());
    }

    #[test]
    fn what_is_not_a_key_is_refused_and_debug_shows_the_address_alone() {
        for bad in ["", "00", &"0".repeat(64), &"f".repeat(64), &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(WalletKey::from_secret(&bad.into()).err(), Some(WalletKeyError::Damaged), "{bad}");
        }
        let key = WalletKey::generate().unwrap();
        assert!(!format!("{key:?}").contains(key.to_secret().expose_secret()));
    }
}
