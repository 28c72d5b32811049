//! The schemas of the document: what each body holds.

mod sessions;

use agentkeys_core::problem::Code;
use serde_json::{Value, json};

pub(super) fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let time = json!({ "type": "string", "format": "date-time" });
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let scope = object(
        json!({
            "services": { "type": "array", "items": text }, "roles": { "type": "array", "items": text },
            "read_only": { "type": "boolean" }, "max_duration_seconds": { "type": "integer" },
        }),
        &[],
    );
    let environment = json!({ "$ref": "#/components/schemas/Environment" });
    let mut schemas = json!({
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
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut schemas, sessions::schemas()) {
        all.extend(more);
    }
    schemas
}

/// An object with these properties.
fn object(properties: Value, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required })
}
