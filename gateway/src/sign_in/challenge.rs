//! Challenges without state: the nonce is 96 random bits and a MAC over all that
//! the message says.

use agentkeys_core::audit::hex;
use agentkeys_core::token::NoRandomness;
use agentkeys_core::{Timestamp, Wallet};
use aws_lc_rs::{constant_time, hmac, rand};
use secrecy::{ExposeSecret, SecretSlice};

use super::message::Message;
use crate::issuer::IssuerUrl;

/// How long a challenge can be answered.
pub const CHALLENGE_SECONDS: u64 = 600;

/// How far the clocks of two processes over one store may differ.
const SKEW_SECONDS: u64 = 60;

const DOMAIN: &[u8] = b"agentkeys-challenge-v1";
const RANDOM_DIGITS: usize = 24;
const MAC_BYTES: usize = 16;

/// Makes and checks the challenges of one broker.
pub struct Challenges {
    domain: String,
    uri: String,
    key: hmac::Key,
}

/// What a wallet is asked to sign.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// The text to sign.
    pub message: String,
    /// The nonce in it.
    pub nonce: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What a message of this broker says; true once its signature is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who is to have signed.
    pub wallet: Wallet,
    /// The nonce; it may be used once.
    pub nonce: String,
    /// When the challenge ends.
    pub expires_at: Timestamp,
}

/// Not a challenge that can be answered. One reason for all: which of them it
/// was helps only a forger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a challenge of this broker, or it has ended")]
pub struct InvalidChallenge;

impl Challenges {
    /// For the broker with this URL. The key must be the same for every process
    /// over one store.
    pub fn new(issuer: &IssuerUrl, key: &SecretSlice<u8>) -> Self {
        let uri = issuer.as_str().to_owned();
        let rest = uri.split_once("://").map_or(uri.as_str(), |(_, rest)| rest);
        let domain = rest.split('/').next().unwrap_or_default().to_owned();
        Self { domain, uri, key: hmac::Key::new(hmac::HMAC_SHA256, key.expose_secret()) }
    }

    /// The broker's own authority: `localhost:8090`.
    pub fn authority(&self) -> &str {
        &self.domain
    }

    /// A challenge for this wallet.
    pub fn issue(&self, wallet: &Wallet, now: Timestamp) -> Result<Challenge, NoRandomness> {
        let mut random = [0u8; RANDOM_DIGITS / 2];
        rand::fill(&mut random).map_err(|_| NoRandomness)?;
        let expires_at = now.plus(CHALLENGE_SECONDS);
        let mut message = Message {
            domain: &self.domain,
            uri: &self.uri,
            wallet: wallet.clone(),
            nonce: hex(&random),
            issued_at: now,
            expires_at,
        };
        message.nonce.push_str(&hex(&self.mac(&message)));
        Ok(Challenge { message: message.write(), nonce: message.nonce, expires_at })
    }

    /// What this message claims, if this broker issued it, to the byte, and it
    /// can still be answered.
    pub fn check(&self, text: &str, now: Timestamp) -> Result<Claim, InvalidChallenge> {
        let mut message = Message::read(text, &self.domain, &self.uri).ok_or(InvalidChallenge)?;
        let nonce = message.nonce.clone();
        let (random, mac) = nonce.split_at_checked(RANDOM_DIGITS).ok_or(InvalidChallenge)?;
        message.nonce = random.to_owned();
        let expected = hex(&self.mac(&message));
        constant_time::verify_slices_are_equal(expected.as_bytes(), mac.as_bytes())
            .map_err(|_| InvalidChallenge)?;
        if now >= message.expires_at || message.issued_at > now.plus(SKEW_SECONDS) {
            return Err(InvalidChallenge);
        }
        Ok(Claim { wallet: message.wallet, nonce, expires_at: message.expires_at })
    }

    /// Over the whole message, with the random half of the nonce in it.
    fn mac(&self, message: &Message<'_>) -> [u8; MAC_BYTES] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(DOMAIN);
        context.update(message.write().as_bytes());
        let mut mac = [0u8; MAC_BYTES];
        mac.copy_from_slice(&context.sign().as_ref()[..MAC_BYTES]);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenges(key: u8) -> Challenges {
        let issuer = IssuerUrl::parse("https://broker.example.com/v1").unwrap();
        Challenges::new(&issuer, &SecretSlice::from(vec![key; 32]))
    }

    #[test]
    fn a_challenge_is_good_for_ten_minutes_at_the_broker_that_made_it() {
        let wallet: Wallet = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266".parse().unwrap();
        let now = Timestamp::from_unix(1_790_000_000);
        let broker = challenges(1);
        assert_eq!(broker.authority(), "broker.example.com");
        let challenge = broker.issue(&wallet, now).unwrap();
        assert!(challenge.nonce.len() >= 8 && challenge.nonce.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert!(challenge.message.contains(&format!("\nNonce: {}\n", challenge.nonce)));
        let claim = broker.check(&challenge.message, now.plus(599)).unwrap();
        assert_eq!(claim, Claim { wallet, nonce: challenge.nonce, expires_at: now.plus(600) });
        // Another process over the same store reads it too; a stranger's key makes none.
        assert!(challenges(1).check(&challenge.message, now).is_ok());
        assert_eq!(challenges(2).check(&challenge.message, now), Err(InvalidChallenge));
        assert_eq!(broker.check(&challenge.message, now.plus(600)), Err(InvalidChallenge));
        assert_eq!(broker.check(&challenge.message, Timestamp::from_unix(0)), Err(InvalidChallenge));
    }

    #[test]
    fn no_byte_of_a_challenge_can_be_changed() {
        let wallet: Wallet = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266".parse().unwrap();
        let now = Timestamp::from_unix(1_790_000_000);
        let broker = challenges(1);
        let text = broker.issue(&wallet, now).unwrap().message;
        for i in 0..text.len() {
            for bit in [1, 2, 32] {
                let mut bytes = text.clone().into_bytes();
                bytes[i] ^= bit;
                let Ok(altered) = String::from_utf8(bytes) else { continue };
                assert_eq!(broker.check(&altered, now), Err(InvalidChallenge), "byte {i}: {altered}");
            }
        }
        for altered in [
            text.replace(
                "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
                "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
            ),
            text.replace("broker.example.com wants", "exchange.example wants"),
            text.replace("Chain ID: 1", "Chain ID: 5"),
            text.replace("Start an AgentKeys session.", "Transfer everything."),
        ] {
            assert_ne!(altered, text);
            assert_eq!(broker.check(&altered, now), Err(InvalidChallenge));
        }
    }
}
