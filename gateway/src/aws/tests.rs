//! The documents as an operator gets them, and the samples under conf/aws/.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Documents, Format, Plan, files, printed};
use crate::config::{CliOverrides, Environment, Settings};

const ACCOUNT: &str = "123456789012";

pub(super) fn settings(text: &str) -> Settings {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broker.yaml");
    std::fs::write(&file, text).unwrap();
    load(&file)
}

fn load(file: &Path) -> Settings {
    let state = CliOverrides { data_dir: Some("/var/lib/agentkeys-broker".into()) };
    // The key is a reference that is not read here, and a hosted broker's certificate is elsewhere.
    let variables = [
        ("BROKER_DAEMON_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("BROKER_DAEMON_SECRET_ACCESS_KEY", "example"),
        ("BROKER_LISTENERS", "127.0.0.1:8443"),
    ];
    Settings::load(Some(file), &Environment::from_pairs(variables), &state).unwrap().settings
}

fn plan(text: &str) -> Plan {
    Plan::new(&settings(text), Some(ACCOUNT)).unwrap()
}

const HOSTED: &str = "issuer: https://broker.example.dev/team\naws: { exchange: web_identity }\n\
    sessions: { enrolment: closed }\n";
const LOCAL: &str = "aws: { exchange: assume_role }\n";

#[test]
fn only_a_token_that_names_its_wallet_may_assume_the_role() {
    let plan = plan(HOSTED);
    let trust = Documents::of(&plan).trust.body;
    let statement = &trust["Statement"][0];
    assert_eq!(
        statement["Principal"]["Federated"],
        "arn:aws:iam::123456789012:oidc-provider/broker.example.dev/team"
    );
    assert_eq!(statement["Action"], serde_json::json!(["sts:AssumeRoleWithWebIdentity", "sts:TagSession"]));
    assert_eq!(
        statement["Condition"],
        serde_json::json!({
            "Null": { "aws:RequestTag/agentkeys_user_wallet": "false" },
            "StringEquals": { "broker.example.dev/team:aud": "sts.amazonaws.com" },
        })
    );
    let provider = Documents::of(&plan).provider.unwrap().body;
    assert_eq!(
        provider,
        serde_json::json!({ "Url": "https://broker.example.dev/team", "ClientIDList": ["sts.amazonaws.com"] })
    );
}

#[test]
fn assume_role_trusts_the_daemon_user_and_lets_it_do_nothing_else() {
    let plan = plan(LOCAL);
    let documents = Documents::of(&plan);
    assert!(documents.provider.is_none());
    let statement = &documents.trust.body["Statement"][0];
    assert_eq!(statement["Principal"]["AWS"], "arn:aws:iam::123456789012:user/agentkeys-daemon");
    assert_eq!(statement["Action"], serde_json::json!(["sts:AssumeRole", "sts:TagSession"]));
    let daemon = &documents.daemon_policy.unwrap().body["Statement"];
    assert_eq!(daemon[0]["Action"], serde_json::json!(["sts:AssumeRole", "sts:TagSession"]));
    assert_eq!(daemon[0]["Resource"], serde_json::json!(["arn:aws:iam::123456789012:role/agentkeys-agent"]));
    assert_eq!(daemon.as_array().unwrap().len(), 1);
}

#[test]
fn a_source_identity_is_allowed_only_where_it_is_configured() {
    for (text, wanted) in
        [(LOCAL, false), ("aws: { exchange: assume_role, source_identity: wallet }\n", true)]
    {
        let documents = Documents::of(&plan(text));
        for body in [documents.trust.body, documents.daemon_policy.unwrap().body] {
            assert_eq!(body.to_string().contains("sts:SetSourceIdentity"), wanted, "{body}");
        }
    }
}

#[test]
fn s3_prefix_never_stands_beside_an_action_on_objects() {
    let documents = Documents::of(&plan(LOCAL));
    for policy in [&documents.role_policy.body, &documents.bucket_policy.body] {
        let mut lists = 0;
        for statement in policy["Statement"].as_array().unwrap() {
            if statement["Condition"].to_string().contains("s3:prefix") {
                assert_eq!(statement["Action"], "s3:ListBucket");
                assert_eq!(
                    statement["Condition"]["StringLike"]["s3:prefix"],
                    "bots/${aws:PrincipalTag/agentkeys_user_wallet}/*"
                );
                lists += 1;
            }
        }
        assert_eq!(lists, 1);
    }
}

#[test]
fn another_partition_is_named_throughout() {
    let plan = plan("aws: { exchange: assume_role, region: cn-north-1 }\n");
    let text = printed(&plan, Format::Json).unwrap();
    assert!(text.contains("arn:aws-cn:s3:::agentkeys-mail-123456789012"), "{text}");
    assert!(!text.contains("arn:aws:"), "{text}");
}

#[test]
fn an_unknown_account_is_a_warning_and_a_wrong_one_an_error() {
    let settings = settings(LOCAL);
    let plan = Plan::new(&settings, None).unwrap();
    assert_eq!(plan.account, "ACCOUNT_ID");
    assert!(plan.warnings[0].contains("--account"), "{:?}", plan.warnings);
    assert!(Plan::new(&settings, Some("12345")).is_err());
    let given = settings_with_arn();
    assert_eq!(Plan::new(&given, None).unwrap().account, "210987654321");
    assert!(Plan::new(&given, Some(ACCOUNT)).unwrap_err().to_string().contains("210987654321"));
}

fn settings_with_arn() -> Settings {
    settings(
        "aws: { exchange: assume_role }\nroles: { agent: { arn: 'arn:aws:iam::210987654321:role/team/a' } }\n",
    )
}

#[test]
fn a_role_with_a_path_is_made_at_its_path() {
    let plan = Plan::new(&settings_with_arn(), None).unwrap();
    assert_eq!((plan.roles[0].path.as_str(), plan.roles[0].name.as_str()), ("/team/", "a"));
    let script = printed(&plan, Format::Cli).unwrap();
    assert!(script.contains("create-role --role-name a --path /team/"), "{script}");
}

#[test]
fn more_roles_than_a_policy_holds_are_refused_here_and_not_by_aws() {
    let roles: String = (0..60)
        .map(|n| {
            format!("  role-{n}: {{ arn: 'arn:aws:iam::123456789012:role/agentkeys-role-number-{n}' }}\n")
        })
        .collect();
    let text = format!("aws: {{ exchange: assume_role }}\ngrants: {{ default_role: null }}\nroles:\n{roles}");
    let error = printed(&plan(&text), Format::Json).unwrap_err().to_string();
    assert!(error.contains("daemon-policy") && error.contains("2048"), "{error}");
}

#[test]
fn terraform_does_not_read_the_variables_of_iam() {
    let text = printed(&plan(LOCAL), Format::Terraform).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let policy = json["resource"]["aws_iam_role_policy"]["agent"]["policy"].as_str().unwrap();
    assert!(policy.contains("$${aws:PrincipalTag/agentkeys_user_wallet}"), "{policy}");
    assert!(!policy.replace("$${", "").contains("${"), "{policy}");
}

/// `UPDATE_CONF=1 cargo test … the_samples` writes them again.
#[test]
fn the_samples_under_conf_are_what_the_command_prints() {
    let conf = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../conf");
    let hosted = Plan::new(&load(&conf.join("broker.hosted.yaml")), None).unwrap();
    let local = Plan::new(&load(&conf.join("broker.yaml")), Some(ACCOUNT)).unwrap();
    for (name, plan) in [("web_identity", hosted), ("assume_role", local)] {
        let directory = conf.join("aws").join(name);
        for format in [Format::Json, Format::Cloudformation, Format::Terraform, Format::Cli] {
            for file in files(&plan, format).unwrap() {
                let path = directory.join(&file.name);
                if std::env::var_os("UPDATE_CONF").is_some() {
                    std::fs::create_dir_all(&directory).unwrap();
                    std::fs::write(&path, &file.text).unwrap();
                }
                let found = std::fs::read_to_string(&path).unwrap_or_default();
                assert_eq!(found, file.text, "{}: run with UPDATE_CONF=1", path.display());
            }
        }
    }
}
