//! What an operator is told: the place, the key and the fix.

use super::{load, said};

#[test]
fn each_mistake_is_named_with_its_place_and_its_fix() {
    for (text, message) in [
        ("aws:\n  regoin: us-east-1\n", "broker.yaml:2:3: aws.regoin: unknown key; did you mean 'region'?"),
        ("region: us-east-1\n", "broker.yaml:1:1: region: unknown key; did you mean 'aws.region'?"),
        ("dataDir: /x\n", "broker.yaml:1:1: dataDir: unknown key; did you mean 'data_dir'?"),
        (
            "metrics: { colour: red }\n",
            "broker.yaml:1:12: metrics.colour: unknown key; known here are address",
        ),
        (
            "limits:\n  per_source: fast\n",
            "broker.yaml:2:15: limits.per_source: write a quota such as 50/s, 10/min or 600/h, with 'burst 200' \
             after it where wanted",
        ),
        (
            "limits:\n  sts_in_flight: many\n",
            "broker.yaml:2:18: limits.sts_in_flight: is a text; write a whole number between 1 and 10000",
        ),
        (
            "limits: { sts_in_flight: 0 }\n",
            "broker.yaml:1:26: limits.sts_in_flight: must be a whole number between 1 and 10000",
        ),
        (
            "limits: { head_bytes: 16KB }\n",
            "broker.yaml:1:23: limits.head_bytes: must be a number of bytes between 1024 and 1048576, such as \
             65536, 64KiB or 1MiB",
        ),
        (
            "limits: { deadlines: { head: 10 } }\n",
            "broker.yaml:1:30: limits.deadlines.head: has no unit; write a whole number and a unit, such as 90s, \
             10m, 12h or 30d",
        ),
        (
            "sessions: { master_ttl: 2000d }\n",
            "broker.yaml:1:25: sessions.master_ttl: must lie between 1m and 365d",
        ),
        (
            "aws: { exchange: asume_role }\n",
            "broker.yaml:1:18: aws.exchange: must be one of auto, web_identity, assume_role; did you mean \
             'assume_role'?",
        ),
        (
            "log: { format: true }\n",
            "broker.yaml:1:16: log.format: is true or false; write one of auto, json, human (in quotes, where it \
             looks like one)",
        ),
        (
            "log: { level: loud }\n",
            "broker.yaml:1:15: log.level: is no log level; write error, warn, info, debug, trace or off, also per \
             target: info,agentkeys_broker_server=debug",
        ),
        (
            "insecure: { plain_http: 1 }\n",
            "broker.yaml:1:25: insecure.plain_http: is a whole number; write true or false",
        ),
        (
            "issuer: null\n",
            "broker.yaml:1:9: issuer: is null; write a URL such as https://host, or remove the line for the default",
        ),
        (
            "issuer: http://localhost:8090/\n",
            "broker.yaml:1:9: issuer: an issuer has no trailing slash: AWS compares it byte by byte",
        ),
        (
            "issuer: http://broker.example.dev\nsessions: { enrolment: closed }\n",
            "broker.yaml:1:9: issuer: an http issuer is accepted on localhost and loopback addresses only; use https",
        ),
        (
            "issuer: https://broker.example.dev\n",
            "broker.yaml:1:9: sessions.enrolment: loopback is for a broker on your own machine: behind a proxy every caller comes \
             from loopback; write invite or closed",
        ),
        (
            "listeners:\n  - address: 0.0.0.0:8090\n",
            "broker.yaml:2:14: listeners[0].address: plain http is refused on an address that is not loopback; add \
             tls:, listen on 127.0.0.1, or set insecure.plain_http: true behind a proxy that speaks TLS",
        ),
        (
            "listeners:\n  - address: 127.0.0.1:8090\n  - address: 127.0.0.1:8090\n",
            "broker.yaml:3:14: listeners[1].address: takes the same address as listeners[0]; remove one of the two",
        ),
        (
            "listeners:\n  - address: localhost:8090\n",
            "broker.yaml:2:14: listeners[0].address: is no address; write an IP address and a port, such as \
             127.0.0.1:8090 or [::1]:8090",
        ),
        ("listeners:\n  - tls: development\n", "broker.yaml:2:5: listeners[0].address: is missing; write it"),
        ("listeners: []\n", "broker.yaml:1:12: listeners: is empty; write at least one address"),
        (
            "listeners: 127.0.0.1:8090\n",
            "broker.yaml:1:12: listeners: holds a text; write a list: begin each item with '- '",
        ),
        (
            "listeners:\n  - address: 127.0.0.1:8443\n    tls: { certificate: tls.crt }\n",
            "broker.yaml:3:25: listeners[0].tls: needs both certificate and private_key",
        ),
        (
            "listeners:\n  - address: 127.0.0.1:8443\n    tls: developement\n",
            "broker.yaml:3:10: listeners[0].tls: must be one of development; did you mean 'development'?",
        ),
        (
            "metrics: { address: 0.0.0.0:9464 }\n",
            "broker.yaml:1:21: metrics.address: must be loopback; to let others read the metrics set \
             insecure.remote_metrics: true",
        ),
        (
            "metrics: { address: 127.0.0.1:8090 }\n",
            "broker.yaml:1:21: metrics.address: is also a listener's address; choose another port",
        ),
        (
            "grants: { default_role: agnet }\n",
            "broker.yaml:1:25: grants.default_role: no such role under roles; did you mean 'agent'?",
        ),
        (
            "roles: { reader: {} }\n",
            "broker.yaml:1:8: grants.default_role: no such role under roles; write one of reader, or null",
        ),
        (
            "roles:\n  Agent: {}\ngrants: { default_role: null }\n",
            "broker.yaml:2:3: roles: a role alias is 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter \
             or digit",
        ),
        (
            "roles:\n  agent: { max_duration_seconds: 60 }\n",
            "broker.yaml:2:34: roles.agent.max_duration_seconds: must be a whole number between 900 and 43200",
        ),
        (
            "roles:\n  agent: { arn: agentkeys-agent }\n",
            "broker.yaml:2:17: roles.agent.arn: a role's ARN reads arn:aws:iam::123456789012:role/name; or write auto",
        ),
        (
            "roles:\n  agent: { session_policy: absent.json }\n",
            "broker.yaml:2:28: roles.agent.session_policy: cannot be read at DIR/absent.json: No such file or \
             directory (os error 2)",
        ),
        (
            "environment: { prefix: 'bots/${wallet}' }\n",
            "broker.yaml:1:24: environment.prefix: a prefix ends in '/': without it one wallet's prefix could begin another's",
        ),
        (
            "signing_key: { source: kms, key_id: alias/k }\n",
            "broker.yaml:1:24: signing_key.source: kms is not built yet; use source: file",
        ),
        (
            "signing_key: { rotation: 12h }\n",
            "broker.yaml:1:26: signing_key.publish_before: must be shorter than signing_key.rotation",
        ),
        (
            "signing_key: { publish_before: 1m }\n",
            "broker.yaml:1:32: signing_key.publish_before: must lie between 5m and 3650d",
        ),
        (
            "aws: { exchange: web_identity }\n",
            "broker.yaml:1:18: aws.exchange: web_identity needs an https issuer that AWS can reach; write auto or \
             assume_role",
        ),
        (
            "aws: { timeouts: { connect: 6s } }\n",
            "broker.yaml:1:29: aws.timeouts.connect: must not be longer than aws.timeouts.attempt",
        ),
        (
            "aws: { sts_endpoint: 'http://sts.example.dev' }\n",
            "broker.yaml:1:22: aws.sts_endpoint: plain http is accepted only for localhost; write https://",
        ),
        (
            "limits: { trusted_proxies: [0.0.0.0/0] }\n",
            "broker.yaml:1:28: limits.trusted_proxies: trusts every address there is, so anybody could name a \
             source; name your proxies",
        ),
        (
            "limits: { connections: { total: 10 } }\n",
            "broker.yaml:1:33: limits.connections.per_source: must not be more than limits.connections.total",
        ),
        (
            "filters: []\n",
            "broker.yaml:1:10: filters: is empty: mints would be neither authenticated nor audited",
        ),
        (
            "filters:\n  - grant: { x: 1 }\n",
            "broker.yaml:2:5: filters[0]: the filter 'grant' takes no settings here; its quotas stand under limits:",
        ),
        (
            "issuer: http://localhost\nissuer: http://localhost\n",
            "broker.yaml:2:1: issuer: stands here twice; keep one of the two",
        ),
        (
            "aws: 5\n",
            "broker.yaml:1:6: aws: holds a whole number; write a mapping with the keys region, exchange, \
          sts_endpoint, daemon_key, source_identity, timeouts",
        ),
        ("aws:\n  1: x\n", "broker.yaml:2:3: aws: a key here is a whole number; keys are texts"),
        (
            "- issuer\n",
            "broker.yaml:1:1: the file holds a list; it must be a mapping of keys such as 'issuer:'",
        ),
    ] {
        assert_eq!(said(text), [message], "{text}");
    }
}

#[test]
fn a_session_policy_that_keeps_no_wallets_apart_is_an_error_at_start() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("policy.json");
    let text = format!("roles:\n  agent: {{ session_policy: '{}' }}\n", path.display());
    for policy in ["{", "[]", "{}", r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow"}]}"#] {
        std::fs::write(&path, policy).unwrap();
        let said = said(&text);
        assert_eq!(said.len(), 1, "{policy}");
        assert!(said[0].starts_with("broker.yaml:2:28: roles.agent.session_policy: "), "{said:?}");
    }
    std::fs::write(
        &path,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject",
            "Resource":"arn:aws:s3:::${bucket}/bots/${wallet}/*"}]}"#,
    )
    .unwrap();
    assert_eq!(said(&text), Vec::<String>::new());
}

#[test]
fn every_mistake_is_reported_at_once_in_the_order_of_the_file() {
    let said = said(
        "isuer: x\ndata_dir: 5\nlisteners:\n  - address: nowhere\n    tsl: development\naws:\n  region: moon\n  \
         daemon_key: { access_key_id: AKIAIOSFODNN7EXAMPLE }\nsessions: { enrolment: open }\n",
    );
    let places: Vec<_> =
        said.iter().map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(
        places,
        [
            "broker.yaml:1:1 isuer",
            "broker.yaml:2:11 data_dir",
            "broker.yaml:4:14 listeners[0].address",
            "broker.yaml:5:5 listeners[0].tsl",
            "broker.yaml:7:11 aws.region",
            "broker.yaml:8:32 aws.daemon_key.access_key_id",
            "broker.yaml:9:24 sessions.enrolment",
        ],
        "{said:#?}"
    );
}

#[test]
fn a_flood_of_mistakes_stays_short() {
    let text: String = (0..200).map(|n| format!("unknown_{n}: 1\n")).collect();
    let said = said(&text);
    assert_eq!(said.len(), 51);
    assert_eq!(said.last().map(String::as_str), Some("and 150 more errors"));
}

#[test]
fn a_file_that_is_no_document_is_one_error_with_its_place() {
    assert_eq!(said("issuer: [\n"), ["broker.yaml:2:1: not valid YAML: did not find expected node content"]);
    assert_eq!(
        said("issuer: http://localhost\n---\nissuer: x\n"),
        ["broker.yaml: the file holds more than one YAML document; remove the '---' between them"]
    );
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("broker.yaml");
    let error = |path: &std::path::Path| {
        let environment = super::Environment::default();
        let errors =
            super::Settings::load(Some(path), &environment, &super::CliOverrides::default()).err().unwrap();
        assert_eq!(errors.len(), 1);
        errors[0].to_string().replace(&temp.path().display().to_string(), "DIR")
    };
    assert_eq!(error(&path), "DIR/broker.yaml: cannot be read: No such file or directory (os error 2)");
    std::fs::write(&path, b"issuer: ok\naws: \xff\n").unwrap();
    assert_eq!(error(&path), "DIR/broker.yaml:2:6: is not UTF-8; save the file as UTF-8");
    std::fs::write(&path, vec![b'#'; 1_048_577]).unwrap();
    assert_eq!(error(&path), "DIR/broker.yaml: is larger than 1 MiB, which is no configuration");
    assert_eq!(error(temp.path()), "DIR: is a directory; name the file in it");
}

#[test]
fn an_empty_file_and_an_empty_section_are_the_defaults() {
    for text in ["", "# nothing\n", "---\n", "aws:\nlimits:\n  deadlines:\n"] {
        let loaded = load(text).unwrap();
        assert_eq!(loaded.settings.aws.region, "us-east-1", "{text:?}");
    }
}
