//! Starting a master session by proving a wallet's key.
//!
//! The policy (`sessions.enrolment`) decides who may, closed unless it says so:
//! - `loopback`: programs on this machine, any wallet, each time.
//! - `invite`: a wallet that has started a master session here before needs no
//!   invite; every other needs one, used up by the sign-in.
//! - `closed`: only wallets that have started a master session here before.
//!
//! A session that the operator issued does not make its wallet one of those: its
//! wallet may have no key at all.

use std::sync::Arc;

use agentkeys_core::enrolment::{Admission, SignIn, SignInOutcome};
use agentkeys_core::invite::InviteCode;
use agentkeys_core::session::is_label;
use agentkeys_core::wire::{ChallengeRequest, ChallengeResponse, NewSessionResponse, StartSessionRequest};
use agentkeys_core::{
    BearerToken, Code, Problem, Scope, Session, SessionId, SessionKind, Timestamp, TokenHash, Wallet,
};
use agentkeys_filters::session_auth::count_failure;
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;

use super::json_body;
use super::ledger::{Ledger, hand_out};
use super::oauth::Failure;
use crate::broker::{Broker, store_problem};
use crate::config::settings::Enrolment;
use crate::sign_in::{Claim, InvalidSignature, check_local, signer};

/// Longer than any message of ours.
const MAX_MESSAGE: usize = 2_048;

/// `POST /v1/sessions/challenge`.
pub struct StartChallenge(pub Arc<Broker>);

#[async_trait]
impl Handler for StartChallenge {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let broker = &self.0;
        check_place(broker, exchange)?;
        let request: ChallengeRequest = json_body(exchange)?;
        let challenge =
            broker.challenges.issue(&request.wallet, Timestamp::now()).map_err(Problem::internal)?;
        Response::secret_json(
            StatusCode::OK,
            &ChallengeResponse {
                message: challenge.message,
                nonce: challenge.nonce,
                expires_at: challenge.expires_at,
            },
        )
    }
}

/// `POST /v1/sessions`.
pub struct StartSession(pub Arc<Broker>);

#[async_trait]
impl Handler for StartSession {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let broker = &self.0;
        check_place(broker, exchange)?;
        let request: StartSessionRequest = json_body(exchange)?;
        if request.label.as_deref().is_some_and(|label| !is_label(label)) {
            return Err(Problem::bad_request("A label is 1 to 64 printable characters."));
        }
        let claim = prove(broker, exchange, &request)?;
        let admission = admission(broker, exchange, &claim.wallet, request.invite.as_deref()).await?;
        start(broker, exchange, claim, admission, request.label).await
    }
}

/// `loopback` asks where the request comes from, before anything is read.
fn check_place(broker: &Broker, exchange: &Exchange) -> Result<(), Problem> {
    match broker.enrolment_policy {
        Enrolment::Loopback => check_local(exchange, broker.challenges.authority()),
        Enrolment::Invite | Enrolment::Closed => Ok(()),
    }
}

/// The challenge is ours and the wallet it names has signed it.
fn prove(broker: &Broker, exchange: &mut Exchange, request: &StartSessionRequest) -> Result<Claim, Problem> {
    let claim = (request.message.len() <= MAX_MESSAGE)
        .then(|| broker.challenges.check(&request.message, Timestamp::now()).ok())
        .flatten();
    let Some(claim) = claim else {
        count_failure(&broker.limits, exchange)?;
        return Err(stale_challenge());
    };
    match signer(&request.message, &request.signature) {
        Ok(wallet) if wallet == claim.wallet => Ok(claim),
        Err(error @ (InvalidSignature::Spelling | InvalidSignature::RecoveryId)) => {
            Err(Problem::bad_request(format!("{error}.")))
        }
        other => {
            count_failure(&broker.limits, exchange)?;
            let reason = match other {
                Ok(_) => "another key signed".to_owned(),
                Err(error) => error.to_string(),
            };
            Err(Problem::new(Code::Forbidden, "The signature is not of the wallet that the message names.")
                .because(reason))
        }
    }
}

/// What admits this wallet. Looked at before anything is written or audited, and
/// decided again in the transaction that writes the session.
async fn admission(
    broker: &Broker,
    exchange: &mut Exchange,
    wallet: &Wallet,
    invite: Option<&str>,
) -> Result<Admission, Problem> {
    if broker.enrolment_policy == Enrolment::Loopback {
        return Ok(Admission::Open);
    }
    if broker.enrolment.is_enrolled(wallet).await.map_err(store_problem)? {
        return Ok(Admission::Nothing);
    }
    if broker.enrolment_policy == Enrolment::Closed {
        return Err(Problem::new(Code::EnrolmentRefused, "This broker enrols no new wallets."));
    }
    let Some(invite) = invite else {
        return Err(Problem::new(
            Code::EnrolmentRefused,
            "A new wallet needs an invite; ask this broker's operator for one.",
        ));
    };
    if let Ok(code) = InviteCode::parse(invite) {
        let hash: TokenHash = code.hash();
        let found = broker.enrolment.invite(&hash).await.map_err(store_problem)?;
        if found.is_some_and(|invite| invite.admits(wallet, Timestamp::now())) {
            return Ok(Admission::Invite(hash));
        }
    }
    count_failure(&broker.limits, exchange)?;
    Err(invite_refused())
}

async fn start(
    broker: &Broker,
    exchange: &Exchange,
    claim: Claim,
    admission: Admission,
    label: Option<String>,
) -> Outcome {
    let now = Timestamp::now();
    let session = Session {
        id: SessionId::generate(),
        wallet: claim.wallet,
        kind: SessionKind::Master,
        label,
        parent: None,
        scope: Scope::default(),
        created_at: now,
        expires_at: now.plus(broker.master_ttl.as_secs()),
        revoked_at: None,
    };
    let token = BearerToken::generate().map_err(Problem::internal)?;
    let by_invite = matches!(admission, Admission::Invite(_));
    let sign_in = SignIn { nonce: claim.nonce, nonce_expires_at: claim.expires_at, admission };
    let ledger = Ledger::new(broker, exchange, "session_start").about(&session);
    let ledger = if by_invite { ledger.detail("by invite") } else { ledger };
    let write = async {
        match broker.enrolment.sign_in(&sign_in, &session, &token.hash()).await? {
            SignInOutcome::Started => Ok(()),
            SignInOutcome::ChallengeUsed => Err(Failure::Problem(stale_challenge())),
            SignInOutcome::NotAdmitted => Err(Failure::Problem(invite_refused())),
        }
    };
    match hand_out(broker.sessions.as_ref(), &ledger, &session, write).await {
        Ok(()) => {}
        Err(Failure::Problem(problem)) => return Err(problem),
        Err(Failure::OAuth(error)) => return Err(Problem::internal(format!("{error:?}"))),
    }
    Response::secret_json(
        StatusCode::CREATED,
        &NewSessionResponse {
            token: token.into_secret(),
            session_id: session.id,
            wallet: session.wallet,
            expires_at: session.expires_at,
            scope: session.scope,
        },
    )
}

fn stale_challenge() -> Problem {
    Problem::bad_request(
        "The message is not one that this broker issued, or it has ended or been used; ask for a new challenge.",
    )
}

/// One text for unknown, used, ended and somebody else's.
fn invite_refused() -> Problem {
    Problem::new(Code::EnrolmentRefused, "The invite is not accepted.")
}
