use super::*;

fn resolve(flags: Flags, variables: &[(&str, &str)], file: Option<&str>) -> Result<Settings, SettingsError> {
    let temp = tempfile::tempdir().unwrap();
    if let Some(file) = file {
        std::fs::write(temp.path().join("config.toml"), file).unwrap();
    }
    let home = temp.path().to_string_lossy().into_owned();
    Settings::resolve(&flags, &|name| match name {
        "AGENTKEYS_HOME" => Some(home.clone()),
        _ => variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
    })
}

fn broker(settings: &Settings) -> (String, Source) {
    let url = settings.broker_url.value.as_ref().map(ToString::to_string).unwrap_or_default();
    (url, settings.broker_url.source)
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let flags = Flags { broker_url: Some("https://flag.example".into()), ..Flags::default() };
    let variable = [("AGENTKEYS_BROKER_URL", "https://variable.example/")];
    let file = Some("broker_url = \"https://file.example\"");

    let all = resolve(flags, &variable, file).unwrap();
    assert_eq!(broker(&all), ("https://flag.example".into(), Source::Flag));
    let two = resolve(Flags::default(), &variable, file).unwrap();
    assert_eq!(broker(&two), ("https://variable.example".into(), Source::Environment));
    let one = resolve(Flags::default(), &[("AGENTKEYS_BROKER_URL", "")], file).unwrap();
    assert_eq!(broker(&one), ("https://file.example".into(), Source::File));
    let none = resolve(Flags::default(), &[], None).unwrap();
    assert_eq!(broker(&none), (String::new(), Source::Default));
    assert_eq!(none.timeout.value, Duration::from_secs(15));
}

#[test]
fn every_setting_can_be_given_by_its_variable() {
    let settings = resolve(
        Flags::default(),
        &[
            ("AGENTKEYS_BROKER_URL", "http://broker.example"),
            ("AGENTKEYS_IDENTITY", "work"),
            ("AGENTKEYS_CA_FILE", "/ca.pem"),
            ("AGENTKEYS_SESSION_STORE", "file"),
            ("AGENTKEYS_INSECURE_PLAIN_HTTP", "true"),
            ("AGENTKEYS_CONNECT_TIMEOUT", "1s"),
            ("AGENTKEYS_TIMEOUT", "2s"),
        ],
        None,
    )
    .unwrap();
    let shown = serde_json::to_value(&settings).unwrap();
    for setting in table::SETTINGS {
        assert_eq!(shown[setting.name]["source"], "environment", "{}", setting.name);
    }
    assert_eq!(shown.as_object().unwrap().len(), table::SETTINGS.len());
}

#[test]
fn a_misspelt_key_or_value_names_itself() {
    let error = resolve(Flags::default(), &[], Some("broker_uri = \"x\"")).unwrap_err();
    assert!(error.to_string().contains("broker_uri"), "{error}");
    let error = resolve(Flags::default(), &[("AGENTKEYS_TIMEOUT", "soon")], None).unwrap_err();
    assert!(error.to_string().contains("AGENTKEYS_TIMEOUT"), "{error}");
    assert!(resolve(Flags::default(), &[("AGENTKEYS_TIMEOUT", "0s")], None).is_err());
}

#[test]
fn a_token_never_travels_in_the_clear_to_another_machine() {
    for url in ["http://broker.example", "http://10.0.0.1:8090", "http://localhost.example"] {
        assert!(resolve(Flags::default(), &[("AGENTKEYS_BROKER_URL", url)], None).is_err(), "{url}");
    }
    for url in ["http://localhost:8090", "http://127.0.0.1:1", "http://[::1]:1", "https://broker.example"] {
        assert!(resolve(Flags::default(), &[("AGENTKEYS_BROKER_URL", url)], None).is_ok(), "{url}");
    }
}

#[test]
fn one_broker_has_one_spelling() {
    for text in ["https://Broker.Example/", "https://broker.example:443", " https://broker.example "] {
        assert_eq!(text.parse::<BrokerUrl>().unwrap().to_string(), "https://broker.example");
    }
    for text in ["broker.example", "ftp://a", "https://u:p@a", "https://a?x", "https://a#x", ""] {
        assert!(text.parse::<BrokerUrl>().is_err(), "{text}");
    }
    let local: BrokerUrl = BrokerUrl::LOCAL.parse().unwrap();
    assert!(local.is_named_by("127.0.0.1:8090") && local.is_named_by("localhost:8090"));
    assert!(!local.is_named_by("localhost:8091") && !local.is_named_by("evil.example:8090"));
    assert_eq!(local.at("/v1/session").unwrap().as_str(), "http://localhost:8090/v1/session");
}
