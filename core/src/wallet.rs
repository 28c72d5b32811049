//! A wallet: the identity that every credential is bound to.
//!
//! Lower-cased here, once, at the edge. A checksummed spelling that reached a
//! policy or a tag would silently match nothing, so no other spelling exists
//! past this type.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An Ethereum-style address: `0x` and 40 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Wallet(String);

/// The text is not `0x` followed by 40 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a wallet is 0x followed by 40 hexadecimal digits")]
pub struct InvalidWallet;

impl Wallet {
    /// The address of these twenty bytes.
    pub fn from_bytes(bytes: [u8; 20]) -> Self {
        let mut text = String::with_capacity(42);
        text.push_str("0x");
        for byte in bytes {
            text.push_str(&format!("{byte:02x}"));
        }
        Self(text)
    }

    /// The canonical, lower-case text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Wallet {
    type Err = InvalidWallet;

    fn from_str(text: &str) -> Result<Self, InvalidWallet> {
        let digits = text.strip_prefix("0x").ok_or(InvalidWallet)?;
        if digits.len() != 40 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidWallet);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl TryFrom<String> for Wallet {
    type Error = InvalidWallet;

    fn try_from(text: String) -> Result<Self, InvalidWallet> {
        text.parse()
    }
}

impl From<Wallet> for String {
    fn from(wallet: Wallet) -> Self {
        wallet.0
    }
}

impl fmt::Display for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksummed_spelling_becomes_the_one_canonical_text() {
        let wallet: Wallet = "0x52908400098527886E0F7030069857D2E4169EE7".parse().unwrap();
        assert_eq!(wallet.as_str(), "0x52908400098527886e0f7030069857d2e4169ee7");
    }

    #[test]
    fn nothing_that_could_widen_a_policy_is_a_wallet() {
        for text in [
            "",
            "0x",
            "*",
            "/",
            "${aws:username}",
            "%2e%2e",
            "0X52908400098527886E0F7030069857D2E4169EE7",
            "0x52908400098527886E0F7030069857D2E4169EE",
            "0x52908400098527886E0F7030069857D2E4169EE70",
            "0x52908400098527886E0F7030069857D2E4169E*7",
            " 0x52908400098527886E0F7030069857D2E4169EE7",
            "0x52908400098527886E0F7030069857D2E4169EE7\n",
            "0x5290840009852788６E0F7030069857D2E4169EE7",
        ] {
            assert_eq!(text.parse::<Wallet>(), Err(InvalidWallet), "{text:?}");
        }
    }
}
