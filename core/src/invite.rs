//! Invites: one-time codes with which the operator lets a new wallet enrol.
//!
//! A code is shown to the operator once. Everything else sees its SHA-256.

use std::fmt;

use aws_lc_rs::{digest, rand};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::mint_id::random_ulid;
use crate::timestamp::Timestamp;
use crate::token::{NoRandomness, TokenHash};
use crate::wallet::Wallet;

/// Crockford's alphabet without `U`: nothing in it is mistaken for another.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const GROUPS: usize = 4;
const GROUP: usize = 5;

/// An invite code in the clear: `XXXXX-XXXXX-XXXXX-XXXXX`, 100 random bits.
#[derive(Clone)]
pub struct InviteCode(SecretString);

/// The text is not an invite code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an invite code is four groups of five letters and digits")]
pub struct InvalidInviteCode;

impl InviteCode {
    /// A new random code.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = [0u8; GROUPS * GROUP];
        rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        let letters: String = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect();
        Ok(Self::spell(&letters))
    }

    /// Reads a code; case, spaces and dashes do not matter.
    pub fn parse(text: &str) -> Result<Self, InvalidInviteCode> {
        if text.len() > 64 {
            return Err(InvalidInviteCode);
        }
        let letters: String = text
            .chars()
            .filter(|c| !matches!(c, '-' | ' '))
            .map(|c| match c.to_ascii_uppercase() {
                'O' => '0',
                'I' | 'L' => '1',
                other => other,
            })
            .collect();
        if letters.len() != GROUPS * GROUP || !letters.bytes().all(|b| ALPHABET.contains(&b)) {
            return Err(InvalidInviteCode);
        }
        Ok(Self::spell(&letters))
    }

    /// What the store keeps and looks up by.
    pub fn hash(&self) -> TokenHash {
        let digest = digest::digest(&digest::SHA256, self.0.expose_secret().as_bytes());
        let mut bytes = [0u8; 32];
        bytes.copy_from_slice(digest.as_ref());
        TokenHash::from_bytes(bytes)
    }

    /// The code, for the one answer that shows it.
    pub fn into_secret(self) -> SecretString {
        self.0
    }

    fn spell(letters: &str) -> Self {
        let groups: Vec<&str> = (0..GROUPS).map(|i| &letters[i * GROUP..(i + 1) * GROUP]).collect();
        Self(SecretString::from(groups.join("-")))
    }
}

impl fmt::Debug for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InviteCode(REDACTED)")
    }
}

/// `inv_` and a ULID. Safe to log: it names an invite and opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteId(String);

impl InviteId {
    /// A new id.
    pub fn generate() -> Self {
        Self(format!("inv_{}", random_ulid()))
    }

    /// An id from text; one that names nothing is simply not found.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InviteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One invite as the store knows it. It never holds the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invite {
    /// Its id.
    #[serde(rename = "invite_id")]
    pub id: InviteId,
    /// The only wallet that may use it; any wallet where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<Wallet>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The wallet that used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<Wallet>,
    /// When it was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_at: Option<Timestamp>,
}

impl Invite {
    /// May `wallet` use it at `now`?
    pub fn admits(&self, wallet: &Wallet, now: Timestamp) -> bool {
        self.used_at.is_none()
            && now < self.expires_at
            && self.wallet.as_ref().is_none_or(|bound| bound == wallet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_it_is_typed_it_is_the_same_code() {
        let code = InviteCode::generate().unwrap();
        let text = code.clone().into_secret().expose_secret().to_owned();
        for typed in [text.to_lowercase(), text.replace('-', ""), format!(" {} ", text.replace('-', " "))] {
            assert_eq!(InviteCode::parse(&typed).unwrap().hash(), code.hash(), "{typed}");
        }
        assert_eq!(
            InviteCode::parse("O1234-I1234-L1234-00000").unwrap().hash(),
            InviteCode::parse("01234-11234-11234-00000").unwrap().hash()
        );
        for bad in ["", &text[1..], &format!("{text}0"), "U1234-11234-11234-00000", &"é".repeat(20)] {
            assert!(InviteCode::parse(bad).is_err(), "{bad}");
        }
        assert!(!format!("{code:?}").contains(&text));
    }

    #[test]
    fn an_invite_admits_its_wallet_once_and_in_time() {
        let wallet = Wallet::from_bytes([1; 20]);
        let invite = Invite {
            id: InviteId::generate(),
            wallet: None,
            created_at: Timestamp::from_unix(0),
            expires_at: Timestamp::from_unix(10),
            used_by: None,
            used_at: None,
        };
        let now = Timestamp::from_unix(9);
        assert!(invite.admits(&wallet, now));
        assert!(!invite.admits(&wallet, Timestamp::from_unix(10)));
        assert!(!Invite { used_at: Some(now), ..invite.clone() }.admits(&wallet, now));
        let bound = Invite { wallet: Some(Wallet::from_bytes([2; 20])), ..invite };
        assert!(!bound.admits(&wallet, now));
        assert!(bound.admits(&Wallet::from_bytes([2; 20]), now));
    }
}
