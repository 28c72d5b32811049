//! Sessions: issue, list, show, revoke.

use std::collections::BTreeSet;
use std::sync::Arc;

use agentkeys_core::session::is_label;
use agentkeys_core::store::SessionQuery;
use agentkeys_core::wire::NewSessionResponse;
use agentkeys_core::{
    BearerToken, Code, Problem, RoleAlias, Scope, Session, SessionId, SessionKind, Timestamp, Wallet,
};
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{query, record};
use crate::broker::{Broker, store_problem};
use crate::handlers::json_body;

/// The longest session an operator can issue: a year.
pub(super) const MAX_TTL_SECONDS: u64 = 366 * 86_400;

/// `POST /admin/v1/sessions`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueRequest {
    /// The wallet; a new one is assigned where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<Wallet>,
    /// What to call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its life in seconds; `sessions.issued_ttl` unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// The only role it may mint for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<RoleAlias>,
    /// It only reads.
    #[serde(default)]
    pub read_only: bool,
}

/// Issues a session.
pub struct Issue(pub Arc<Broker>);

#[async_trait]
impl Handler for Issue {
    fn reads_body(&self) -> bool {
        true
    }

    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let broker = &self.0;
        let request: IssueRequest = json_body(exchange)?;
        let session = new_session(broker, request)?;
        let token = BearerToken::generate().map_err(Problem::internal)?;
        broker.sessions.insert(&session, &token.hash()).await.map_err(store_problem)?;
        record(broker, exchange, "session_issue", |mut entry| {
            entry.session_id = Some(session.id.to_string());
            entry.wallet = Some(session.wallet.to_string());
            entry
        })
        .await?;
        Response::secret_json(
            StatusCode::CREATED,
            &NewSessionResponse {
                token: token.into_secret(),
                session_id: session.id,
                wallet: session.wallet,
                expires_at: session.expires_at,
                scope: session.scope,
            },
        )
    }
}

fn new_session(broker: &Broker, request: IssueRequest) -> Result<Session, Problem> {
    if let Some(label) = &request.label
        && !is_label(label)
    {
        return Err(Problem::bad_request("A label is 1 to 64 printable characters."));
    }
    let ttl = request.ttl_seconds.unwrap_or(broker.issued_ttl.as_secs());
    if !(1..=MAX_TTL_SECONDS).contains(&ttl) {
        return Err(Problem::bad_request("A session lives from 1 second to 366 days."));
    }
    if let Some(role) = &request.role
        && !broker.deployment.roles.contains_key(role)
    {
        let known: Vec<&str> = broker.deployment.roles.keys().map(RoleAlias::as_str).collect();
        return Err(Problem::bad_request(format!(
            "There is no role '{role}'; known are {}.",
            known.join(", ")
        )));
    }
    let wallet = match request.wallet {
        Some(wallet) => wallet,
        None => random_wallet()?,
    };
    let now = Timestamp::now();
    Ok(Session {
        id: SessionId::generate(),
        wallet,
        kind: SessionKind::Issued,
        label: request.label,
        parent: None,
        scope: Scope {
            roles: request.role.map(|role| BTreeSet::from([role])),
            read_only: request.read_only,
            ..Scope::default()
        },
        created_at: now,
        expires_at: now.plus(ttl),
        revoked_at: None,
    })
}

pub(super) fn random_wallet() -> Result<Wallet, Problem> {
    let mut bytes = [0u8; 20];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Problem::internal("the system's random source failed"))?;
    Ok(Wallet::from_bytes(bytes))
}

/// The query of `GET /admin/v1/sessions`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// Only this wallet's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wallet: Option<Wallet>,
    /// Ended ones too.
    #[serde(default)]
    pub all: bool,
    /// At most this many.
    #[serde(default)]
    pub limit: usize,
}

/// Lists sessions.
pub struct List(pub Arc<Broker>);

#[async_trait]
impl Handler for List {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let query: ListQuery = query(exchange)?;
        let sessions = self
            .0
            .sessions
            .list(&SessionQuery {
                wallet: query.wallet,
                root: None,
                include_ended: query.all,
                limit: query.limit,
            })
            .await
            .map_err(store_problem)?;
        Response::json(StatusCode::OK, &json!({ "sessions": sessions }))
    }
}

/// Shows one session.
pub struct Show(pub Arc<Broker>);

#[async_trait]
impl Handler for Show {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let id = session_id(exchange)?;
        match self.0.sessions.by_id(&id).await.map_err(store_problem)? {
            Some(session) => Response::json(StatusCode::OK, &session),
            None => Err(unknown(&id)),
        }
    }
}

/// Revokes a session and all that descend from it.
pub struct Revoke(pub Arc<Broker>);

#[async_trait]
impl Handler for Revoke {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let broker = &self.0;
        let id = session_id(exchange)?;
        let Some(session) = broker.sessions.by_id(&id).await.map_err(store_problem)? else {
            return Err(unknown(&id));
        };
        // Revoked first: a record that cannot be written must not keep a stolen
        // token alive. The operator sees the 503 and tries again.
        let revoked = broker.sessions.revoke(&id, Timestamp::now()).await.map_err(store_problem)?;
        record(broker, exchange, "session_revoke", |mut entry| {
            entry.session_id = Some(id.to_string());
            entry.wallet = Some(session.wallet.to_string());
            entry.detail(format!("{revoked} live sessions revoked"))
        })
        .await?;
        Response::json(StatusCode::OK, &json!({ "revoked": revoked }))
    }
}

fn session_id(exchange: &Exchange) -> Result<SessionId, Problem> {
    exchange
        .resource
        .as_deref()
        .unwrap_or_default()
        .parse()
        .map_err(|error| Problem::bad_request(format!("{error}.")))
}

fn unknown(id: &SessionId) -> Problem {
    Problem::new(Code::NotFound, format!("There is no session {id}."))
}
