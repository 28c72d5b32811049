//! How long AWS lets a policy be. IAM counts no white space.

use serde_json::Value;

/// What a document is counted against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// It is no policy.
    None,
    /// A role's trust policy, by its default quota.
    Trust,
    /// All inline policies of a role together.
    Role,
    /// All inline policies of a user together.
    User,
    /// A bucket's policy, in bytes.
    Bucket,
}

impl Limit {
    fn characters(self) -> usize {
        match self {
            Self::None => usize::MAX,
            Self::Trust | Self::User => 2_048,
            Self::Role => 10_240,
            Self::Bucket => 20 * 1_024,
        }
    }
}

/// A document is longer than AWS takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} would be {length} characters long, and AWS takes {limit}: name fewer or shorter roles")]
pub struct TooLong {
    name: &'static str,
    length: usize,
    limit: usize,
}

pub(super) fn check(name: &'static str, limit: Limit, document: &Value) -> Result<(), TooLong> {
    let (length, limit) = (document.to_string().len(), limit.characters());
    if length > limit { Err(TooLong { name, length, limit }) } else { Ok(()) }
}
