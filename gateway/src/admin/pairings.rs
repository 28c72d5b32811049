//! Pairings: list those that wait, let one in, turn one away. The session of a
//! device that the operator lets in is one that the operator issued.

use std::sync::Arc;

use agentkeys_core::pairing::{Approval, Decision, Pairing};
use agentkeys_core::pairing_wire::PairingDecision;
use agentkeys_core::{Code, Problem, Scope, Timestamp, UserCode, Wallet, scope_text};
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::record;
use super::sessions::{MAX_TTL_SECONDS, random_wallet};
use crate::broker::{Broker, store_problem};
use crate::handlers::{json_body, pairings};

/// Lists pairings that wait.
pub struct List(pub Arc<Broker>);

#[async_trait]
impl Handler for List {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        let now = Timestamp::now();
        let waiting = self.0.pairings.pending(now).await.map_err(store_problem)?;
        let views: Vec<_> = waiting.into_iter().map(|pairing| pairings::view(pairing, now)).collect();
        Response::json(StatusCode::OK, &json!({ "pairings": views }))
    }
}

/// `POST /admin/v1/pairings/{user_code}/approve`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// The wallet; a new one is assigned where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<Wallet>,
    /// What the device may do. Required: what a device proposes is never taken
    /// for what the operator means.
    pub scope: Scope,
    /// The session's life in seconds; `sessions.issued_ttl` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// Lets a device in.
pub struct Approve(pub Arc<Broker>);

#[async_trait]
impl Handler for Approve {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let broker = &self.0;
        let request: ApproveRequest = json_body(exchange)?;
        let ttl = request.ttl_seconds.unwrap_or(broker.issued_ttl.as_secs());
        if !(1..=MAX_TTL_SECONDS).contains(&ttl) {
            return Err(Problem::bad_request("A session lives from 1 second to 366 days."));
        }
        let wallet = match request.wallet {
            Some(wallet) => wallet,
            None => random_wallet()?,
        };
        let pairing = waiting(broker, exchange).await?;
        let approval =
            Approval { wallet, parent: None, scope: request.scope, expires_at: Timestamp::now().plus(ttl) };
        decide(broker, exchange, pairing, Decision::Approve(approval)).await
    }
}

/// Turns a device away.
pub struct Deny(pub Arc<Broker>);

#[async_trait]
impl Handler for Deny {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let pairing = waiting(&self.0, exchange).await?;
        decide(&self.0, exchange, pairing, Decision::Deny).await
    }
}

async fn waiting(broker: &Broker, exchange: &Exchange) -> Result<Pairing, Problem> {
    let code: UserCode = exchange
        .resource
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|error| Problem::bad_request(format!("{error}.")))?;
    let found = broker.pairings.by_user_code(&code).await.map_err(store_problem)?;
    found.filter(|pairing| pairing.is_pending(Timestamp::now())).ok_or_else(|| nothing_waits(&code))
}

async fn decide(broker: &Broker, exchange: &Exchange, pairing: Pairing, decision: Decision) -> Outcome {
    let approval = match &decision {
        Decision::Approve(approval) => Some(approval.clone()),
        Decision::Deny => None,
    };
    let action = if approval.is_some() { "device_approve" } else { "device_deny" };
    // Recorded before it is in force.
    record(broker, exchange, action, |mut entry| {
        entry.target = Some(format!("device:{}", pairing.source));
        entry.wallet = approval.as_ref().map(|approval| approval.wallet.to_string());
        entry
            .detail(approval.as_ref().map(|approval| scope_text::format(&approval.scope)).unwrap_or_default())
    })
    .await?;
    let code = pairing.user_code;
    if !broker.pairings.decide(&code, decision, Timestamp::now()).await.map_err(store_problem)? {
        return Err(nothing_waits(&code));
    }
    Response::json(
        StatusCode::OK,
        &PairingDecision {
            user_code: code,
            approved: approval.is_some(),
            expires_at: approval.as_ref().map(|approval| approval.expires_at),
            scope: approval.map(|approval| approval.scope),
        },
    )
}

fn nothing_waits(code: &UserCode) -> Problem {
    Problem::new(Code::NotFound, format!("No device waits under {code}; it may have ended or been decided."))
}
