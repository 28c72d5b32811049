//! Grants: add, list, remove.

use std::sync::Arc;

use agentkeys_core::grant::is_audience;
use agentkeys_core::{Code, Grant, GrantId, MintTarget, Problem, RoleAlias, Timestamp, Wallet};
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::record;
use crate::broker::{Broker, store_problem};
use crate::handlers::json_body;

/// `POST /admin/v1/grants`: exactly one of `role` and `audience`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddRequest {
    /// The wallet; every wallet where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<Wallet>,
    /// The role alias it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleAlias>,
    /// The audience it may mint tokens for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Credentials only read.
    #[serde(default)]
    pub read_only: bool,
    /// The longest credential, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_duration_seconds: Option<u32>,
    /// The grant's life in seconds; for ever where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// Adds a grant.
pub struct Add(pub Arc<Broker>);

#[async_trait]
impl Handler for Add {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let broker = &self.0;
        let request: AddRequest = json_body(exchange)?;
        let target = match (request.role, request.audience) {
            (Some(role), None) if broker.deployment.roles.contains_key(&role) => MintTarget::Role(role),
            (Some(role), None) => return Err(Problem::bad_request(format!("There is no role '{role}'."))),
            (None, Some(audience)) if is_audience(&audience) => MintTarget::Audience(audience),
            (None, Some(_)) => {
                return Err(Problem::bad_request(
                    "An audience is 1 to 255 printable ASCII characters without a space.",
                ));
            }
            _ => return Err(Problem::bad_request("Name a role or an audience, and not both.")),
        };
        if request.max_duration_seconds.is_some_and(|max| !(900..=43_200).contains(&max)) {
            return Err(Problem::bad_request("max_duration_seconds is 900 to 43200."));
        }
        let now = Timestamp::now();
        let grant = Grant {
            id: GrantId::generate(),
            wallet: request.wallet,
            target,
            read_only: request.read_only,
            max_duration_seconds: request.max_duration_seconds,
            created_at: now,
            expires_at: request.ttl_seconds.map(|ttl| now.plus(ttl)),
        };
        // Recorded before it is in force: a grant nobody can explain must not exist.
        record(broker, exchange, "grant_add", |mut entry| {
            entry.wallet = grant.wallet.as_ref().map(ToString::to_string);
            entry.target = Some(grant.target.to_string());
            entry.detail(grant.id.to_string())
        })
        .await?;
        broker.grants.add(&grant).await.map_err(store_problem)?;
        Response::json(StatusCode::CREATED, &grant)
    }
}

/// Lists grants.
pub struct List(pub Arc<Broker>);

#[async_trait]
impl Handler for List {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        let grants = self.0.grants.list().await.map_err(store_problem)?;
        Response::json(StatusCode::OK, &json!({ "grants": grants }))
    }
}

/// Removes a grant.
pub struct Remove(pub Arc<Broker>);

#[async_trait]
impl Handler for Remove {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let id = GrantId::from_text(exchange.resource.clone().unwrap_or_default());
        if !self.0.grants.remove(&id).await.map_err(store_problem)? {
            return Err(Problem::new(Code::NotFound, format!("There is no grant {id}.")));
        }
        record(&self.0, exchange, "grant_remove", |entry| entry.detail(id.to_string())).await?;
        Response::json(StatusCode::OK, &json!({ "removed": 1 }))
    }
}
