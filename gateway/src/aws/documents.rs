//! The IAM documents themselves.
//!
//! Each grant stands in a statement of its own: `s3:prefix` beside `s3:GetObject`
//! is malformed to S3. An absent tag must match nothing: hence `Null`, since
//! `StringNotEquals` is true of a key that is not there.

use serde_json::{Value, json};

use super::plan::Plan;
use super::size::{self, TooLong};
use crate::exchange::ExchangeMode;
use crate::issuer::WALLET_TAG;

/// The wallet of whoever asks, as IAM fills it in.
pub(super) const WALLET_VARIABLE: &str = "${aws:PrincipalTag/agentkeys_user_wallet}";
/// The name of the role's inline policy.
pub(super) const ROLE_POLICY: &str = "agentkeys-own-prefix";
/// The name of the daemon user's inline policy.
pub(super) const DAEMON_POLICY: &str = "agentkeys-assume-roles";

/// One document and the file it goes into.
#[derive(Clone, Debug)]
pub struct Document {
    /// The file's name without `.json`.
    pub name: &'static str,
    /// The document.
    pub body: Value,
    /// What AWS counts it against.
    pub(super) limit: size::Limit,
}

/// All documents of one plan.
#[derive(Clone, Debug)]
pub struct Documents {
    /// The OIDC provider, where there is one.
    pub provider: Option<Document>,
    /// Who may assume the roles.
    pub trust: Document,
    /// What the roles may do.
    pub role_policy: Document,
    /// What the bucket lets in.
    pub bucket_policy: Document,
    /// What the daemon key may do, where it signs.
    pub daemon_policy: Option<Document>,
}

impl Documents {
    /// Renders them.
    pub fn of(plan: &Plan) -> Self {
        let document = |name, limit, body| Document { name, body, limit };
        let signs = plan.mode == ExchangeMode::AssumeRole;
        Self {
            provider: (!signs).then(|| document("oidc-provider", size::Limit::None, provider(plan))),
            trust: document("trust-policy", size::Limit::Trust, trust(plan)),
            role_policy: document("role-policy", size::Limit::Role, role_policy(plan)),
            bucket_policy: document("bucket-policy", size::Limit::Bucket, bucket_policy(plan)),
            daemon_policy: signs.then(|| document("daemon-policy", size::Limit::User, daemon_policy(plan))),
        }
    }

    /// Each of them.
    pub fn all(&self) -> Vec<&Document> {
        let first = self.provider.iter().chain([&self.trust, &self.role_policy, &self.bucket_policy]);
        first.chain(&self.daemon_policy).collect()
    }

    /// Would AWS take each as long as it is?
    pub fn check(&self) -> Result<(), TooLong> {
        self.all()
            .into_iter()
            .try_for_each(|document| size::check(document.name, document.limit, &document.body))
    }

    /// All in one JSON document, for scripts.
    pub fn as_one(&self, plan: &Plan) -> Value {
        let roles: Vec<Value> = plan
            .roles
            .iter()
            .map(|role| {
                json!({
                    "alias": role.alias.to_string(),
                    "arn": role.arn,
                    "max_session_duration": role.max_session_seconds,
                })
            })
            .collect();
        let documents: serde_json::Map<String, Value> =
            self.all().into_iter().map(|d| (d.name.replace('-', "_"), d.body.clone())).collect();
        json!({
            "exchange": plan.mode.to_string(),
            "account": plan.account,
            "partition": plan.partition,
            "region": plan.region,
            "bucket": plan.bucket,
            "roles": roles,
            "documents": documents,
            "warnings": plan.warnings,
        })
    }
}

/// Input of `aws iam create-open-id-connect-provider --cli-input-json`. IAM trusts
/// the issuer's certificate by its own root store: no thumbprint is needed.
fn provider(plan: &Plan) -> Value {
    json!({ "Url": plan.issuer, "ClientIDList": [plan.audience] })
}

fn trust(plan: &Plan) -> Value {
    let web = plan.mode == ExchangeMode::WebIdentity;
    let mut actions =
        vec![if web { "sts:AssumeRoleWithWebIdentity" } else { "sts:AssumeRole" }, "sts:TagSession"];
    if plan.source_identity {
        actions.push("sts:SetSourceIdentity");
    }
    let mut condition = json!({ "Null": { (format!("aws:RequestTag/{WALLET_TAG}")): "false" } });
    if web {
        condition["StringEquals"] = json!({ (format!("{}:aud", plan.provider_name())): plan.audience });
    }
    let principal =
        if web { json!({ "Federated": plan.provider_arn() }) } else { json!({ "AWS": plan.user_arn() }) };
    policy(vec![json!({
        "Sid": "OnlySessionsThatNameTheirWallet",
        "Effect": "Allow",
        "Principal": principal,
        "Action": actions,
        "Condition": condition,
    })])
}

fn role_policy(plan: &Plan) -> Value {
    policy(vec![list(plan, "ListOwnPrefix"), objects(plan, "UseOwnObjects")])
}

fn bucket_policy(plan: &Plan) -> Value {
    let arns: Vec<&str> = plan.roles.iter().map(|role| role.arn.as_str()).collect();
    let for_roles = |mut statement: Value| {
        statement["Principal"] = json!({ "AWS": arns });
        statement
    };
    let (bucket, objects_arn) = (plan.bucket_arn(), format!("{}/*", plan.bucket_arn()));
    policy(vec![
        json!({
            "Sid": "NothingInTheClear",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket, objects_arn],
            "Condition": { "Bool": { "aws:SecureTransport": "false" } },
        }),
        json!({
            "Sid": "MailFromThisAccountsSes",
            "Effect": "Allow",
            "Principal": { "Service": "ses.amazonaws.com" },
            "Action": "s3:PutObject",
            "Resource": objects_arn,
            "Condition": { "StringEquals": { "aws:SourceAccount": plan.account } },
        }),
        for_roles(list(plan, "AgentsListOwnPrefix")),
        for_roles(objects(plan, "AgentsUseOwnObjects")),
    ])
}

fn daemon_policy(plan: &Plan) -> Value {
    let mut actions = vec!["sts:AssumeRole", "sts:TagSession"];
    if plan.source_identity {
        actions.push("sts:SetSourceIdentity");
    }
    let arns: Vec<&str> = plan.roles.iter().map(|role| role.arn.as_str()).collect();
    policy(vec![json!({
        "Sid": "AssumeTheBrokersRoles",
        "Effect": "Allow",
        "Action": actions,
        "Resource": arns,
    })])
}

/// StringLike: with StringEquals nothing below the prefix itself could be listed.
fn list(plan: &Plan, sid: &str) -> Value {
    json!({
        "Sid": sid,
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": plan.bucket_arn(),
        "Condition": { "StringLike": { "s3:prefix": format!("{}*", plan.prefix) } },
    })
}

fn objects(plan: &Plan, sid: &str) -> Value {
    json!({
        "Sid": sid,
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
        "Resource": format!("{}/{}*", plan.bucket_arn(), plan.prefix),
    })
}

fn policy(statements: Vec<Value>) -> Value {
    json!({ "Version": "2012-10-17", "Statement": statements })
}
