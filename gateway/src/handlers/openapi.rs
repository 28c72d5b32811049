//! `GET /openapi.json`: OpenAPI 3.1 of exactly the routes that are served, made
//! from the routing table. A route without a description here stops the start.

use agentkeys_core::problem::Code;
use agentkeys_filters::{Exchange, Handler, MintKind, Outcome, Response};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::routes::Route;

/// What a route does, for a reader of the document.
struct Described {
    path: &'static str,
    method: &'static str,
    summary: &'static str,
    /// The name of the request's schema, if it has a body.
    request: Option<&'static str>,
    /// The name of the answer's schema.
    answer: &'static str,
}

const fn row(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    request: Option<&'static str>,
    answer: &'static str,
) -> Described {
    Described { path, method, summary, request, answer }
}

const DESCRIBED: &[Described] = &[
    row("GET", "/.well-known/openid-configuration", "OpenID Connect discovery.", None, "Discovery"),
    row("GET", "/.well-known/jwks.json", "The published signing keys.", None, "Jwks"),
    row("GET", "/healthz", "Is the process alive?", None, "Health"),
    row("GET", "/readyz", "Can it mint? From cached checks.", None, "Readiness"),
    row(
        "POST",
        "/v1/mint-oidc-jwt",
        "Mint an OIDC token for the session's wallet.",
        Some("MintJwtRequest"),
        "MintJwtResponse",
    ),
    row(
        "POST",
        "/v1/mint-aws-creds",
        "Mint temporary AWS credentials that reach the wallet's own prefix.",
        Some("MintAwsRequest"),
        "MintAwsResponse",
    ),
    row("GET", "/v1/environment", "What a client needs besides credentials.", None, "Environment"),
    row("GET", "/v1/session", "Who am I?", None, "SessionView"),
    row("GET", "/openapi.json", "This document.", None, "OpenApi"),
];

/// The document.
pub struct OpenApi(Bytes);

/// A route that nobody described.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} is served and not described in handlers/openapi.rs")]
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
                "schemas": schemas(),
                "responses": { "Problem": { "description": "An RFC 9457 problem document.", "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } } },
            },
        });
        Ok(Self(document.to_string().into()))
    }
}

fn operation(route: &Route, described: &Described) -> Value {
    let reference = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let mut operation = json!({
        "summary": described.summary,
        "responses": {
            "200": { "description": "Done.", "content": { "application/json": { "schema": reference(described.answer) } } },
            "default": { "$ref": "#/components/responses/Problem" },
        },
    });
    if let Some(request) = described.request {
        let required =
            route.mint.is_none_or(|kind| !matches!(kind, MintKind::AwsCredentials | MintKind::OidcJwt));
        operation["requestBody"] = json!({ "required": required, "content": { "application/json": { "schema": reference(request) } } });
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

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let time = json!({ "type": "string", "format": "date-time" });
    let object = |properties: Value, required: &[&str]| json!({ "type": "object", "properties": properties, "required": required });
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let scope = object(
        json!({
            "services": { "type": "array", "items": text }, "roles": { "type": "array", "items": text },
            "read_only": { "type": "boolean" }, "max_duration_seconds": { "type": "integer" },
        }),
        &[],
    );
    let environment = json!({ "$ref": "#/components/schemas/Environment" });
    json!({
        "Problem": object(
            json!({
                "type": { "type": "string", "format": "uri" }, "title": text, "status": { "type": "integer" },
                "detail": text, "code": { "type": "string", "enum": codes }, "request_id": text,
                "retryable": { "type": "boolean" }, "upstream_code": text,
            }),
            &["type", "title", "status", "detail", "code", "request_id", "retryable"],
        ),
        "Discovery": object(
            json!({ "issuer": text, "jwks_uri": text, "id_token_signing_alg_values_supported": { "type": "array", "items": text } }),
            &["issuer", "jwks_uri"],
        ),
        "Jwks": object(json!({ "keys": { "type": "array", "items": { "type": "object" } } }), &["keys"]),
        "OpenApi": { "type": "object" },
        "Health": object(json!({ "status": text }), &["status"]),
        "Readiness": object(
            json!({
                "status": { "type": "string", "enum": ["ready", "not_ready"] },
                "checks": { "type": "array", "items": object(
                    json!({ "name": text, "status": { "type": "string", "enum": ["pass", "fail"] }, "reason": text, "runbook": text }),
                    &["name", "status", "runbook"],
                ) },
            }),
            &["status", "checks"],
        ),
        "MintJwtRequest": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "audience": { "type": "string", "minLength": 1, "maxLength": 255 },
                "ttl_seconds": { "type": "integer", "minimum": 60, "maximum": 3600 },
            },
        },
        "MintJwtResponse": object(
            json!({ "jwt": text, "wallet": text, "expiration": time, "kid": text, "mint_id": text }),
            &["jwt", "wallet", "expiration", "kid", "mint_id"],
        ),
        "MintAwsRequest": {
            "type": "object", "additionalProperties": false,
            "properties": {
                "role": { "type": "string", "pattern": "^[a-z0-9][a-z0-9._-]{0,63}$" },
                "duration_seconds": { "type": "integer", "minimum": 900, "maximum": 43200 },
                "read_only": { "type": "boolean" },
            },
        },
        "MintAwsResponse": object(
            json!({
                "access_key_id": text, "secret_access_key": text, "session_token": text, "expiration": time,
                "wallet": text, "role_arn": text, "region": text, "environment": environment, "mint_id": text,
            }),
            &["access_key_id", "secret_access_key", "session_token", "expiration", "wallet", "role_arn", "region", "environment", "mint_id"],
        ),
        "Environment": object(
            json!({
                "region": text, "bucket": text, "prefix": text, "mail_domain": text, "signup_address": text, "s3_endpoint": text,
            }),
            &["region", "bucket", "prefix", "mail_domain", "signup_address"],
        ),
        "Scope": scope,
        "SessionView": object(
            json!({
                "session_id": text, "wallet": text, "kind": { "type": "string", "enum": ["master", "issued", "child"] },
                "label": text, "scope": { "$ref": "#/components/schemas/Scope" }, "created_at": time, "expires_at": time, "parent": text,
            }),
            &["session_id", "wallet", "kind", "scope", "created_at", "expires_at"],
        ),
    })
}

#[async_trait]
impl Handler for OpenApi {
    async fn handle(&self, _exchange: &mut Exchange) -> Outcome {
        Ok(Response::empty(StatusCode::OK)
            .with_body("application/json", self.0.clone())
            .header(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300")))
    }
}
