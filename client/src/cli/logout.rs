//! `agentkeys logout`: revoke at the broker, then forget here. If the broker
//! cannot be told, the token is still good there, and that is said.

use agentkeys_core::oauth::RevokeRequest;
use clap::Args;
use serde_json::json;

use super::context::Context;
use super::failure::Failure;
use super::progress;
use crate::broker::is_session_refused;
use crate::exit::Exit;

/// The options.
#[derive(Args, Debug)]
pub struct Options {
    /// Forget it here without telling the broker, where it stays live
    #[arg(long)]
    keep_at_broker: bool,
}

pub async fn run(context: &Context<'_>, options: Options) -> Result<Exit, Failure> {
    let record = context.session()?;
    let mut trouble = None;
    let mut revoked = false;
    if !options.keep_at_broker {
        match context.store.token(&record) {
            Ok(token) => {
                let secret = token.into_secret();
                let broker = context.broker_at(&record.broker_url)?.with_token(secret.clone());
                let request = RevokeRequest { token: Some(secret), ..RevokeRequest::default() };
                match progress::during("Revoking", broker.revoke(&request)).await {
                    Ok(_) => revoked = true,
                    // The broker does not know it any more: that is what was wanted.
                    Err(error) if is_session_refused(&error) => revoked = true,
                    Err(error) => trouble = Some(error.to_string()),
                }
            }
            Err(error) => trouble = Some(error.to_string()),
        }
    }
    context.store.forget(&record)?;
    let value = json!({ "session_id": record.session_id, "forgotten": true, "revoked": revoked });
    let state = if revoked { "revoked and forgotten" } else { "forgotten here" };
    context
        .output
        .fact(&value, &[("session", record.session_id.to_string()), ("state", state.to_owned())])?;
    match trouble {
        None => Ok(Exit::Done),
        Some(reason) => Err(Failure::new(
            Exit::Unavailable,
            format!(
                "the broker could not be told, so the session lives there until {}: {reason}",
                record.expires_at
            ),
        )
        .next(format!("ask the operator: `agentkeys-broker-server session revoke {}`", record.session_id))),
    }
}
