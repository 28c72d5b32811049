//! Every metric, declared once. `docs/metrics.md` lists the same names; a test
//! holds the two together.
//!
//! No label takes a value that a client controls: routes, limiters, outcomes and
//! STS error codes come from closed sets, and an unknown STS code is `other`.

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

const LATENCY_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All metrics of one process.
pub struct Metrics {
    registry: Registry,
    /// Requests answered, by listener, route, method and status.
    pub requests: IntCounterVec,
    /// Seconds from a whole head to a written answer, by route.
    pub request_seconds: HistogramVec,
    /// Requests being answered now.
    pub requests_in_flight: IntGauge,
    /// Mints by kind (`mint_aws_creds`, `mint_oidc_jwt`) and outcome (`granted` or a problem code).
    pub mints: IntCounterVec,
    /// Audit records made durable, by phase.
    pub audit_writes: IntCounterVec,
    /// Audit writes that failed or missed their deadline, by reason.
    pub audit_write_failures: IntCounterVec,
    /// Seconds a mint waited for one durable audit write.
    pub audit_write_seconds: Histogram,
    /// Refusals that were counted in a summary instead of written one by one.
    pub audit_refusals_coalesced: IntCounter,
    /// 1 while the audit can be written.
    pub audit_healthy: IntGauge,
    /// Refused authentications by reason.
    pub auth_failures: IntCounterVec,
    /// Requests turned away by a limiter.
    pub rate_limited: IntCounterVec,
    /// Calls to STS by operation and outcome (`ok` or a code of a closed set).
    pub sts_calls: IntCounterVec,
    /// Seconds one call to STS took, by operation.
    pub sts_call_seconds: HistogramVec,
    /// Calls to STS under way.
    pub sts_in_flight: IntGauge,
    /// The breaker's state: 0 closed, 1 half open, 2 open.
    pub sts_breaker_state: IntGauge,
    /// Session look-ups answered from the cache or the store.
    pub session_cache: IntCounterVec,
    /// Open connections by listener.
    pub connections: IntGaugeVec,
    /// Connections refused or cut, by reason.
    pub connections_dropped: IntCounterVec,
    /// Seconds since the key in this state (`current`, `next`) was made.
    pub signing_key_age_seconds: GaugeVec,
    /// JWTs signed.
    pub signatures: IntCounter,
    /// Readiness checks: 1 passes, 0 fails.
    pub ready: IntGaugeVec,
    /// Unix time at which the process started.
    pub start_time_seconds: Gauge,
    /// Requests whose handling panicked.
    pub panics: IntCounter,
}

impl Metrics {
    /// Declares and registers them all.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let build = gauges(r, "build_info", "1, with the version in a label.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1.0);
        let metrics = Self {
            requests: counters(
                r,
                "http_requests_total",
                "Requests answered.",
                &["listener", "route", "method", "status"],
            )?,
            request_seconds: histograms(
                r,
                "http_request_duration_seconds",
                "Time from a whole request head to a written answer.",
                &["route"],
            )?,
            requests_in_flight: gauge(r, "http_requests_in_flight", "Requests being answered now.")?,
            mints: counters(r, "mints_total", "Mints by kind and outcome.", &["kind", "outcome"])?,
            audit_writes: counters(r, "audit_writes_total", "Audit records made durable.", &["phase"])?,
            audit_write_failures: counters(
                r,
                "audit_write_failures_total",
                "Audit writes that failed or missed their deadline.",
                &["reason"],
            )?,
            audit_write_seconds: histogram(
                r,
                "audit_write_duration_seconds",
                "Time one caller waited for a durable audit record.",
            )?,
            audit_refusals_coalesced: counter(
                r,
                "audit_refusals_coalesced_total",
                "Refusals counted in a summary record instead of one each.",
            )?,
            audit_healthy: gauge(r, "audit_healthy", "1 while the audit can be written.")?,
            auth_failures: counters(r, "auth_failures_total", "Refused authentications.", &["reason"])?,
            rate_limited: counters(
                r,
                "rate_limited_total",
                "Requests turned away by a limiter.",
                &["limiter"],
            )?,
            sts_calls: counters(r, "sts_calls_total", "Calls to STS.", &["operation", "outcome"])?,
            sts_call_seconds: histograms(
                r,
                "sts_call_duration_seconds",
                "Time one call to STS took.",
                &["operation"],
            )?,
            sts_in_flight: gauge(r, "sts_calls_in_flight", "Calls to STS under way.")?,
            sts_breaker_state: gauge(
                r,
                "sts_breaker_state",
                "The circuit breaker: 0 closed, 1 half open, 2 open.",
            )?,
            session_cache: counters(r, "session_cache_total", "Session look-ups.", &["result"])?,
            connections: int_gauges(r, "connections", "Open connections.", &["listener"])?,
            connections_dropped: counters(
                r,
                "connections_dropped_total",
                "Connections refused or cut.",
                &["reason"],
            )?,
            signing_key_age_seconds: gauges(
                r,
                "signing_key_age_seconds",
                "Age of the key in this state.",
                &["state"],
            )?,
            signatures: counter(r, "signatures_total", "JWTs signed.")?,
            ready: int_gauges(r, "ready", "Readiness checks: 1 passes, 0 fails.", &["check"])?,
            start_time_seconds: gauges(
                r,
                "start_time_seconds",
                "When the process started, in Unix time.",
                &[],
            )?
            .with_label_values::<&str>(&[]),
            panics: counter(r, "panics_total", "Requests whose handling panicked.")?,
            registry,
        };
        metrics.start_time_seconds.set(agentkeys_core::Timestamp::now().unix() as f64);
        Ok(metrics)
    }

    /// The Prometheus text format.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn name(short: &str) -> String {
    format!("agentkeys_broker_{short}")
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(r: &Registry, short: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    registered(r, IntCounter::new(name(short), help)?)
}

fn counters(
    r: &Registry,
    short: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntCounterVec, prometheus::Error> {
    registered(r, IntCounterVec::new(Opts::new(name(short), help), labels)?)
}

fn gauge(r: &Registry, short: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    registered(r, IntGauge::new(name(short), help)?)
}

fn int_gauges(
    r: &Registry,
    short: &str,
    help: &str,
    labels: &[&str],
) -> Result<IntGaugeVec, prometheus::Error> {
    registered(r, IntGaugeVec::new(Opts::new(name(short), help), labels)?)
}

fn gauges(r: &Registry, short: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
    registered(r, GaugeVec::new(Opts::new(name(short), help), labels)?)
}

fn histogram(r: &Registry, short: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    let opts = HistogramOpts::new(name(short), help).buckets(LATENCY_BUCKETS.to_vec());
    registered(r, Histogram::with_opts(opts)?)
}

fn histograms(
    r: &Registry,
    short: &str,
    help: &str,
    labels: &[&str],
) -> Result<HistogramVec, prometheus::Error> {
    let opts = HistogramOpts::new(name(short), help).buckets(LATENCY_BUCKETS.to_vec());
    registered(r, HistogramVec::new(opts, labels)?)
}
