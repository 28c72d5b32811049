//! What each route does, for a reader of the document. A route that has no row
//! here does not start.

/// One route.
pub(super) struct Described {
    pub path: &'static str,
    pub method: &'static str,
    pub summary: &'static str,
    pub body: Body,
    pub answer: Answer,
}

/// What a request carries, and the name of its schema.
#[derive(Clone, Copy)]
pub(super) enum Body {
    None,
    /// JSON; may be left out.
    Optional(&'static str),
    /// JSON.
    Json(&'static str),
    /// A form, as OAuth 2 wants it; its 400 has a body of its own.
    Form(&'static str),
}

/// What an answer carries, and the name of its schema.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// 200.
    Ok(&'static str),
    /// 201.
    Created(&'static str),
    /// 204.
    Nothing,
    /// 200, for people.
    Text,
}

const fn row(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    body: Body,
    answer: Answer,
) -> Described {
    Described { path, method, summary, body, answer }
}

pub(super) const DESCRIBED: &[Described] = &[
    row(
        "GET",
        "/.well-known/openid-configuration",
        "OpenID Connect discovery.",
        Body::None,
        Answer::Ok("Discovery"),
    ),
    row("GET", "/.well-known/jwks.json", "The published signing keys.", Body::None, Answer::Ok("Jwks")),
    row("GET", "/healthz", "Is the process alive?", Body::None, Answer::Ok("Health")),
    row("GET", "/readyz", "Can it mint? From cached checks.", Body::None, Answer::Ok("Readiness")),
    row(
        "POST",
        "/v1/mint-oidc-jwt",
        "Mint an OIDC token for the session's wallet.",
        Body::Optional("MintJwtRequest"),
        Answer::Ok("MintJwtResponse"),
    ),
    row(
        "POST",
        "/v1/mint-aws-creds",
        "Mint temporary AWS credentials that reach the wallet's own prefix.",
        Body::Optional("MintAwsRequest"),
        Answer::Ok("MintAwsResponse"),
    ),
    row(
        "GET",
        "/v1/environment",
        "What a client needs besides credentials.",
        Body::None,
        Answer::Ok("Environment"),
    ),
    row("GET", "/v1/session", "Who am I?", Body::None, Answer::Ok("SessionView")),
    row(
        "GET",
        "/v1/sessions",
        "My session and those that descend from it.",
        Body::None,
        Answer::Ok("SessionList"),
    ),
    row(
        "POST",
        "/v1/sessions/challenge",
        "A message (EIP-4361) to sign with the wallet's key.",
        Body::Json("ChallengeRequest"),
        Answer::Ok("ChallengeResponse"),
    ),
    row(
        "POST",
        "/v1/sessions",
        "Start a master session with the signed message, as far as the enrolment policy allows it.",
        Body::Json("StartSessionRequest"),
        Answer::Created("NewSessionResponse"),
    ),
    row("GET", "/pair", "How a person lets a device in.", Body::None, Answer::Text),
    row(
        "POST",
        "/oauth/device_authorization",
        "Ask to be paired (RFC 8628).",
        Body::Form("DeviceAuthorizationRequest"),
        Answer::Ok("DeviceAuthorizationResponse"),
    ),
    row(
        "POST",
        "/oauth/token",
        "Poll for a paired session (RFC 8628), or make a narrower child of a session (RFC 8693).",
        Body::Form("TokenRequest"),
        Answer::Ok("TokenResponse"),
    ),
    row(
        "POST",
        "/oauth/revoke",
        "Revoke my session, or one that descends from it, with all below it (RFC 7009).",
        Body::Form("RevokeRequest"),
        Answer::Ok("RevokeResponse"),
    ),
    row(
        "POST",
        "/oauth/introspect",
        "Look at my session, or one that descends from it (RFC 7662).",
        Body::Form("IntrospectRequest"),
        Answer::Ok("IntrospectResponse"),
    ),
    row(
        "GET",
        "/v1/pairings/{user_code}",
        "What a waiting device asks for.",
        Body::None,
        Answer::Ok("PairingView"),
    ),
    row(
        "POST",
        "/v1/pairings/{user_code}/approve",
        "Let a device in: its session becomes a child of mine.",
        Body::Json("ApprovePairingRequest"),
        Answer::Ok("PairingDecision"),
    ),
    row(
        "POST",
        "/v1/pairings/{user_code}/deny",
        "Turn a device away.",
        Body::None,
        Answer::Ok("PairingDecision"),
    ),
    row(
        "GET",
        "/v1/credentials",
        "The services with a stored API key.",
        Body::None,
        Answer::Ok("CredentialList"),
    ),
    row(
        "GET",
        "/v1/credentials/{service}",
        "Read a service's API key.",
        Body::None,
        Answer::Ok("StoredCredential"),
    ),
    row(
        "PUT",
        "/v1/credentials/{service}",
        "Store a service's API key.",
        Body::Json("StoreCredentialRequest"),
        Answer::Nothing,
    ),
    row("DELETE", "/v1/credentials/{service}", "Remove a service's API key.", Body::None, Answer::Nothing),
    row("GET", "/openapi.json", "This document.", Body::None, Answer::Ok("OpenApi")),
];
