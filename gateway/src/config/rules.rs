//! Rules over several keys at once. Each is checked only where its keys were
//! read without a problem, so that one mistake is reported once.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::entries::{Entries, Site};
use super::settings::*;
use super::suggest;
use crate::exchange::{self, ModeSetting};
use crate::issuer::IssuerUrl;

/// The longest path of a Unix socket on every platform we run on (macOS: 104
/// bytes with the final zero).
const MAX_SOCKET_PATH: usize = 103;

/// A warning: the key's site, its path, what to know.
pub(super) type Note = (Site, String, String);

impl ExchangeChoice {
    pub(super) fn decide(asked: &str, issuer: &IssuerUrl) -> Self {
        let setting = match asked {
            "web_identity" => ModeSetting::WebIdentity,
            "assume_role" => ModeSetting::AssumeRole,
            _ => ModeSetting::Auto,
        };
        let (mode, reason) = exchange::choose(setting, issuer);
        Self { mode, reason }
    }
}

/// Checks them all.
pub(super) fn check(settings: &Settings, entries: &mut Entries) -> Vec<Note> {
    let mut rules = Rules { settings, entries, notes: Vec::new() };
    rules.exchange();
    rules.listeners();
    rules.metrics();
    rules.admin_socket();
    rules.signing_key();
    rules.timeouts();
    rules.roles();
    rules.enrolment();
    rules.limits();
    rules.filters();
    rules.notes
}

struct Rules<'a> {
    settings: &'a Settings,
    entries: &'a mut Entries,
    notes: Vec<Note>,
}

impl Rules<'_> {
    fn error(&mut self, path: &str, message: impl Into<String>) {
        let site = self.entries.site(path);
        self.entries.problem(site, path, message);
    }

    /// As [`Self::error`], at the first of these keys that somebody wrote: a
    /// default has no line, but what it disagrees with has.
    fn error_between(&mut self, path: &str, other: &str, message: &str) {
        let own = self.entries.site(path);
        let site = if own == Site::Default { self.entries.site(other) } else { own };
        self.entries.problem(site, path, message);
    }

    fn warn(&mut self, path: &str, message: impl Into<String>) {
        self.notes.push((self.entries.site(path), path.to_owned(), message.into()));
    }

    fn exchange(&mut self) {
        if !self.entries.sound(&["issuer", "aws"]) {
            return;
        }
        let (issuer, aws) = (&self.settings.issuer, &self.settings.aws);
        match aws.exchange.mode {
            ExchangeMode::WebIdentity if aws.sts_endpoint.is_none() && !issuer.is_https() => self.error(
                "aws.exchange",
                "web_identity needs an https issuer that AWS can reach; write auto or assume_role",
            ),
            ExchangeMode::WebIdentity if aws.sts_endpoint.is_none() && !issuer.is_public_https() => self
                .warn(
                    "issuer",
                    "AWS cannot use this as an OIDC provider: it takes a public https URL without a port",
                ),
            ExchangeMode::AssumeRole if aws.daemon_key.is_none() => self.warn(
                "aws.daemon_key",
                "the operator's key is not set, so no AWS credentials can be minted; set \
                 BROKER_DAEMON_ACCESS_KEY_ID and BROKER_DAEMON_SECRET_ACCESS_KEY, or write references",
            ),
            _ => {}
        }
        if aws.sts_endpoint.as_ref().is_some_and(|url| !url.is_https() && !url.is_loopback()) {
            self.error("aws.sts_endpoint", "plain http is accepted only for localhost; write https://");
        }
        if aws.daemon_key.is_none() && aws.exchange.mode == ExchangeMode::WebIdentity {
            for (alias, role) in &self.settings.roles {
                if role.arn == RoleArn::Auto && self.entries.sound(&["roles"]) {
                    let path = format!("roles.{alias}.arn");
                    let message =
                        "auto takes the account from the operator's key, and there is none; write the ARN";
                    let site = self.entries.site(&path);
                    self.entries.problem(site, &path, message);
                }
            }
            if self.settings.environment.bucket.is_none() && self.entries.sound(&["environment.bucket"]) {
                self.error(
                    "environment.bucket",
                    "auto takes the account from the operator's key, and there is none; write the bucket's name",
                );
            }
        }
    }

    fn listeners(&mut self) {
        if !self.entries.sound(&["listeners", "insecure"]) {
            return;
        }
        if self.settings.listeners.is_empty() {
            self.error("listeners", "is empty; write at least one address");
        }
        for (index, listener) in self.settings.listeners.iter().enumerate() {
            let path = format!("listeners[{index}].address");
            let address = listener.address;
            if listener.tls == Tls::Off && !is_loopback(address.ip()) && !self.settings.insecure.plain_http {
                self.error(
                    &path,
                    "plain http is refused on an address that is not loopback; add tls:, listen on 127.0.0.1, \
                     or set insecure.plain_http: true behind a proxy that speaks TLS",
                );
            }
            let earlier = &self.settings.listeners[..index];
            if let Some(other) = earlier.iter().position(|other| clash(other.address, address)) {
                self.error(
                    &path,
                    format!("takes the same address as listeners[{other}]; remove one of the two"),
                );
            }
            if listener.tls == Tls::Development && self.settings.issuer.is_public_https() {
                self.error(
                    &format!("listeners[{index}].tls"),
                    "development certificates are for localhost; name a certificate and its private_key",
                );
            }
            if let Tls::Files { certificate, private_key } = &listener.tls {
                for (name, file) in [("certificate", certificate), ("private_key", private_key)] {
                    if let Err(error) = std::fs::File::open(file) {
                        let message = format!("cannot be read at {}: {error}", file.display());
                        self.error(&format!("listeners[{index}].tls.{name}"), message);
                    }
                }
            }
        }
    }

    fn metrics(&mut self) {
        if !self.entries.sound(&["metrics", "listeners", "insecure"]) {
            return;
        }
        let Some(address) = self.settings.metrics_address else { return };
        if !is_loopback(address.ip()) && !self.settings.insecure.remote_metrics {
            self.error(
                "metrics.address",
                "must be loopback; to let others read the metrics set insecure.remote_metrics: true",
            );
        }
        if self.settings.listeners.iter().any(|listener| clash(listener.address, address)) {
            self.error("metrics.address", "is also a listener's address; choose another port");
        }
    }

    fn admin_socket(&mut self) {
        let length = self.settings.admin_socket.as_os_str().as_bytes().len();
        if self.entries.sound(&["admin.socket", "data_dir"]) && length > MAX_SOCKET_PATH {
            let message = format!(
                "{} is {length} bytes long and a Unix socket's path may have {MAX_SOCKET_PATH}; write a shorter \
                 absolute path",
                self.settings.admin_socket.display()
            );
            self.error("admin.socket", message);
        }
    }

    fn signing_key(&mut self) {
        let key = &self.settings.signing_key;
        if !self.entries.sound(&["signing_key"]) {
            return;
        }
        if key.publish_before >= key.rotation {
            self.error_between(
                "signing_key.publish_before",
                "signing_key.rotation",
                "must be shorter than signing_key.rotation",
            );
        }
        if key.publish_before < Duration::from_secs(3600)
            && self.settings.aws.exchange.mode == ExchangeMode::WebIdentity
        {
            self.warn(
                "signing_key.publish_before",
                "AWS may hold the JWKS for longer than this, and refuse the first tokens of a new key; 24h is safe",
            );
        }
    }

    fn timeouts(&mut self) {
        let timeouts = self.settings.aws.timeouts;
        if !self.entries.sound(&["aws.timeouts"]) {
            return;
        }
        if timeouts.connect > timeouts.attempt {
            self.error_between(
                "aws.timeouts.connect",
                "aws.timeouts.attempt",
                "must not be longer than aws.timeouts.attempt",
            );
        }
        if timeouts.attempt > timeouts.total {
            self.error_between(
                "aws.timeouts.attempt",
                "aws.timeouts.total",
                "must not be longer than aws.timeouts.total",
            );
        }
    }

    fn roles(&mut self) {
        if !self.entries.sound(&["roles", "grants"]) {
            return;
        }
        for (alias, role) in &self.settings.roles {
            if role.max_duration_seconds > 3600 {
                self.warn(
                    &format!("roles.{alias}.max_duration_seconds"),
                    "more than 3600: the role must allow it, and credentials outlive a revocation by as long",
                );
            }
        }
        let Some(role) = &self.settings.default_role else { return };
        if self.settings.roles.contains_key(role) {
            return;
        }
        let known: Vec<_> = self.settings.roles.keys().map(|alias| alias.as_str()).collect();
        let message = match suggest::nearest(role.as_str(), known.iter().copied()) {
            Some(near) => format!("no such role under roles; did you mean '{near}'?"),
            None if known.is_empty() => {
                "no such role: roles is empty; add it there, or write null".to_owned()
            }
            None => format!("no such role under roles; write one of {}, or null", known.join(", ")),
        };
        self.error_between("grants.default_role", "roles", &message);
    }

    fn enrolment(&mut self) {
        if !self.entries.sound(&["issuer", "sessions", "listeners", "grants"]) {
            return;
        }
        let hosted = !self.settings.issuer.is_loopback();
        let reachable = self.settings.listeners.iter().any(|l| !is_loopback(l.address.ip()));
        if self.settings.sessions.enrolment == Enrolment::Loopback && hosted {
            self.error_between(
                "sessions.enrolment",
                "issuer",
                "loopback is for a broker on your own machine: behind a proxy every caller comes from loopback; \
                 write invite or closed",
            );
        } else if self.settings.sessions.enrolment == Enrolment::Loopback && reachable {
            self.warn(
                "sessions.enrolment",
                "loopback, while a listener can be reached from other machines: a proxy on this machine would let \
                 anybody enrol",
            );
        }
        if hosted && self.settings.default_role.is_some() {
            self.warn("grants.default_role", "every wallet of this hosted broker may mint without a grant");
        }
    }

    fn limits(&mut self) {
        let limits = &self.settings.limits;
        if self.entries.sound(&["limits.connections"])
            && limits.connections_per_source > limits.connections_total
        {
            self.error_between(
                "limits.connections.per_source",
                "limits.connections.total",
                "must not be more than limits.connections.total",
            );
        }
    }

    fn filters(&mut self) {
        if self.entries.sound(&["filters"]) && self.settings.filters.is_empty() {
            self.error("filters", "is empty: mints would be neither authenticated nor audited");
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Would both bind? Port 0 lets the system choose, so it clashes with nothing.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let wildcard = a.is_ipv4() == b.is_ipv4() && (a.ip().is_unspecified() || b.ip().is_unspecified());
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || wildcard)
}
