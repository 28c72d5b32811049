//! Invites: create, list, revoke. A code is shown once, to the operator.

use std::sync::Arc;

use agentkeys_core::invite::{Invite, InviteCode, InviteId};
use agentkeys_core::wire::expose;
use agentkeys_core::{Code, Problem, Timestamp, Wallet};
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::record;
use crate::broker::{Broker, store_problem};
use crate::handlers::json_body;

/// How long an invite can be used, unless said: three days.
const DEFAULT_TTL_SECONDS: u64 = 3 * 86_400;
/// The longest: ninety days.
const MAX_TTL_SECONDS: u64 = 90 * 86_400;

/// `POST /admin/v1/invites`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateRequest {
    /// The only wallet that may use it; any wallet where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<Wallet>,
    /// How long it can be used, in seconds; three days unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// A new invite: the one time its code is shown.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewInvite {
    /// Its id.
    pub invite_id: InviteId,
    /// The code.
    #[serde(serialize_with = "expose")]
    pub code: SecretString,
    /// The only wallet that may use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<Wallet>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Creates an invite.
pub struct Create(pub Arc<Broker>);

#[async_trait]
impl Handler for Create {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let broker = &self.0;
        let request: CreateRequest = json_body(exchange)?;
        let ttl = request.ttl_seconds.unwrap_or(DEFAULT_TTL_SECONDS);
        if !(1..=MAX_TTL_SECONDS).contains(&ttl) {
            return Err(Problem::bad_request("An invite lives from 1 second to 90 days."));
        }
        let now = Timestamp::now();
        let code = InviteCode::generate().map_err(Problem::internal)?;
        let invite = Invite {
            id: InviteId::generate(),
            wallet: request.wallet,
            created_at: now,
            expires_at: now.plus(ttl),
            used_by: None,
            used_at: None,
        };
        // Recorded before it can be used.
        record(broker, exchange, "invite_create", |mut entry| {
            entry.wallet = invite.wallet.as_ref().map(ToString::to_string);
            entry.detail(invite.id.to_string())
        })
        .await?;
        broker.enrolment.add_invite(&invite, &code.hash()).await.map_err(store_problem)?;
        Response::secret_json(
            StatusCode::CREATED,
            &NewInvite {
                invite_id: invite.id,
                code: code.into_secret(),
                wallet: invite.wallet,
                expires_at: invite.expires_at,
            },
        )
    }
}

/// Lists invites, used and ended ones too.
pub struct List(pub Arc<Broker>);

#[async_trait]
impl Handler for List {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        let invites = self.0.enrolment.list_invites().await.map_err(store_problem)?;
        Response::json(StatusCode::OK, &json!({ "invites": invites }))
    }
}

/// Revokes an invite that nobody has used.
pub struct Revoke(pub Arc<Broker>);

#[async_trait]
impl Handler for Revoke {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let id = InviteId::from_text(exchange.resource.clone().unwrap_or_default());
        if !self.0.enrolment.revoke_invite(&id).await.map_err(store_problem)? {
            return Err(Problem::new(Code::NotFound, format!("There is no open invite {id}.")));
        }
        record(&self.0, exchange, "invite_revoke", |entry| entry.detail(id.to_string())).await?;
        Response::json(StatusCode::OK, &json!({ "revoked": 1 }))
    }
}
