//! The daemon's life: fresh credentials, one mint for many askers, a broker that
//! comes and goes, sessions that are replaced and revoked.

#![allow(clippy::unwrap_used, reason = "a test's own machinery fails loudly")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use agentkeys_core::Wallet;
use agentkeys_core::problem::Code;
use support::broker::{FakeBroker, Mood};
use support::{Machine, Ready, eventually};

fn logged_in() -> (FakeBroker, Machine) {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    machine.login(&broker.issue());
    (broker, machine)
}

/// An answer is a usable credential with 200, or no credential at all.
#[track_caller]
fn never_200_with_less(ready: &Ready) -> u16 {
    let answer = ready.ask();
    if answer.status != 200 {
        assert!(!answer.body.contains("ASIA") && !answer.body.contains("secret-key"), "{answer:?}");
        return answer.status;
    }
    let body = answer.json();
    for field in ["AccessKeyId", "SecretAccessKey", "Token"] {
        assert!(!body[field].as_str().unwrap().is_empty(), "{answer:?}");
    }
    let end = agentkeys_core::Timestamp::parse(body["Expiration"].as_str().unwrap()).unwrap();
    assert!(end > agentkeys_core::Timestamp::now(), "{answer:?}");
    200
}

#[test]
fn an_sdk_gets_what_it_reads_with_the_token_of_the_token_file() {
    let (_broker, machine) = logged_in();
    let daemon = machine.daemon(&[]);
    let ready = daemon.ready();
    let metadata = std::fs::metadata(&ready.token_file).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    assert!(ready.token.len() >= 32 && !ready.token.ends_with('\n'));

    let answer = ready.ask();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.to_lowercase().contains("cache-control: no-store"), "{answer:?}");
    let body = answer.json();
    assert_eq!(body["AccessKeyId"], "ASIAMINT0001");
    assert_eq!(body["Token"], "session-token-1");
    assert!(body.get("SessionToken").is_none());

    let (token_file, socket) = (ready.token_file.clone(), ready.socket.clone().unwrap());
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(daemon.stop(), 0);
    assert!(!token_file.exists() && !socket.exists());
}

#[test]
fn the_session_token_is_in_no_argument_variable_or_log_of_the_daemon() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    let token = broker.issue();
    machine.login(&token);
    let mut command = machine.command(env!("CARGO_BIN_EXE_agentkeys-daemon"), &["--listen", "127.0.0.1:0"]);
    command.env("AGENTKEYS_LOG", "trace");
    let daemon = support::Daemon::from_command(command);
    let ready = daemon.ready();
    assert_eq!(ready.ask().status, 200);
    for file in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{}/{file}", daemon.id())).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains(&token[4..20]), "{file}");
    }
    let log = daemon.log();
    assert!(log.contains("minted"), "{log}");
    for secret in [&token[4..20], "secret-key-1", "session-token-1", &ready.token] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn many_askers_are_one_mint() {
    let (broker, machine) = logged_in();
    let daemon = machine.daemon(&[]);
    let ready = daemon.ready();
    // What was held is dropped, so that all of them find nothing and must wait.
    broker.mood(Mood::Slow(Duration::from_millis(700)));
    machine.login(&broker.issue_for(Wallet::from_bytes([1; 20])));
    eventually("the new session is taken up", || daemon.log().matches("session taken up").count() == 2);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(ready.ask().status, 200));
        }
    });
    assert_eq!(broker.state().mints, 2);
}

#[test]
fn it_waits_for_a_broker_that_is_not_there_yet() {
    let (broker, machine) = logged_in();
    broker.mood(Mood::Gone);
    let daemon = machine.daemon(&["--json"]);
    eventually("it says why", || daemon.log().contains("no new credential"));
    broker.mood(Mood::Fine);
    let line = daemon.line("ready ");
    let ready: serde_json::Value = serde_json::from_str(&line["ready ".len()..]).unwrap();
    assert!(ready["container"].as_str().unwrap().starts_with("http://127.0.0.1:"));
}

#[test]
fn what_is_valid_is_served_while_the_broker_is_away_and_not_a_moment_longer() {
    let (broker, machine) = logged_in();
    broker.state().life = 12;
    let daemon = machine.daemon(&[]);
    let ready = daemon.ready();
    broker.mood(Mood::Gone);
    assert_eq!(never_200_with_less(&ready), 200);
    eventually("it has tried in vain", || daemon.log().contains("no new credential"));
    assert_eq!(never_200_with_less(&ready), 200, "still valid");
    eventually("it has ended", || never_200_with_less(&ready) == 503);
    let health = support::raw(
        &ready.address,
        &format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", ready.address),
    );
    assert_eq!(health.status, 503, "{health:?}");
    assert_eq!(health.json()["trouble"], "broker_unavailable");
    broker.mood(Mood::Fine);
    eventually("it serves again", || never_200_with_less(&ready) == 200);
}

#[test]
fn an_sdk_that_asks_brings_the_next_attempt_forward() {
    let (broker, machine) = logged_in();
    let daemon = machine.daemon(&[]);
    let ready = daemon.ready();
    // Another wallet, whose first mint never succeeds, so that nothing is held.
    broker.state().refuse_mints = true;
    machine.login(&broker.issue_for(Wallet::from_bytes([1; 20])));
    eventually("it waits for long", || daemon.log().contains("failures=4"));
    broker.state().refuse_mints = false;
    assert_eq!(never_200_with_less(&ready), 200);
}

#[test]
fn a_credential_is_replaced_ahead_of_its_end() {
    let (broker, machine) = logged_in();
    broker.state().life = 14;
    let ready = machine.daemon(&[]);
    let daemon = ready;
    let ready = daemon.ready();
    eventually("a second mint", || {
        assert_eq!(never_200_with_less(&ready), 200);
        broker.state().mints >= 2
    });
    eventually("the second is served", || ready.ask().json()["AccessKeyId"] != "ASIAMINT0001");
}

#[test]
fn empty_ended_slow_or_strange_answers_of_the_broker_are_never_a_200() {
    for mood in [
        Mood::EmptyCredentials,
        Mood::EndedCredentials,
        Mood::Strange(200, "{}"),
        Mood::Strange(200, "<html>"),
        Mood::Troubled(Code::AuditUnavailable, 10_000, None),
        Mood::Slow(Duration::from_secs(60)),
    ] {
        let (broker, machine) = logged_in();
        let daemon = machine.daemon(&[]);
        let ready = daemon.ready();
        // The first wallet's credential is let go of when the second logs in, and
        // the second never gets one.
        broker.state().refuse_mints = true;
        machine.login(&broker.issue_for(Wallet::from_bytes([1; 20])));
        eventually("the first is let go of", || never_200_with_less(&ready) != 200);
        broker.state().refuse_mints = false;
        broker.mood(mood.clone());
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            assert_ne!(never_200_with_less(&ready), 200, "{mood:?}");
        }
    }
}

#[test]
fn a_revoked_session_is_noticed_before_the_credential_ends() {
    let (broker, machine) = logged_in();
    let daemon = machine.daemon(&[]);
    let ready = daemon.ready();
    broker.state().sessions.clear();
    eventually("it refuses", || never_200_with_less(&ready) == 403);
    let answer = ready.ask();
    assert_eq!(answer.json()["code"], "session_refused");
    assert!(answer.body.contains("agentkeys login"), "{answer:?}");

    // A new login is taken up without a restart.
    machine.login(&broker.issue());
    eventually("it serves again", || never_200_with_less(&ready) == 200);
}

#[test]
fn another_token_is_used_from_then_on_and_another_wallet_is_never_mixed_up() {
    let (broker, machine) = logged_in();
    let daemon = machine.daemon(&[]);
    let ready = daemon.ready();
    let next = broker.issue_for(Wallet::from_bytes([1; 20]));
    machine.login(&next);
    let session = broker.session_of(&next);
    eventually("the new session mints", || {
        broker
            .state()
            .asked
            .iter()
            .any(|(what, by)| what == "POST /v1/mint-aws-creds" && by.as_ref() == Some(&session))
    });
    eventually("its credential is served", || ready.ask().body.contains("ASIAMINT0002"));
}

#[test]
fn after_a_logout_nothing_is_served() {
    let (_broker, machine) = logged_in();
    let daemon = machine.daemon(&[]);
    let ready = daemon.ready();
    machine.agentkeys(&["logout"]).done();
    eventually("it refuses", || never_200_with_less(&ready) == 403);
}

#[test]
fn the_command_line_takes_the_daemons_credential_and_only_its_own() {
    let (broker, machine) = logged_in();
    let daemon = machine.daemon(&[]);
    daemon.ready();
    for _ in 0..3 {
        let printed = machine.agentkeys(&["aws", "credentials"]).done().json();
        assert_eq!(printed["AccessKeyId"], "ASIAMINT0001");
    }
    assert_eq!(broker.state().mints, 1);
    // Another request, or another session, is minted for itself.
    machine.agentkeys(&["aws", "credentials", "--read-only"]).done();
    machine.agentkeys(&["aws", "credentials", "--duration", "15m"]).done();
    assert_eq!(broker.state().mints, 3);
    machine.with_stdin(&["--identity", "other", "login", "--token-stdin"], &broker.issue()).done();
    machine.agentkeys(&["--identity", "other", "aws", "credentials"]).done();
    assert_eq!(broker.state().mints, 4);
}

#[test]
fn a_second_daemon_for_the_same_session_says_so() {
    let (_broker, machine) = logged_in();
    let daemon = machine.daemon(&[]);
    daemon.ready();
    let second = machine.daemon(&[]);
    let log = second.stderr.clone();
    eventually("it ends", || std::fs::read_to_string(&log).unwrap().contains("another agentkeys-daemon"));
    assert_eq!(second.wait(), 1);
    let still = machine.agentkeys(&["aws", "credentials"]).done().json();
    assert_eq!(still["AccessKeyId"], "ASIAMINT0001");
}

#[test]
fn no_session_or_an_address_of_the_network_ends_it_at_once() {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    assert_eq!(machine.daemon(&[]).wait(), 3);
    for arguments in [["--imds", "0.0.0.0:0"], ["--imds", "169.254.169.254:80"]] {
        assert_eq!(machine.daemon(&arguments).wait(), 2);
    }
}
