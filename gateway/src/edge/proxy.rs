//! Pingora's hooks: each request is answered here, from `request_filter`.
//!
//! The broker is no proxy. Nothing is ever forwarded; `upstream_peer` exists
//! because the trait asks for it, and refuses.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use agentkeys_core::{Code, Problem};
use agentkeys_filters::{Exchange, Outcome, Peer, Response};
use async_trait::async_trait;
use futures_util::FutureExt;
use http::{Method, Version, header};
use pingora::modules::http::HttpModules;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use pingora_proxy::{ProxyHttp, Session};

use super::body::{self, RequestBody};
use super::shutdown::{Drain, InFlight};
use super::{EdgeSettings, ListenerSpec, client_address, deadline, respond};
use crate::metrics::Metrics;
use crate::routes::{Found, Router};

/// A client that does not read its answer holds a connection no longer than this.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// The route label of requests that match no route.
pub(super) const UNMATCHED: &str = "unmatched";

/// What one listener serves.
pub(super) struct Gateway {
    listener: &'static str,
    router: Arc<Router>,
    settings: Arc<EdgeSettings>,
    metrics: Arc<Metrics>,
    drain: Arc<Drain>,
}

impl Gateway {
    pub(super) fn new(spec: &ListenerSpec, drain: Arc<Drain>) -> Self {
        Self {
            listener: spec.name,
            router: spec.router.clone(),
            settings: spec.settings.clone(),
            metrics: spec.metrics.clone(),
            drain,
        }
    }

    fn exchange(&self, session: &Session) -> Exchange {
        let request = session.req_header().as_owned_parts();
        let socket = session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip());
        let source = socket.and_then(|socket| {
            client_address::source(socket, &request.headers, &self.settings.trusted_proxies)
        });
        let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        let id = agentkeys_core::MintId::generate().to_string();
        Exchange::new(request, Peer { socket, source, tls }, id, UNMATCHED)
    }

    async fn answer(&self, session: &mut Session, exchange: &mut Exchange) -> Outcome {
        self.check_head(exchange)?;
        let method =
            if exchange.request.method == Method::HEAD { &Method::GET } else { &exchange.request.method };
        let route = match self.router.find(method, exchange.request.uri.path()) {
            Found::Route { route, resource } => {
                exchange.route = route.path;
                exchange.mint_kind = route.mint;
                exchange.resource = resource;
                route.clone()
            }
            Found::OtherMethods { path, allow } => {
                exchange.route = path;
                let mut problem = Problem::new(Code::MethodNotAllowed, format!("This path answers {allow}."));
                problem.allow = Some(allow);
                return Err(problem);
            }
            Found::Nothing => return Err(Problem::new(Code::NotFound, "There is no such path.")),
        };
        let cap = route.body_cap.unwrap_or(self.settings.body_bytes);
        let mut body = RequestBody { session, cap, deadline: self.settings.body };
        let run = route.chain.run(exchange, &mut body, route.handler.as_ref());
        match AssertUnwindSafe(run).catch_unwind().await {
            Ok(outcome) => outcome,
            Err(_panic) => {
                self.metrics.panics.inc();
                Err(respond::panicked())
            }
        }
    }

    /// What Pingora lets pass and HTTP or our limits do not.
    fn check_head(&self, exchange: &Exchange) -> Result<(), Problem> {
        let request = &exchange.request;
        if request.method == Method::CONNECT {
            let mut problem = Problem::new(Code::MethodNotAllowed, "The broker is no proxy.");
            problem.allow = Some("GET, HEAD, POST, PUT, DELETE".to_owned());
            return Err(problem);
        }
        let fields: usize =
            request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let size = fields + request.uri.to_string().len();
        if size > self.settings.head_bytes || request.headers.len() > self.settings.head_fields {
            return Err(Problem::new(
                Code::HeadTooLarge,
                format!(
                    "A request head is at most {} bytes and {} fields.",
                    self.settings.head_bytes, self.settings.head_fields
                ),
            ));
        }
        // RFC 9112 section 3.2.
        let hosts = request.headers.get_all(header::HOST).iter().count();
        if request.version == Version::HTTP_11 && hosts != 1 {
            return Err(Problem::bad_request("An HTTP/1.1 request has exactly one Host field."));
        }
        Ok(())
    }

    async fn write(&self, session: &mut Session, response: &Response) -> pingora::Result<()> {
        body::discard(session, self.settings.body_bytes).await;
        respond::write(session, response).await?;
        body::linger(session).await;
        Ok(())
    }
}

/// What the hooks hand on for one request.
#[derive(Default)]
pub(super) struct Context {
    exchange: Option<Exchange>,
    status: u16,
    problem: Option<(Code, Option<String>)>,
    in_flight: Option<InFlight>,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        deadline::head_parsed();
        Context { in_flight: Some(self.drain.enter()), ..Context::default() }
    }

    /// Pingora would add a compression module.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _ctx: &mut Context) -> pingora::Result<()> {
        let idle = self.settings.idle.as_secs().max(1);
        session.set_keepalive(if self.drain.is_draining() { None } else { Some(idle) });
        session.set_read_timeout(Some(self.settings.body));
        session.set_write_timeout(Some(WRITE_DEADLINE));
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> pingora::Result<bool> {
        self.metrics.requests_in_flight.inc();
        let mut exchange = self.exchange(session);
        let outcome = self.answer(session, &mut exchange).await;
        let mut response = match outcome {
            Ok(response) => response,
            Err(problem) => {
                let response = respond::problem_response(&problem, &exchange.request_id);
                ctx.problem = Some((problem.code, problem.internal));
                response
            }
        };
        respond::complete(&mut response, &exchange);
        // Who does not keep to HTTP may mean something else by the next bytes: a tunnel, a body, a smuggled request.
        if self.drain.is_draining() || self.check_head(&exchange).is_err() {
            session.set_keepalive(None);
        }
        ctx.status = response.status.as_u16();
        ctx.exchange = Some(exchange);
        let written = self.write(session, &response).await;
        self.metrics.requests_in_flight.dec();
        written.map(|()| true)
    }

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut Context,
    ) -> pingora::Result<Box<HttpPeer>> {
        Error::e_explain(ErrorType::HTTPStatus(404), "the broker forwards nothing")
    }

    async fn logging(&self, _session: &mut Session, error: Option<&Error>, ctx: &mut Context) {
        ctx.in_flight = None;
        let Some(exchange) = &ctx.exchange else { return };
        self.count(exchange, ctx);
        self.log(exchange, ctx, error);
    }

    /// The summary goes to Pingora's own log; a raw target could hold a secret.
    fn request_summary(&self, _session: &Session, ctx: &Context) -> String {
        ctx.exchange.as_ref().map_or_else(String::new, |exchange| format!("request {}", exchange.request_id))
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Context, _error: &Error) -> bool {
        true
    }
}

impl Gateway {
    fn count(&self, exchange: &Exchange, ctx: &Context) {
        let method = method_label(&exchange.request.method);
        let status = ctx.status.to_string();
        self.metrics.requests.with_label_values(&[self.listener, exchange.route, method, &status]).inc();
        let seconds = exchange.started.elapsed().as_secs_f64();
        self.metrics.request_seconds.with_label_values(&[exchange.route]).observe(seconds);
        if let Some(kind) = exchange.mint_kind {
            let outcome = ctx.problem.as_ref().map_or("granted", |(code, _)| code.as_str());
            self.metrics.mints.with_label_values(&[kind.action(), outcome]).inc();
        }
        if let Some(reason) = exchange.auth_failure {
            self.metrics.auth_failures.with_label_values(&[reason.as_str()]).inc();
        }
        if let Some(limiter) = exchange.limited_by {
            self.metrics.rate_limited.with_label_values(&[limiter]).inc();
        }
    }

    /// One line per request. The route, not the path: a path is the client's text.
    fn log(&self, exchange: &Exchange, ctx: &Context, error: Option<&Error>) {
        let (code, reason) = match &ctx.problem {
            Some((code, reason)) => (Some(code.as_str()), reason.as_deref()),
            None => (None, None),
        };
        tracing::info!(
            target: "agentkeys_broker::access",
            listener = self.listener,
            method = method_label(&exchange.request.method),
            route = exchange.route,
            status = ctx.status,
            duration_ms = exchange.started.elapsed().as_secs_f64() * 1e3,
            source = exchange.peer.source.map(tracing::field::display),
            request_id = %exchange.request_id,
            mint_id = exchange.mint_kind.map(|_| tracing::field::display(exchange.mint_id)),
            session_id = exchange.session.as_ref().map(|session| tracing::field::display(&session.id)),
            code,
            reason,
            connection_error = error.map(|error| error.etype().as_str()),
            "request"
        );
    }
}

/// A method is the client's text too: only the known ones are repeated.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        _ => "other",
    }
}
