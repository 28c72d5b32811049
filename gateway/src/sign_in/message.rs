//! The text of an EIP-4361 message, written and taken apart. Reading accepts only
//! what writing produces: whoever signs has read exactly this.

use agentkeys_core::{Timestamp, Wallet};
use sha3::{Digest, Keccak256};

const GREETING: &str = " wants you to sign in with your Ethereum account:";
const STATEMENT: &str = "Start an AgentKeys session. This costs nothing and moves nothing.";

/// Everything in a message that varies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    /// The broker's authority, as in its URL.
    pub domain: &'a str,
    /// The broker's URL.
    pub uri: &'a str,
    pub wallet: Wallet,
    pub nonce: String,
    pub issued_at: Timestamp,
    pub expires_at: Timestamp,
}

impl<'a> Message<'a> {
    pub fn write(&self) -> String {
        format!(
            "{}{GREETING}\n{}\n\n{STATEMENT}\n\nURI: {}\nVersion: 1\nChain ID: 1\nNonce: {}\n\
             Issued At: {}\nExpiration Time: {}",
            self.domain,
            checksummed(&self.wallet),
            self.uri,
            self.nonce,
            self.issued_at,
            self.expires_at,
        )
    }

    /// The message behind this text, if it is one of this broker's, to the byte.
    pub fn read(text: &str, domain: &'a str, uri: &'a str) -> Option<Self> {
        let lines: Vec<&str> = text.split('\n').collect();
        let [_, address, _, _, _, _, _, _, nonce, issued_at, expires_at] = lines[..] else { return None };
        let message = Self {
            domain,
            uri,
            wallet: address.parse().ok()?,
            nonce: nonce.strip_prefix("Nonce: ")?.to_owned(),
            issued_at: Timestamp::parse(issued_at.strip_prefix("Issued At: ")?)?,
            expires_at: Timestamp::parse(expires_at.strip_prefix("Expiration Time: ")?)?,
        };
        (message.write() == text).then_some(message)
    }
}

/// The EIP-55 spelling, which EIP-4361 asks for and other wallets insist on.
fn checksummed(wallet: &Wallet) -> String {
    let digits = wallet.as_str().trim_start_matches("0x");
    let hash = Keccak256::digest(digits.as_bytes());
    let spelt = digits.char_indices().map(|(i, digit)| {
        let nibble = if i % 2 == 0 { hash[i / 2] >> 4 } else { hash[i / 2] & 15 };
        if nibble >= 8 { digit.to_ascii_uppercase() } else { digit }
    });
    std::iter::once("0x".to_owned()).chain(spelt.map(String::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of EIP-55.
    #[test]
    fn addresses_are_spelt_with_their_checksum() {
        for address in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0xde709f2102306220921060314715629080e2fb77",
        ] {
            assert_eq!(checksummed(&address.parse().unwrap()), address);
        }
    }

    #[test]
    fn a_message_reads_back_and_any_other_text_does_not() {
        let message = Message {
            domain: "localhost:8090",
            uri: "http://localhost:8090",
            wallet: "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266".parse().unwrap(),
            nonce: "0123456789abcdef".into(),
            issued_at: Timestamp::from_unix(1_790_000_000),
            expires_at: Timestamp::from_unix(1_790_000_600),
        };
        let text = message.write();
        assert_eq!(Message::read(&text, message.domain, message.uri), Some(message.clone()));
        assert_eq!(Message::read(&text, "other", message.uri), None);
        assert_eq!(Message::read(&text, message.domain, "https://other"), None);
        // Every byte counts.
        for i in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[i] ^= 1;
            let Ok(altered) = String::from_utf8(bytes) else { continue };
            assert_ne!(
                Message::read(&altered, message.domain, message.uri).as_ref(),
                Some(&message),
                "byte {i}"
            );
        }
        for altered in [
            text.to_lowercase(),
            format!("{text}\n"),
            format!("{text}\nRequest ID: 1"),
            text.replace('\n', "\r\n"),
            text.replace("Z\n", "+00:00\n"),
            String::new(),
        ] {
            assert_eq!(Message::read(&altered, message.domain, message.uri), None, "{altered}");
        }
    }
}
