//! Builds a broker from settings: stores, issuer, exchange, chains, routes and
//! listeners, each once, and the background tasks that keep them in order.

mod background;
mod chains;
mod credentials;
mod listeners;
pub(crate) mod roles;

use std::sync::Arc;

use agentkeys_filters::Registry;
use agentkeys_filters::rate::Limits;
use anyhow::Context;

use crate::broker::{Broker, SourceIdentity};
use crate::config::{Environment, Settings, data_dir, secret, settings};
use crate::edge::ListenerSpec;
use crate::edge::shutdown::Drain;
use crate::exchange::{
    self, CredentialExchange, DaemonKey, DaemonKeySlot, ExchangeSettings, Gate, IdentityWatch,
};
use crate::handlers::oauth::Pacing;
use crate::handlers::pairings::Guesses;
use crate::issuer::{Issuer, IssuerSettings};
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::sign_in::Challenges;
use crate::store::{AuditSettings, SqliteAudit, Store, StoreSettings};
use agentkeys_core::Timestamp;

pub use chains::chain_problems;

/// A broker that is ready to be bound.
pub struct Assembled {
    /// Where it listens.
    pub listeners: Vec<ListenerSpec>,
    /// Its parts.
    pub broker: Arc<Broker>,
    /// The audit, to be flushed at the end.
    pub audit: Arc<SqliteAudit>,
}

/// Makes aws-lc-rs the one crypto provider of the process: TLS, JWT and hashes.
pub fn install_crypto() -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another crypto provider was installed first"))
}

/// Builds everything. Must run inside the runtime that serves.
pub async fn assemble(
    settings: &Settings,
    environment: &Environment,
    registry: &Registry,
    drain: Arc<Drain>,
) -> anyhow::Result<Assembled> {
    data_dir::prepare(&settings.data_dir)?;
    let metrics = Arc::new(Metrics::new()?);
    let store =
        Store::open(StoreSettings { state_path: settings.store_path.clone(), metrics: metrics.clone() })?;
    let audit = SqliteAudit::open(
        AuditSettings {
            path: settings.audit.path.clone(),
            write_deadline: settings.audit.write_deadline,
            retention: settings.audit.retention,
        },
        metrics.clone(),
    )?;
    let (issuer, events) = Issuer::open(&settings.issuer_settings()?, metrics.clone(), Timestamp::now())
        .context("the signing keys")?;
    for event in events {
        tracing::info!("{event}");
    }
    let issuer = Arc::new(issuer);
    let key = match &settings.aws.daemon_key {
        Some(reference) => Some(
            reference.resolve(environment, secret::FETCH_DEADLINE).await.context("the operator's AWS key")?,
        ),
        None => None,
    };
    let sts = Sts::new(settings, key, &issuer, &metrics)?;
    let enrolment = store.enrolment();
    let challenge_key = enrolment.challenge_key().await.context("the key of sign-in challenges")?;
    let broker = Arc::new(Broker {
        sessions: store.sessions(),
        grants: store.grants(),
        pairings: store.pairings(),
        credentials: credentials::backend(settings, environment, &store).await?,
        challenges: Challenges::new(issuer.url(), &challenge_key),
        enrolment,
        enrolment_policy: settings.sessions.enrolment,
        limits: Arc::new(Limits::new(settings.limits.rates)),
        pacing: Pacing::default(),
        guesses: Guesses::default(),
        master_ttl: settings.sessions.master_ttl,
        audit: audit.clone(),
        issuer,
        exchange: sts.exchange,
        policies: roles::policies(settings)?,
        deployment: Arc::new(roles::deployment(settings)?),
        readiness: Arc::new(Readiness::new()),
        metrics,
        issued_ttl: settings.sessions.issued_ttl,
        pairing_ttl: settings.sessions.pairing_ttl,
        source_identity: match settings.aws.source_identity {
            settings::SourceIdentity::Off => SourceIdentity::Off,
            settings::SourceIdentity::Wallet => SourceIdentity::Wallet,
        },
    });
    let listeners = listeners::listeners(settings, registry, &broker)?;
    background::start(&broker, sts.identity, drain);
    Ok(Assembled { listeners, broker, audit })
}

/// The clients of STS: one gate before them all, one key behind them.
struct Sts {
    exchange: Arc<dyn CredentialExchange>,
    identity: Option<IdentityWatch>,
}

impl Sts {
    fn new(
        settings: &Settings,
        key: Option<secret::ResolvedDaemonKey>,
        issuer: &Arc<Issuer>,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let exchange_settings = settings.exchange_settings();
        let errors: Vec<String> = exchange_settings.errors().iter().map(ToString::to_string).collect();
        anyhow::ensure!(errors.is_empty(), "{}", errors.join("; "));
        let key = key.map(|key| DaemonKey::new(key.access_key_id, key.secret_access_key)).transpose()?;
        let has_key = key.is_some();
        let slot = DaemonKeySlot::new(key);
        let gate = Arc::new(Gate::new(&exchange_settings, metrics.clone()));
        let identity = has_key.then(|| IdentityWatch::new(&exchange_settings, gate.clone(), slot.clone()));
        Ok(Self {
            exchange: exchange::build(
                settings.aws.exchange.mode,
                &exchange_settings,
                issuer.clone(),
                gate,
                slot,
            ),
            identity,
        })
    }
}

impl Settings {
    /// What the issuer is built from.
    pub fn issuer_settings(&self) -> anyhow::Result<IssuerSettings> {
        let mut issuer = IssuerSettings::new(self.issuer.clone(), self.signing_key.path.clone());
        issuer.rotation = Some(self.signing_key.rotation);
        issuer.publish_before = self.signing_key.publish_before;
        issuer.retire_after = self.signing_key.retire_after;
        // The local shape makes its key and says so. A hosted broker that lost its
        // keys must not come up with new ones behind everybody's back.
        issuer.generate_missing = self.issuer.is_loopback();
        Ok(issuer)
    }

    pub(crate) fn exchange_settings(&self) -> ExchangeSettings {
        let mut exchange = ExchangeSettings::new(self.aws.region.clone());
        exchange.sts_endpoint = self.aws.sts_endpoint.as_ref().map(|url| url.as_str().to_owned());
        exchange.connect_timeout = self.aws.timeouts.connect;
        exchange.attempt_timeout = self.aws.timeouts.attempt;
        exchange.total_timeout = self.aws.timeouts.total;
        exchange.in_flight = self.limits.sts_in_flight;
        exchange
    }
}
