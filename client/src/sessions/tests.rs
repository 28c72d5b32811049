use super::*;
use crate::settings::Flags;

fn settings(home: &Path, variables: &[(&str, &str)]) -> Settings {
    Settings::resolve(&Flags { home: Some(home.to_owned()), ..Flags::default() }, &|name| {
        let given = variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        given.or_else(|| (name == "AGENTKEYS_SESSION_STORE").then(|| "file".to_owned()))
    })
    .unwrap()
}

fn record(broker: &str, identity: &str) -> SessionRecord {
    SessionRecord {
        broker_url: broker.parse().unwrap(),
        identity: identity.parse().unwrap(),
        session_id: SessionId::generate(),
        wallet: Wallet::from_bytes([7; 20]),
        kind: SessionKind::Issued,
        expires_at: Timestamp::now().plus(3600),
        kept_in: Keeper::File,
    }
}

#[test]
fn a_session_is_kept_replaced_and_forgotten_and_the_list_holds_no_token() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(temp.path(), &[]));
    let (first, second) = (BearerToken::generate().unwrap(), BearerToken::generate().unwrap());
    store.keep(record("https://a.example", "work"), &first).unwrap();
    store.keep(record("https://a.example", "work"), &second).unwrap();

    let sessions = store.sessions().unwrap();
    assert_eq!(sessions.len(), 1);
    assert_eq!(store.token(&sessions[0]).unwrap().expose(), second.expose());
    let list = std::fs::read_to_string(store.list_path()).unwrap();
    assert!(!list.contains("aks_"));

    store.forget(&sessions[0]).unwrap();
    assert!(store.sessions().unwrap().is_empty());
    assert_eq!(std::fs::read_dir(temp.path().join("secrets")).unwrap().count(), 0);
}

#[test]
fn something_that_is_not_a_token_is_no_session() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(temp.path(), &[]));
    let token = BearerToken::generate().unwrap();
    store.keep(record("https://a.example", "work"), &token).unwrap();
    let kept = store.sessions().unwrap().remove(0);
    let path = std::fs::read_dir(temp.path().join("secrets")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&path, "pending").unwrap();
    assert!(matches!(store.token(&kept), Err(StoreError::Missing(..))));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(store.token(&kept), Err(StoreError::Missing(..))));
}

#[test]
fn two_that_fit_are_listed_and_never_chosen_between() {
    let temp = tempfile::tempdir().unwrap();
    let all = settings(temp.path(), &[]);
    let store = Store::open(&all);
    let token = BearerToken::generate().unwrap();
    assert!(matches!(choose(&store, &all), Err(SelectError::None(_))));
    assert_eq!(target(&store, &all).unwrap().broker_url.to_string(), BrokerUrl::LOCAL);

    store.keep(record("https://a.example", "work"), &token).unwrap();
    assert_eq!(choose(&store, &all).unwrap().identity.as_str(), "work");
    assert_eq!(target(&store, &all).unwrap().identity.as_str(), "work");

    store.keep(record("https://a.example", "home"), &token).unwrap();
    store.keep(record("https://b.example", "work"), &token).unwrap();
    let error = choose(&store, &all).unwrap_err();
    assert!(matches!(&error, SelectError::Ambiguous(found) if found.len() == 3));
    for part in ["https://a.example --identity home", "https://b.example --identity work"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    assert!(matches!(target(&store, &all), Err(SelectError::Ambiguous(_))));
    let named = settings(
        temp.path(),
        &[("AGENTKEYS_BROKER_URL", "https://a.example"), ("AGENTKEYS_IDENTITY", "home")],
    );
    assert_eq!(choose(&store, &named).unwrap().identity.as_str(), "home");
}

#[test]
fn logins_at_the_same_time_are_all_kept() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(&settings(temp.path(), &[]));
    std::thread::scope(|scope| {
        for i in 0..8 {
            let store = &store;
            scope.spawn(move || {
                store.keep(record("https://a.example", &format!("i{i}")), &BearerToken::generate().unwrap())
            });
        }
    });
    assert_eq!(store.sessions().unwrap().len(), 8);
}
