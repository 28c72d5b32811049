//! The audit: list, follow, verify. Nothing here writes or alters a record, and
//! no request can name a file.

use std::sync::Arc;

use agentkeys_core::MintId;
use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::query;
use crate::broker::{Broker, store_problem};

/// The most records one answer holds.
pub const MAX_RECORDS: usize = 1_000;

/// The query of `GET /admin/v1/audit`: the newest, those after a number, or
/// those of one mint.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// At most this many; 100 unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only records after this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Only this mint's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mint_id: Option<MintId>,
}

/// Lists records, oldest first.
pub struct List(pub Arc<Broker>);

#[async_trait]
impl Handler for List {
    async fn handle(&self, exchange: &mut Exchange) -> Outcome {
        let query: ListQuery = query(exchange)?;
        let limit = query.limit.unwrap_or(100).clamp(1, MAX_RECORDS);
        let audit = &self.0.audit;
        let records = match (query.mint_id, query.after) {
            (Some(mint), _) => audit.of_mint(&mint.to_string()).await,
            (None, Some(after)) => audit.after(after, limit).await,
            (None, None) => audit.tail(limit).await,
        }
        .map_err(store_problem)?;
        Response::json(StatusCode::OK, &json!({ "records": records }))
    }
}

/// Recomputes the chain.
pub struct Verify(pub Arc<Broker>);

#[async_trait]
impl Handler for Verify {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        Response::json(StatusCode::OK, &self.0.audit.verify().await.map_err(store_problem)?)
    }
}
