//! Audit records and the SHA-256 chain that binds them.
//!
//! A record's hash covers the hash before it and every field, each with its
//! length, so that no two different records encode alike. The encoding is
//! frozen by a test vector: changing it breaks every chain already written.

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

const DOMAIN: &[u8] = b"agentkeys-audit-v1";

/// The longest `detail` kept, in bytes; longer text is cut at a character.
pub const MAX_DETAIL: usize = 512;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A mint is about to happen: durable before STS is called.
    Intent,
    /// How a mint ended: durable before the credential leaves.
    Outcome,
    /// A request was turned away.
    Refusal,
    /// Something an operator or the broker did: a session issued, a key retired,
    /// records pruned, refusals coalesced.
    Event,
}

impl Phase {
    /// The stored text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Outcome => "outcome",
            Self::Refusal => "refusal",
            Self::Event => "event",
        }
    }

    /// Reads the stored text.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Intent, Self::Outcome, Self::Refusal, Self::Event].into_iter().find(|p| p.as_str() == text)
    }
}

/// One record before it has its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What the record says.
    pub phase: Phase,
    /// The mint, or the request, it belongs to.
    pub mint_id: String,
    /// What was done: `mint_aws_creds`, `mint_oidc_jwt`, `session_issue`, …
    pub action: String,
    /// `pending`, `granted`, `failed`, `withheld`, or the problem's code.
    pub outcome: String,
    /// The session, never its token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The wallet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<String>,
    /// The role alias, the audience or the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The signing key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The STS session name, as CloudTrail shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Anything else; at most [`MAX_DETAIL`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl AuditEntry {
    /// An entry of now with only the required fields.
    pub fn new(
        phase: Phase,
        mint_id: impl Into<String>,
        action: impl Into<String>,
        outcome: impl Into<String>,
    ) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            at_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            phase,
            mint_id: mint_id.into(),
            action: action.into(),
            outcome: outcome.into(),
            session_id: None,
            wallet: None,
            target: None,
            kid: None,
            session_name: None,
            source: None,
            detail: None,
        }
    }

    /// Sets `detail`, cut to [`MAX_DETAIL`] bytes.
    pub fn detail(mut self, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        let mut end = text.len().min(MAX_DETAIL);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        self.detail = Some(text);
        self
    }

    /// The hash of this entry as record number `seq` after `previous`.
    pub fn hash(&self, seq: u64, previous: &[u8; 32]) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(DOMAIN);
        context.update(previous);
        context.update(&seq.to_be_bytes());
        context.update(&self.at_ms.to_be_bytes());
        for field in [self.phase.as_str(), &self.mint_id, &self.action, &self.outcome] {
            absorb(&mut context, Some(field));
        }
        for field in [
            &self.session_id,
            &self.wallet,
            &self.target,
            &self.kid,
            &self.session_name,
            &self.source,
            &self.detail,
        ] {
            absorb(&mut context, field.as_deref());
        }
        let mut hash = [0u8; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }
}

/// Absent and empty must differ, and no field may run into the next.
fn absorb(context: &mut digest::Context, field: Option<&str>) {
    match field {
        None => context.update(&[0]),
        Some(text) => {
            context.update(&[1]);
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
    }
}

/// One record in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    /// Its place, counted from 1.
    pub seq: u64,
    /// What it says.
    #[serde(flatten)]
    pub entry: AuditEntry,
    /// The hash of the record before, in hexadecimal.
    pub previous_hash: String,
    /// Its own hash, in hexadecimal.
    pub hash: String,
}

/// The result of recomputing the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// Whether every record follows from the one before.
    pub ok: bool,
    /// How many records were read.
    pub records: u64,
    /// The hash of the newest record: what an anchor would publish.
    pub head: String,
    /// The first record that does not follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<u64>,
    /// What is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Mints with an intent and no outcome: the broker died in between, and no
    /// credential left.
    #[serde(default)]
    pub unfinished: u64,
}

/// A chain head and its length: what a later version anchors on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The newest record's number.
    pub seq: u64,
    /// The newest record's hash, in hexadecimal.
    pub head: String,
}

/// Publishes checkpoints where the broker's own operator cannot alter them.
pub trait AuditAnchor: Send + Sync {
    /// Publishes one; the returned text says where it can be found.
    fn anchor(&self, checkpoint: &Checkpoint) -> Result<String, String>;
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> AuditEntry {
        AuditEntry {
            at_ms: 1_790_000_000_000,
            wallet: Some("0x00".into()),
            ..AuditEntry::new(Phase::Intent, "01J", "mint_aws_creds", "pending")
        }
    }

    #[test]
    fn the_encoding_is_frozen() {
        assert_eq!(hex(&entry().hash(1, &[0; 32])), FROZEN);
    }
    const FROZEN: &str = "79fd0962ac24317635b27df828a3802d10455e356976fa6e2be3c5868656104e";

    #[test]
    fn every_field_counts_and_none_runs_into_the_next() {
        let base = entry().hash(1, &[0; 32]);
        let mut moved = entry();
        moved.wallet = None;
        moved.session_id = Some("0x00".into());
        assert_ne!(moved.hash(1, &[0; 32]), base);
        let mut emptied = entry();
        emptied.target = Some(String::new());
        assert_ne!(emptied.hash(1, &[0; 32]), base);
        let mut shifted = entry();
        shifted.mint_id = "01Jm".into();
        shifted.action = "int_aws_creds".into();
        assert_ne!(shifted.hash(1, &[0; 32]), base);
        assert_ne!(entry().hash(2, &[0; 32]), base);
        assert_ne!(entry().hash(1, &[1; 32]), base);
    }

    #[test]
    fn a_long_detail_is_cut_at_a_character() {
        let cut = entry().detail("é".repeat(400)).detail.unwrap();
        assert_eq!(cut.len(), 512);
    }
}
