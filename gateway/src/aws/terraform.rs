//! The documents as a Terraform configuration, in Terraform's JSON syntax. What
//! IAM reads as a variable must not be read by Terraform: `${` becomes `$${`.

use serde_json::{Map, Value, json};

use super::documents::{DAEMON_POLICY, Document, Documents, ROLE_POLICY};
use super::plan::{DAEMON_USER, Plan};

pub(super) fn configuration(plan: &Plan, documents: &Documents) -> Value {
    let mut resources = Map::new();
    let mut trusted = Vec::new();
    if let Some(provider) = &documents.provider {
        trusted.push("aws_iam_openid_connect_provider.agentkeys");
        let (url, clients) = (&provider.body["Url"], &provider.body["ClientIDList"]);
        resources.insert(
            "aws_iam_openid_connect_provider".to_owned(),
            json!({ "agentkeys": { "url": url, "client_id_list": clients } }),
        );
    }
    if let Some(daemon) = &documents.daemon_policy {
        trusted.push("aws_iam_user.daemon");
        resources.insert("aws_iam_user".to_owned(), json!({ "daemon": { "name": DAEMON_USER } }));
        resources.insert(
            "aws_iam_user_policy".to_owned(),
            json!({ "daemon": {
                "name": DAEMON_POLICY,
                "user": "${aws_iam_user.daemon.name}",
                "policy": text(daemon),
            } }),
        );
    }
    let (mut roles, mut policies, mut all) = (Map::new(), Map::new(), Vec::new());
    for role in &plan.roles {
        let id = identifier(&role.alias.to_string());
        all.push(format!("aws_iam_role.{id}"));
        roles.insert(
            id.clone(),
            json!({
                "name": role.name,
                "path": role.path,
                "max_session_duration": role.max_session_seconds,
                "assume_role_policy": text(&documents.trust),
                "depends_on": trusted,
            }),
        );
        policies.insert(
            id.clone(),
            json!({
                "name": ROLE_POLICY,
                "role": format!("${{aws_iam_role.{id}.name}}"),
                "policy": text(&documents.role_policy),
            }),
        );
    }
    resources.insert("aws_iam_role".to_owned(), roles.into());
    resources.insert("aws_iam_role_policy".to_owned(), policies.into());
    resources.insert(
        "aws_s3_bucket_policy".to_owned(),
        json!({ "agentkeys": {
            "bucket": plan.bucket,
            "policy": text(&documents.bucket_policy),
            "depends_on": all,
        } }),
    );
    json!({
        "terraform": { "required_providers": { "aws": { "source": "hashicorp/aws", "version": ">= 5.0" } } },
        "provider": { "aws": { "region": plan.region } },
        "resource": resources,
    })
}

fn text(document: &Document) -> String {
    document.body.to_string().replace("${", "$${")
}

fn identifier(alias: &str) -> String {
    let plain: String = alias
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' })
        .collect();
    if plain.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') { plain } else { format!("_{plain}") }
}
