//! The deadline of a request head.
//!
//! Pingora reads a head inside `process_new_http` and bounds each read, not the
//! whole. This wrapper drops the connection unless [`ProxyHttp::new_ctx`], which
//! runs right after the head is parsed, has been reached in time. HTTP/2 reads
//! heads before it spawns a stream's task; there the connection's idle limit and
//! the header-list cap bound them.
//!
//! [`ProxyHttp::new_ctx`]: pingora_proxy::ProxyHttp::new_ctx

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentkeys_core::Code;
use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::sync::Notify;

use super::proxy::{Gateway, UNMATCHED};
use super::watched::Arrivals;
use crate::metrics::Metrics;

tokio::task_local! {
    /// The connection that this task serves.
    pub(super) static CONNECTION: Arc<Arrivals>;
    /// Told when the head of the request at hand has been parsed.
    static HEAD: Arc<HeadParsed>;
}

#[derive(Default)]
struct HeadParsed {
    parsed: AtomicBool,
    changed: Notify,
}

/// Called by the proxy as soon as a head is parsed.
pub(super) fn head_parsed() {
    // HTTP/2 streams run in tasks of their own and have no such deadline.
    let _outside_http1 = HEAD.try_with(|head| {
        head.parsed.store(true, Ordering::Release);
        head.changed.notify_waiters();
    });
    let _outside_http1 = CONNECTION.try_with(|arrivals| arrivals.head_parsed());
}

/// Pingora's proxy app with a deadline for each head.
pub(super) struct HeadDeadline {
    pub(super) proxy: Arc<HttpProxy<Gateway>>,
    pub(super) head: Duration,
    pub(super) idle: Duration,
    pub(super) metrics: Arc<Metrics>,
    pub(super) listener: &'static str,
}

impl HeadDeadline {
    /// A refused head is a request too: it is counted and logged as the others are.
    fn account(&self, request_id: &str) {
        self.metrics.requests.with_label_values(&[self.listener, UNMATCHED, "other", "400"]).inc();
        tracing::info!(
            target: "agentkeys_broker::access",
            listener = self.listener,
            method = "other",
            route = UNMATCHED,
            status = 400,
            request_id,
            code = Code::BadRequest.as_str(),
            "request"
        );
    }

    async fn expired(&self, arrivals: &Arrivals, first: bool, seen: u64) -> &'static str {
        if !first && tokio::time::timeout(self.idle, arrivals.beyond(seen)).await.is_err() {
            return "idle";
        }
        tokio::time::sleep(self.head).await;
        "head_deadline"
    }
}

#[async_trait]
impl HttpServerApp for HeadDeadline {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let Ok(arrivals) = CONNECTION.try_with(Arc::clone) else {
            return self.proxy.process_new_http(session, shutdown).await;
        };
        let head = Arc::new(HeadParsed::default());
        // Asked here and not where it is needed: a request that is served at once never gets there,
        // and the next one would be held to the deadline of a first.
        let (first, seen) = (arrivals.is_first_request(), arrivals.count());
        arrivals.head_begins();
        let serve = HEAD.scope(head.clone(), self.proxy.process_new_http(session, shutdown));
        tokio::pin!(serve);
        let parsed = async {
            loop {
                let changed = head.changed.notified();
                if head.parsed.load(Ordering::Acquire) {
                    return;
                }
                changed.await;
            }
        };
        tokio::select! {
            biased;
            result = &mut serve => {
                if let Some(request_id) = arrivals.refused() {
                    self.account(request_id);
                }
                return result;
            }
            () = parsed => {}
            reason = self.expired(&arrivals, first, seen) => {
                self.metrics.connections_dropped.with_label_values(&[reason]).inc();
                return None;
            }
        }
        serve.await
    }

    fn h2_options(&self) -> Option<H2Options> {
        self.proxy.h2_options()
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        HttpServerApp::server_options(self.proxy.as_ref())
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
