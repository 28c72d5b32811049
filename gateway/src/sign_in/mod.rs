//! Proof that a caller holds a wallet's key: an EIP-4361 message that this broker
//! made, signed with `personal_sign`.
//!
//! Challenges are stateless: a nonce carries a MAC over the wallet and the times,
//! so nothing that a stranger asks for is written anywhere, and a restart does
//! not matter. What was *used* is stored, in the transaction that writes the
//! session. No statement of the caller is ever taken for more than it proves.

mod challenge;
mod local;
mod message;
mod signature;

pub use challenge::{CHALLENGE_SECONDS, Challenge, Challenges, Claim, InvalidChallenge};
pub use local::check_local;
pub use signature::{InvalidSignature, signer};
