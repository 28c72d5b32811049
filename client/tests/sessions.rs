//! Logging in and out, wallets, children, pairing and stored keys, as a person
//! types them.

mod support;

use support::broker::{FakeBroker, Mood};
use support::{Machine, files_below, run};

#[test]
fn a_token_from_the_operator_is_all_that_is_needed() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    let token = broker.issue();

    let login = machine.with_stdin(&["login", "--token-stdin", "--json"], &format!("{token}\n")).done();
    assert_eq!(login.json()["session_id"], broker.session_of(&token).as_str());
    let who = machine.agentkeys(&["whoami", "--json"]).done();
    assert_eq!(who.json()["wallet"], "0xabababababababababababababababababababab");
    assert_eq!(who.json()["broker_url"], broker.url);

    let out = machine.agentkeys(&["logout", "--json"]).done();
    assert_eq!(out.json()["revoked"], true);
    assert!(broker.state().sessions.is_empty());
    machine.agentkeys(&["whoami"]).fails(3);
    assert!(files_below(&machine.path(".agentkeys/secrets")).is_empty());
}

#[test]
fn a_token_is_shown_nowhere_and_kept_in_one_file_that_only_its_owner_reads() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    let token = broker.issue();
    machine.login(&token);
    for arguments in [&["whoami"][..], &["whoami", "--json"], &["config"], &["session", "list"]] {
        let outcome = machine.agentkeys(arguments).done();
        assert!(!format!("{outcome:?}").contains(&token[4..20]), "{arguments:?}");
    }
    let holding: Vec<_> = files_below(&machine.path("."))
        .into_iter()
        .filter(|(_, content)| String::from_utf8_lossy(content).contains(&token))
        .map(|(path, _)| path)
        .collect();
    assert_eq!(holding.len(), 1, "{holding:?}");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&holding[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // There is no argument that takes a token.
    machine.agentkeys(&["login", &token]).fails(2);
    machine.agentkeys(&["login", "--token", &token]).fails(2);
}

#[test]
fn what_is_not_a_token_or_not_accepted_is_not_kept() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    let token = broker.issue();
    machine.with_stdin(&["login", "--token-stdin"], &token[..50]).fails(2);
    machine.with_stdin(&["login", "--token-stdin"], "").fails(2);
    broker.state().sessions.clear();
    let refused = machine.with_stdin(&["login", "--token-stdin"], &token).fails(3);
    assert!(refused.stderr.contains("agentkeys login"), "{refused:?}");
    machine.agentkeys(&["whoami"]).fails(3);
}

#[test]
fn init_makes_a_wallet_proves_it_and_uses_it_again() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    let first = machine.agentkeys(&["init", "--non-interactive", "--json"]).done().json();
    assert_eq!(first["kind"], "master");
    machine.agentkeys(&["logout"]).done();
    let second = machine.agentkeys(&["init", "--non-interactive", "--json"]).done().json();
    assert_eq!(first["wallet"], second["wallet"]);
    assert_ne!(first["session_id"], second["session_id"]);

    // Another broker changes only the URL: the wallet stays.
    let other = FakeBroker::start();
    let third = machine.agentkeys(&["--broker-url", &other.url, "init", "--non-interactive", "--json"]);
    assert_eq!(third.done().json()["wallet"], first["wallet"]);
}

#[test]
fn init_takes_an_invite_from_stdin_where_the_broker_asks_for_one() {
    let broker = FakeBroker::start();
    broker.state().invite = Some("invite-code".into());
    let machine = Machine::new(&broker.url);
    let refused = machine.agentkeys(&["init", "--non-interactive"]).fails(4);
    assert!(refused.stderr.contains("--invite-stdin"), "{refused:?}");
    machine.with_stdin(&["init", "--non-interactive", "--invite-stdin"], "invite-code\n").done();
}

#[test]
fn two_sessions_are_never_chosen_between() {
    let (one, two) = (FakeBroker::start(), FakeBroker::start());
    let mut machine = Machine::new(&one.url);
    machine.login(&one.issue());
    machine.broker_url = two.url.clone();
    machine.login(&two.issue());
    machine.broker_url = String::new();
    let ambiguous = machine.agentkeys(&["whoami"]).fails(7);
    assert!(ambiguous.stderr.contains(&one.url) && ambiguous.stderr.contains(&two.url), "{ambiguous:?}");
    let who = machine.agentkeys(&["--broker-url", &one.url, "whoami", "--json"]).done();
    assert_eq!(who.json()["broker_url"], one.url);

    machine.broker_url = one.url.clone();
    machine.with_stdin(&["--identity", "second", "login", "--token-stdin"], &one.issue()).done();
    machine.agentkeys(&["whoami"]).fails(7);
    machine.agentkeys(&["--identity", "second", "whoami"]).done();
}

#[test]
fn logout_says_so_where_the_broker_could_not_be_told() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    let token = broker.issue();
    machine.login(&token);
    broker.mood(Mood::Gone);
    let outcome = machine.agentkeys(&["logout"]).fails(6);
    assert!(outcome.stderr.contains("could not be told"), "{outcome:?}");
    assert!(outcome.stderr.contains(broker.session_of(&token).as_str()), "{outcome:?}");
    machine.agentkeys(&["whoami"]).fails(3);
}

#[test]
fn a_child_is_made_kept_listed_and_revoked() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    machine.login(&broker.issue());
    let options = ["session", "child", "--service", "openrouter", "--read-only", "--ttl", "15m", "--json"];
    let child = machine.agentkeys(&options).done().json();
    let token = child["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("aks_"));
    assert_eq!(child["scope"]["read_only"], true);
    assert_eq!(broker.state().sessions[&token].scope.services.as_ref().unwrap().len(), 1);

    let saved =
        machine.agentkeys(&["session", "child", "--read-only", "--save-as", "agent", "--json"]).done();
    assert!(saved.json().get("token").is_none());
    let who = machine.agentkeys(&["--identity", "agent", "whoami", "--json"]).done();
    assert_eq!(who.json()["kind"], "child");

    let list = machine.agentkeys(&["--identity", "default", "session", "list", "--json"]).done();
    assert_eq!(list.stdout.lines().count(), 3);
    let id = child["session_id"].as_str().unwrap();
    let revoked = machine.agentkeys(&["--identity", "default", "session", "revoke", id, "--json"]).done();
    assert_eq!(revoked.json()["revoked"], 1);
    machine.agentkeys(&["--identity", "default", "session", "revoke", id]).fails(5);
}

#[test]
fn a_pairing_is_approved_with_what_the_approver_names_and_never_unasked() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    machine.login(&broker.issue());
    let device = Machine::new(&broker.url);
    let daemon = device.daemon(&["--pair", "--pair-service", "openrouter", "--label", "laptop"]);
    let line = daemon.line("pair ");
    let code = line.split_whitespace().nth(1).unwrap().to_owned();

    // Nobody is there to ask, and nothing said yes.
    machine.agentkeys(&["approve", &code]).fails(2);
    let decision = machine.agentkeys(&["approve", &code.to_lowercase(), "--yes", "--read-only", "--json"]);
    assert_eq!(decision.done().json()["approved"], true);
    let ready = daemon.ready();
    assert_eq!(ready.ask().status, 200);
    let kept = device.agentkeys(&["whoami", "--json"]).done().json();
    assert_eq!(kept["scope"]["read_only"], true);
    assert!(kept["scope"].get("services").is_none());
}

#[test]
fn a_denied_device_ends_with_a_code_of_its_own() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    machine.login(&broker.issue());
    let device = Machine::new(&broker.url);
    let daemon = device.daemon(&["--pair"]);
    let line = daemon.line("pair ");
    machine.agentkeys(&["deny", line.split_whitespace().nth(1).unwrap()]).done();
    assert_eq!(daemon.wait(), 4);
}

#[test]
fn a_daemon_paired_beside_a_persons_own_session_does_not_take_it() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    machine.login(&broker.issue());
    let daemon = machine.daemon(&["--pair", "--read-only", "--pair-ttl", "1h"]);
    let line = daemon.line("pair ");
    let code = line.split_whitespace().nth(1).unwrap();
    machine.agentkeys(&["approve", code, "--yes"]).done();
    daemon.ready();
    let own = machine.agentkeys(&["--identity", "default", "whoami", "--json"]).done().json();
    let paired = machine.agentkeys(&["--identity", "daemon", "whoami", "--json"]).done().json();
    assert_eq!((own["kind"].as_str(), paired["kind"].as_str()), (Some("issued"), Some("child")));
    assert_eq!(paired["scope"]["read_only"], true, "what was proposed was approved as it stood");

    // Started again, it has a session and asks nobody.
    assert_eq!(daemon.stop(), 0);
    machine.daemon(&["--pair", "--read-only"]).ready();
}

#[test]
fn keys_are_stored_read_listed_run_with_and_removed() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    machine.login(&broker.issue());
    machine.agentkeys(&["read", "openrouter"]).fails(5);
    machine.with_stdin(&["store", "openrouter"], "sk-or-v1-abc\n").done();
    let read = machine.agentkeys(&["read", "openrouter"]).done();
    assert_eq!(read.stdout, "sk-or-v1-abc", "a pipe gets the value and nothing else");
    assert_eq!(machine.agentkeys(&["list", "--json"]).done().json()["service"], "openrouter");

    let script = "test \"$KEY\" = sk-or-v1-abc && exit 42";
    machine.agentkeys(&["run", "--env", "KEY=openrouter", "--", "sh", "-c", script]).fails(42);
    machine.agentkeys(&["run", "--env", "KEY=absent", "--", "true"]).fails(5);
    machine.agentkeys(&["run", "--env", "KEY=openrouter", "--", "/does/not/exist"]).fails(127);
    // The key is an argument of nothing.
    machine.agentkeys(&["store", "openrouter", "sk-or-v1-abc"]).fails(2);

    machine.agentkeys(&["rm", "openrouter"]).done();
    machine.agentkeys(&["rm", "openrouter"]).fails(5);
}

#[test]
fn settings_are_shown_with_where_they_came_from() {
    let machine = Machine::new("http://localhost:1");
    let rows = machine.agentkeys(&["config", "--json", "--identity", "me"]).done();
    let row = |name: &str| {
        let rows = rows.stdout.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        rows.into_iter().find(|row| row["name"] == name).unwrap()
    };
    assert_eq!(row("broker_url")["source"], "environment");
    assert_eq!(row("identity")["source"], "flag");
    assert_eq!(row("timeout")["source"], "default");

    std::fs::create_dir_all(machine.path(".agentkeys")).unwrap();
    std::fs::write(machine.path(".agentkeys/config.toml"), "brokr_url = 1").unwrap();
    let broken = machine.agentkeys(&["config"]).fails(78);
    assert!(broken.stderr.contains("brokr_url"), "{broken:?}");
}

#[test]
fn completions_and_manual_pages_need_no_settings() {
    let machine = Machine::new("nonsense");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(machine.agentkeys(&["completions", shell]).done().stdout.contains("whoami"), "{shell}");
    }
    assert!(machine.agentkeys(&["man"]).done().stdout.contains(".TH"));
    let pages = machine.path("man");
    machine.agentkeys(&["man", "--directory", pages.to_str().unwrap()]).done();
    for page in ["agentkeys.1", "agentkeys-aws-configure.1", "agentkeys-daemon.1"] {
        assert!(pages.join(page).exists(), "{page}");
    }
    let help = machine.agentkeys(&["--help"]).done().stdout;
    assert!(help.contains("Exit codes:") && help.contains("78"), "{help}");
}

#[test]
fn without_a_keychain_a_file_is_used_and_that_is_said() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    let mut command = machine.command(env!("CARGO_BIN_EXE_agentkeys"), &["login", "--token-stdin"]);
    // There is no session bus here, so there is no keychain.
    command.env_remove("AGENTKEYS_SESSION_STORE").env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");
    let said = run(command, &broker.issue()).done();
    assert!(said.stderr.contains("keychain"), "{said:?}");
    let quiet = machine.agentkeys(&["whoami"]).done();
    assert!(!quiet.stderr.contains("keychain"), "{quiet:?}");

    let mut command = machine.command(env!("CARGO_BIN_EXE_agentkeys"), &["login", "--token-stdin"]);
    command
        .env("AGENTKEYS_SESSION_STORE", "keychain")
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent");
    run(command, &broker.issue()).fails(8);
}
