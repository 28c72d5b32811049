//! A broker that is away, slow, troubled or something else.

mod support;

use std::time::{Duration, Instant};

use agentkeys_core::problem::Code;
use support::Machine;
use support::broker::{FakeBroker, Mood};

fn logged_in() -> (FakeBroker, Machine) {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    machine.login(&broker.issue());
    broker.state().asked.clear();
    (broker, machine)
}

#[test]
fn a_broker_that_is_away_is_named_with_what_to_do() {
    let (broker, machine) = logged_in();
    broker.mood(Mood::Gone);
    let outcome = machine.agentkeys(&["whoami"]).fails(6);
    assert!(outcome.stderr.contains(&broker.url) && outcome.stderr.contains('→'), "{outcome:?}");

    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = format!("http://127.0.0.1:{port}");
    Machine::new(&nobody).with_stdin(&["login", "--token-stdin"], &broker.issue()).fails(6);
}

#[test]
fn a_slow_broker_is_waited_for_no_longer_than_the_setting() {
    let (broker, machine) = logged_in();
    broker.mood(Mood::Slow(Duration::from_secs(30)));
    std::fs::write(machine.path(".agentkeys/config.toml"), "timeout = \"700ms\"").unwrap();
    let began = Instant::now();
    let outcome = machine.agentkeys(&["whoami"]).fails(6);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(outcome.stderr.contains("in time"), "{outcome:?}");
}

#[test]
fn a_retryable_problem_is_tried_again_after_the_time_the_broker_names() {
    let (broker, machine) = logged_in();
    broker.mood(Mood::Troubled(Code::StsUnavailable, 1, Some(1)));
    let began = Instant::now();
    machine.agentkeys(&["aws", "credentials"]).done();
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert_eq!(broker.count("POST /v1/mint-aws-creds"), 2);
}

#[test]
fn it_is_tried_no_more_than_three_times_and_not_past_the_time_there_is() {
    let (broker, machine) = logged_in();
    broker.mood(Mood::Troubled(Code::AuditUnavailable, 100, None));
    machine.agentkeys(&["aws", "credentials"]).fails(6);
    assert_eq!(broker.count("POST /v1/mint-aws-creds"), 3);

    broker.mood(Mood::Troubled(Code::RateLimited, 100, Some(3600)));
    let began = Instant::now();
    let outcome = machine.agentkeys(&["aws", "credentials"]).fails(6);
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(outcome.stderr.contains("3600 s"), "{outcome:?}");
    assert_eq!(broker.count("POST /v1/mint-aws-creds"), 4);
}

#[test]
fn a_problem_that_a_retry_cannot_help_is_asked_once() {
    for (code, exit) in [
        (Code::NoGrant, 4),
        (Code::InsufficientScope, 4),
        (Code::InvalidToken, 3),
        (Code::StsRefused, 1),
        (Code::Internal, 1),
    ] {
        let (broker, machine) = logged_in();
        broker.mood(Mood::Troubled(code, 100, Some(1)));
        let outcome = machine.agentkeys(&["--json", "aws", "credentials"]).fails(exit);
        assert_eq!(broker.count("POST /v1/mint-aws-creds"), 1, "{code:?}");
        let error: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
        assert_eq!(error["error"]["code"], code.as_str());
        assert!(outcome.stdout.is_empty(), "{outcome:?}");
    }
}

#[test]
fn something_that_is_no_broker_is_said_to_be_none() {
    for mood in [
        Mood::Strange(200, "<html>Welcome</html>"),
        Mood::Strange(503, "<html>Bad gateway</html>"),
        Mood::Strange(200, "{}"),
        Mood::Strange(200, ""),
    ] {
        let (broker, machine) = logged_in();
        broker.mood(mood.clone());
        let outcome = machine.agentkeys(&["aws", "credentials"]).fails(1);
        assert!(outcome.stderr.contains("broker"), "{outcome:?}");
        assert!(outcome.stdout.is_empty());
        assert_eq!(broker.count("POST /v1/mint-aws-creds"), 1, "{mood:?}");
    }
}

#[test]
fn a_credential_that_is_empty_or_has_ended_is_never_printed() {
    for mood in [Mood::EmptyCredentials, Mood::EndedCredentials] {
        let (broker, machine) = logged_in();
        broker.mood(mood);
        for arguments in [&["aws", "credentials"][..], &["aws", "console-env"], &["aws", "exec", "--", "env"]]
        {
            let outcome = machine.agentkeys(arguments).fails(1);
            assert!(!outcome.stdout.contains("ASIA"), "{outcome:?}");
        }
    }
}

#[test]
fn a_redirect_takes_the_token_nowhere() {
    let (broker, machine) = logged_in();
    let thief = FakeBroker::start();
    broker.mood(Mood::Redirect(format!("{}/v1/session", thief.url)));
    machine.agentkeys(&["whoami"]).fails(1);
    assert!(thief.state().asked.is_empty());
}

#[test]
fn a_local_broker_is_not_asked_through_a_proxy() {
    let (broker, machine) = logged_in();
    let proxy = FakeBroker::start();
    let mut command = machine.command(env!("CARGO_BIN_EXE_agentkeys"), &["whoami"]);
    command.env("http_proxy", &proxy.url).env("HTTP_PROXY", &proxy.url).env("ALL_PROXY", &proxy.url);
    support::run(command, "").done();
    assert!(proxy.state().asked.is_empty());
    assert_eq!(broker.count("GET /v1/session"), 1);
}
