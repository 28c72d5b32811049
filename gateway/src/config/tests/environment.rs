//! Without a file, and with variables and flags over one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{from_environment, laptop, load, load_with};
use crate::config::secret::SecretRef;
use crate::config::settings::{Enrolment, ExchangeMode, RoleArn, SessionPolicy, Tls};
use crate::config::{CliOverrides, Environment, Origin, Settings};

#[test]
fn a_fresh_laptop_with_the_key_in_the_environment_needs_nothing_else() {
    let loaded = from_environment(&laptop()).unwrap();
    let settings = &loaded.settings;
    assert_eq!(settings.issuer.as_str(), "http://localhost:8090");
    assert_eq!(settings.listeners.len(), 1);
    assert_eq!(settings.listeners[0].address.to_string(), "127.0.0.1:8090");
    assert_eq!(settings.listeners[0].tls, Tls::Off);
    assert_eq!(settings.aws.exchange.mode, ExchangeMode::AssumeRole);
    assert_eq!(settings.aws.region, "us-east-1");
    let key = settings.aws.daemon_key.as_ref().unwrap();
    assert_eq!(key.access_key_id, SecretRef::Variable("BROKER_DAEMON_ACCESS_KEY_ID".to_owned()));
    let agent = &settings.roles[&"agent".parse().unwrap()];
    assert_eq!((&agent.arn, &agent.session_policy), (&RoleArn::Auto, &SessionPolicy::Default));
    assert_eq!(agent.max_duration_seconds, 3600);
    assert_eq!(settings.default_role.as_ref().map(|role| role.as_str()), Some("agent"));
    assert_eq!(settings.environment.bucket, None);
    assert_eq!(settings.sessions.enrolment, Enrolment::Loopback);
    assert_eq!(settings.limits.deadlines.idle, Duration::from_secs(60));
    assert_eq!(settings.limits.head_bytes, 16 * 1024);
    assert_eq!(settings.filters.len(), 5);
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn without_a_key_it_starts_and_says_what_is_missing() {
    let loaded = from_environment(&[("HOME", "/home/o")]).unwrap();
    assert!(loaded.settings.aws.daemon_key.is_none());
    let said: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1);
    assert!(
        said[0].contains("set BROKER_DAEMON_ACCESS_KEY_ID and BROKER_DAEMON_SECRET_ACCESS_KEY"),
        "{said:?}"
    );
}

#[cfg(not(target_os = "macos"))]
#[test]
fn state_lives_where_the_platform_keeps_it() {
    let data_dir = |variables: &[(&str, &str)]| from_environment(variables).unwrap().settings.data_dir;
    assert_eq!(data_dir(&[("HOME", "/home/o")]), Path::new("/home/o/.local/share/agentkeys-broker"));
    assert_eq!(
        data_dir(&[("HOME", "/home/o"), ("XDG_DATA_HOME", "/data")]),
        Path::new("/data/agentkeys-broker")
    );
    assert_eq!(data_dir(&[("HOME", "/home/o"), ("BROKER_DATA_DIR", "~/b")]), Path::new("/home/o/b"));
    let errors = from_environment(&[]).err().unwrap();
    assert!(errors[0].to_string().contains("HOME is not set"), "{errors:?}");
}

#[test]
fn the_later_layer_wins() {
    let text = "data_dir: /from/file\naws: { region: eu-west-1 }\naudit: { path: a.sqlite }\n";
    let loaded = load(text).unwrap();
    assert_eq!(loaded.settings.data_dir, Path::new("/from/file"));
    assert_eq!(loaded.settings.audit.path, Path::new("/from/file/a.sqlite"));

    let loaded = load_with(text, &[("BROKER_DATA_DIR", "/from/env"), ("AWS_REGION", "ap-south-1")]).unwrap();
    assert_eq!(loaded.settings.data_dir, Path::new("/from/env"));
    assert_eq!(loaded.settings.aws.region, "eu-west-1");

    let overrides = CliOverrides { data_dir: Some(PathBuf::from("/from/flag")) };
    let environment = Environment::from_pairs([
        ("BROKER_DATA_DIR", "/from/env"),
        ("AWS_REGION", "ap-south-1"),
        ("HOME", "/h"),
    ]);
    let loaded = Settings::load(None, &environment, &overrides).unwrap();
    assert_eq!(loaded.settings.data_dir, Path::new("/from/flag"));
    assert_eq!(loaded.settings.aws.region, "ap-south-1");
    assert_eq!(loaded.effective.origin("data_dir"), Origin::Flag("--data-dir"));
    assert_eq!(loaded.effective.origin("aws.region"), Origin::Variable("AWS_REGION".to_owned()));
}

#[test]
fn every_kind_of_key_can_be_set_by_a_variable() {
    let settings = load_with(
        "listeners:\n  - address: 127.0.0.1:1\n  - address: 127.0.0.1:2\n    tls: development\n",
        &[
            ("BROKER_LISTENERS", "127.0.0.1:8091, [::1]:8091"),
            ("BROKER_METRICS_ADDRESS", "null"),
            ("BROKER_LIMITS_STS_IN_FLIGHT", "8"),
            ("BROKER_LIMITS_PER_SOURCE", "5/s burst 20"),
            ("BROKER_LIMITS_TRUSTED_PROXIES", "10.0.0.0/8,192.168.1.1"),
            ("BROKER_LIMITS_HEAD_BYTES", "8192"),
            ("BROKER_INSECURE_PLAIN_HTTP", "true"),
            ("BROKER_GRANTS_DEFAULT_ROLE", "null"),
            ("BROKER_ROLES_AGENT_ARN", "arn:aws:iam::123456789012:role/r"),
            ("BROKER_ROLES_AGENT_MAX_DURATION_SECONDS", "900"),
            ("BROKER_LOG_FORMAT", "json"),
            ("BROKER_FILTERS", "[session_auth, {mine: {a: 1}}]"),
            ("BROKER_ISSUER", ""),
        ],
    )
    .unwrap()
    .settings;
    assert_eq!(
        settings.listeners.iter().map(|l| l.address.to_string()).collect::<Vec<_>>(),
        ["127.0.0.1:8091", "[::1]:8091"]
    );
    assert_eq!(settings.metrics_address, None);
    assert_eq!(settings.limits.sts_in_flight, 8);
    assert_eq!(settings.limits.rates.per_source.burst.get(), 20);
    assert_eq!(settings.limits.trusted_proxies.len(), 2);
    assert_eq!(settings.limits.head_bytes, 8192);
    assert!(settings.insecure.plain_http);
    assert_eq!(settings.default_role, None);
    let agent = &settings.roles[&"agent".parse().unwrap()];
    assert_eq!(agent.arn, RoleArn::Given("arn:aws:iam::123456789012:role/r".to_owned()));
    assert_eq!(agent.max_duration_seconds, 900);
    assert_eq!(settings.filters.len(), 2);
    assert_eq!(settings.issuer.as_str(), "http://localhost:8090");

    let tls = load_with("", &[("BROKER_LISTENERS", "[{address: 0.0.0.0:8443, tls: development}]")]).unwrap();
    assert_eq!(tls.settings.listeners[0].tls, Tls::Development);
}

#[test]
fn a_slip_in_a_variable_is_an_error_and_a_stranger_a_warning() {
    let said = |variables: &[(&str, &str)]| -> Vec<String> {
        from_environment(variables).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    };
    for (name, near) in [
        ("BROKER_AWS_REGOIN", "BROKER_AWS_REGION"),
        ("BROKER_DATADIR", "BROKER_DATA_DIR"),
        ("BROKER_DAEMON_ACCESS_KEY_SECRET", "BROKER_DAEMON_SECRET_ACCESS_KEY"),
        ("DAEMON_ACCESS_KEY_SECRET", "DAEMON_SECRET_ACCESS_KEY"),
    ] {
        assert_eq!(
            said(&[("HOME", "/h"), (name, "canary")]),
            [format!("{name}: unknown variable; did you mean {near}?")]
        );
    }
    let loaded = from_environment(&[
        ("HOME", "/h"),
        ("BROKER_IMAGE_TAG", "v1"),
        ("DAEMON_MODE", "1"),
        ("PATH", "/bin"),
    ])
    .unwrap();
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(
        warnings.contains(&"BROKER_IMAGE_TAG: unknown variable; it has no effect".to_owned()),
        "{warnings:?}"
    );
    assert!(!warnings.iter().any(|line| line.contains("DAEMON_MODE")), "{warnings:?}");

    assert_eq!(
        said(&[("HOME", "/h"), ("BROKER_AWS_EXCHANGE", "canary")]),
        ["BROKER_AWS_EXCHANGE: aws.exchange: must be one of auto, web_identity, assume_role"]
    );
}

#[test]
fn the_key_comes_whole_from_one_spelling() {
    let key = |variables: &[(&str, &str)]| {
        let home = [("HOME", "/h")];
        from_environment(&[&home, variables].concat()).map(|loaded| loaded.settings.aws.daemon_key)
    };
    let pair = [("DAEMON_ACCESS_KEY_ID", "a"), ("DAEMON_SECRET_ACCESS_KEY", "b")];
    let found = key(&pair).unwrap().unwrap();
    assert_eq!(found.secret_access_key.to_string(), "env:DAEMON_SECRET_ACCESS_KEY");

    let mixed = [("BROKER_DAEMON_ACCESS_KEY_ID", "a"), ("DAEMON_SECRET_ACCESS_KEY", "b")];
    for half in [&pair[..1], &pair[1..], &mixed[..1], &mixed[..]] {
        let errors = key(half).err().unwrap();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().contains("half there"), "{errors:?}");
    }

    // One half in a variable that the file names, the other elsewhere.
    let split = "aws: { daemon_key: { secret_access_key: 'op://vault/aws/secret' } }\n";
    let dir = tempfile::tempdir().unwrap();
    let load = |text: &str, variables: &[(&str, &str)]| {
        let path = dir.path().join("broker.yaml");
        std::fs::write(&path, text).unwrap();
        let environment = Environment::from_pairs([&[("HOME", "/h")], variables].concat());
        Settings::load(Some(&path), &environment, &CliOverrides::default())
            .map(|loaded| loaded.settings.aws.daemon_key)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    };
    let named = split.replace("{ secret", "{ access_key_id: 'env:BROKER_DAEMON_ACCESS_KEY_ID', secret");
    assert!(load(&named, &mixed[..1]).unwrap().is_some());
    assert!(load(split, &[]).unwrap_err().contains("half there: op://vault/aws/secret is set and env:"));
    // A lone variable may not take half of a pair that the file keeps elsewhere.
    let elsewhere = split.replace("{ secret", "{ access_key_id: 'op://vault/aws/id', secret");
    assert!(load(&elsewhere, &[]).unwrap().is_some());
    assert!(load(&elsewhere, &mixed[..1]).unwrap_err().contains("half there"));

    let kept = [
        ("BROKER_DAEMON_ACCESS_KEY_ID", "op://vault/aws/id"),
        ("BROKER_DAEMON_SECRET_ACCESS_KEY", "op://vault/aws/secret"),
    ];
    assert_eq!(key(&kept).unwrap().unwrap().access_key_id.to_string(), "op://vault/aws/id");
}

#[test]
fn a_public_issuer_chooses_web_identity() {
    let hosted = "issuer: https://broker.example.dev\nsessions: { enrolment: closed }\ngrants: { default_role: null }\n";
    assert_eq!(load(hosted).unwrap().settings.aws.exchange.mode, ExchangeMode::WebIdentity);
    // A local STS may trust a local issuer.
    let local = "aws: { exchange: web_identity, sts_endpoint: 'http://127.0.0.1:4566' }\n";
    assert_eq!(load(local).unwrap().settings.aws.exchange.mode, ExchangeMode::WebIdentity);
}
