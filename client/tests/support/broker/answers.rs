//! What a broker that is well answers, in the wire types of core.

use agentkeys_core::oauth::*;
use agentkeys_core::pairing_wire::*;
use agentkeys_core::problem::Code;
use agentkeys_core::wire::*;
use agentkeys_core::{MintId, Scope, SessionKind, Timestamp, UserCode, Wallet, scope_text};
use http::Method;
use http_body_util::Full;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use secrecy::ExposeSecret;
use sha3::{Digest, Keccak256};

use super::{Mood, Pairing, Reply, State, json, problem, wallet};

pub(super) fn route(
    state: &mut State,
    authority: &str,
    parts: &http::request::Parts,
    token: Option<&str>,
    body: &[u8],
) -> Reply {
    let path = parts.uri.path();
    match (parts.method.as_str(), path) {
        ("POST", "/v1/sessions/challenge") => return challenge(authority, body),
        ("POST", "/v1/sessions") => return start_session(state, body),
        ("POST", "/oauth/device_authorization") => return device(state, body),
        ("POST", "/oauth/token") => return oauth_token(state, body),
        _ => {}
    }
    let Some(view) = token.and_then(|token| state.sessions.get(token)).cloned() else {
        return problem(Code::InvalidToken, None);
    };
    match (parts.method.as_str(), path) {
        ("GET", "/v1/session") => json(200, &view),
        ("GET", "/v1/sessions") => {
            let sessions = state.sessions.values().cloned().collect();
            json(200, &SessionList { sessions })
        }
        ("POST", "/v1/mint-aws-creds") => mint(state, &view),
        ("GET", "/v1/environment") => json(200, &environment()),
        ("POST", "/oauth/revoke") => {
            let request: RevokeRequest = form(body);
            let before = state.sessions.len();
            state.sessions.retain(|token, session| {
                request.token.as_ref().is_none_or(|t| t.expose_secret() != token)
                    && request.session_id.as_ref() != Some(&session.session_id)
            });
            json(200, &RevokeResponse { revoked: (before - state.sessions.len()) as u64 })
        }
        ("GET", "/v1/credentials") => {
            let now = Timestamp::now();
            let credentials = state
                .credentials
                .keys()
                .map(|service| CredentialSummary { service: service.clone(), updated_at: now })
                .collect();
            json(200, &CredentialList { credentials })
        }
        _ if path.starts_with("/v1/credentials/") => credential(state, &parts.method, path, body),
        _ if path.starts_with("/v1/pairings/") => pairing(state, &parts.method, path, body),
        _ => problem(Code::NotFound, None),
    }
}

fn form<T: serde::de::DeserializeOwned>(body: &[u8]) -> T {
    // Every field of these forms is a text or a number, so a map of both reads them.
    let pairs = reqwest::Url::parse(&format!("http://x/?{}", std::str::from_utf8(body).unwrap())).unwrap();
    let map: serde_json::Map<String, serde_json::Value> = pairs
        .query_pairs()
        .map(|(key, value)| {
            let number = (key == "expires_in").then(|| value.parse::<u64>().unwrap().into());
            (key.into_owned(), number.unwrap_or_else(|| value.into_owned().into()))
        })
        .collect();
    serde_json::from_value(map.into()).unwrap()
}

pub fn environment() -> Environment {
    Environment {
        region: "eu-central-1".into(),
        bucket: "agentkeys-mail-123456789012".into(),
        prefix: format!("bots/{}/", wallet()),
        mail_domain: "bots.example.dev".into(),
        signup_address: "or-1@bots.example.dev".into(),
        s3_endpoint: None,
    }
}

fn mint(state: &mut State, view: &SessionView) -> Reply {
    if state.refuse_mints {
        return problem(Code::NotReady, None);
    }
    state.mints += 1;
    let ended = matches!(state.mood, Mood::EndedCredentials);
    let empty = matches!(state.mood, Mood::EmptyCredentials);
    let now = Timestamp::now();
    let minted = MintAwsResponse {
        access_key_id: format!("ASIAMINT{:04}", state.mints),
        secret_access_key: if empty { String::new() } else { format!("secret-key-{}", state.mints) }.into(),
        session_token: format!("session-token-{}", state.mints).into(),
        expiration: if ended { Timestamp::from_unix(now.unix() - 1) } else { now.plus(state.life) },
        wallet: view.wallet.clone(),
        role_arn: "arn:aws:iam::123456789012:role/agentkeys-agent".into(),
        region: "eu-central-1".into(),
        environment: environment(),
        mint_id: MintId::generate(),
    };
    json(200, &minted)
}

fn challenge(authority: &str, body: &[u8]) -> Reply {
    let request: ChallengeRequest = serde_json::from_slice(body).unwrap();
    let (now, end) = (Timestamp::now(), Timestamp::now().plus(300));
    let message = format!(
        "{authority} wants you to sign in with your Ethereum account:\n{}\n\nStart a session.\n\n\
         URI: http://{authority}\nVersion: 1\nChain ID: 1\nNonce: 0123456789abcdef\n\
         Issued At: {now}\nExpiration Time: {end}",
        request.wallet
    );
    json(200, &ChallengeResponse { message, nonce: "0123456789abcdef".into(), expires_at: end })
}

/// Verifies as a broker does: the signer is recovered from the signature.
fn start_session(state: &mut State, body: &[u8]) -> Reply {
    let request: StartSessionRequest = serde_json::from_slice(body).unwrap();
    if state.invite.is_some() && request.invite != state.invite {
        return problem(Code::EnrolmentRefused, None);
    }
    let named: Wallet = request.message.lines().nth(1).unwrap().parse().unwrap();
    let hex = request.signature.strip_prefix("0x").unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect();
    let prefix = format!("\x19Ethereum Signed Message:\n{}", request.message.len());
    let digest = Keccak256::digest([prefix.as_bytes(), request.message.as_bytes()].concat());
    let key = VerifyingKey::recover_from_prehash(
        &digest,
        &Signature::from_slice(&bytes[..64]).unwrap(),
        RecoveryId::from_byte(bytes[64] - 27).unwrap(),
    )
    .unwrap();
    let hash = Keccak256::digest(&key.to_sec1_point(false).as_bytes()[1..]);
    if Wallet::from_bytes(hash[12..].try_into().unwrap()) != named {
        return problem(Code::InvalidToken, None);
    }
    let token = state.issue(named.clone(), SessionKind::Master, Scope::default(), None);
    let view = &state.sessions[&token];
    json(
        201,
        &NewSessionResponse {
            token: token.clone().into(),
            session_id: view.session_id.clone(),
            wallet: named,
            expires_at: view.expires_at,
            scope: Scope::default(),
        },
    )
}

fn device(state: &mut State, body: &[u8]) -> Reply {
    let code = UserCode::generate().unwrap();
    state.pairing = Some(Pairing { code: code.clone(), request: form(body), decision: None });
    json(
        200,
        &DeviceAuthorizationResponse {
            device_code: "device-code-secret".into(),
            user_code: code,
            verification_uri: "agentkeys approve".into(),
            verification_uri_complete: None,
            expires_in: 600,
            interval: 1,
        },
    )
}

fn oauth_token(state: &mut State, body: &[u8]) -> Reply {
    let error = |code| json(400, &OAuthError::new(code, "As the test asks."));
    let (scope, parent) = match form::<TokenRequest>(body).grant() {
        Err(refusal) => return json(400, &refusal),
        Ok(TokenGrant::Device { device_code }) => {
            assert_eq!(device_code.expose_secret(), "device-code-secret");
            match state.pairing.as_ref().and_then(|pairing| pairing.decision.clone()) {
                None => return error(OAuthErrorCode::AuthorizationPending),
                Some(None) => return error(OAuthErrorCode::AccessDenied),
                Some(Some(approval)) => (approval.scope, None),
            }
        }
        Ok(TokenGrant::Exchange { subject_token, scope, .. }) => {
            match state.sessions.get(subject_token.expose_secret()) {
                None => return error(OAuthErrorCode::InvalidGrant),
                Some(parent) => match parent.scope.narrow(&scope) {
                    Err(_) => return error(OAuthErrorCode::InvalidScope),
                    Ok(scope) => (scope, Some(parent.session_id.clone())),
                },
            }
        }
    };
    let token = state.issue(wallet(), SessionKind::Child, scope.clone(), parent);
    json(
        200,
        &TokenResponse {
            access_token: token.clone().into(),
            issued_token_type: ACCESS_TOKEN_TYPE.into(),
            token_type: "Bearer".into(),
            expires_in: 900,
            scope: scope_text::format(&scope),
            session_id: state.sessions[&token].session_id.clone(),
            wallet: wallet(),
        },
    )
}

fn credential(state: &mut State, method: &Method, path: &str, body: &[u8]) -> Reply {
    let service = path.trim_start_matches("/v1/credentials/").to_owned();
    match method.as_str() {
        "PUT" => {
            let request: StoreCredentialRequest = serde_json::from_slice(body).unwrap();
            state.credentials.insert(service, request.value.expose_secret().to_owned());
            let mut reply = json(204, &());
            *reply.body_mut() = Full::default();
            reply
        }
        "GET" => match state.credentials.get(&service) {
            Some(value) => json(
                200,
                &StoredCredential { service, value: value.clone().into(), updated_at: Timestamp::now() },
            ),
            None => problem(Code::NotFound, None),
        },
        "DELETE" => match state.credentials.remove(&service) {
            Some(_) => {
                let mut reply = json(204, &());
                *reply.body_mut() = Full::default();
                reply
            }
            None => problem(Code::NotFound, None),
        },
        _ => problem(Code::MethodNotAllowed, None),
    }
}

fn pairing(state: &mut State, method: &Method, path: &str, body: &[u8]) -> Reply {
    let Some(pairing) = &mut state.pairing else { return problem(Code::NotFound, None) };
    let mut segments = path.trim_start_matches("/v1/pairings/").split('/');
    if segments.next().and_then(|code| code.parse().ok()) != Some(pairing.code.clone()) {
        return problem(Code::NotFound, None);
    }
    let user_code = pairing.code.clone();
    match (method.as_str(), segments.next()) {
        ("GET", None) => json(
            200,
            &PairingView {
                user_code,
                label: pairing.request.label.clone(),
                scope: scope_text::parse(pairing.request.scope.as_deref().unwrap_or_default()).unwrap(),
                ttl_seconds: pairing.request.expires_in,
                source: "203.0.113.9".into(),
                age_seconds: 3,
                expires_at: Timestamp::now().plus(600),
            },
        ),
        ("POST", Some("approve")) => {
            let request: ApprovePairingRequest = serde_json::from_slice(body).unwrap();
            let scope = Some(request.scope.clone());
            pairing.decision = Some(Some(request));
            json(200, &PairingDecision { user_code, approved: true, scope, expires_at: None })
        }
        ("POST", Some("deny")) => {
            pairing.decision = Some(None);
            json(200, &PairingDecision { user_code, approved: false, scope: None, expires_at: None })
        }
        _ => problem(Code::NotFound, None),
    }
}
