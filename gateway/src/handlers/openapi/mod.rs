//! `GET /openapi.json`: OpenAPI 3.1 of exactly the routes that are served, made
//! from the routing table. A route without a description stops the start.

mod described;
mod schemas;

use agentkeys_filters::{Exchange, Handler, Outcome, Response};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use self::described::{Answer, Body, DESCRIBED, Described};
use crate::routes::Route;

/// The document.
pub struct OpenApi(Bytes);

/// A route that nobody described.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} is served and not described in handlers/openapi")]
pub struct Undescribed {
    method: String,
    path: &'static str,
}

impl OpenApi {
    /// The document of these routes.
    pub fn of(routes: &[Route], issuer: &str) -> Result<Self, Undescribed> {
        let mut paths = Map::new();
        for route in routes {
            let method = route.method.as_str();
            let described = DESCRIBED
                .iter()
                .find(|row| row.path == route.path && row.method == method)
                .ok_or_else(|| Undescribed { method: method.to_owned(), path: route.path })?;
            let item = paths.entry(route.path).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(item) = item {
                item.insert(method.to_lowercase(), operation(route, described));
            }
        }
        let document = json!({
            "openapi": "3.1.0",
            "info": { "title": "AgentKeys broker", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
            "servers": [{ "url": issuer }],
            "paths": paths,
            "components": {
                "securitySchemes": { "session": { "type": "http", "scheme": "bearer", "description": "A session token, aks_…" } },
                "schemas": schemas::schemas(),
                "responses": {
                    "Problem": { "description": "An RFC 9457 problem document.", "content": { "application/problem+json": { "schema": reference("Problem") } } },
                    "OAuthError": { "description": "An error of RFC 6749 section 5.2.", "content": { "application/json": { "schema": reference("OAuthError") } } },
                },
            },
        });
        Ok(Self(document.to_string().into()))
    }
}

fn operation(route: &Route, described: &Described) -> Value {
    let (status, answer) = match described.answer {
        Answer::Ok(schema) => ("200", json(schema)),
        Answer::Created(schema) => ("201", json(schema)),
        Answer::Nothing => ("204", None),
        Answer::Text => ("200", Some(json!({ "text/plain": { "schema": { "type": "string" } } }))),
    };
    let mut done = json!({ "description": "Done." });
    if let Some(content) = answer {
        done["content"] = content;
    }
    let mut operation = json!({
        "operationId": operation_id(described),
        "summary": described.summary,
        "responses": { status: done, "default": { "$ref": "#/components/responses/Problem" } },
    });
    match described.body {
        Body::None => {}
        Body::Optional(schema) => {
            operation["requestBody"] = json!({ "required": false, "content": json(schema) });
        }
        Body::Json(schema) => operation["requestBody"] = json!({ "required": true, "content": json(schema) }),
        Body::Form(schema) => {
            operation["requestBody"] = json!({
                "required": true,
                "content": { "application/x-www-form-urlencoded": { "schema": reference(schema) } },
            });
            operation["responses"]["400"] = json!({ "$ref": "#/components/responses/OAuthError" });
        }
    }
    if route.chain.names().contains(&"session_auth") {
        operation["security"] = json!([{ "session": [] }]);
    }
    if let Some((_, rest)) = route.path.split_once('{')
        && let Some((name, _)) = rest.split_once('}')
    {
        operation["parameters"] =
            json!([{ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }]);
    }
    operation
}

fn json(schema: &str) -> Option<Value> {
    Some(json!({ "application/json": { "schema": reference(schema) } }))
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// `POST /v1/pairings/{user_code}/approve` → `post_v1_pairings_user_code_approve`.
fn operation_id(described: &Described) -> String {
    let words = described.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(described.method.to_lowercase())
        .chain(words.map(str::to_owned))
        .collect::<Vec<_>>()
        .join("_")
}

#[async_trait]
impl Handler for OpenApi {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        Ok(Response::empty(StatusCode::OK)
            .with_body("application/json", self.0.clone())
            .header(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")))
    }
}
