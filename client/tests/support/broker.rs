//! The fake broker: a script of misbehaviour, and a record of what was asked.
//! What it answers when it is well is in [`answers`].

mod answers;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use agentkeys_core::oauth::*;
use agentkeys_core::pairing_wire::*;
use agentkeys_core::problem::{Code, Problem};
use agentkeys_core::wire::*;
use agentkeys_core::{BearerToken, Scope, SessionId, SessionKind, Timestamp, UserCode, Wallet};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
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
    answers::route(&mut state.lock().unwrap(), authority, &parts, token.as_deref(), &body)
}
