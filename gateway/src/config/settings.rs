//! The typed settings that the rest of the broker is built from. Everything in
//! here was validated; no secret is in here, only references to them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use agentkeys_core::RoleAlias;
use agentkeys_filters::FilterConfig;
use agentkeys_filters::rate::LimitSettings;
use ipnet::IpNet;

use super::error::Origin;
use super::secret::{DaemonKey, SecretRef};
use super::url::BaseUrl;
pub use crate::exchange::ExchangeMode;
use crate::issuer::IssuerUrl;

/// A whole configuration. Relative paths of state are resolved against
/// `data_dir`, those of an operator's files against the configuration file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The public URL: `iss`, byte for byte.
    pub issuer: IssuerUrl,
    /// Where state lives; [`super::data_dir::prepare`] makes it.
    pub data_dir: PathBuf,
    /// Where the public API is served; at least one.
    pub listeners: Vec<Listener>,
    /// The operator's Unix socket.
    pub admin_socket: PathBuf,
    /// Where `/metrics` is served; `None` is nowhere.
    pub metrics_address: Option<SocketAddr>,
    /// The JWT signing keys.
    pub signing_key: SigningKey,
    /// The database of sessions, grants and stored credentials.
    pub store_path: PathBuf,
    /// STS and the operator's key.
    pub aws: Aws,
    /// The roles that may be minted.
    pub roles: BTreeMap<RoleAlias, Role>,
    /// What clients need besides credentials.
    pub environment: ClientEnvironment,
    /// Who may start a session, and how long it lasts.
    pub sessions: Sessions,
    /// The role that needs no grant; always one of `roles`.
    pub default_role: Option<RoleAlias>,
    /// The key that seals stored credentials; `None` where none is written.
    pub credentials_key: Option<SecretRef>,
    /// The audit.
    pub audit: Audit,
    /// Quotas, caps and deadlines.
    pub limits: Limits,
    /// How long requests under way may finish after SIGTERM.
    pub shutdown_grace: Duration,
    /// Logs.
    pub log: Log,
    /// The mint routes' chain, in order. Whoever knows the registry checks it.
    pub filters: Vec<FilterEntry>,
    /// What was allowed against advice.
    pub insecure: Insecure,
}

/// Escape hatches, each off unless written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Insecure {
    /// Plain http on addresses that are not loopback.
    pub plain_http: bool,
    /// A metrics address that is not loopback.
    pub remote_metrics: bool,
}

/// One address of the public API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where; port 0 lets the system choose.
    pub address: SocketAddr,
    /// How.
    pub tls: Tls,
}

/// How a listener speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Plain http.
    Off,
    /// A certificate of a local CA, made under `data_dir`.
    Development,
    /// The operator's certificate.
    Files {
        /// PEM chain.
        certificate: PathBuf,
        /// PEM key.
        private_key: PathBuf,
    },
}

/// Where signing keys come from and when they turn over.
#[derive(Clone, Debug, Default)]
pub struct SigningKey {
    /// The directory of the key files.
    pub path: PathBuf,
    /// How long a key signs.
    pub rotation: Duration,
    /// How long it is published before.
    pub publish_before: Duration,
    /// How long it stays published after.
    pub retire_after: Duration,
}

/// STS.
#[derive(Clone, Debug)]
pub struct Aws {
    /// The region.
    pub region: String,
    /// The exchange, already chosen.
    pub exchange: ExchangeChoice,
    /// Another STS than the region's.
    pub sts_endpoint: Option<BaseUrl>,
    /// References to the operator's key; `None` where there is none.
    pub daemon_key: Option<DaemonKey>,
    /// Whether the source identity is set.
    pub source_identity: SourceIdentity,
    /// Bounds on one exchange.
    pub timeouts: StsTimeouts,
}

/// `aws.exchange`, with `auto` decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeChoice {
    /// What is used.
    pub mode: ExchangeMode,
    /// Why, for the start-up log.
    pub reason: String,
}

/// What STS records as the source identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceIdentity {
    /// Nothing.
    #[default]
    Off,
    /// The wallet.
    Wallet,
}

/// Bounds on one exchange: `connect` ≤ `attempt` ≤ `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StsTimeouts {
    /// To a connection.
    pub connect: Duration,
    /// For one call.
    pub attempt: Duration,
    /// With retries.
    pub total: Duration,
}

/// A role that may be minted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Which.
    pub arn: RoleArn,
    /// The longest credentials, in seconds.
    pub max_duration_seconds: u32,
    /// The ceiling of a mint.
    pub session_policy: SessionPolicy,
    /// The template of a read-only mint, where the operator wrote one.
    pub session_policy_read_only: Option<PathBuf>,
}

/// A role's ARN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RoleArn {
    /// `role/agentkeys-agent` in the operator's own account.
    #[default]
    Auto,
    /// This one.
    Given(String),
}

/// The session policy of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SessionPolicy {
    /// The built-in one: the wallet's own prefix of the bucket.
    #[default]
    Default,
    /// A JSON template; it was there, was JSON and named `${wallet}` at start.
    Template(PathBuf),
}

/// What `GET /v1/environment` hands out.
#[derive(Clone, Debug, Default)]
pub struct ClientEnvironment {
    /// The bucket; `None` is `agentkeys-mail-<account>`.
    pub bucket: Option<String>,
    /// A wallet's own part, with `${wallet}` in it once.
    pub prefix: String,
    /// The domain of sign-up addresses.
    pub mail_domain: String,
    /// Another S3.
    pub s3_endpoint: Option<BaseUrl>,
}

/// Sessions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sessions {
    /// Who may enrol.
    pub enrolment: Enrolment,
    /// A master session's life.
    pub master_ttl: Duration,
    /// An operator-issued session's life.
    pub issued_ttl: Duration,
    /// A pairing code's life.
    pub pairing_ttl: Duration,
}

/// Who may start a master session with a new wallet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Enrolment {
    /// Anyone on this machine.
    Loopback,
    /// The holder of a one-time code.
    Invite,
    /// Nobody.
    #[default]
    Closed,
}

/// The audit.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    /// Its database.
    pub path: PathBuf,
    /// How long a mint waits for a durable record.
    pub write_deadline: Duration,
    /// How long records are kept.
    pub retention: Duration,
}

/// Quotas, caps and deadlines.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Quotas, for the filters.
    pub rates: LimitSettings,
    /// Calls to STS at the same time.
    pub sts_in_flight: usize,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Open connections.
    pub connections_total: usize,
    /// Open connections per client address.
    pub connections_per_source: usize,
    /// The longest waits.
    pub deadlines: Deadlines,
    /// The largest head.
    pub head_bytes: usize,
    /// Header fields.
    pub head_fields: usize,
    /// The largest body.
    pub body_bytes: usize,
    /// Requests on one connection.
    pub requests_per_connection: u32,
}

/// The longest waits for a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// A TLS handshake.
    pub handshake: Duration,
    /// A whole request head.
    pub head: Duration,
    /// A whole request body.
    pub body: Duration,
    /// Between requests.
    pub idle: Duration,
}

/// Logs.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines, as `tracing-subscriber`'s EnvFilter reads it.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// For eyes.
    Human,
}

/// One filter of the chain, and where it was written, so that whoever checks
/// the order can point at it.
#[derive(Clone)]
pub struct FilterEntry {
    /// What.
    pub config: FilterConfig,
    /// Where.
    pub origin: Origin,
}

impl fmt::Debug for FilterEntry {
    /// Its name only: another crate's settings may hold what should not be printed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.config.name(), self.origin)
    }
}
