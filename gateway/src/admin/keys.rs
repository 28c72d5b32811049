//! Signing keys: list, generate, rotate, retire. Only public halves are shown.

use std::sync::Arc;

use agentkeys_core::{Code, Problem, Timestamp};
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{query, record};
use crate::broker::Broker;
use crate::handlers::json_body;
use crate::issuer::{Issuer, KeyError, KeyEvent, KeyRecord};

/// One key, as the operator sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyRow {
    /// The RFC 7638 thumbprint.
    pub kid: String,
    /// `next`, `current` or `retired`.
    pub state: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was first published.
    pub published_at: Option<Timestamp>,
    /// When it began to sign.
    pub activated_at: Option<Timestamp>,
    /// When it stopped signing.
    pub retired_at: Option<Timestamp>,
}

impl From<KeyRecord> for KeyRow {
    fn from(record: KeyRecord) -> Self {
        Self {
            kid: record.jwk.kid().to_owned(),
            state: format!("{:?}", record.state).to_lowercase(),
            created_at: record.created_at,
            published_at: record.published_at,
            activated_at: record.activated_at,
            retired_at: record.retired_at,
        }
    }
}

/// Lists keys.
pub struct List(pub Arc<Broker>);

#[async_trait]
impl Handler for List {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        let keys: Vec<KeyRow> = self.0.issuer.key_list().into_iter().map(KeyRow::from).collect();
        Response::json(StatusCode::OK, &json!({ "keys": keys }))
    }
}

/// Makes the next key and publishes it.
pub struct Generate(pub Arc<Broker>);

#[async_trait]
impl Handler for Generate {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let event = blocking(&self.0.issuer, |issuer| issuer.generate_key(Timestamp::now())).await?;
        done(&self.0, exchange, "key_generate", vec![event]).await
    }
}

/// `POST /admin/v1/keys/rotate`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// Even if the next key has not been published for long enough.
    #[serde(default)]
    pub force: bool,
}

/// Lets the next key sign.
pub struct Rotate(pub Arc<Broker>);

#[async_trait]
impl Handler for Rotate {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let request: RotateRequest = json_body(exchange)?;
        let events =
            blocking(&self.0.issuer, move |issuer| issuer.rotate_key(Timestamp::now(), request.force))
                .await?;
        done(&self.0, exchange, "key_rotate", events).await
    }
}

/// The query of `DELETE /admin/v1/keys/{kid}`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetireQuery {
    /// Take it out of the key set at once: what it signed is refused from then on.
    #[serde(default)]
    pub now: bool,
}

/// Takes a key out of the set.
pub struct Retire(pub Arc<Broker>);

#[async_trait]
impl Handler for Retire {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let query: RetireQuery = query(exchange)?;
        let kid = exchange.resource.clone().unwrap_or_default();
        let event =
            blocking(&self.0.issuer, move |issuer| issuer.retire_key(&kid, query.now, Timestamp::now()))
                .await?;
        done(&self.0, exchange, "key_retire", vec![event]).await
    }
}

async fn done(broker: &Broker, exchange: &Exchange, action: &str, events: Vec<KeyEvent>) -> Outcome {
    let said: Vec<String> = events.iter().map(ToString::to_string).collect();
    record(broker, exchange, action, |entry| entry.detail(said.join("; "))).await?;
    Response::json(StatusCode::OK, &json!({ "events": events }))
}

/// Key files are read and written off the async workers.
async fn blocking<T: Send + 'static>(
    issuer: &Arc<Issuer>,
    work: impl FnOnce(&Issuer) -> Result<T, KeyError> + Send + 'static,
) -> Result<T, Problem> {
    let issuer = issuer.clone();
    tokio::task::spawn_blocking(move || work(&issuer))
        .await
        .map_err(Problem::internal)?
        // The operator may read the whole reason: it names files, never keys.
        .map_err(|error| Problem::new(Code::Conflict, format!("{error}.")))
}
