//! The mint id: one ULID that names a mint in the broker's audit, in the JWT's
//! `jti`, in the STS session name (so in CloudTrail) and in the response.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

/// A 26-character ULID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MintId(Ulid);

/// The text is not a ULID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a mint id is a 26-character ULID")]
pub struct InvalidMintId;

impl MintId {
    /// A new id from the clock and the system's random source.
    pub fn generate() -> Self {
        Self(random_ulid())
    }
}

/// A ULID of now. Where the random source fails the clock alone is used, which
/// keeps ids usable; nothing secret rests on them.
pub(crate) fn random_ulid() -> Ulid {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut random = [0u8; 16];
    if aws_lc_rs::rand::fill(&mut random).is_err() {
        random.copy_from_slice(&now.as_nanos().to_be_bytes());
    }
    Ulid::from_parts(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), u128::from_be_bytes(random))
}

impl FromStr for MintId {
    type Err = InvalidMintId;

    fn from_str(text: &str) -> Result<Self, InvalidMintId> {
        Ulid::from_string(text).map(Self).map_err(|_| InvalidMintId)
    }
}

impl TryFrom<String> for MintId {
    type Error = InvalidMintId;

    fn try_from(text: String) -> Result<Self, InvalidMintId> {
        text.parse()
    }
}

impl From<MintId> for String {
    fn from(id: MintId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for MintId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.array_to_str(&mut [0; 26]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_read_back() {
        let id = MintId::generate();
        assert_eq!(id.to_string().len(), 26);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(MintId::generate(), id);
        assert!("not-a-ulid".parse::<MintId>().is_err());
    }
}
