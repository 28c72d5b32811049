//! What the broker needs of its store to let wallets in: which wallets have
//! enrolled, which invites are open, which challenges were used.

use async_trait::async_trait;
use secrecy::SecretSlice;

use crate::invite::{Invite, InviteId};
use crate::session::Session;
use crate::store::StoreError;
use crate::timestamp::Timestamp;
use crate::token::TokenHash;
use crate::wallet::Wallet;

/// What admits a wallet that has never enrolled here.
#[derive(Clone, Debug)]
pub enum Admission {
    /// Nothing more.
    Open,
    /// The invite with this hash.
    Invite(TokenHash),
    /// Nothing at all: only wallets that have enrolled before.
    Nothing,
}

/// One sign-in, as the store decides it in one transaction.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// The challenge's nonce; it may be used once.
    pub nonce: String,
    /// When the challenge ends: until then its use is remembered.
    pub nonce_expires_at: Timestamp,
    /// What admits a new wallet.
    pub admission: Admission,
}

/// How a sign-in ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInOutcome {
    /// The session is there.
    Started,
    /// The challenge had been used.
    ChallengeUsed,
    /// The wallet is new and nothing admits it.
    NotAdmitted,
}

/// Enrolment.
#[async_trait]
pub trait EnrolmentStore: Send + Sync {
    /// The key that authenticates challenges: the same for every process over
    /// this store, and after every restart.
    async fn challenge_key(&self) -> Result<SecretSlice<u8>, StoreError>;

    /// Has this wallet started a master session before?
    async fn is_enrolled(&self, wallet: &Wallet) -> Result<bool, StoreError>;

    /// Uses up the challenge, and the invite where one is needed, and writes the
    /// session: all of it or nothing.
    async fn sign_in(
        &self,
        sign_in: &SignIn,
        session: &Session,
        token: &TokenHash,
    ) -> Result<SignInOutcome, StoreError>;

    /// The invite with this hash.
    async fn invite(&self, code: &TokenHash) -> Result<Option<Invite>, StoreError>;
    /// Writes an invite.
    async fn add_invite(&self, invite: &Invite, code: &TokenHash) -> Result<(), StoreError>;
    /// Lists invites, newest first; used and expired ones too.
    async fn list_invites(&self) -> Result<Vec<Invite>, StoreError>;
    /// Removes an invite that nobody has used; false if there is none.
    async fn revoke_invite(&self, id: &InviteId) -> Result<bool, StoreError>;
}
