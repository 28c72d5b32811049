//! The code that a person carries from one screen to another (RFC 8628 section
//! 6.1): eight consonants, so that it spells no word and survives being read
//! aloud. Case and punctuation do not matter when it is typed.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use crate::token::NoRandomness;

const ALPHABET: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
const LENGTH: usize = 8;

/// A pairing code in its one canonical spelling, `XXXX-XXXX`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserCode(String);

/// The text is not a pairing code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pairing code is eight consonants, such as WDJB-MJHT")]
pub struct InvalidUserCode;

impl UserCode {
    /// A new random code (about 34 bits).
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut letters = String::with_capacity(LENGTH);
        let mut pool = [0u8; 32];
        while letters.len() < LENGTH {
            rand::fill(&mut pool).map_err(|_| NoRandomness)?;
            for byte in pool {
                // Rejection keeps each letter uniform: 240 = 12 × 20.
                if byte < 240 && letters.len() < LENGTH {
                    letters.push(char::from(ALPHABET[usize::from(byte % 20)]));
                }
            }
        }
        Ok(Self::spell(&letters))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn spell(letters: &str) -> Self {
        let (first, second) = letters.split_at(LENGTH / 2);
        Self(format!("{first}-{second}"))
    }
}

impl FromStr for UserCode {
    type Err = InvalidUserCode;

    fn from_str(text: &str) -> Result<Self, InvalidUserCode> {
        if text.len() > 4 * LENGTH {
            return Err(InvalidUserCode);
        }
        let letters: String =
            text.chars().filter(|c| !matches!(c, '-' | ' ')).map(|c| c.to_ascii_uppercase()).collect();
        if letters.len() != LENGTH || !letters.bytes().all(|b| ALPHABET.contains(&b)) {
            return Err(InvalidUserCode);
        }
        Ok(Self::spell(&letters))
    }
}

impl TryFrom<String> for UserCode {
    type Error = InvalidUserCode;

    fn try_from(text: String) -> Result<Self, InvalidUserCode> {
        text.parse()
    }
}

impl From<UserCode> for String {
    fn from(code: UserCode) -> Self {
        code.0
    }
}

impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_it_is_typed_it_is_the_same_code() {
        let code: UserCode = "WDJB-MJHT".parse().unwrap();
        for typed in ["wdjbmjht", "wdjb mjht", " WDJB-mjht ", "W-D-J-B-M-J-H-T"] {
            assert_eq!(typed.parse(), Ok(code.clone()), "{typed:?}");
        }
        for bad in ["", "WDJB", "WDJB-MJHA", "WDJB-MJHTT", "WDJB/MJHT", "ÄDJB-MJHT"] {
            assert_eq!(bad.parse::<UserCode>(), Err(InvalidUserCode), "{bad:?}");
        }
    }

    #[test]
    fn a_generated_code_reads_back() {
        let code = UserCode::generate().unwrap();
        assert_eq!(code.as_str().parse(), Ok(code));
    }
}
