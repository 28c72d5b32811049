//! What SDKs, commands and shells get.

mod support;

use support::broker::FakeBroker;
use support::{Machine, files_below, run};

fn logged_in() -> (FakeBroker, Machine) {
    let broker = FakeBroker::start();
    let machine = Machine::new(&broker.url);
    machine.login(&broker.issue());
    (broker, machine)
}

#[test]
fn credential_process_prints_what_sdks_expect_and_nothing_is_kept_on_disk() {
    let (_broker, machine) = logged_in();
    let printed = machine.agentkeys(&["aws", "credentials"]).done().json();
    let keys: Vec<_> = printed.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["AccessKeyId", "AccountId", "Expiration", "SecretAccessKey", "SessionToken", "Version"]
    );
    assert_eq!(printed["Version"], 1);
    assert_eq!(printed["AccountId"], "123456789012");
    assert!(agentkeys_core::Timestamp::parse(printed["Expiration"].as_str().unwrap()).is_some());

    for (path, content) in files_below(&machine.path(".")) {
        let text = String::from_utf8_lossy(&content);
        assert!(!text.contains("secret-key-") && !text.contains("session-token-"), "{}", path.display());
    }
}

#[test]
fn exec_gives_the_child_one_identity_and_the_parent_nothing() {
    let (_broker, machine) = logged_in();
    let mut command =
        machine.command(env!("CARGO_BIN_EXE_agentkeys"), &["aws", "exec", "--", "sh", "-c", "env; exit 7"]);
    command.env("AWS_PROFILE", "other").env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/");
    command.env("AWS_ACCESS_KEY_ID", "AKIAOLD");
    let outcome = run(command, "").fails(7);
    for line in [
        "AWS_ACCESS_KEY_ID=ASIAMINT0001",
        "AWS_SECRET_ACCESS_KEY=secret-key-1",
        "AWS_SESSION_TOKEN=session-token-1",
        "AWS_REGION=eu-central-1",
        "AWS_DEFAULT_REGION=eu-central-1",
        "AGENTKEYS_BUCKET=agentkeys-mail-123456789012",
    ] {
        assert!(outcome.stdout.lines().any(|found| found == line), "{line} in {outcome:?}");
    }
    for absent in ["AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AKIAOLD", "aks_"] {
        assert!(!outcome.stdout.contains(absent), "{absent} in {outcome:?}");
    }
}

#[test]
fn console_env_is_read_by_a_shell() {
    let (_broker, machine) = logged_in();
    let lines = machine.agentkeys(&["aws", "console-env"]).done().stdout;
    let script = format!("{lines}\nprintf %s \"$AWS_SECRET_ACCESS_KEY/$AWS_REGION/${{AWS_PROFILE-none}}\"");
    let mut command = machine.command("sh", &["-c", &script]);
    command.env("AWS_PROFILE", "other");
    assert_eq!(run(command, "").done().stdout, "secret-key-1/eu-central-1/none");
}

#[test]
fn configure_twice_is_once_and_undo_gives_the_file_back() {
    let (_broker, machine) = logged_in();
    let config = machine.path(".aws/config");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    let before = "# mine\n[default]\noutput = json\n\n[profile x]\nrole_arn = y";
    std::fs::write(&config, before).unwrap();

    assert_eq!(machine.agentkeys(&["aws", "configure", "--json"]).done().json()["changed"], true);
    let after = std::fs::read_to_string(&config).unwrap();
    assert!(after.contains("region = eu-central-1"), "{after}");
    assert_eq!(machine.agentkeys(&["aws", "configure", "--json"]).done().json()["changed"], false);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), after);

    // What stands there works as it is, without a variable.
    let process = after.lines().find_map(|line| line.strip_prefix("credential_process = ")).unwrap();
    let mut command = machine.command("sh", &["-c", process]);
    command.env_remove("AGENTKEYS_BROKER_URL");
    assert_eq!(run(command, "").done().json()["Version"], 1);

    machine.agentkeys(&["aws", "configure", "--undo"]).done();
    assert_eq!(std::fs::read_to_string(&config).unwrap(), before);
}

#[test]
fn configure_leaves_no_file_behind_that_was_not_there() {
    let (_broker, machine) = logged_in();
    machine.agentkeys(&["aws", "configure", "--profile", "agentkeys"]).done();
    assert!(machine.path(".aws/config").exists());
    machine.agentkeys(&["aws", "configure", "--profile", "agentkeys", "--undo"]).done();
    assert!(!machine.path(".aws/config").exists());
}

#[test]
fn a_profile_whose_keys_would_win_is_refused() {
    let (_broker, machine) = logged_in();
    std::fs::create_dir_all(machine.path(".aws")).unwrap();
    std::fs::write(machine.path(".aws/credentials"), "[default]\naws_access_key_id = AKIA\n").unwrap();
    let refused = machine.agentkeys(&["aws", "configure"]).fails(1);
    assert!(refused.stderr.contains("--profile"), "{refused:?}");
    assert!(!machine.path(".aws/config").exists());
    machine.agentkeys(&["aws", "configure", "--profile", "agentkeys"]).done();
}
