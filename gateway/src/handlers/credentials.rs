//! Services' API keys of a wallet: store, read, list, remove. No value leaves
//! before the record of its reading is durable, and none is logged.

use std::sync::Arc;

use agentkeys_core::credential_backend::{CredentialError, MAX_VALUE_BYTES};
use agentkeys_core::scope::Service;
use agentkeys_core::wire::{CredentialList, StoreCredentialRequest};
use agentkeys_core::{Code, Problem, Session, Timestamp};
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;
use secrecy::ExposeSecret;

use super::ledger::Ledger;
use super::oauth::Failure;
use super::{json_body, session_of};
use crate::broker::Broker;

/// The largest body of a `PUT`: a value in which JSON writes each byte as `\u00XX`.
pub const PUT_BODY_BYTES: usize = 6 * MAX_VALUE_BYTES + 1_024;

/// `PUT /v1/credentials/{service}`.
pub struct StoreCredential(pub Arc<Broker>);

#[async_trait]
impl Handler for StoreCredential {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let broker = &self.0;
        let (session, service) = reached(exchange)?;
        writes(&session)?;
        let request: StoreCredentialRequest = json_body(exchange)?;
        let length = request.value.expose_secret().len();
        if length == 0 {
            return Err(Problem::bad_request("The value is empty."));
        }
        if length > MAX_VALUE_BYTES {
            return Err(Problem::new(
                Code::BodyTooLarge,
                format!("A stored credential is at most {MAX_VALUE_BYTES} bytes."),
            ));
        }
        let ledger = Ledger::new(broker, exchange, "credential_store").target(service.as_str());
        done(
            ledger
                .around(async {
                    let stored =
                        broker.credentials.store(&session.wallet, &service, &request.value, Timestamp::now());
                    stored.await.map_err(|error| Failure::Problem(problem(error)))
                })
                .await,
        )?;
        Ok(Response::empty(StatusCode::NO_CONTENT))
    }
}

/// `GET /v1/credentials/{service}`.
pub struct ReadCredential(pub Arc<Broker>);

#[async_trait]
impl Handler for ReadCredential {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let broker = &self.0;
        let (session, service) = reached(exchange)?;
        let found = broker.credentials.read(&session.wallet, &service).await.map_err(problem)?;
        let Some(found) = found else { return Err(nothing(&service)) };
        Ledger::new(broker, exchange, "credential_read").target(service.as_str()).event().await?;
        Response::secret_json(StatusCode::OK, &found)
    }
}

/// `DELETE /v1/credentials/{service}`.
pub struct RemoveCredential(pub Arc<Broker>);

#[async_trait]
impl Handler for RemoveCredential {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let broker = &self.0;
        let (session, service) = reached(exchange)?;
        writes(&session)?;
        let ledger = Ledger::new(broker, exchange, "credential_remove").target(service.as_str());
        done(
            ledger
                .around(async {
                    match broker.credentials.remove(&session.wallet, &service).await {
                        Ok(true) => Ok(()),
                        Ok(false) => Err(Failure::Problem(nothing(&service))),
                        Err(error) => Err(Failure::Problem(problem(error))),
                    }
                })
                .await,
        )?;
        Ok(Response::empty(StatusCode::NO_CONTENT))
    }
}

/// `GET /v1/credentials`: those that the session's scope reaches.
pub struct ListCredentials(pub Arc<Broker>);

#[async_trait]
impl Handler for ListCredentials {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let session = session_of(exchange)?;
        let mut credentials = self.0.credentials.list(&session.wallet).await.map_err(problem)?;
        credentials.retain(|row| row.service.parse().is_ok_and(|name| session.scope.allows_service(&name)));
        Response::secret_json(StatusCode::OK, &CredentialList { credentials })
    }
}

/// The session, and the service that it asks for and may reach.
fn reached(exchange: &Exchange) -> Result<(Session, Service), Problem> {
    let session = session_of(exchange)?.clone();
    let service: Service = exchange
        .resource
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|error| Problem::bad_request(format!("{error}.")))?;
    if !session.scope.allows_service(&service) {
        let mut problem =
            Problem::new(Code::InsufficientScope, "The session's scope does not hold this service.");
        problem.scope = Some(format!("service:{service}"));
        return Err(problem);
    }
    Ok((session, service))
}

fn writes(session: &Session) -> Result<(), Problem> {
    if session.scope.read_only {
        return Err(Problem::new(Code::InsufficientScope, "The session is read-only."));
    }
    Ok(())
}

fn done(result: Result<(), Failure>) -> Result<(), Problem> {
    result.map_err(|failure| match failure {
        Failure::Problem(problem) => problem,
        Failure::OAuth(error) => Problem::internal(format!("{error:?}")),
    })
}

fn nothing(service: &Service) -> Problem {
    Problem::new(Code::NotFound, format!("No credential is stored for '{service}'."))
}

fn problem(error: CredentialError) -> Problem {
    match error {
        CredentialError::NotReady(reason) => Problem::new(
            Code::NotReady,
            format!("Stored credentials are not set up on this broker: {reason}."),
        ),
        CredentialError::Unavailable(_) => Problem::new(
            Code::StoreUnavailable,
            "The stored credentials cannot be reached; try again shortly.",
        )
        .because(error)
        .retry_after(std::time::Duration::from_secs(1)),
        CredentialError::Sealed(_) => Problem::internal(error),
        CredentialError::Full => Problem::new(Code::Conflict, format!("{error}.")),
    }
}
