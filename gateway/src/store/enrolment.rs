//! Enrolment in SQLite: used challenges, enrolled wallets, invites. One sign-in
//! is one transaction, so a challenge or an invite admits once and no more, in
//! whatever order two of them arrive.

use std::sync::Arc;

use agentkeys_core::enrolment::{Admission, EnrolmentStore, SignIn, SignInOutcome};
use agentkeys_core::invite::{Invite, InviteId};
use agentkeys_core::store::StoreError;
use agentkeys_core::{Session, Timestamp, TokenHash, Wallet};
use async_trait::async_trait;
use aws_lc_rs::rand;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use secrecy::SecretSlice;
use zeroize::Zeroizing;

use super::lane::Fault;
use super::session_rows::parsed;
use super::sessions::{self, Sessions};
use super::sqlite::is_duplicate;
use super::state::State;

const INVITE: &str = "SELECT id, wallet, created_at, expires_at, used_by, used_at FROM invites";

pub(super) struct Enrolment {
    state: Arc<State>,
    sessions: Arc<Sessions>,
}

impl Enrolment {
    pub fn new(state: Arc<State>, sessions: Arc<Sessions>) -> Self {
        Self { state, sessions }
    }
}

#[async_trait]
impl EnrolmentStore for Enrolment {
    async fn challenge_key(&self) -> Result<SecretSlice<u8>, StoreError> {
        let mut fresh = Zeroizing::new([0u8; 32]);
        rand::fill(fresh.as_mut_slice())
            .map_err(|_| StoreError::Unavailable("the system's random source failed".to_owned()))?;
        self.state
            .writer
            .run(move |connection| {
                // The first process over this file decides; the others find its key.
                connection
                    .execute("INSERT OR IGNORE INTO challenge_key VALUES (1, ?1)", [fresh.as_slice()])?;
                let key: Vec<u8> =
                    connection.query_row("SELECT key FROM challenge_key", [], |row| row.get(0))?;
                Ok(SecretSlice::from(key))
            })
            .await
    }

    async fn is_enrolled(&self, wallet: &Wallet) -> Result<bool, StoreError> {
        let wallet = wallet.clone();
        self.state.lookups.run(move |connection| Ok(is_enrolled(connection, &wallet)?)).await
    }

    async fn sign_in(
        &self,
        sign_in: &SignIn,
        session: &Session,
        token: &TokenHash,
    ) -> Result<SignInOutcome, StoreError> {
        let (sign_in, session, token) = (sign_in.clone(), session.clone(), *token);
        self.sessions.write(move |transaction| start(transaction, &sign_in, &session, &token)).await
    }

    async fn invite(&self, code: &TokenHash) -> Result<Option<Invite>, StoreError> {
        let code = *code;
        self.state.lookups.run(move |connection| Ok(invite(connection, &code)?)).await
    }

    async fn add_invite(&self, invite: &Invite, code: &TokenHash) -> Result<(), StoreError> {
        let (invite, code) = (invite.clone(), *code);
        self.state
            .writer
            .run(move |connection| {
                connection.execute(
                    "INSERT INTO invites (id, code_hash, wallet, created_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![
                        invite.id.as_str(),
                        code.as_bytes().as_slice(),
                        invite.wallet.as_ref().map(Wallet::as_str),
                        invite.created_at.unix(),
                        invite.expires_at.unix(),
                    ],
                )?;
                Ok(())
            })
            .await
    }

    async fn list_invites(&self) -> Result<Vec<Invite>, StoreError> {
        self.state
            .lists
            .run(|connection| {
                let mut statement =
                    connection.prepare_cached(&format!("{INVITE} ORDER BY serial DESC LIMIT 1000"))?;
                let rows = statement.query_map([], read)?;
                Ok(rows.collect::<rusqlite::Result<_>>()?)
            })
            .await
    }

    async fn revoke_invite(&self, id: &InviteId) -> Result<bool, StoreError> {
        let id = id.clone();
        self.state
            .writer
            .run(move |connection| {
                let removed = connection
                    .execute("DELETE FROM invites WHERE id = ?1 AND used_at IS NULL", [id.as_str()])?;
                Ok(removed > 0)
            })
            .await
    }
}

fn start(
    transaction: &Transaction<'_>,
    sign_in: &SignIn,
    session: &Session,
    token: &TokenHash,
) -> Result<SignInOutcome, Fault> {
    let now = session.created_at;
    // A use is remembered for a while longer than the challenge lives, so that
    // two clocks that differ a little agree.
    transaction.execute("DELETE FROM used_challenges WHERE expires_at < ?1", [now.unix() - 600])?;
    let used = transaction.execute(
        "INSERT INTO used_challenges (nonce, expires_at) VALUES (?1, ?2)",
        params![sign_in.nonce, sign_in.nonce_expires_at.unix()],
    );
    match used {
        Err(error) if is_duplicate(&error) => return Ok(SignInOutcome::ChallengeUsed),
        other => other?,
    };
    if !is_enrolled(transaction, &session.wallet)? && !admit(transaction, sign_in, session)? {
        // The challenge stays used: one signature is one try.
        return Ok(SignInOutcome::NotAdmitted);
    }
    transaction.execute(
        "INSERT OR IGNORE INTO enrolled_wallets (wallet, enrolled_at) VALUES (?1, ?2)",
        params![session.wallet.as_str(), now.unix()],
    )?;
    sessions::insert(transaction, session, token)?;
    Ok(SignInOutcome::Started)
}

fn admit(transaction: &Transaction<'_>, sign_in: &SignIn, session: &Session) -> rusqlite::Result<bool> {
    let (wallet, now) = (&session.wallet, session.created_at);
    match &sign_in.admission {
        Admission::Open => Ok(true),
        Admission::Nothing => Ok(false),
        Admission::Invite(code) => {
            let used = transaction.execute(
                "UPDATE invites SET used_by = ?1, used_at = ?2
                 WHERE code_hash = ?3 AND used_at IS NULL AND expires_at > ?2
                   AND (wallet IS NULL OR wallet = ?1)",
                params![wallet.as_str(), now.unix(), code.as_bytes().as_slice()],
            )?;
            Ok(used == 1)
        }
    }
}

fn is_enrolled(connection: &Connection, wallet: &Wallet) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM enrolled_wallets WHERE wallet = ?1)")?
        .query_row([wallet.as_str()], |row| row.get(0))
}

fn invite(connection: &Connection, code: &TokenHash) -> rusqlite::Result<Option<Invite>> {
    connection
        .prepare_cached(&format!("{INVITE} WHERE code_hash = ?1"))?
        .query_row([code.as_bytes().as_slice()], read)
        .optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Invite> {
    let wallet = |column| match row.get::<_, Option<String>>(column)? {
        Some(_) => parsed(row, column, |text| text.parse::<Wallet>()).map(Some),
        None => Ok(None),
    };
    Ok(Invite {
        id: InviteId::from_text(row.get::<_, String>(0)?),
        wallet: wallet(1)?,
        created_at: Timestamp::from_unix(row.get(2)?),
        expires_at: Timestamp::from_unix(row.get(3)?),
        used_by: wallet(4)?,
        used_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_unix),
    })
}
