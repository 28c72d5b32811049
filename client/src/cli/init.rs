//! `agentkeys init`: a wallet key that never leaves this machine, and a master
//! session for whoever holds it.

use agentkeys_core::wire::{ChallengeRequest, SessionView, StartSessionRequest};
use agentkeys_core::{BearerToken, SessionKind, Timestamp};
use clap::Args;
use secrecy::ExposeSecret;

use super::context::Context;
use super::failure::Failure;
use super::{login, progress, prompt, whoami};
use crate::exit::Exit;
use crate::identity::Identity;
use crate::sessions::{self, Keeper, SessionRecord};
use crate::wallet_key::{WalletKey, sign_in};

/// The options.
#[derive(Args, Debug)]
pub struct Options {
    /// Ask nothing
    #[arg(long)]
    non_interactive: bool,
    /// Read the operator's invite code from stdin
    #[arg(long)]
    invite_stdin: bool,
    /// What to call the session
    #[arg(long)]
    label: Option<String>,
}

pub async fn run(context: &Context<'_>, options: Options) -> Result<Exit, Failure> {
    let choice = sessions::target(&context.store, &context.settings)?;
    let broker = context.broker_at(&choice.broker_url)?;
    let mut invite = None;
    if options.invite_stdin {
        invite = Some(prompt::secret("Invite code", true)?);
    }
    // Before the key is made: an address where nobody answers leaves nothing behind.
    let key = existing_key(context, &choice.identity)?;
    let is_new = key.is_none();
    let key = match key {
        Some(key) => key,
        None => WalletKey::generate()?,
    };
    let wallet = key.wallet();

    let mut answer = None;
    for _ in 0..2 {
        let request = ChallengeRequest { wallet: wallet.clone() };
        let challenge = progress::during("Asking the broker", broker.challenge(&request)).await?;
        sign_in::check(&challenge.message, broker.url(), &wallet, Timestamp::now())?;
        if is_new && answer.is_none() {
            // The key is kept before it is used: a session whose key is lost is no use.
            keep(context, &choice.identity, &key)?;
        }
        let request = StartSessionRequest {
            signature: key.personal_sign(&challenge.message),
            message: challenge.message,
            invite: invite.as_ref().map(|code| code.expose_secret().to_owned()),
            label: options.label.clone(),
        };
        match progress::during("Starting the session", broker.start_session(&request)).await {
            Ok(started) => {
                answer = Some(started);
                break;
            }
            Err(error) => {
                let failure = Failure::from(error);
                let wants_invite = failure.code.as_deref() == Some("enrolment_refused") && invite.is_none();
                if !wants_invite || options.non_interactive {
                    return Err(if wants_invite {
                        failure.next("ask the operator for an invite code, and give it with --invite-stdin")
                    } else {
                        failure
                    });
                }
                context.output.note(&failure.message);
                invite = Some(prompt::secret("Invite code", false)?);
            }
        }
    }
    let Some(started) = answer else {
        return Err(Failure::new(Exit::Refused, "the broker does not accept the invite code"));
    };
    let token = BearerToken::parse(started.token.expose_secret())
        .map_err(|_| Failure::new(Exit::Failed, "the broker answered with something that is not a token"))?;
    let record = SessionRecord {
        broker_url: choice.broker_url,
        identity: choice.identity,
        session_id: started.session_id.clone(),
        wallet: started.wallet.clone(),
        kind: SessionKind::Master,
        expires_at: started.expires_at,
        kept_in: Keeper::File,
    };
    login::say_replaced(context, &record)?;
    context.keep(record.clone(), &token)?;
    let view = SessionView {
        session_id: started.session_id,
        wallet: started.wallet,
        kind: SessionKind::Master,
        label: options.label,
        scope: started.scope,
        created_at: Timestamp::now(),
        expires_at: started.expires_at,
        parent: None,
    };
    whoami::show(context, &record, &view)
}

/// A wallet that is there is used again: it is the way to that wallet's data.
fn existing_key(context: &Context<'_>, identity: &Identity) -> Result<Option<WalletKey>, Failure> {
    let wallets = context.store.wallets()?;
    let Some(record) = wallets.iter().find(|record| record.identity == *identity) else {
        return Ok(None);
    };
    let key = WalletKey::from_secret(&context.store.wallet_key(record)?)?;
    if key.wallet() != record.wallet {
        return Err(Failure::new(Exit::LocalStore, "the kept wallet key is not the one of the list"));
    }
    Ok(Some(key))
}

fn keep(context: &Context<'_>, identity: &Identity, key: &WalletKey) -> Result<(), Failure> {
    if existing_key(context, identity)?.is_some() {
        return Ok(());
    }
    context.keep_wallet(identity, key)
}
