//! The fake broker: the wire types of core, a script of misbehaviour, and a
//! record of what was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use agentkeys_core::oauth::*;
use agentkeys_core::problem::{Code, Problem};
use agentkeys_core::wire::*;
use agentkeys_core::{
    BearerToken, MintId, Scope, SessionId, SessionKind, Timestamp, UserCode, Wallet, scope_text,
};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use secrecy::ExposeSecret;
use sha3::{Digest, Keccak256};
use tokio_rustls::TlsAcceptor;

/// How it behaves.
#[derive(Clone, Debug)]
pub enum Mood {
    Fine,
    /// It takes the connection and closes it.
    Gone,
    Slow(Duration),
    /// This problem, this often (then fine), with this `Retry-After`.
    Troubled(Code, u32, Option<u64>),
    /// An answer that is no broker's.
    Strange(u16, &'static str),
    Redirect(String),
    /// Minted credentials have an empty key.
    EmptyCredentials,
    /// Minted credentials have ended.
    EndedCredentials,
}

pub struct State {
    pub mood: Mood,
    pub sessions: BTreeMap<String, SessionView>,
    pub credentials: BTreeMap<String, String>,
    pub life: u64,
    pub mints: u32,
    /// `METHOD path`, and the token's session where one was known.
    pub asked: Vec<(String, Option<SessionId>)>,
    pub pairing: Option<Pairing>,
    pub invite: Option<String>,
    /// Every mint is a retryable problem, whatever the mood.
    pub refuse_mints: bool,
}

pub struct Pairing {
    pub code: UserCode,
    pub request: DeviceAuthorizationRequest,
    pub decision: Option<Option<ApprovePairingRequest>>,
}

#[derive(Clone)]
pub struct FakeBroker {
    state: Arc<Mutex<State>>,
    pub url: String,
    _runtime: Arc<tokio::runtime::Runtime>,
}

pub fn wallet() -> Wallet {
    Wallet::from_bytes([0xab; 20])
}

impl FakeBroker {
    pub fn start() -> Self {
        Self::serve(None)
    }

    /// The same behind TLS, for `localhost`.
    pub fn start_tls(acceptor: TlsAcceptor) -> Self {
        Self::serve(Some(acceptor))
    }

    fn serve(acceptor: Option<TlsAcceptor>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = Arc::new(runtime.unwrap());
        let state = Arc::new(Mutex::new(State {
            mood: Mood::Fine,
            sessions: BTreeMap::new(),
            credentials: BTreeMap::new(),
            life: 3600,
            mints: 0,
            asked: Vec::new(),
            pairing: None,
            invite: None,
            refuse_mints: false,
        }));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let url = match acceptor {
            Some(_) => format!("https://localhost:{}", address.port()),
            None => format!("http://{address}"),
        };
        let served = Arc::clone(&state);
        let authority = address.to_string();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (state, authority) = (Arc::clone(&served), authority.clone());
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    if matches!(state.lock().unwrap().mood, Mood::Gone) {
                        return;
                    }
                    match acceptor {
                        None => connection(stream, state, authority).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                connection(stream, state, authority).await;
                            }
                        }
                    }
                });
            }
        });
        Self { state, url, _runtime: runtime }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// A session as the operator issues one; its token.
    pub fn issue(&self) -> String {
        self.issue_for(wallet())
    }

    pub fn issue_for(&self, wallet: Wallet) -> String {
        self.state().issue(wallet, SessionKind::Issued, Scope::default(), None)
    }

    pub fn session_of(&self, token: &str) -> SessionId {
        self.state().sessions[token].session_id.clone()
    }

    /// How often this was asked.
    pub fn count(&self, what: &str) -> usize {
        self.state().asked.iter().filter(|(asked, _)| asked == what).count()
    }
}

async fn connection<S>(stream: S, state: Arc<Mutex<State>>, authority: String)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let service = service_fn(move |request| {
        let (state, authority) = (Arc::clone(&state), authority.clone());
        async move { Ok::<_, Infallible>(answer(&state, &authority, request).await) }
    });
    // A client that goes away is what some tests are about.
    let _ = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl State {
    fn issue(
        &mut self,
        wallet: Wallet,
        kind: SessionKind,
        scope: Scope,
        parent: Option<SessionId>,
    ) -> String {
        let token = BearerToken::generate().unwrap().expose().to_owned();
        let view = SessionView {
            session_id: SessionId::generate(),
            wallet,
            kind,
            label: None,
            scope,
            created_at: Timestamp::now(),
            expires_at: Timestamp::now().plus(43_200),
            parent,
        };
        self.sessions.insert(token.clone(), view);
        token
    }
}

type Reply = Response<Full<Bytes>>;

fn json(status: u16, value: &impl serde::Serialize) -> Reply {
    let mut reply = Response::new(Full::new(serde_json::to_vec(value).unwrap().into()));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

fn problem(code: Code, retry_after: Option<u64>) -> Reply {
    let mut reply = json(code.status().as_u16(), &Problem::new(code, "As the test asks.").document("req-1"));
    if let Some(seconds) = retry_after {
        reply.headers_mut().insert("retry-after", seconds.into());
    }
    reply
}

async fn answer(state: &Mutex<State>, authority: &str, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let token = parts
        .headers
        .get("authorization")
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .map(str::to_owned);
    let mood = {
        let mut state = state.lock().unwrap();
        let session =
            token.as_ref().and_then(|token| state.sessions.get(token)).map(|s| s.session_id.clone());
        state.asked.push((format!("{} {}", parts.method, parts.uri.path()), session));
        let mood = state.mood.clone();
        if let Mood::Troubled(_, left, _) = &mut state.mood {
            *left = left.saturating_sub(1);
        }
        mood
    };
    match mood {
        Mood::Slow(time) => tokio::time::sleep(time).await,
        Mood::Troubled(code, left, retry_after) if left > 0 => return problem(code, retry_after),
        Mood::Strange(status, body) => {
            let mut reply = Response::new(Full::new(body.into()));
            *reply.status_mut() = StatusCode::from_u16(status).unwrap();
            return reply;
        }
        Mood::Redirect(to) => {
            let mut reply = Response::new(Full::new(Bytes::new()));
            *reply.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            reply.headers_mut().insert("location", to.parse().unwrap());
            return reply;
        }
        _ => {}
    }
    route(&mut state.lock().unwrap(), authority, &parts, token.as_deref(), &body)
}

fn route(
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
