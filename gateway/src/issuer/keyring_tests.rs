//! Rotation over real files, with a clock that the test holds.

use std::time::Duration;

use agentkeys_core::Timestamp;

use super::*;
use crate::issuer::url::IssuerUrl;

const DAY: u64 = 86_400;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix(1_790_000_000).plus(seconds)
}

fn settings(dir: &tempfile::TempDir) -> IssuerSettings {
    let url = IssuerUrl::parse("http://localhost:8090").unwrap();
    IssuerSettings { generate_missing: true, ..IssuerSettings::new(url, dir.path().join("signing-keys")) }
}

fn open(settings: &IssuerSettings) -> Keyring {
    Keyring::open(settings, at(0)).unwrap().0
}

fn kid(ring: &Keyring, state: KeyState) -> Option<String> {
    let ring = ring.ring();
    ring.records().iter().find(|key| key.state == state).map(|key| key.jwk.kid().to_owned())
}

fn published(ring: &Keyring) -> Vec<String> {
    let set: serde_json::Value = serde_json::from_slice(&ring.ring().jwks().body).unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn pem_files(settings: &IssuerSettings) -> usize {
    let entries = std::fs::read_dir(&settings.directory).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "pem")).count()
}

#[test]
fn the_local_shape_makes_a_key_and_says_so_a_hosted_one_names_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let hosted = IssuerSettings { generate_missing: false, ..settings(&dir) };
    let said = Keyring::open(&hosted, at(0)).err().unwrap().to_string();
    assert!(said.contains("agentkeys-broker-server keys generate"), "{said}");
    assert!(!hosted.directory.exists(), "and nothing was made");

    let (ring, events) = Keyring::open(&settings(&dir), at(0)).unwrap();
    let made = kid(&ring, KeyState::Current).unwrap();
    assert_eq!(events, [KeyEvent::Generated { kid: made.clone(), state: KeyState::Current }]);
    let (again, events) = Keyring::open(&hosted, at(1)).unwrap();
    assert_eq!(
        (kid(&again, KeyState::Current), events.len()),
        (Some(made), 0),
        "the same key after a restart"
    );
}

#[test]
fn thirty_days_of_rotation_never_sign_with_a_key_that_a_cache_cannot_know() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir);
    let ring = open(&settings);
    let first = kid(&ring, KeyState::Current).unwrap();
    assert_eq!(ring.tick(at(60)).unwrap(), []);
    assert_eq!(ring.tick(at(29 * DAY - 1)).unwrap(), []);

    ring.tick(at(29 * DAY)).unwrap();
    let second = kid(&ring, KeyState::Next).unwrap();
    assert_eq!(published(&ring), [first.clone(), second.clone()], "published a day before it signs");
    assert_eq!(ring.ring().signer().public_jwk().kid(), first);
    assert_eq!(ring.tick(at(30 * DAY - 1)).unwrap(), []);

    ring.tick(at(30 * DAY)).unwrap();
    assert_eq!(ring.ring().signer().public_jwk().kid(), second);
    assert_eq!(published(&ring), [first.clone(), second.clone()], "the old key still verifies");
    assert_eq!(pem_files(&settings), 1, "but its private half is gone");

    ring.tick(at(30 * DAY + 7_199)).unwrap();
    assert_eq!(published(&ring).len(), 2);
    assert_eq!(ring.tick(at(30 * DAY + 7_200)).unwrap(), [KeyEvent::Removed { kid: first }]);
    assert_eq!(published(&ring), [second]);
}

#[test]
fn a_broker_that_slept_past_its_rotation_still_publishes_first() {
    let dir = tempfile::tempdir().unwrap();
    let ring = open(&settings(&dir));
    let first = kid(&ring, KeyState::Current);
    ring.tick(at(90 * DAY)).unwrap();
    assert_eq!(kid(&ring, KeyState::Current), first);
    ring.tick(at(91 * DAY - 1)).unwrap();
    assert_eq!(kid(&ring, KeyState::Current), first);
    ring.tick(at(91 * DAY)).unwrap();
    assert_ne!(kid(&ring, KeyState::Current), first);
}

#[test]
fn an_early_rotation_is_refused_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let ring = open(&settings(&dir));
    assert!(matches!(ring.rotate(at(0), false), Err(KeyError::NoNextKey { .. })));
    ring.generate(at(0)).unwrap();
    assert!(matches!(ring.generate(at(0)), Err(KeyError::NextExists { .. })));
    assert!(
        matches!(ring.rotate(at(99 * DAY), false), Err(KeyError::PublishedTooShort { .. })),
        "never served"
    );
    ring.tick(at(60)).unwrap();
    match ring.rotate(at(DAY), false) {
        Err(KeyError::PublishedTooShort { at: when, .. }) => assert_eq!(when, at(60 + DAY)),
        other => panic!("{other:?}"),
    }
    let next = kid(&ring, KeyState::Next);
    ring.rotate(at(DAY), true).unwrap();
    assert_eq!(kid(&ring, KeyState::Current), next);
    ring.rotate(at(DAY), true).unwrap();
    assert_ne!(kid(&ring, KeyState::Current), next, "forced with no next key makes one");
}

#[test]
fn retiring_spares_the_key_that_signs_and_those_that_still_verify() {
    let dir = tempfile::tempdir().unwrap();
    let ring = open(&settings(&dir));
    let first = kid(&ring, KeyState::Current).unwrap();
    assert!(matches!(ring.retire(&first, true), Err(KeyError::CurrentKey { .. })));
    assert!(matches!(ring.retire("nothing", false), Err(KeyError::UnknownKey { .. })));
    ring.rotate(at(0), true).unwrap();
    assert!(matches!(ring.retire(&first, false), Err(KeyError::StillNeeded { .. })));
    ring.retire(&first, true).unwrap();
    assert!(!published(&ring).contains(&first));
    ring.generate(at(0)).unwrap();
    let next = kid(&ring, KeyState::Next).unwrap();
    ring.retire(&next, false).unwrap();
    assert!(!published(&ring).contains(&next));
}

#[test]
fn there_are_never_more_than_ten() {
    let dir = tempfile::tempdir().unwrap();
    let ring = open(&settings(&dir));
    for _ in 1..10 {
        ring.rotate(at(0), true).unwrap();
    }
    assert_eq!(published(&ring).len(), 10);
    assert!(matches!(ring.rotate(at(0), true), Err(KeyError::TooMany { count: 10, limit: 10 })));
    assert_eq!(published(&ring).len(), 10);
}

#[test]
fn a_change_by_another_process_is_taken_up_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir);
    let (ring, other) = (open(&settings), open(&settings));
    other.rotate(at(0), true).unwrap();
    let etag = ring.ring().jwks().etag.clone();
    assert_eq!(ring.tick(at(1)).unwrap(), [KeyEvent::Reloaded]);
    assert_eq!(kid(&ring, KeyState::Current), kid(&other, KeyState::Current));
    assert_ne!(ring.ring().jwks().etag, etag);

    let record = settings.directory.join("keys.json");
    let good = std::fs::read(&record).unwrap();
    private_write(&record, b"{\"version\":1");
    assert!(matches!(ring.tick(at(2)), Err(KeyError::BadRecord { .. })));
    assert_eq!(kid(&ring, KeyState::Current), kid(&other, KeyState::Current), "the keys in use stay");
    private_write(&record, &good);
    assert_eq!(ring.tick(at(3)).unwrap(), []);
}

#[test]
fn a_lost_record_or_directory_is_an_error_and_never_a_new_identity() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir);
    let ring = open(&settings);
    std::fs::remove_file(settings.directory.join("keys.json")).unwrap();
    assert!(matches!(Keyring::open(&settings, at(0)), Err(KeyError::OrphanKeys { .. })));
    assert!(matches!(ring.tick(at(40 * DAY)), Err(KeyError::OrphanKeys { .. })));
    std::fs::remove_dir_all(&settings.directory).unwrap();
    assert!(matches!(ring.tick(at(40 * DAY)), Err(KeyError::NoCurrentKey { .. })));
    assert!(!settings.directory.exists());
}

#[test]
fn a_swapped_key_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir);
    let ring = open(&settings);
    let path = settings.directory.join(format!("key-{}.pem", kid(&ring, KeyState::Current).unwrap()));
    let other = crate::issuer::key::SigningKey::generate().unwrap();
    private_write(&path, other.to_pem().unwrap().as_bytes());
    assert!(matches!(Keyring::open(&settings, at(0)), Err(KeyError::WrongKey { .. })));
}

#[test]
fn what_a_crash_left_is_swept_by_the_next_change() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir);
    let ring = open(&settings);
    let orphan = settings.directory.join("key-of-a-crash.pem");
    private_write(&orphan, b"half");
    ring.tick(at(1)).unwrap();
    assert!(!orphan.exists());
}

#[test]
fn rotation_by_command_only() {
    let dir = tempfile::tempdir().unwrap();
    let ring = open(&IssuerSettings { rotation: None, ..settings(&dir) });
    assert_eq!(ring.tick(at(4_000 * DAY)).unwrap(), []);
    assert_eq!(published(&ring).len(), 1);
}

#[test]
fn short_times_for_demonstrations_still_overlap() {
    let dir = tempfile::tempdir().unwrap();
    let settings = IssuerSettings {
        rotation: Some(Duration::from_secs(10)),
        publish_before: Duration::from_secs(4),
        retire_after: Duration::from_secs(5),
        development: true,
        ..settings(&dir)
    };
    let ring = open(&settings);
    for second in 0..60 {
        let signs = ring.ring().signer().public_jwk().kid().to_owned();
        ring.tick(at(second)).unwrap();
        assert!(published(&ring).contains(&signs), "what signed a second ago is published");
        assert!(published(&ring).len() <= 3);
    }
}

fn private_write(path: &std::path::Path, content: &[u8]) {
    super::super::private_file::write_atomically(path, content).unwrap();
}
