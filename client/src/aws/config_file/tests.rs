use super::*;

fn entry(profile: &str) -> Entry {
    Entry {
        profile: profile.to_owned(),
        credential_process: "/usr/local/bin/agentkeys aws credentials".to_owned(),
        region: Some("us-east-1".to_owned()),
        s3_endpoint: None,
    }
}

fn elsewhere(profile: &str) -> Entry {
    Entry { s3_endpoint: Some("http://[::1]:8333".to_owned()), ..entry(profile) }
}

const FILES: &[&str] = &[
    "",
    "\n",
    "[default]\nregion = eu-west-1\n",
    "[default]\nregion = eu-west-1",
    "# mine\n\n[profile work]\r\nrole_arn = arn:aws:iam::123456789012:role/x\r\nsource_profile = base\r\n\r\n",
    "[default]",
    "[profile agentkeys]\noutput = json\ns3 =\n  addressing_style = path\n\n[profile z]\nregion=x",
    "  [default]  \n;comment\noutput=json",
];

#[test]
fn whatever_was_there_stays_byte_for_byte_and_undo_gives_it_back() {
    for before in FILES {
        for entry in [entry("default"), entry("agentkeys"), elsewhere("default"), elsewhere("agentkeys")] {
            let profile = &entry.profile;
            let once = add(before, &entry).unwrap();
            assert!(once.contains(&entry.credential_process), "{once}");
            assert_eq!(add(&once, &entry).unwrap(), once, "a second time changes nothing");
            assert_eq!(remove(&once, profile).unwrap(), *before, "undo of {before:?} in {profile}");
            let other = add(&once, &elsewhere("third")).unwrap();
            assert_eq!(remove(&remove(&other, "third").unwrap(), profile).unwrap(), *before);
            assert_eq!(once.matches("[default]").count().max(1), 1, "no section twice: {once}");
        }
    }
}

#[test]
fn a_change_of_address_replaces_the_entry() {
    let once = add("[default]\n", &entry("default")).unwrap();
    let moved = Entry { credential_process: "agentkeys --broker-url https://b".into(), ..entry("default") };
    let twice = add(&once, &moved).unwrap();
    assert!(twice.contains("https://b") && !twice.contains("/usr/local/bin"), "{twice}");
}

#[test]
fn the_region_of_the_user_wins() {
    let text = add("[default]\nregion = eu-west-1\n", &entry("default")).unwrap();
    assert_eq!(text.matches("region").count(), 1, "{text}");
    assert!(add("", &entry("default")).unwrap().contains("region = us-east-1"));
}

#[test]
fn another_s3_gets_a_section_of_its_own_and_no_other_service_goes_there() {
    let section = "[services agentkeys-default]\ns3 =\n  endpoint_url = http://[::1]:8333\n";
    for before in ["", "[default]\noutput = json\n", "[default]\noutput = json\n[profile z]\nregion = x"] {
        let text = add(before, &elsewhere("default")).unwrap();
        assert!(text.contains("services = agentkeys-default\n") && text.contains(section), "{text}");
        assert_eq!(text.matches("endpoint_url").count(), 1, "{text}");
    }
    let once = add("[default]\noutput = json\n", &elsewhere("default")).unwrap();
    assert!(!add(&once, &entry("default")).unwrap().contains("services"), "the broker moved to AWS");
}

#[test]
fn the_endpoint_of_the_user_wins() {
    for key in ["endpoint_url = http://127.0.0.1:9000", "services = mine"] {
        let text = add(&format!("[default]\n{key}\n"), &elsewhere("default")).unwrap();
        assert!(!text.contains("agentkeys-default"), "{text}");
    }
    let bad = Entry { s3_endpoint: Some("http://x\n[default]".to_owned()), ..entry("default") };
    assert!(add("", &bad).is_err());
}

#[test]
fn a_profile_that_has_its_own_credentials_is_left_alone() {
    for key in ["credential_process", "role_arn", "aws_access_key_id", "sso_session"] {
        let text = format!("[profile agentkeys]\n{key} = x\n");
        assert!(matches!(add(&text, &entry("agentkeys")), Err(ConfigError::Taken { .. })), "{key}");
    }
    // The same key in another profile, or a nested one, is none of its business.
    assert!(add("[profile other]\nrole_arn = x\n", &entry("agentkeys")).is_ok());
}

#[test]
fn nothing_is_written_that_would_open_another_section() {
    for bad in ["a]\n[default", "", "x\ny"] {
        assert!(add("", &entry(bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn broken_markers_are_an_error_and_not_a_guess() {
    let text = add("", &entry("default")).unwrap();
    let without_end = text.rsplit_once("# END").unwrap().0;
    assert!(matches!(remove(without_end, "default"), Err(ConfigError::BrokenMarkers(_))));
}

#[cfg(unix)]
#[test]
fn a_link_stays_a_link_and_the_mode_stays() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().unwrap();
    let real = temp.path().join("dotfiles-config");
    fs::write(&real, "x").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
    let link = temp.path().join("config");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    write(&link, "y").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap(), "y");
    assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(read(&temp.path().join("absent")).unwrap(), None);
}
