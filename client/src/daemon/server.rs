//! HTTP/1.1 on this machine: few connections, small heads, short waits.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::answer::{self, Answer};
use super::guard::{Foreign, Guard};

const CONNECTIONS: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(5);
const CONNECTION_TIME: Duration = Duration::from_secs(60);
const HEAD_SIZE: usize = 16 * 1024;

/// Answers on a TCP listener. Every request passes the guard first.
pub async fn tcp<F>(
    listener: TcpListener,
    guard: Guard,
    respond: impl Fn(Arc<Parts>) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Answer> + Send + 'static,
{
    let guard = Arc::new(guard);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Some((stream, peer)) = accepted(listener.accept().await).await else { continue };
        let (guard, respond) = (Arc::clone(&guard), respond.clone());
        tokio::spawn(async move {
            connection(stream, move |parts: Arc<Parts>| {
                let (guard, respond) = (Arc::clone(&guard), respond.clone());
                async move {
                    match guard.check(&parts, peer) {
                        Ok(()) => respond(parts).await,
                        Err(Foreign(why)) => answer::refusal(StatusCode::FORBIDDEN, "forbidden", &why),
                    }
                }
            })
            .await;
            drop(slot);
        });
    }
}

/// Answers on a Unix socket, to processes of the same user alone.
#[cfg(unix)]
pub async fn unix<F>(
    listener: tokio::net::UnixListener,
    answer: impl Fn(Arc<Parts>) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Answer> + Send + 'static,
{
    let own = rustix::process::geteuid().as_raw();
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == own) {
            tracing::warn!("another user's process asked on the socket");
            continue;
        }
        let answer = answer.clone();
        tokio::spawn(async move {
            connection(stream, answer).await;
            drop(slot);
        });
    }
}

async fn accepted<S>(result: std::io::Result<(S, impl PeerAddress)>) -> Option<(S, SocketAddr)> {
    match result {
        Ok((stream, peer)) => Some((stream, peer.socket_address())),
        Err(error) => {
            // Out of file descriptors, mostly: wait for some to be closed.
            tracing::warn!(%error, "a connection was not accepted");
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

trait PeerAddress {
    fn socket_address(&self) -> SocketAddr;
}

impl PeerAddress for SocketAddr {
    fn socket_address(&self) -> SocketAddr {
        *self
    }
}

#[cfg(unix)]
impl PeerAddress for tokio::net::unix::SocketAddr {
    fn socket_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }
}

async fn connection<S, F>(stream: S, answer: impl Fn(Arc<Parts>) -> F)
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Answer>,
{
    // No request here has a body that means anything; what comes is not read.
    let service = service_fn(|request: Request<Incoming>| {
        let answering = answer(Arc::new(request.into_parts().0));
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_SIZE)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIME, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection broke"),
        Err(_) => tracing::debug!("a connection was open for too long"),
    }
}
