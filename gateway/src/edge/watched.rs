//! A stream that tells when bytes arrive, so that a deadline can begin at the
//! first byte of a request head and not while a kept-alive connection is idle,
//! and that answers a head which Pingora cannot parse.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::guard::Permit;
use super::unparsed::Refusal;

/// What has arrived on one connection.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    bytes: AtomicU64,
    changed: Notify,
    used: AtomicBool,
    awaiting_head: AtomicBool,
    refused: OnceLock<String>,
}

impl Arrivals {
    pub(super) fn count(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// From here on, an HTTP/1 head is being read.
    pub(super) fn head_begins(&self) {
        self.awaiting_head.store(true, Ordering::Release);
    }

    /// The head is there, so what is written is the answer to it.
    pub(super) fn head_parsed(&self) {
        self.awaiting_head.store(false, Ordering::Release);
    }

    /// The request id of the refusal, if a head could not be parsed.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.get().map(String::as_str)
    }

    /// True once per connection: for its first request.
    pub(super) fn is_first_request(&self) -> bool {
        !self.used.swap(true, Ordering::AcqRel)
    }

    /// Resolves once more than `seen` bytes have arrived.
    pub(super) async fn beyond(&self, seen: u64) {
        loop {
            let changed = self.changed.notified();
            if self.count() > seen {
                return;
            }
            changed.await;
        }
    }
}

/// A connection with its place under the caps.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Stream,
    arrivals: Arc<Arrivals>,
    refusal: Option<Refusal>,
    _permit: Permit,
}

impl Watched {
    pub(super) fn new(inner: Stream, arrivals: Arc<Arrivals>, permit: Permit) -> Self {
        Self { inner, arrivals, refusal: None, _permit: permit }
    }

    fn is_refusing(&self) -> bool {
        self.arrivals.awaiting_head.load(Ordering::Acquire)
    }

    /// Writes our refusal in the place of `length` bytes of Pingora's, which are dropped.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, length: usize) -> Poll<io::Result<usize>> {
        let tls = self.inner.get_ssl_digest().is_some();
        let refusal = self.refusal.get_or_insert_with(|| Refusal::new(tls));
        // Only ever set once: a connection ends with its refusal.
        let _first = self.arrivals.refused.set(refusal.request_id.clone());
        while !refusal.rest().is_empty() {
            match Pin::new(&mut self.inner).poll_write(cx, refusal.rest()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => refusal.wrote(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(length))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buf);
        let arrived = buf.filled().len() - before;
        if arrived > 0 {
            self.arrivals.bytes.fetch_add(arrived as u64, Ordering::AcqRel);
            self.arrivals.changed.notify_waiters();
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_refusing() {
            return self.poll_refuse(cx, buf.len());
        }
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_refusing() {
            let length = bufs.iter().map(|buf| buf.len()).sum();
            return self.poll_refuse(cx, length);
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[async_trait]
impl Shutdown for Watched {
    async fn shutdown(&mut self) {
        self.inner.shutdown().await;
    }
}

impl UniqueID for Watched {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Watched {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl GetTimingDigest for Watched {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl GetProxyDigest for Watched {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.inner.set_proxy_digest(digest);
    }
}

impl GetSocketDigest for Watched {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.inner.set_socket_digest(digest);
    }
}

#[async_trait]
impl Peek for Watched {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(buf).await
    }
}
