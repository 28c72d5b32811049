//! Which session the daemon speaks for: the one that is stored, or one that a
//! master gives it by pairing. Pairing again takes the place of what an earlier
//! pairing left; it never adds a second session that commands would stumble over.

use std::io::Write;
use std::time::Duration;

use agentkeys_core::oauth::RevokeRequest;
use agentkeys_core::{BearerToken, Timestamp};

use super::options::Options;
use crate::broker::{Broker, is_session_refused};
use crate::cli::Failure;
use crate::exit::Exit;
use crate::identity::Identity;
use crate::pairing;
use crate::sessions::{self, Choice, SelectError, SessionRecord, Store, StoreError};
use crate::settings::{BrokerUrl, Settings};

/// The name under which a paired session is kept, so that it stands beside a
/// person's own and is found again by the next pairing.
const PAIRED: &str = "daemon";
/// How long the broker is given to say whether a stored session still counts,
/// or to end one that was replaced.
const ASIDE: Duration = Duration::from_secs(5);

/// The broker and identity to speak for. Without a session it ends here, unless
/// a master may be asked for one.
pub(super) async fn session_or_pairing(
    options: &Options,
    settings: &Settings,
    store: &Store,
) -> Result<Choice, Failure> {
    if !options.pair {
        let record = sessions::choose(store, settings)?;
        return Ok(Choice { broker_url: record.broker_url, identity: record.identity });
    }
    let choice = pairing_choice(settings, store)?;
    let broker = Broker::new(&choice.broker_url, settings)?;
    let before = stored(store, &choice)?;
    if let Some((record, token)) = &before
        && is_live(&broker, record, token.as_ref()).await
    {
        tracing::info!(identity = %choice.identity, "there is a session already; no pairing is needed");
        return Ok(choice);
    }
    let started = pairing::begin(&broker, &options.proposal()).await?;
    show(&started)?;
    let answer = pairing::wait(&broker, &started).await?;
    let (record, token): (_, BearerToken) = pairing::record(&choice, &answer)?;
    tracing::info!(session = %record.session_id, wallet = %record.wallet, scope = %answer.scope, "paired");
    if let Some(reason) = store.keep(record, &token)?.fallback {
        tracing::warn!(%reason, "the session is kept in a file that only you can read");
    }
    if let Some((old, token)) = before {
        end(&broker, &old, token).await;
    }
    Ok(choice)
}

/// Where a paired session goes: the identity that is named, else `daemon` at the
/// broker that is named or that every stored session is with.
fn pairing_choice(settings: &Settings, store: &Store) -> Result<Choice, Failure> {
    if settings.identity.value.is_some() {
        return Ok(sessions::target(store, settings)?);
    }
    let identity: Identity =
        PAIRED.parse().map_err(|error| Failure::new(Exit::Failed, format!("{error}")))?;
    let broker_url = match sessions::target(store, settings) {
        Ok(choice) => choice.broker_url,
        Err(SelectError::Ambiguous(records)) => one_broker(records)?,
        Err(error) => return Err(error.into()),
    };
    settings.allow(&broker_url)?;
    Ok(Choice { broker_url, identity })
}

/// Several identities of one broker are no doubt about the broker.
fn one_broker(records: Vec<SessionRecord>) -> Result<BrokerUrl, SelectError> {
    let mut urls: Vec<_> = records.iter().map(|record| record.broker_url.clone()).collect();
    urls.sort_unstable();
    urls.dedup();
    match (urls.pop(), urls.is_empty()) {
        (Some(url), true) => Ok(url),
        _ => Err(SelectError::Ambiguous(records)),
    }
}

/// What is kept for this choice; the token is absent where it was lost.
fn stored(store: &Store, choice: &Choice) -> Result<Option<(SessionRecord, Option<BearerToken>)>, Failure> {
    let found = store
        .sessions()?
        .into_iter()
        .find(|record| record.broker_url == choice.broker_url && record.identity == choice.identity);
    let Some(record) = found else { return Ok(None) };
    match store.token(&record) {
        Ok(token) => Ok(Some((record, Some(token)))),
        Err(StoreError::Missing(..)) => Ok(Some((record, None))),
        Err(error) => Err(error.into()),
    }
}

/// May the daemon speak for it? A broker that is away has not said no.
async fn is_live(broker: &Broker, record: &SessionRecord, token: Option<&BearerToken>) -> bool {
    let Some(token) = token else { return false };
    if record.expires_at <= Timestamp::now() {
        return false;
    }
    let asking = broker.clone().with_timeout(ASIDE).with_token(token.clone().into_secret());
    !matches!(asking.session().await, Err(error) if is_session_refused(&error))
}

fn show(started: &agentkeys_core::oauth::DeviceAuthorizationResponse) -> Result<(), Failure> {
    let code = &started.user_code;
    let within = agentkeys_core::duration::format(Duration::from_secs(started.expires_in));
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "pair {code}  (a master approves it within {within}: agentkeys approve {code})")?;
    Ok(stdout.flush()?)
}

/// Says which session was replaced, and ends it at the broker in case it counts
/// there still: nobody here holds its token any more.
async fn end(broker: &Broker, old: &SessionRecord, token: Option<BearerToken>) {
    tracing::info!(session = %old.session_id, ended = %old.expires_at, "an earlier session is replaced");
    let Some(token) = token else { return };
    let secret = token.into_secret();
    let request = RevokeRequest { token: Some(secret.clone()), ..RevokeRequest::default() };
    match broker.clone().with_timeout(ASIDE).with_token(secret).revoke(&request).await {
        Ok(_) => {}
        Err(error) if is_session_refused(&error) => {}
        Err(error) => tracing::warn!(%error, session = %old.session_id, "it could not be revoked"),
    }
}
