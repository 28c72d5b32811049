//! Sessions, pairing, the OAuth endpoints and stored credentials.

use agentkeys_core::credential_backend::MAX_VALUE_BYTES;
use agentkeys_core::oauth::{ACCESS_TOKEN_TYPE, GRANT_DEVICE_CODE, GRANT_TOKEN_EXCHANGE};
use serde_json::{Value, json};

use super::object;

pub(super) fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let time = json!({ "type": "string", "format": "date-time" });
    let count = json!({ "type": "integer", "minimum": 0 });
    let seconds = json!({ "type": "integer", "minimum": 1 });
    let wallet = json!({ "type": "string", "pattern": "^0x[0-9a-fA-F]{40}$" });
    let label = json!({ "type": "string", "minLength": 1, "maxLength": 64 });
    let code =
        json!({ "type": "string", "pattern": "^[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}$" });
    let scope = json!({ "$ref": "#/components/schemas/Scope" });
    let scope_text = json!({
        "type": "string",
        "description": "Tokens with spaces between: service:NAME, role:ALIAS, read_only, max_duration:SECONDS, no_services, no_roles.",
    });
    let strict = |properties: Value, required: &[&str]| {
        let mut schema = object(properties, required);
        schema["additionalProperties"] = json!(false);
        schema
    };
    json!({
        "ChallengeRequest": strict(json!({ "wallet": wallet }), &["wallet"]),
        "ChallengeResponse": object(
            json!({ "message": text, "nonce": text, "expires_at": time }),
            &["message", "nonce", "expires_at"],
        ),
        "StartSessionRequest": strict(
            json!({
                "message": text,
                "signature": { "type": "string", "pattern": "^0x[0-9a-fA-F]{130}$" },
                "invite": text, "label": label,
            }),
            &["message", "signature"],
        ),
        "NewSessionResponse": object(
            json!({ "token": text, "session_id": text, "wallet": wallet, "expires_at": time, "scope": scope }),
            &["token", "session_id", "wallet", "expires_at", "scope"],
        ),
        "SessionList": object(
            json!({ "sessions": { "type": "array", "items": { "$ref": "#/components/schemas/SessionView" } } }),
            &["sessions"],
        ),
        "DeviceAuthorizationRequest": object(
            json!({ "client_id": text, "scope": scope_text, "label": label, "expires_in": seconds }),
            &[],
        ),
        "DeviceAuthorizationResponse": object(
            json!({
                "device_code": text, "user_code": code, "verification_uri": text,
                "verification_uri_complete": text, "expires_in": count, "interval": count,
            }),
            &["device_code", "user_code", "verification_uri", "expires_in", "interval"],
        ),
        "TokenRequest": object(
            json!({
                "grant_type": { "type": "string", "enum": [GRANT_DEVICE_CODE, GRANT_TOKEN_EXCHANGE] },
                "client_id": text, "device_code": text, "subject_token": text,
                "subject_token_type": { "type": "string", "const": ACCESS_TOKEN_TYPE },
                "requested_token_type": { "type": "string", "const": ACCESS_TOKEN_TYPE },
                "scope": scope_text, "expires_in": seconds, "label": label,
            }),
            &["grant_type"],
        ),
        "TokenResponse": object(
            json!({
                "access_token": text, "issued_token_type": text, "token_type": { "type": "string", "const": "Bearer" },
                "expires_in": count, "scope": scope_text, "session_id": text, "wallet": wallet,
            }),
            &["access_token", "issued_token_type", "token_type", "expires_in", "scope", "session_id", "wallet"],
        ),
        "RevokeRequest": object(json!({ "token": text, "token_type_hint": text, "session_id": text }), &[]),
        "RevokeResponse": object(json!({ "revoked": count }), &["revoked"]),
        "IntrospectRequest": object(json!({ "token": text, "token_type_hint": text }), &["token"]),
        "IntrospectResponse": object(
            json!({
                "active": { "type": "boolean" }, "scope": scope_text, "token_type": text, "exp": count, "iat": count,
                "sub": text, "session_id": text, "wallet": wallet,
            }),
            &["active"],
        ),
        "OAuthError": object(
            json!({
                "error": { "type": "string", "enum": [
                    "invalid_request", "invalid_grant", "invalid_scope", "unsupported_grant_type",
                    "authorization_pending", "slow_down", "access_denied", "expired_token",
                ] },
                "error_description": text,
            }),
            &["error"],
        ),
        "PairingView": object(
            json!({
                "user_code": code, "label": label, "scope": scope, "ttl_seconds": seconds, "source": text,
                "age_seconds": count, "expires_at": time,
            }),
            &["user_code", "scope", "source", "age_seconds", "expires_at"],
        ),
        "ApprovePairingRequest": strict(json!({ "scope": scope, "ttl_seconds": seconds }), &["scope"]),
        "PairingDecision": object(
            json!({ "user_code": code, "approved": { "type": "boolean" }, "scope": scope, "expires_at": time }),
            &["user_code", "approved"],
        ),
        "StoreCredentialRequest": strict(
            json!({ "value": { "type": "string", "minLength": 1, "maxLength": MAX_VALUE_BYTES } }),
            &["value"],
        ),
        "StoredCredential": object(
            json!({ "service": text, "value": text, "updated_at": time }),
            &["service", "value", "updated_at"],
        ),
        "CredentialList": object(
            json!({ "credentials": { "type": "array", "items": object(
                json!({ "service": text, "updated_at": time }),
                &["service", "updated_at"],
            ) } }),
            &["credentials"],
        ),
    })
}
