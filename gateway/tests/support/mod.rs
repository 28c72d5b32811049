//! A broker in this process, over real sockets and files, and a client of it.
#![allow(dead_code, reason = "each test file uses what it needs")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agentkeys_broker_server::assemble::{self, Assembled};
use agentkeys_broker_server::broker::Broker;
use agentkeys_broker_server::config::{CliOverrides, Environment, Settings};
use agentkeys_broker_server::edge::Server;
use agentkeys_broker_server::edge::shutdown::Drain;
use agentkeys_broker_server::store::SqliteAudit;
use agentkeys_core::wire::{ChallengeResponse, NewSessionResponse};
use agentkeys_filters::Registry;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use k256::ecdsa::SigningKey;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha3::{Digest, Keccak256};
use tokio::net::{TcpStream, UnixStream};

pub const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";
pub const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A running broker; it ends with the value.
pub struct Running {
    pub address: SocketAddr,
    pub socket: PathBuf,
    pub broker: Arc<Broker>,
    pub audit: Arc<SqliteAudit>,
    drain: Arc<Drain>,
    served: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Starts a broker over `directory` with these variables on top.
    pub async fn start(directory: &Path, variables: &[(&str, &str)]) -> Self {
        // Another test of this process may have installed it.
        let _installed_before = assemble::install_crypto();
        let mut pairs = vec![
            ("HOME", directory.to_str().unwrap()),
            ("BROKER_LISTENERS", "127.0.0.1:0"),
            ("BROKER_METRICS_ADDRESS", "null"),
            ("BROKER_LIMITS_FAILED_AUTH", "1000/min"),
            ("BROKER_LIMITS_PER_SOURCE", "5000/s"),
            ("BROKER_LIMITS_PER_SESSION", "5000/s"),
            ("BROKER_LIMITS_PER_WALLET", "5000/s"),
            ("BROKER_SHUTDOWN_GRACE", "1s"),
        ];
        pairs.retain(|(name, _)| !variables.iter().any(|(other, _)| other == name));
        pairs.extend_from_slice(variables);
        let environment = Environment::from_pairs(pairs);
        let overrides = CliOverrides { data_dir: Some(directory.join("state")) };
        let settings = Settings::load(None, &environment, &overrides).unwrap().settings;
        let drain = Drain::new();
        let Assembled { listeners, broker, audit, .. } =
            assemble::assemble(&settings, &environment, &Registry::new(), drain.clone()).await.unwrap();
        let bound = Server::new(drain.clone(), settings.shutdown_grace).bind(listeners).unwrap();
        let public = &bound.addresses().iter().find(|(name, _)| *name == "public").unwrap().1;
        let address = public.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        let served = tokio::spawn(bound.run());
        Self { address, socket: settings.admin_socket, broker, audit, drain, served }
    }

    /// Ends it, as SIGTERM does.
    pub async fn stop(self) {
        self.drain.begin();
        self.served.await.unwrap();
        assert!(self.audit.close(Duration::from_secs(5)).await);
    }

    /// One request on a connection of its own.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        send(TokioIo::new(stream), request).await
    }

    pub async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.send(request(Method::GET, path, token, None)).await
    }

    pub async fn delete(&self, path: &str, token: Option<&str>) -> Answer {
        self.send(request(Method::DELETE, path, token, None)).await
    }

    pub async fn post(&self, path: &str, token: Option<&str>, body: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(body).unwrap();
        self.send(request(Method::POST, path, token, Some(("application/json", body)))).await
    }

    pub async fn put(&self, path: &str, token: Option<&str>, body: &impl Serialize) -> Answer {
        let body = serde_json::to_vec(body).unwrap();
        self.send(request(Method::PUT, path, token, Some(("application/json", body)))).await
    }

    pub async fn form(&self, path: &str, token: Option<&str>, fields: &[(&str, &str)]) -> Answer {
        self.raw_form(path, token, serde_urlencoded::to_string(fields).unwrap()).await
    }

    pub async fn raw_form(&self, path: &str, token: Option<&str>, body: String) -> Answer {
        let body = ("application/x-www-form-urlencoded", body.into_bytes());
        self.send(request(Method::POST, path, token, Some(body))).await
    }

    /// One request to the operator's socket.
    pub async fn operator(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let body = body.map(|body| ("application/json", body.to_string().into_bytes()));
        let stream = UnixStream::connect(&self.socket).await.unwrap();
        send(TokioIo::new(stream), request(method, path, None, body)).await
    }

    /// The audit as it stands, oldest first: action and outcome.
    pub async fn audited(&self) -> Vec<(String, String)> {
        use agentkeys_core::store::AuditLog;
        let records = self.audit.tail(10_000).await.unwrap();
        records.into_iter().map(|record| (record.entry.action, record.entry.outcome)).collect()
    }

    /// A master session of this key.
    pub async fn sign_in(&self, key: &Key) -> NewSessionResponse {
        let answer = self.try_sign_in(key, None).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json()
    }

    pub async fn try_sign_in(&self, key: &Key, invite: Option<&str>) -> Answer {
        let challenge = self.challenge(key).await;
        let mut body = serde_json::json!({
            "message": challenge.message, "signature": key.personal_sign(&challenge.message),
        });
        if let Some(invite) = invite {
            body["invite"] = invite.into();
        }
        self.post("/v1/sessions", None, &body).await
    }

    pub async fn challenge(&self, key: &Key) -> ChallengeResponse {
        let answer =
            self.post("/v1/sessions/challenge", None, &serde_json::json!({ "wallet": key.wallet() })).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        answer.json()
    }
}

/// A request as a client on this machine makes it.
pub fn request(
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<(&str, Vec<u8>)>,
) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost:8090");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = match body {
        Some((kind, body)) => {
            request = request.header(header::CONTENT_TYPE, kind);
            body
        }
        None => Vec::new(),
    };
    request.body(Full::new(Bytes::from(body))).unwrap()
}

async fn send<S>(stream: S, request: Request<Full<Bytes>>) -> Answer
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    driver.abort();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A field of the body; `null` where it is not there.
    #[track_caller]
    pub fn field(&self, name: &str) -> Value {
        self.json::<Value>()[name].clone()
    }

    /// The status and the `code` of a problem, or the `error` of an OAuth error.
    #[track_caller]
    pub fn refusal(&self) -> (u16, String) {
        let body: Value = self.json();
        let code = body["code"].as_str().or(body["error"].as_str()).unwrap_or_default();
        (self.status.as_u16(), code.to_owned())
    }

    /// No cache keeps it.
    #[track_caller]
    pub fn is_not_stored(&self) {
        assert_eq!(self.headers.get(header::CACHE_CONTROL).unwrap(), "no-store", "{self:?}");
    }
}

/// A wallet's key.
pub struct Key(SigningKey);

impl Key {
    pub fn new(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    pub fn wallet(&self) -> String {
        let point = self.0.verifying_key().to_sec1_point(false);
        let digest = Keccak256::digest(&point.as_bytes()[1..]);
        format!("0x{}", hex(&digest[12..]))
    }

    pub fn personal_sign(&self, message: &str) -> String {
        let digest = Keccak256::new()
            .chain_update(format!("\x19Ethereum Signed Message:\n{}", message.len()))
            .chain_update(message)
            .finalize();
        let (signature, recovery) = self.0.sign_prehash_recoverable(&digest);
        format!("0x{}{:02x}", hex(&signature.to_bytes()), 27 + recovery.to_byte())
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
