//! The Unix socket between the daemon and the command line: `agentkeys aws
//! credentials` is run by SDKs once per command, and here it costs no mint.

use std::path::{Path, PathBuf};

use agentkeys_core::wire::MintAwsResponse;
use agentkeys_core::{RoleAlias, SessionId, Timestamp};

use super::schedule;
use crate::aws::shapes::SocketAnswer;
use crate::identity::Identity;
use crate::sessions::{self, Store};
use crate::settings::BrokerUrl;

/// Where the credential is.
pub const PATH: &str = "/aws-credentials";

/// Whose credential, and which, the command line would mint itself.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// The session.
    pub session_id: &'a SessionId,
    /// The role.
    pub role: Option<&'a RoleAlias>,
    /// Reading alone?
    pub read_only: bool,
}

impl Wanted<'_> {
    /// Is this answer that very credential, and has it not ended?
    fn is_met_by(&self, answer: &SocketAnswer) -> bool {
        answer.session_id == *self.session_id
            && answer.role.as_ref() == self.role
            && answer.read_only == self.read_only
            && schedule::is_usable(answer.minted.expiration, Timestamp::now())
    }
}

/// Where the socket of this broker and identity is.
pub fn path(store: &Store, broker: &BrokerUrl, identity: &Identity) -> PathBuf {
    store.run_directory().join(format!("{}.sock", sessions::digest(&format!("{identity}@{broker}"))))
}

/// The daemon's credential, if a daemon answers and it is the one that is
/// wanted. Every trouble is `None`: the caller then mints itself.
#[cfg(unix)]
pub async fn ask(path: &Path, wanted: &Wanted<'_>) -> Option<MintAwsResponse> {
    let limit = std::time::Duration::from_secs(2);
    let body = tokio::time::timeout(limit, get(path)).await.ok()??;
    let answer: SocketAnswer = serde_json::from_slice(&body).ok()?;
    wanted.is_met_by(&answer).then_some(answer.minted)
}

/// There is no daemon's socket on this system.
#[cfg(not(unix))]
pub async fn ask(_path: &Path, _wanted: &Wanted<'_>) -> Option<MintAwsResponse> {
    None
}

#[cfg(unix)]
async fn get(path: &Path) -> Option<bytes::Bytes> {
    use http_body_util::{BodyExt, Empty, Limited};
    use hyper_util::rt::TokioIo;

    let stream = tokio::net::UnixStream::connect(path).await.ok()?;
    // Who listens is who made the socket; only this user can have.
    if stream.peer_cred().ok()?.uid() != rustix::process::geteuid().as_raw() {
        return None;
    }
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = http::Request::get(PATH)
        .header(http::header::HOST, "daemon")
        .body(Empty::<bytes::Bytes>::new())
        .ok()?;
    let exchange = async move {
        let response = sender.send_request(request).await.ok()?;
        let is_credential = response.status() == http::StatusCode::OK;
        let body = Limited::new(response.into_body(), 1 << 16).collect().await.ok()?.to_bytes();
        is_credential.then_some(body)
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        body = &mut exchange => body,
        // The connection may end as soon as the answer is read whole.
        _ = &mut connection => exchange.await,
    }
}
