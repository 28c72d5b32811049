//! `POST /oauth/device_authorization`: a device asks to be let in, and the page
//! that says how somebody does it.

use std::sync::Arc;

use agentkeys_core::oauth::{DeviceAuthorizationRequest, DeviceAuthorizationResponse, OAuthErrorCode};
use agentkeys_core::pairing::{Pairing, PairingBounds, PairingState};
use agentkeys_core::session::is_label;
use agentkeys_core::store::StoreError;
use agentkeys_core::{Code, Problem, Timestamp, UserCode, scope_text};
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;
use std::time::Duration;

use super::pacing::INTERVAL_SECONDS;
use super::{Failure, answer, device_code, form};
use crate::broker::Broker;

/// Anybody can ask, so this is all that may wait at once.
const BOUNDS: PairingBounds = PairingBounds { per_source: 50, total: 10_000 };

/// How often a user code may be taken already before something is wrong.
const TRIES: usize = 4;

/// `POST /oauth/device_authorization`.
pub struct DeviceAuthorization(pub Arc<Broker>);

#[async_trait]
impl Handler for DeviceAuthorization {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        answer(begin(&self.0, exchange).await)
    }
}

async fn begin(broker: &Broker, exchange: &Exchange) -> Result<Response, Failure> {
    let request: DeviceAuthorizationRequest = form::read(exchange)?;
    let invalid = |text: &str| Failure::oauth(OAuthErrorCode::InvalidRequest, text);
    if request.label.as_deref().is_some_and(|label| !is_label(label)) {
        return Err(invalid("a label is 1 to 64 printable characters"));
    }
    if request.expires_in == Some(0) {
        return Err(invalid("a session lives for at least one second"));
    }
    let scope = scope_text::parse(request.scope.as_deref().unwrap_or_default())
        .map_err(|error| Failure::oauth(OAuthErrorCode::InvalidScope, error.to_string()))?;
    let source = exchange.peer.source.ok_or_else(|| {
        Problem::new(Code::Forbidden, "The client's address is not known.").because("no peer address")
    })?;
    let device_code = device_code::generate().map_err(Problem::internal)?;
    let hash =
        device_code::hash(&device_code).ok_or_else(|| Problem::internal("a new device code is not one"))?;
    let (now, life) = (Timestamp::now(), broker.pairing_ttl.as_secs());
    let mut pairing = Pairing {
        user_code: UserCode::generate().map_err(Problem::internal)?,
        label: request.label,
        scope,
        ttl_seconds: request.expires_in,
        source: source.to_canonical().to_string(),
        created_at: now,
        expires_at: now.plus(life),
        state: PairingState::Pending,
    };
    let mut tries = TRIES;
    loop {
        match broker.pairings.open(&pairing, &hash, BOUNDS).await {
            Ok(()) => break,
            Err(StoreError::Exists(_)) if tries > 0 => {
                tries -= 1;
                pairing.user_code = UserCode::generate().map_err(Problem::internal)?;
            }
            Err(StoreError::Full(what)) => {
                return Err(Problem::new(
                    Code::RateLimited,
                    "Too many devices wait to be paired; try again later.",
                )
                .because(format!("too many {what}"))
                .retry_after(Duration::from_secs(60))
                .into());
            }
            Err(error) => return Err(error.into()),
        }
    }
    let verification_uri = format!("{}/pair", broker.issuer.url().as_str());
    let response = DeviceAuthorizationResponse {
        device_code,
        verification_uri_complete: Some(format!("{verification_uri}?code={}", pairing.user_code)),
        user_code: pairing.user_code,
        verification_uri,
        expires_in: life,
        interval: INTERVAL_SECONDS,
    };
    Ok(Response::secret_json(StatusCode::OK, &response)?)
}

/// `GET /pair`: where a device sends a person. It repeats nothing of the request.
pub struct PairPage;

const PAGE: &str = "A device asks to be paired with your AgentKeys wallet.

On a machine where you are signed in, run

    agentkeys approve CODE

with the code that the device shows. It tells you what the device asks for
before anything is granted; 'agentkeys deny CODE' turns the device away.
An operator can run 'agentkeys-broker-server pair approve CODE' instead.

Never approve a code that somebody sent you.
";

#[async_trait]
impl Handler for PairPage {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        Ok(Response::empty(StatusCode::OK).with_body("text/plain; charset=utf-8", PAGE))
    }
}
