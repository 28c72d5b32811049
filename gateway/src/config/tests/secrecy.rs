//! No input stops the reader, and no secret comes out of it.

use proptest::prelude::*;

use super::{load, load_with};

const CANARY: &str = "wJalrXUtnFEMIcanaryK7MDENGbPxRfiCY1234567";

#[test]
fn a_literal_secret_is_refused_and_never_repeated() {
    for text in [
        format!("aws:\n  daemon_key:\n    secret_access_key: {CANARY}\n"),
        format!("aws:\n  daemon_key:\n    secret_access_key: [{CANARY}]\n"),
        format!("aws:\n  daemon_key: {CANARY}\n"),
        format!("aws:\n  secret_key: {CANARY}\n"),
        format!("aws:\n  region: {CANARY}\n"),
        format!("aws:\n  exchange: {CANARY}\n"),
        format!("aws:\n  sts_endpoint: https://user:{CANARY}@sts.example.dev\n"),
        format!("aws:\n  daemon_key: {{ secret_access_key: !!int {CANARY} }}\n"),
        format!("aws:\n  daemon_key: {{ secret_access_key: !{CANARY} x }}\n"),
        format!("aws:\n  daemon_key: {{ secret_access_key: \"{CANARY}\n"),
        format!("aws:\n  daemon_key: {{ secret_access_key: *{CANARY} }}\n"),
        format!("aws:\n  daemon_key: {{ secret_access_key: {CANARY}: x }}\n"),
        format!("credentials:\n  key: {CANARY}\n"),
        format!("credentials: {CANARY}\n"),
        format!("issuer: {CANARY}\nlog: {{ level: {CANARY} }}\nlimits: {{ per_source: {CANARY} }}\n"),
        format!("grants: {{ default_role: {CANARY} }}\nenvironment: {{ bucket: {CANARY} }}\n"),
        format!("listeners: [{{ address: {CANARY}, tls: {CANARY} }}]\nfilters: [{CANARY}]\n"),
    ] {
        let errors = load(&text).err().unwrap_or_else(|| panic!("accepted: {text}"));
        let printed: String = errors.iter().map(|error| format!("{error} {error:?}\n")).collect();
        assert!(!printed.contains(CANARY), "{printed}");
    }
    let said = super::said(&format!("aws:\n  daemon_key:\n    secret_access_key: {CANARY}\n"));
    assert_eq!(
        said,
        [
            "broker.yaml:3:24: aws.daemon_key.secret_access_key: holds the secret itself, which is refused here (and \
          should be replaced now); write a reference: env:NAME, file:PATH or op://vault/item/field"
        ]
    );
}

#[test]
fn what_is_in_force_shows_references_and_no_secret() {
    let text = format!("filters:\n  - session_auth\n  - mine: {{ api_key: {CANARY} }}\n");
    let loaded = load_with(&text, &[("OTHER_SECRET", CANARY), ("BROKER_CREDENTIALS_KEY", CANARY)]).unwrap();
    let shown = format!(
        "{:?}{}{}{:?}{:?}",
        loaded.settings,
        loaded.effective.to_yaml(),
        loaded.effective.to_json(),
        loaded.effective,
        loaded.warnings
    );
    assert!(!shown.to_lowercase().contains("canary"), "{shown}");
    let json = loaded.effective.to_json();
    assert_eq!(
        json["settings"]["aws"]["daemon_key"]["secret_access_key"],
        "env:BROKER_DAEMON_SECRET_ACCESS_KEY"
    );
    assert_eq!(json["settings"]["credentials"]["key"], "env:BROKER_CREDENTIALS_KEY");
    assert_eq!(json["sources"]["aws.daemon_key.secret_access_key"], "BROKER_DAEMON_SECRET_ACCESS_KEY");
    assert_eq!(json["sources"]["aws.region"], "default");
    assert!(json["sources"]["filters"].as_str().unwrap().ends_with("broker.yaml:2:3"), "{json}");
    assert_eq!(json["settings"]["filters"][1], "mine");
    assert_eq!(json["settings"]["listeners"][0]["address"], "127.0.0.1:8090");
    assert_eq!(json["decided"]["exchange"], "assume_role");
}

fn yaml() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("''".to_owned()),
        Just("*a".to_owned()),
        Just("&a x".to_owned()),
        Just("!t x".to_owned()),
        Just("50/s".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just(".nan".to_owned()),
        Just("127.0.0.1:1".to_owned()),
        "[a-z0-9:/.$@~-]{0,12}",
        any::<i64>().prop_map(|number| number.to_string()),
        any::<bool>().prop_map(|flag| flag.to_string()),
    ];
    let key = prop::sample::select(vec![
        "issuer",
        "listeners",
        "address",
        "tls",
        "aws",
        "region",
        "daemon_key",
        "access_key_id",
        "roles",
        "agent",
        "arn",
        "limits",
        "per_source",
        "filters",
        "trusted_proxies",
        "data_dir",
        "session_policy",
        "metrics",
        "<<",
        "x",
    ]);
    scalar.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|entries| {
                let entries: Vec<_> = entries.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_stops_the_reader(text in any::<String>()) {
        let _outcome = load(&text);
    }

    #[test]
    fn no_yaml_stops_the_reader(text in yaml()) {
        match load(&text) {
            Ok(loaded) => { let _shown = loaded.effective.to_yaml(); }
            Err(errors) => prop_assert!(errors.iter().all(|error| !error.message.is_empty())),
        }
    }

    #[test]
    fn no_variable_stops_the_reader(name in "BROKER_[A-Z_]{1,20}", value in any::<String>()) {
        let _outcome = load_with("", &[(&name, &value)]);
    }
}
