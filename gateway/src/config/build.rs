//! From layered entries to [`Settings`]: every key is read once, with its type.
//! A key that cannot be read leaves a problem and a stand-in; the caller throws
//! the settings away where there was a problem, so no stand-in is ever used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use agentkeys_core::RoleAlias;
use agentkeys_filters::rate::{LimitSettings, Rate};

use super::data_dir::Places;
use super::document::Value;
use super::entries::{Entries, Site};
use super::environment::Environment;
use super::scalar::{self, Read};
use super::secret::{DaemonKey, SecretRef};
use super::settings::*;
use super::table::Key;
use super::{rate, table, template, values};
use crate::issuer::IssuerUrl;

/// Reads every key of the table.
pub(super) fn build(entries: &mut Entries, places: &Places, environment: &Environment) -> Option<Settings> {
    let mut read = Reader { entries, places };
    let stand_in = table::row("issuer")?.default.and_then(|text| IssuerUrl::parse(text).ok())?;
    let issuer = read.required("issuer", values::issuer).unwrap_or(stand_in);
    let signing_key = read.signing_key();
    let aws = read.aws(&issuer, environment);
    Some(Settings {
        listeners: read.listeners(),
        admin_socket: read.state_path("admin.socket"),
        metrics_address: read.optional("metrics.address", |value, _| scalar::address(value)),
        signing_key,
        store_path: read.state_path("store.path"),
        aws,
        roles: read.roles(),
        environment: read.client_environment(),
        sessions: read.sessions(),
        default_role: read.optional("grants.default_role", |value, _| {
            scalar::text(value, "a role alias")?.parse::<RoleAlias>().map_err(|error| error.to_string())
        }),
        credentials_key: read.optional("credentials.key", |value, _| SecretRef::parse(value, places)),
        audit: Audit {
            path: read.state_path("audit.path"),
            write_deadline: read.duration("audit.write_deadline"),
            retention: read.duration("audit.retention"),
        },
        limits: read.limits(),
        shutdown_grace: read.duration("shutdown.grace"),
        log: read.log(),
        filters: read.filters(),
        insecure: Insecure {
            plain_http: read.flag("insecure.plain_http"),
            remote_metrics: read.flag("insecure.remote_metrics"),
        },
        issuer,
        data_dir: places.data_dir.clone(),
    })
}

struct Reader<'e> {
    entries: &'e mut Entries,
    places: &'e Places,
}

impl Reader<'_> {
    /// Reads a key that may not be null.
    fn required<T>(&mut self, path: &str, read: impl FnOnce(&Value, &Key) -> Read<T>) -> Option<T> {
        if !self.entries.sound_alone(path) {
            return None;
        }
        let Some(entry) = self.entries.value(path) else {
            // A section of the wrong type was reported where it stands.
            if !self.parent_is_faulty(path) {
                let site = self.entries.site(path.rsplit_once('.').map_or(path, |(parent, _)| parent));
                self.entries.problem(site, path, "is missing; write it");
            }
            return None;
        };
        match read(&entry.value, entry.key) {
            Ok(value) => Some(value),
            Err(message) => {
                let site = entry.site.clone();
                self.entries.problem(site, path, message);
                None
            }
        }
    }

    /// Reads a key for which null means "none".
    fn optional<T>(&mut self, path: &str, read: impl FnOnce(&Value, &Key) -> Read<T>) -> Option<T> {
        match self.entries.value(path) {
            Some(entry) if entry.value == Value::Null => None,
            _ => self.required(path, read),
        }
    }

    fn parent_is_faulty(&self, path: &str) -> bool {
        path.char_indices()
            .filter(|(_, c)| matches!(c, '.' | '['))
            .any(|(at, _)| !self.entries.sound_alone(&path[..at]))
    }

    fn duration(&mut self, path: &str) -> Duration {
        self.required(path, scalar::duration).unwrap_or_default()
    }

    fn count<N: TryFrom<i64> + Default>(&mut self, path: &str) -> N {
        self.required(path, scalar::integer).and_then(|number| N::try_from(number).ok()).unwrap_or_default()
    }

    fn flag(&mut self, path: &str) -> bool {
        self.required(path, |value, _| scalar::flag(value)).unwrap_or_default()
    }

    fn bytes(&mut self, path: &str) -> usize {
        self.required(path, scalar::bytes).unwrap_or_default()
    }

    fn rate(&mut self, path: &str) -> Option<Rate> {
        self.required(path, |value, _| {
            rate::parse(scalar::text(value, "a quota such as 50/s")?).map_err(str::to_owned)
        })
    }

    fn choice<T: Default>(&mut self, path: &str, of: impl FnOnce(&'static str) -> T) -> T {
        self.required(path, scalar::choice).map(of).unwrap_or_default()
    }

    fn state_path(&mut self, path: &str) -> PathBuf {
        let places = self.places;
        self.required(path, |value, _| Ok(places.state(scalar::text(value, "a path")?))).unwrap_or_default()
    }

    fn listeners(&mut self) -> Vec<Listener> {
        let members = self.entries.members("listeners").to_vec();
        members
            .iter()
            .filter_map(|member| {
                let address = self.required(&format!("{member}.address"), |value, _| scalar::address(value));
                let tls = self.tls(member);
                Some(Listener { address: address?, tls: tls? })
            })
            .collect()
    }

    fn tls(&mut self, member: &str) -> Option<Tls> {
        let places = self.places;
        let file = |value: &Value, _: &Key| places.file(scalar::text(value, "a path")?);
        let certificate = self.optional(&format!("{member}.tls.certificate"), file);
        let private_key = self.optional(&format!("{member}.tls.private_key"), file);
        let named = self.optional(&format!("{member}.tls"), scalar::choice);
        let path = format!("{member}.tls");
        if !self.entries.sound(&[&path]) {
            return None;
        }
        match (named, certificate, private_key) {
            (None, None, None) => Some(Tls::Off),
            (Some(_), None, None) => Some(Tls::Development),
            (None, Some(certificate), Some(private_key)) => Some(Tls::Files { certificate, private_key }),
            (_, one, _) => {
                let given = if one.is_some() { "certificate" } else { "private_key" };
                let site = self.entries.site(&format!("{path}.{given}"));
                self.entries.problem(site, &path, "needs both certificate and private_key");
                None
            }
        }
    }

    fn signing_key(&mut self) -> SigningKey {
        let source = self.required("signing_key.source", scalar::choice);
        let key_id = self.optional("signing_key.key_id", |value, _| {
            scalar::text(value, "the id or ARN of a KMS key").map(drop)
        });
        if source == Some("kms") {
            let site = self.entries.site("signing_key.source");
            self.entries.problem(site, "signing_key.source", "kms is not built yet; use source: file");
        } else if key_id.is_some() {
            let site = self.entries.site("signing_key.key_id");
            self.entries.problem(site, "signing_key.key_id", "belongs to source: kms; remove it");
        }
        SigningKey {
            path: self.state_path("signing_key.path"),
            rotation: self.duration("signing_key.rotation"),
            publish_before: self.duration("signing_key.publish_before"),
            retire_after: self.duration("signing_key.retire_after"),
        }
    }

    fn aws(&mut self, issuer: &IssuerUrl, environment: &Environment) -> Aws {
        let asked = self.required("aws.exchange", scalar::choice);
        Aws {
            region: self.required("aws.region", values::region).unwrap_or_default(),
            exchange: ExchangeChoice::decide(asked.unwrap_or("auto"), issuer),
            sts_endpoint: self.optional("aws.sts_endpoint", values::url),
            daemon_key: self.daemon_key(environment),
            source_identity: self.choice("aws.source_identity", |word| match word {
                "wallet" => SourceIdentity::Wallet,
                _ => SourceIdentity::Off,
            }),
            timeouts: StsTimeouts {
                connect: self.duration("aws.timeouts.connect"),
                attempt: self.duration("aws.timeouts.attempt"),
                total: self.duration("aws.timeouts.total"),
            },
        }
    }

    fn daemon_key(&mut self, environment: &Environment) -> Option<DaemonKey> {
        let places = self.places;
        let secret = |value: &Value, _: &Key| SecretRef::parse(value, places);
        let access_key_id = self.required("aws.daemon_key.access_key_id", secret);
        let secret_access_key = self.required("aws.daemon_key.secret_access_key", secret);
        let key = DaemonKey { access_key_id: access_key_id?, secret_access_key: secret_access_key? };
        match (key.access_key_id.is_set(environment), key.secret_access_key.is_set(environment)) {
            (true, true) => Some(key),
            (false, false) => None,
            (has_id, _) => {
                let (have, lack, path) = if has_id {
                    (&key.access_key_id, &key.secret_access_key, "aws.daemon_key.secret_access_key")
                } else {
                    (&key.secret_access_key, &key.access_key_id, "aws.daemon_key.access_key_id")
                };
                let message = format!(
                    "the operator's key is half there: {have} is set and {lack} is not; set both or neither"
                );
                let site = self.entries.site(path);
                self.entries.problem(site, path, message);
                None
            }
        }
    }

    fn roles(&mut self) -> BTreeMap<RoleAlias, Role> {
        let places = self.places;
        let members = self.entries.members("roles").to_vec();
        let mut roles = BTreeMap::new();
        for member in members {
            let Some(alias) = member.strip_prefix("roles.").and_then(|alias| alias.parse().ok()) else {
                continue;
            };
            let role = Role {
                arn: self.required(&format!("{member}.arn"), values::arn).unwrap_or_default(),
                max_duration_seconds: self.count(&format!("{member}.max_duration_seconds")),
                session_policy: self
                    .required(&format!("{member}.session_policy"), |value, _| {
                        match scalar::text(value, "'default' or the path of a JSON template")? {
                            "default" => Ok(SessionPolicy::Default),
                            path => template::check(places.file(path)?).map(SessionPolicy::Template),
                        }
                    })
                    .unwrap_or_default(),
                session_policy_read_only: self.optional(
                    &format!("{member}.session_policy_read_only"),
                    |value, _| {
                        template::check(places.file(scalar::text(value, "the path of a JSON template")?)?)
                    },
                ),
            };
            roles.insert(alias, role);
        }
        roles
    }

    fn client_environment(&mut self) -> ClientEnvironment {
        ClientEnvironment {
            bucket: self.required("environment.bucket", values::bucket).flatten(),
            prefix: self.required("environment.prefix", values::prefix).unwrap_or_default(),
            mail_domain: self.required("environment.mail_domain", values::domain).unwrap_or_default(),
            s3_endpoint: self.optional("environment.s3_endpoint", values::url),
        }
    }

    fn sessions(&mut self) -> Sessions {
        Sessions {
            enrolment: self.choice("sessions.enrolment", |word| match word {
                "loopback" => Enrolment::Loopback,
                "invite" => Enrolment::Invite,
                _ => Enrolment::Closed,
            }),
            master_ttl: self.duration("sessions.master_ttl"),
            issued_ttl: self.duration("sessions.issued_ttl"),
            pairing_ttl: self.duration("sessions.pairing_ttl"),
        }
    }

    fn limits(&mut self) -> Limits {
        let rates = (
            self.rate("limits.per_source"),
            self.rate("limits.per_session"),
            self.rate("limits.per_wallet"),
            self.rate("limits.failed_auth"),
        );
        let stand_in = Rate::new(std::num::NonZeroU32::MIN, Duration::from_secs(1));
        Limits {
            rates: LimitSettings {
                per_source: rates.0.unwrap_or(stand_in),
                per_session: rates.1.unwrap_or(stand_in),
                per_wallet: rates.2.unwrap_or(stand_in),
                failed_auth: rates.3.unwrap_or(stand_in),
            },
            sts_in_flight: self.count("limits.sts_in_flight"),
            trusted_proxies: self
                .required("limits.trusted_proxies", |value, _| match value {
                    Value::List(items) => items.iter().map(|item| scalar::network(&item.value)).collect(),
                    other => Err(format!("is {}; write a list of networks", other.kind())),
                })
                .unwrap_or_default(),
            connections_total: self.count("limits.connections.total"),
            connections_per_source: self.count("limits.connections.per_source"),
            deadlines: Deadlines {
                handshake: self.duration("limits.deadlines.handshake"),
                head: self.duration("limits.deadlines.head"),
                body: self.duration("limits.deadlines.body"),
                idle: self.duration("limits.deadlines.idle"),
            },
            head_bytes: self.bytes("limits.head_bytes"),
            head_fields: self.count("limits.head_fields"),
            body_bytes: self.bytes("limits.body_bytes"),
            requests_per_connection: self.count("limits.requests_per_connection"),
        }
    }

    fn log(&mut self) -> Log {
        Log {
            format: self.choice("log.format", |word| match word {
                "json" => LogFormat::Json,
                "human" => LogFormat::Human,
                _ => LogFormat::Auto,
            }),
            level: self.required("log.level", values::level).unwrap_or_default(),
        }
    }

    fn filters(&mut self) -> Vec<FilterEntry> {
        let Some(Value::List(items)) = self.entries.value("filters").map(|entry| entry.value.clone()) else {
            let site = self.entries.site("filters");
            self.entries.problem(site, "filters", "write a list of filters, in order");
            return Vec::new();
        };
        let whole = self.entries.site("filters");
        let mut filters = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let site = if matches!(whole, Site::File(_)) { Site::File(item.id) } else { whole.clone() };
            match values::filter(&item.value) {
                Ok(config) => filters.push(FilterEntry { config, origin: self.entries.origin(&site) }),
                Err(message) => self.entries.problem(site, &format!("filters[{index}]"), message),
            }
        }
        filters
    }
}
