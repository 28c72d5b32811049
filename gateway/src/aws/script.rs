//! The documents as a shell script of `aws` commands. It may run again: what is
//! there is brought up to date. Documents stand in quoted here-documents, so that
//! no shell ever reads IAM's `${…}` as its own.

use super::documents::{DAEMON_POLICY, Document, Documents, ROLE_POLICY};
use super::plan::{DAEMON_USER, Plan};

pub(super) fn script(plan: &Plan, documents: &Documents) -> String {
    let mut text = String::from(
        "#!/bin/sh\n\
         # The AWS side of an AgentKeys broker. Run it with an administrator's credentials,\n\
         # never with the daemon key. It may run again.\n\
         set -eu\n",
    );
    for warning in &plan.warnings {
        text += &format!("# Warning: {warning}\n");
    }
    text += "documents=$(mktemp -d)\ntrap 'rm -rf \"$documents\"' EXIT\n";
    for document in documents.all() {
        text += &here(document);
    }
    if documents.provider.is_some() {
        let arn = plan.provider_arn();
        text += &format!(
            "\naws iam get-open-id-connect-provider --open-id-connect-provider-arn {arn} >/dev/null 2>&1 ||\n  \
             aws iam create-open-id-connect-provider --cli-input-json \"file://$documents/oidc-provider.json\"\n",
        );
    }
    if documents.daemon_policy.is_some() {
        text += &format!(
            "\naws iam get-user --user-name {DAEMON_USER} >/dev/null 2>&1 ||\n  \
             aws iam create-user --user-name {DAEMON_USER}\n\
             aws iam wait user-exists --user-name {DAEMON_USER}\n\
             aws iam put-user-policy --user-name {DAEMON_USER} --policy-name {DAEMON_POLICY} \\\n  \
             --policy-document \"file://$documents/daemon-policy.json\"\n",
        );
    }
    for role in &plan.roles {
        let (name, path, seconds) = (&role.name, &role.path, role.max_session_seconds);
        text += &format!(
            "\naws iam get-role --role-name {name} >/dev/null 2>&1 ||\n  \
             aws iam create-role --role-name {name} --path {path} \\\n    \
             --assume-role-policy-document \"file://$documents/trust-policy.json\"\n\
             aws iam wait role-exists --role-name {name}\n\
             aws iam update-assume-role-policy --role-name {name} \\\n  \
             --policy-document \"file://$documents/trust-policy.json\"\n\
             aws iam update-role --role-name {name} --max-session-duration {seconds}\n\
             aws iam put-role-policy --role-name {name} --policy-name {ROLE_POLICY} \\\n  \
             --policy-document \"file://$documents/role-policy.json\"\n",
        );
    }
    text += &bucket(plan);
    text
}

fn bucket(plan: &Plan) -> String {
    let (bucket, region) = (&plan.bucket, &plan.region);
    // S3 refuses the location constraint of its first region, and wants any other's.
    let place = match region.as_str() {
        "us-east-1" => String::new(),
        region => format!(" \\\n    --create-bucket-configuration LocationConstraint={region}"),
    };
    format!(
        "\naws s3api head-bucket --bucket {bucket} --region {region} >/dev/null 2>&1 ||\n  \
         aws s3api create-bucket --bucket {bucket} --region {region}{place}\n\
         aws s3api put-public-access-block --bucket {bucket} --region {region} \\\n  \
         --public-access-block-configuration \\\n  \
         BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true\n\
         aws s3api put-bucket-policy --bucket {bucket} --region {region} \\\n  \
         --policy \"file://$documents/bucket-policy.json\"\n",
    )
}

fn here(document: &Document) -> String {
    let (name, body) = (document.name, &document.body);
    format!("\ncat >\"$documents/{name}.json\" <<'JSON'\n{body:#}\nJSON\n")
}
