//! `agentkeys login`: keep a token that the operator issued.

use agentkeys_core::BearerToken;
use clap::Args;
use secrecy::ExposeSecret;

use super::context::Context;
use super::failure::Failure;
use super::{progress, prompt, whoami};
use crate::exit::Exit;
use crate::sessions::{self, Keeper, SessionRecord};

/// The options.
#[derive(Args, Debug)]
pub struct Options {
    /// Read the token from stdin rather than from a prompt
    #[arg(long)]
    token_stdin: bool,
}

pub async fn run(context: &Context<'_>, options: Options) -> Result<Exit, Failure> {
    let choice = sessions::target(&context.store, &context.settings)?;
    let secret = prompt::secret(&format!("Session token for {}", choice.broker_url), options.token_stdin)?;
    let token = BearerToken::parse(secret.expose_secret().trim())
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()).next("copy the whole token again"))?;
    let broker = context.broker_at(&choice.broker_url)?.with_token(token.clone().into_secret());
    let view = progress::during("Asking the broker", broker.session()).await?;
    let record = SessionRecord {
        broker_url: choice.broker_url,
        identity: choice.identity,
        session_id: view.session_id.clone(),
        wallet: view.wallet.clone(),
        kind: view.kind,
        expires_at: view.expires_at,
        kept_in: Keeper::File,
    };
    say_replaced(context, &record)?;
    context.keep(record.clone(), &token)?;
    whoami::show(context, &record, &view)
}

/// A session that this one takes the place of is still live at the broker.
pub fn say_replaced(context: &Context<'_>, new: &SessionRecord) -> Result<(), Failure> {
    for old in context.store.sessions()? {
        let same = old.broker_url == new.broker_url && old.identity == new.identity;
        if same && old.session_id != new.session_id {
            context.output.note(&format!(
                "Note: this replaces {} here; at the broker it lives until {} unless it is revoked.",
                old.session_id, old.expires_at
            ));
        }
    }
    Ok(())
}
