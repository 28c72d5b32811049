//! What is served where: the public API, the operator's socket, the metrics.

use std::sync::Arc;

use agentkeys_core::Timestamp;
use agentkeys_filters::{Chain, ChainRules, MintKind, Registry};
use http::Method;

use super::chains::{Chains, chains};
use crate::admin;
use crate::broker::Broker;
use crate::config::{Settings, settings};
use crate::edge::{Address, EdgeSettings, ListenerSpec, tls};
use crate::handlers::credentials::{
    self, ListCredentials, ReadCredential, RemoveCredential, StoreCredential,
};
use crate::handlers::discovery::{Discovery, Jwks};
use crate::handlers::enrolment::{StartChallenge, StartSession};
use crate::handlers::environment::ShowEnvironment;
use crate::handlers::health::{Health, MetricsPage, Ready};
use crate::handlers::mint::{MintAws, MintJwt};
use crate::handlers::oauth::{DeviceAuthorization, Introspect, PairPage, Revoke, Token};
use crate::handlers::openapi::OpenApi;
use crate::handlers::pairings::{ApprovePairing, DenyPairing, ShowPairing};
use crate::handlers::session::{ListSessions, ShowSession};
use crate::routes::{Route, Router};

/// The largest form of an OAuth endpoint.
const FORM_BYTES: usize = 64 * 1024;

pub(super) fn listeners(
    settings: &Settings,
    registry: &Registry,
    broker: &Arc<Broker>,
) -> anyhow::Result<Vec<ListenerSpec>> {
    let edge = Arc::new(edge_settings(settings));
    let public = Arc::new(Router::new(public_routes(&chains(settings, registry, broker)?, broker)?));
    let spec = |name, address, tls, router| ListenerSpec {
        name,
        address,
        tls,
        router,
        settings: edge.clone(),
        metrics: broker.metrics.clone(),
    };
    let mut specs = Vec::new();
    for listener in &settings.listeners {
        let tls = match &listener.tls {
            settings::Tls::Off => None,
            settings::Tls::Files { certificate, private_key } => {
                Some(tls::from_files(certificate, private_key)?)
            }
            settings::Tls::Development => {
                let (config, authority) = tls::development(&settings.data_dir.join("tls"))?;
                tracing::info!(ca = %authority.display(), "serving with a development certificate; give clients this CA");
                Some(config)
            }
        };
        specs.push(spec("public", Address::Tcp(listener.address), tls, public.clone()));
    }
    let mut operator = admin::routes(broker);
    operator.extend(health_routes(&Chain::default(), broker));
    specs.push(spec(
        "admin",
        Address::Unix(settings.admin_socket.clone()),
        None,
        Arc::new(Router::new(operator)),
    ));
    if let Some(address) = settings.metrics_address {
        let router = Arc::new(Router::new(metrics_routes(broker)));
        specs.push(spec("metrics", Address::Tcp(address), None, router));
    }
    Ok(specs)
}

/// The public API. `docs/openapi` and `GET /openapi.json` are made of these rows.
fn public_routes(chains: &Chains, broker: &Arc<Broker>) -> anyhow::Result<Vec<Route>> {
    let (mint, session, public) = (&chains.mint, &chains.session, &chains.public);
    mint.check(ChainRules::MINT)?;
    session.check(ChainRules::SESSION)?;
    let issuer = &broker.issuer;
    let mut routes = vec![
        Route::new(Method::GET, "/.well-known/openid-configuration", public, Discovery(issuer.clone())),
        Route::new(Method::GET, "/.well-known/jwks.json", public, Jwks(issuer.clone())),
        Route::new(Method::POST, "/v1/mint-oidc-jwt", mint, MintJwt(broker.clone())).mints(MintKind::OidcJwt),
        Route::new(Method::POST, "/v1/mint-aws-creds", mint, MintAws(broker.clone()))
            .mints(MintKind::AwsCredentials),
        Route::new(Method::GET, "/v1/environment", session, ShowEnvironment(broker.deployment.clone())),
        Route::new(Method::GET, "/v1/session", session, ShowSession),
    ];
    routes.extend(session_routes(chains, broker));
    routes.extend(credential_routes(session, broker));
    routes.extend(health_routes(&Chain::default(), broker));
    // The document describes itself too, so it is made of the finished table.
    let mut all = routes.clone();
    all.push(Route::new(Method::GET, "/openapi.json", public, Health));
    routes.push(Route::new(Method::GET, "/openapi.json", public, OpenApi::of(&all, issuer.url().as_str())?));
    Ok(routes)
}

/// Starting, pairing, narrowing, ending sessions.
fn session_routes(chains: &Chains, broker: &Arc<Broker>) -> Vec<Route> {
    let (session, public) = (&chains.session, &chains.public);
    let (get, post) = (Method::GET, Method::POST);
    vec![
        Route::new(post.clone(), "/v1/sessions/challenge", public, StartChallenge(broker.clone())),
        Route::new(post.clone(), "/v1/sessions", public, StartSession(broker.clone())),
        Route::new(get.clone(), "/v1/sessions", session, ListSessions(broker.clone())),
        Route::new(get.clone(), "/pair", public, PairPage),
        Route::new(post.clone(), "/oauth/device_authorization", public, DeviceAuthorization(broker.clone()))
            .body_cap(FORM_BYTES),
        Route::new(post.clone(), "/oauth/token", public, Token(broker.clone())).body_cap(FORM_BYTES),
        Route::new(post.clone(), "/oauth/revoke", session, Revoke(broker.clone())).body_cap(FORM_BYTES),
        Route::new(post.clone(), "/oauth/introspect", session, Introspect(broker.clone()))
            .body_cap(FORM_BYTES),
        Route::new(get, "/v1/pairings/{user_code}", session, ShowPairing(broker.clone())),
        Route::new(post.clone(), "/v1/pairings/{user_code}/approve", session, ApprovePairing(broker.clone())),
        Route::new(post, "/v1/pairings/{user_code}/deny", session, DenyPairing(broker.clone())),
    ]
}

/// The credential backend.
fn credential_routes(session: &Chain, broker: &Arc<Broker>) -> Vec<Route> {
    let path = "/v1/credentials/{service}";
    vec![
        Route::new(Method::GET, "/v1/credentials", session, ListCredentials(broker.clone())),
        Route::new(Method::GET, path, session, ReadCredential(broker.clone())),
        Route::new(Method::PUT, path, session, StoreCredential(broker.clone()))
            .body_cap(credentials::PUT_BODY_BYTES),
        Route::new(Method::DELETE, path, session, RemoveCredential(broker.clone())),
    ]
}

/// No chain: a probe must answer whatever the limits say.
fn health_routes(chain: &Chain, broker: &Arc<Broker>) -> Vec<Route> {
    let ready = Ready { readiness: broker.readiness.clone(), metrics: broker.metrics.clone() };
    vec![Route::new(Method::GET, "/healthz", chain, Health), Route::new(Method::GET, "/readyz", chain, ready)]
}

fn metrics_routes(broker: &Arc<Broker>) -> Vec<Route> {
    let page = MetricsPage {
        metrics: broker.metrics.clone(),
        refresh: {
            let broker = broker.clone();
            Arc::new(move || {
                broker.issuer.observe(Timestamp::now());
                broker.metrics.audit_healthy.set(i64::from(broker.audit.healthy()));
                broker.readiness.snapshot(&broker.metrics);
            })
        },
    };
    vec![
        Route::new(Method::GET, "/metrics", &Chain::default(), page),
        Route::new(Method::GET, "/healthz", &Chain::default(), Health),
    ]
}

fn edge_settings(settings: &Settings) -> EdgeSettings {
    let limits = &settings.limits;
    EdgeSettings {
        handshake: limits.deadlines.handshake,
        head: limits.deadlines.head,
        body: limits.deadlines.body,
        idle: limits.deadlines.idle,
        connections_total: limits.connections_total,
        connections_per_source: limits.connections_per_source,
        head_bytes: limits.head_bytes,
        head_fields: limits.head_fields,
        body_bytes: limits.body_bytes,
        requests_per_connection: limits.requests_per_connection,
        trusted_proxies: limits.trusted_proxies.clone(),
    }
}
