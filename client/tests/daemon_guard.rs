//! Who gets no answer from the daemon: spoken over raw TCP, since a client
//! library would tidy the request up.

mod support;

use support::broker::FakeBroker;
use support::{Answer, Daemon, Machine, Ready, raw};

struct Served {
    _broker: FakeBroker,
    _machine: Machine,
    _daemon: Daemon,
    ready: Ready,
}

fn served(arguments: &[&str]) -> Served {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    machine.login(&broker.issue());
    let daemon = machine.daemon(arguments);
    let ready = daemon.ready();
    Served { _broker: broker, _machine: machine, _daemon: daemon, ready }
}

#[track_caller]
fn refused(answer: &Answer, status: u16, what: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    for secret in ["ASIA", "secret-key", "session-token"] {
        assert!(!answer.body.contains(secret), "{what}: {answer:?}");
    }
}

#[test]
fn a_host_that_is_not_its_own_address_is_refused() {
    let served = served(&[]);
    let (address, token) = (&served.ready.address, &served.ready.token);
    let port = address.rsplit(':').next().unwrap();
    for host in [
        "attacker.example",
        &format!("attacker.example:{port}"),
        &format!("localhost:{port}"),
        "127.0.0.1",
        &format!("127.0.0.1:{port}.attacker.example"),
        &format!("127.0.0.2:{port}"),
        &format!("0x7f.1:{port}"),
        "",
    ] {
        let request = format!(
            "GET /credentials HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"
        );
        refused(&raw(address, &request), 403, host);
    }
}

#[test]
fn no_host_two_hosts_or_another_target_are_refused() {
    let served = served(&[]);
    let (address, token) = (&served.ready.address, &served.ready.token);
    let tail = format!("Authorization: {token}\r\nConnection: close\r\n\r\n");
    for request in [
        format!("GET /credentials HTTP/1.1\r\n{tail}"),
        format!("GET /credentials HTTP/1.0\r\n{tail}"),
        format!("GET /credentials HTTP/1.1\r\nHost: {address}\r\nHost: attacker.example\r\n{tail}"),
        format!("GET http://attacker.example/credentials HTTP/1.1\r\nHost: {address}\r\n{tail}"),
    ] {
        refused(&raw(address, &request), 403, &request);
    }
}

#[test]
fn what_a_browser_or_a_proxy_adds_is_refused_even_with_the_right_token() {
    let served = served(&[]);
    let (address, token) = (&served.ready.address, &served.ready.token);
    for header in [
        "Origin: http://attacker.example",
        "Origin: null",
        &format!("Origin: http://{address}"),
        "X-Forwarded-For: 127.0.0.1",
        "x-forwarded-for:",
        "Forwarded: for=127.0.0.1",
        "X-Real-IP: 127.0.0.1",
        "Via: 1.1 proxy",
        "Sec-Fetch-Site: cross-site",
    ] {
        let request = format!(
            "GET /credentials HTTP/1.1\r\nHost: {address}\r\nAuthorization: {token}\r\n{header}\r\n\
             Connection: close\r\n\r\n"
        );
        refused(&raw(address, &request), 403, header);
    }
}

#[test]
fn a_wrong_absent_or_second_token_is_refused() {
    let served = served(&[]);
    let (address, token) = (&served.ready.address, &served.ready.token);
    let longer = format!("{token}0");
    let other = token.chars().rev().collect::<String>();
    for given in [
        String::new(),
        "Authorization: \r\n".to_owned(),
        format!("Authorization: {other}\r\n"),
        format!("Authorization: {}\r\n", &token[1..]),
        format!("Authorization: {longer}\r\n"),
        format!("Authorization: Bearer {token}\r\n"),
        format!("Authorization: {other}\r\nAuthorization: {token}\r\n"),
        format!("X-Authorization: {token}\r\n"),
    ] {
        let request =
            format!("GET /credentials HTTP/1.1\r\nHost: {address}\r\n{given}Connection: close\r\n\r\n");
        refused(&raw(address, &request), 401, &given);
    }
    let post = format!(
        "POST /credentials HTTP/1.1\r\nHost: {address}\r\nAuthorization: {token}\r\nConnection: close\r\n\
         Content-Length: 0\r\n\r\n"
    );
    refused(&raw(address, &post), 405, "POST");
}

#[test]
fn health_needs_no_token_and_shows_none() {
    let served = served(&[]);
    let address = &served.ready.address;
    let health =
        raw(address, &format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"));
    refused(&health, 200, "healthz");
    assert_eq!(health.json()["status"], "ok");
    assert!(!health.body.contains(&served.ready.token));
}

#[test]
fn a_client_that_never_ends_its_head_is_cut_off_and_hinders_nobody() {
    let served = served(&[]);
    use std::io::Write;
    let silent: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(&served.ready.address).unwrap();
            stream.write_all(b"GET /credentials HTTP/1.1\r\nHost:").unwrap();
            stream
        })
        .collect();
    assert_eq!(served.ready.ask().status, 200);
    for mut stream in silent {
        use std::io::Read;
        stream.set_read_timeout(Some(std::time::Duration::from_secs(15))).unwrap();
        let mut rest = Vec::new();
        // Closed by the other side, with or without an answer; not by our own timeout.
        let ended = stream.read_to_end(&mut rest);
        assert!(!matches!(&ended, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock), "{ended:?}");
    }
}

#[test]
fn metadata_is_version_two_alone() {
    let served = served(&["--imds", "127.0.0.1:0"]);
    let imds = served.ready.imds.as_deref().unwrap();
    let ask = |request: &str, headers: &str| {
        raw(imds, &format!("{request} HTTP/1.1\r\nHost: {imds}\r\n{headers}Connection: close\r\n\r\n"))
    };
    let role_path = "GET /latest/meta-data/iam/security-credentials/agentkeys";
    refused(&ask(role_path, ""), 401, "version 1");
    refused(&ask(role_path, "X-aws-ec2-metadata-token: 00\r\n"), 401, "a made-up token");
    let put = "PUT /latest/api/token";
    refused(&ask(put, ""), 400, "no life");
    for seconds in ["0", "21601", "-1", "x"] {
        refused(&ask(put, &format!("X-aws-ec2-metadata-token-ttl-seconds: {seconds}\r\n")), 400, seconds);
    }
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    refused(&ask(put, &format!("{ttl}X-Forwarded-For: 10.0.0.1\r\n")), 403, "through a proxy");
    refused(
        &raw(imds, &format!("{put} HTTP/1.1\r\nHost: attacker.example\r\n{ttl}Connection: close\r\n\r\n")),
        403,
        "rebinding",
    );

    let token = ask(put, ttl);
    assert_eq!(token.status, 200, "{token:?}");
    let with = format!("X-aws-ec2-metadata-token: {}\r\n", token.body);
    let role = ask("GET /latest/meta-data/iam/security-credentials/", &with);
    assert_eq!((role.status, role.body.as_str()), (200, "agentkeys"));
    let credentials = ask(role_path, &with);
    assert_eq!(credentials.status, 200, "{credentials:?}");
    let body = credentials.json();
    assert_eq!(body["Code"], "Success");
    assert_eq!(body["Type"], "AWS-HMAC");
    assert_eq!(body["AccessKeyId"], "ASIAMINT0001");
    for time in ["Expiration", "LastUpdated"] {
        let text = body[time].as_str().unwrap();
        assert!(text.len() == 20 && text.ends_with('Z'), "{text}");
    }
    assert_eq!(ask("GET /latest/meta-data/placement/region", &with).body, "eu-central-1");
    assert_eq!(ask("GET /latest/meta-data/ami-id", &with).status, 404);

    let mut forged = token.body.clone().into_bytes();
    forged[3] = b'f';
    let forged = format!("X-aws-ec2-metadata-token: {}\r\n", String::from_utf8(forged).unwrap());
    refused(&ask(role_path, &forged), 401, "a token with a later end");
}
