//! Every key of `broker.yaml`, once: its path, type, default and meaning.
//!
//! Defaults stand here and nowhere else. The reader, the environment's
//! overrides, the suggestions for misspelt keys and `docs/configuration.md`
//! all come from this table; a test holds `conf/broker.yaml` to it.

/// What a key may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Path,
    Url,
    /// An IP address and a port.
    Address,
    Choice(&'static [&'static str]),
    /// Between these two durations.
    Duration(&'static str, &'static str),
    Rate,
    Integer(i64, i64),
    /// A number of bytes, also as `16KiB`.
    Bytes(u64, u64),
    Flag,
    /// A reference to a secret, never the secret.
    Secret,
    /// A list of texts or of named settings.
    List,
    /// A list of mappings, whose keys follow as `path[]…`.
    Mappings,
    /// A mapping from names of the operator's choice, whose keys follow as `path.*…`.
    Named,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub path: &'static str,
    pub kind: Kind,
    pub nullable: bool,
    /// As YAML; `None` where it must be written.
    pub default: Option<&'static str>,
    pub doc: &'static str,
}

const fn key(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, nullable: false, default: Some(default), doc }
}

const fn maybe(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { path, kind, nullable: true, default: Some(default), doc }
}

use Kind::*;

/// The rows, in the order of `conf/broker.yaml`.
pub const TABLE: &[Key] = &[
    key(
        "issuer",
        Url,
        "http://localhost:8090",
        "The broker's public URL. Byte-equal to `iss` in every token and to the URL registered in IAM: no trailing slash, no query.",
    ),
    key(
        "data_dir",
        Path,
        "~/.local/share/agentkeys-broker",
        "Where all state lives, mode 0700. Unless written: `$XDG_DATA_HOME/agentkeys-broker` where that variable is set, `~/Library/Application Support/agentkeys-broker` on macOS.",
    ),
    key(
        "listeners",
        Mappings,
        "[{address: 127.0.0.1:8090}]",
        "Where the public API is served. In the environment: addresses with commas between them, or YAML.",
    ),
    Key {
        path: "listeners[].address",
        kind: Address,
        nullable: false,
        default: None,
        doc: "An IP address and a port. Plain http only on loopback, unless `insecure.plain_http` is true.",
    },
    maybe(
        "listeners[].tls",
        Choice(&["development"]),
        "null",
        "`development` serves with a local CA made under `data_dir`; a mapping names a certificate and its key; null is plain http.",
    ),
    maybe(
        "listeners[].tls.certificate",
        Path,
        "null",
        "PEM file with the certificate chain. Read at start. A relative path starts at the configuration file.",
    ),
    maybe("listeners[].tls.private_key", Path, "null", "PEM file with the certificate's private key."),
    key(
        "admin.socket",
        Path,
        "admin.sock",
        "The operator's Unix socket, mode 0600; the file permission is the authentication. Relative to `data_dir`.",
    ),
    maybe(
        "metrics.address",
        Address,
        "127.0.0.1:9464",
        "Where Prometheus reads `/metrics`; loopback unless `insecure.remote_metrics` is true; null turns it off.",
    ),
    key(
        "signing_key.source",
        Choice(&["file", "kms"]),
        "file",
        "Where the JWT signing keys live. `kms` is recognised and not built yet.",
    ),
    key(
        "signing_key.path",
        Path,
        "signing-keys",
        "The directory of the key files (source `file`), each mode 0600. Relative to `data_dir`.",
    ),
    maybe("signing_key.key_id", Text, "null", "The AWS KMS key (source `kms`)."),
    key(
        "signing_key.rotation",
        Duration("1h", "3650d"),
        "30d",
        "How long a key signs before the next one takes over.",
    ),
    key(
        "signing_key.publish_before",
        Duration("5m", "3650d"),
        "24h",
        "How long a new key is published before it signs. AWS caches the JWKS for a time it does not state.",
    ),
    key(
        "signing_key.retire_after",
        Duration("65m", "3650d"),
        "2h",
        "How long a key stays published after its last signature: the longest token (1 h) and the JWKS cache (5 min), at least.",
    ),
    key(
        "store.path",
        Path,
        "broker.sqlite",
        "The database of sessions, grants and stored credentials. Relative to `data_dir`.",
    ),
    key(
        "aws.region",
        Text,
        "us-east-1",
        "The region of STS and of the credentials' user. `AWS_REGION` counts where neither the file nor `BROKER_AWS_REGION` says one.",
    ),
    key(
        "aws.exchange",
        Choice(&["auto", "web_identity", "assume_role"]),
        "auto",
        "How a session becomes AWS credentials. `auto`: `web_identity` where the issuer is a public https URL, else `assume_role`.",
    ),
    maybe("aws.sts_endpoint", Url, "null", "Another STS: a VPC endpoint or a local one."),
    key(
        "aws.daemon_key.access_key_id",
        Secret,
        "env:BROKER_DAEMON_ACCESS_KEY_ID",
        "The operator's access key id, as a reference.",
    ),
    key(
        "aws.daemon_key.secret_access_key",
        Secret,
        "env:BROKER_DAEMON_SECRET_ACCESS_KEY",
        "The operator's secret access key, as a reference. Both or neither; optional with `web_identity`.",
    ),
    key(
        "aws.source_identity",
        Choice(&["off", "wallet"]),
        "off",
        "Whether `sts:SourceIdentity` is the wallet. The role must allow `sts:SetSourceIdentity`.",
    ),
    key("aws.timeouts.connect", Duration("100ms", "60s"), "2s", "The longest wait for a connection to STS."),
    key("aws.timeouts.attempt", Duration("100ms", "60s"), "5s", "The longest that one call to STS may take."),
    key(
        "aws.timeouts.total",
        Duration("100ms", "60s"),
        "10s",
        "The longest that an exchange may take, retries included.",
    ),
    key("roles", Named, "{agent: {}}", "The roles that may be minted, by alias."),
    key(
        "roles.*.arn",
        Text,
        "auto",
        "A full role ARN, or `auto`: `role/agentkeys-agent` in the operator's own account.",
    ),
    key(
        "roles.*.max_duration_seconds",
        Integer(900, 43_200),
        "3600",
        "The longest credentials. More than 3600 must be allowed by the role, and outlives a revocation for longer.",
    ),
    key(
        "roles.*.session_policy",
        Path,
        "default",
        "The ceiling sent with every exchange: `default` (the wallet's own prefix of the bucket), or a JSON template's path with `${wallet}` and `${bucket}`.",
    ),
    maybe(
        "roles.*.session_policy_read_only",
        Path,
        "null",
        "The template for read-only mints; null derives it from the built-in one, or refuses read-only mints under a template of your own.",
    ),
    key(
        "environment.bucket",
        Text,
        "auto",
        "The bucket that clients use; `auto` is `agentkeys-mail-<account>`.",
    ),
    key(
        "environment.prefix",
        Text,
        "bots/${wallet}/",
        "A wallet's own part of the bucket. It holds `${wallet}` once, as a whole segment, and ends with a slash.",
    ),
    key("environment.mail_domain", Text, "bots.example.dev", "The domain of sign-up addresses."),
    maybe("environment.s3_endpoint", Url, "null", "Another S3 for clients: a VPC endpoint or a local one."),
    key(
        "sessions.enrolment",
        Choice(&["loopback", "invite", "closed"]),
        "loopback",
        "Who may start a master session with a new wallet: anyone on this machine, the holder of a one-time invite, or nobody.",
    ),
    key("sessions.master_ttl", Duration("1m", "365d"), "30d", "How long a master session lasts."),
    key(
        "sessions.issued_ttl",
        Duration("1m", "365d"),
        "12h",
        "How long a session that the operator issues lasts, unless the command says otherwise.",
    ),
    key(
        "sessions.pairing_ttl",
        Duration("10s", "1h"),
        "10m",
        "How long a device's pairing code waits to be approved.",
    ),
    maybe(
        "grants.default_role",
        Text,
        "agent",
        "The role that every wallet may use without a grant of its own; null: none.",
    ),
    maybe(
        "credentials.key",
        Secret,
        "null",
        "The key that seals stored credentials, as a reference: 32 random bytes in base64 or hexadecimal. The variable may hold the key itself. null: a local broker makes `credentials.key` under `data_dir` and says so; a hosted one serves no stored credentials.",
    ),
    key("audit.path", Path, "audit.sqlite", "The audit database. Relative to `data_dir`."),
    key(
        "audit.write_deadline",
        Duration("50ms", "30s"),
        "2s",
        "How long a mint waits for its durable record before it is refused with 503.",
    ),
    key("audit.retention", Duration("1d", "36500d"), "400d", "How long audit records are kept."),
    key("limits.per_source", Rate, "50/s", "Requests per client address, before authentication."),
    key("limits.per_session", Rate, "20/s", "Requests per session."),
    key("limits.per_wallet", Rate, "50/s", "Requests per wallet, over all of its sessions."),
    key("limits.failed_auth", Rate, "10/min", "Failed authentications per client address."),
    key("limits.sts_in_flight", Integer(1, 10_000), "64", "Calls to STS at the same time."),
    key(
        "limits.trusted_proxies",
        List,
        "[]",
        "Networks (CIDR) whose `X-Forwarded-For` is believed. In the environment: with commas between them.",
    ),
    key("limits.connections.total", Integer(1, 1_000_000), "10000", "Open connections."),
    key(
        "limits.connections.per_source",
        Integer(1, 1_000_000),
        "256",
        "Open connections per client address.",
    ),
    key("limits.deadlines.handshake", Duration("100ms", "10m"), "10s", "The longest TLS handshake."),
    key(
        "limits.deadlines.head",
        Duration("100ms", "10m"),
        "10s",
        "The longest wait for a whole request head.",
    ),
    key(
        "limits.deadlines.body",
        Duration("100ms", "10m"),
        "10s",
        "The longest wait for a whole request body.",
    ),
    key(
        "limits.deadlines.idle",
        Duration("100ms", "1h"),
        "60s",
        "How long a connection may stay open between requests.",
    ),
    key("limits.head_bytes", Bytes(1024, 1_048_576), "16KiB", "The largest request head."),
    key("limits.head_fields", Integer(8, 1000), "64", "Header fields per request."),
    key("limits.body_bytes", Bytes(1024, 16_777_216), "65536", "The largest request body."),
    key(
        "limits.requests_per_connection",
        Integer(1, 1_000_000),
        "1000",
        "Requests on one connection before it is closed.",
    ),
    key(
        "shutdown.grace",
        Duration("0s", "10m"),
        "30s",
        "How long requests under way may finish after SIGTERM.",
    ),
    key(
        "log.format",
        Choice(&["auto", "json", "human"]),
        "auto",
        "`auto` is `human` on a terminal and `json` elsewhere.",
    ),
    key(
        "log.level",
        Text,
        "info",
        "`error`, `warn`, `info`, `debug` or `trace`, also per target: `info,agentkeys_broker_server=debug`.",
    ),
    key(
        "filters",
        List,
        "[source_limit, session_auth, session_limit, grant, audit]",
        "The chain of the mint routes, in order; checked at start.",
    ),
    key(
        "insecure.plain_http",
        Flag,
        "false",
        "Allow plain http on addresses that are not loopback: only behind a proxy that speaks TLS.",
    ),
    key("insecure.remote_metrics", Flag, "false", "Allow the metrics address to be other than loopback."),
];

/// Variables that name no key.
pub const OTHER_VARIABLES: &[(&str, &str)] = &[
    ("BROKER_CONFIG", "The configuration file, as `--config`."),
    ("AWS_REGION", "`aws.region`, where neither the file nor `BROKER_AWS_REGION` says one."),
    ("DAEMON_ACCESS_KEY_ID", "Another name of `BROKER_DAEMON_ACCESS_KEY_ID`."),
    ("DAEMON_SECRET_ACCESS_KEY", "Another name of `BROKER_DAEMON_SECRET_ACCESS_KEY`."),
];

impl Key {
    /// The variable that overrides it: `BROKER_` and the path, upper case. A key
    /// of a list item has none; `<ALIAS>` stands for a role's alias.
    pub fn variable(&self) -> Option<String> {
        match self.path {
            "aws.daemon_key.access_key_id" => Some("BROKER_DAEMON_ACCESS_KEY_ID".to_owned()),
            "aws.daemon_key.secret_access_key" => Some("BROKER_DAEMON_SECRET_ACCESS_KEY".to_owned()),
            path if path.contains("[]") => None,
            path => Some(
                format!("BROKER_{}", path.to_ascii_uppercase().replace('.', "_")).replace('*', "<ALIAS>"),
            ),
        }
    }

    /// What it may hold, for people.
    pub fn type_name(&self) -> String {
        let name = match self.kind {
            Text => "text".to_owned(),
            Path => "path".to_owned(),
            Url => "URL".to_owned(),
            Address => "address:port".to_owned(),
            Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
            Duration(least, most) => format!("duration, {least} to {most}"),
            Rate => "quota, such as `50/s`".to_owned(),
            Integer(least, most) => format!("number, {least} to {most}"),
            Bytes(least, most) => format!("bytes, {least} to {most}"),
            Flag => "`true` or `false`".to_owned(),
            Secret => "secret reference".to_owned(),
            List => "list".to_owned(),
            Mappings => "list of mappings".to_owned(),
            Named => "mapping".to_owned(),
        };
        if self.nullable { format!("{name}, or null") } else { name }
    }
}

/// The row of a path in the table's own notation.
pub fn row(schema: &str) -> Option<&'static Key> {
    TABLE.iter().find(|key| key.path == schema)
}

/// The names directly below a path; empty where nothing is.
pub fn children(schema: &str) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for key in TABLE {
        let below = if schema.is_empty() {
            Some(key.path)
        } else {
            key.path.strip_prefix(schema).and_then(|rest| rest.strip_prefix('.'))
        };
        let name = below.and_then(|rest| rest.split(['.', '[']).next());
        if let Some(name) = name.filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_path_and_no_variable_stands_twice() {
        let paths: BTreeSet<_> = TABLE.iter().map(|key| key.path).collect();
        assert_eq!(paths.len(), TABLE.len());
        let variables: Vec<_> = TABLE.iter().filter_map(Key::variable).collect();
        assert_eq!(variables.iter().collect::<BTreeSet<_>>().len(), variables.len());
    }

    #[test]
    fn the_variables_of_the_contract_are_the_ones_derived() {
        for (path, variable) in [
            ("data_dir", "BROKER_DATA_DIR"),
            ("aws.region", "BROKER_AWS_REGION"),
            ("aws.daemon_key.access_key_id", "BROKER_DAEMON_ACCESS_KEY_ID"),
            ("roles.*.arn", "BROKER_ROLES_<ALIAS>_ARN"),
            ("limits.deadlines.head", "BROKER_LIMITS_DEADLINES_HEAD"),
        ] {
            assert_eq!(row(path).unwrap().variable().as_deref(), Some(variable));
        }
    }
}
