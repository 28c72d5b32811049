//! A broker behind TLS: the system's roots, plus what `--ca-file` adds.

#![allow(clippy::unwrap_used, reason = "a test's own machinery fails loudly")]

mod support;

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use support::Machine;
use support::broker::FakeBroker;
use tokio_rustls::TlsAcceptor;

/// A broker with a certificate of a private authority, and the authority's PEM.
fn private_broker(name: &str) -> (FakeBroker, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    (FakeBroker::start_tls(TlsAcceptor::from(Arc::new(config))), authority.pem())
}

#[test]
fn a_private_authority_is_trusted_only_where_it_is_named() {
    let (broker, pem) = private_broker("localhost");
    let machine = Machine::new(&broker.url);
    let file = machine.path("ca.pem");
    std::fs::write(&file, pem).unwrap();
    let file = file.to_str().unwrap();
    let token = broker.issue();

    let refused = machine.with_stdin(&["login", "--token-stdin"], &token).fails(6);
    assert!(refused.stderr.contains("certificate"), "{refused:?}");
    assert!(broker.state().asked.is_empty(), "the token never left");
    machine.with_stdin(&["--ca-file", file, "login", "--token-stdin"], &token).done();

    // The profile that is written works without the flag.
    machine.agentkeys(&["--ca-file", file, "aws", "configure"]).done();
    let config = std::fs::read_to_string(machine.path(".aws/config")).unwrap();
    let process = config.lines().find_map(|line| line.strip_prefix("credential_process = ")).unwrap();
    let mut command = machine.command("sh", &["-c", process]);
    command.env_remove("AGENTKEYS_BROKER_URL");
    assert_eq!(support::run(command, "").done().json()["Version"], 1);
}

#[test]
fn another_name_in_the_certificate_is_refused() {
    let (broker, pem) = private_broker("broker.example.com");
    let machine = Machine::new(&broker.url);
    let file = machine.path("ca.pem");
    std::fs::write(&file, pem).unwrap();
    machine
        .with_stdin(&["--ca-file", file.to_str().unwrap(), "login", "--token-stdin"], &broker.issue())
        .fails(6);
    assert!(broker.state().asked.is_empty());
}

#[test]
fn a_file_without_a_certificate_is_a_wrong_setting() {
    let (broker, _) = private_broker("localhost");
    let machine = Machine::new(&broker.url);
    let file = machine.path("ca.pem");
    for content in [None, Some(""), Some("not PEM")] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let outcome = machine
            .with_stdin(&["--ca-file", file.to_str().unwrap(), "login", "--token-stdin"], &broker.issue())
            .fails(78);
        assert!(outcome.stderr.contains("ca.pem"), "{outcome:?}");
    }
}
