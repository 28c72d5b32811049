//! The table, the settings, `conf/` and `docs/` say the same, both ways.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{from_environment, laptop};
use crate::config::settings::{Enrolment, Tls};
use crate::config::table::{Kind, TABLE};
use crate::config::{CliOverrides, Environment, Origin, Settings, reference};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_commented_file_holds_every_key_with_its_default_and_no_other() {
    let path = repository().join("conf/broker.yaml");
    let environment = Environment::from_pairs(laptop());
    let loaded = Settings::load(Some(&path), &environment, &CliOverrides::default()).unwrap();
    let built_in = from_environment(&laptop()).unwrap();

    let rows = |loaded: &crate::config::Loaded| -> Vec<_> {
        loaded.effective.rows().into_iter().map(|row| (row.key, row.value)).collect()
    };
    // `tls: null` is written in the file and left out where it is a default.
    let (mut written, default) = (rows(&loaded), rows(&built_in));
    written.retain(|(key, _)| key != "listeners[0].tls");
    assert_eq!(written, default);
    assert_eq!(format!("{:?}", loaded.settings.limits), format!("{:?}", built_in.settings.limits));
    assert!(
        loaded.warnings.iter().all(|w| w.message.contains("other users may change")),
        "{:?}",
        loaded.warnings
    );

    for row in loaded.effective.rows() {
        let by_variable = row.key.starts_with("aws.daemon_key.");
        let written = matches!(row.origin, Origin::File { .. });
        assert!(written || by_variable, "{} does not stand in conf/broker.yaml", row.key);
    }
    let text = std::fs::read_to_string(&path).unwrap();
    for key in TABLE.iter().filter(|key| !matches!(key.kind, Kind::Mappings | Kind::Named)) {
        let name = key.path.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{name}:")), "{} does not stand in conf/broker.yaml", key.path);
    }
}

#[test]
fn every_key_is_read_and_checked() {
    // A list of lists fits no key, so a key that nobody reads is one that does
    // not complain.
    for key in TABLE.iter().filter(|key| !matches!(key.kind, Kind::Mappings | Kind::Named)) {
        let wrong = if key.kind == Kind::List { "5" } else { "[[]]" };
        let path = key.path.replace("[]", "[0]").replace('*', "agent");
        let text = match key.path.strip_prefix("listeners[].") {
            Some("address") => format!("listeners: [{{ address: {wrong} }}]"),
            Some(rest) => {
                let inner =
                    rest.rsplit('.').fold(wrong.to_owned(), |text, name| format!("{{ {name}: {text} }}"));
                format!("listeners: [{{ address: '127.0.0.1:1', {} ]", &inner[1..])
            }
            None => path.rsplit('.').fold(wrong.to_owned(), |text, name| format!("{{ {name}: {text} }}")),
        };
        let errors = super::said(&text);
        assert!(
            errors.iter().any(|line| line.contains(&format!(": {path}: "))),
            "{} is not read: {text} gives {errors:?}",
            key.path
        );
    }
}

#[test]
fn the_hosted_example_loads() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().display().to_string();
    for name in ["tls.crt", "tls.key"] {
        std::fs::write(temp.path().join(name), "").unwrap();
    }
    let text = std::fs::read_to_string(repository().join("conf/broker.hosted.yaml")).unwrap();
    let path = temp.path().join("broker.yaml");
    std::fs::write(&path, text.replace("/etc/agentkeys", &dir)).unwrap();
    // No AWS key at all.
    let loaded = Settings::load(Some(&path), &Environment::default(), &CliOverrides::default()).unwrap();
    let settings = loaded.settings;
    assert!(matches!(settings.listeners[0].tls, Tls::Files { .. }));
    assert_eq!(settings.sessions.enrolment, Enrolment::Closed);
    assert_eq!(settings.default_role, None);
    assert!(settings.aws.daemon_key.is_none());
    assert_eq!(settings.limits.trusted_proxies.len(), 1);
}

#[test]
fn configuration_reference_is_up_to_date() {
    let path = repository().join("docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == reference(),
        "docs/configuration.md is not what the table says; run \
         UPDATE_DOCS=1 cargo test -p agentkeys-broker-server configuration_reference"
    );
}

#[test]
fn what_check_prints_can_be_loaded_again() {
    let loaded = from_environment(&laptop()).unwrap();
    let yaml = loaded.effective.to_yaml();
    let again = super::load(&yaml).unwrap_or_else(|errors| panic!("{errors:#?}\n{yaml}"));
    assert_eq!(again.effective.to_json()["settings"], loaded.effective.to_json()["settings"]);
    let keys: BTreeSet<_> = again.effective.rows().into_iter().map(|row| row.key).collect();
    assert_eq!(keys.len(), again.effective.rows().len());
}
