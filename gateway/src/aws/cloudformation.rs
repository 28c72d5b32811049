//! The documents as one CloudFormation template, in JSON.

use serde_json::{Map, Value, json};

use super::documents::{DAEMON_POLICY, Documents, ROLE_POLICY};
use super::plan::{DAEMON_USER, Plan};

pub(super) fn template(plan: &Plan, documents: &Documents) -> Value {
    let mut resources = Map::new();
    // What a role trusts must be there before the role.
    let mut trusted = Value::Null;
    if let Some(provider) = &documents.provider {
        trusted = json!("Provider");
        let (url, clients) = (&provider.body["Url"], &provider.body["ClientIDList"]);
        resources.insert(
            "Provider".to_owned(),
            json!({ "Type": "AWS::IAM::OIDCProvider", "Properties": { "Url": url, "ClientIdList": clients } }),
        );
    }
    if let Some(daemon) = &documents.daemon_policy {
        trusted = json!("DaemonUser");
        resources.insert(
            "DaemonUser".to_owned(),
            json!({
                "Type": "AWS::IAM::User",
                "Properties": {
                    "UserName": DAEMON_USER,
                    "Policies": [{ "PolicyName": DAEMON_POLICY, "PolicyDocument": daemon.body }],
                },
            }),
        );
    }
    let mut roles = Vec::new();
    for (number, role) in plan.roles.iter().enumerate() {
        let id = format!("Role{}", number + 1);
        resources.insert(
            id.clone(),
            json!({
                "Type": "AWS::IAM::Role",
                "DependsOn": trusted,
                "Properties": {
                    "RoleName": role.name,
                    "Path": role.path,
                    "Description": format!("AgentKeys broker, role {}", role.alias),
                    "MaxSessionDuration": role.max_session_seconds,
                    "AssumeRolePolicyDocument": documents.trust.body,
                    "Policies": [{ "PolicyName": ROLE_POLICY, "PolicyDocument": documents.role_policy.body }],
                },
            }),
        );
        roles.push(id);
    }
    resources.insert(
        "Bucket".to_owned(),
        json!({
            "Type": "AWS::S3::Bucket",
            "Condition": "MakeBucket",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "BucketName": plan.bucket,
                "PublicAccessBlockConfiguration": {
                    "BlockPublicAcls": true,
                    "BlockPublicPolicy": true,
                    "IgnorePublicAcls": true,
                    "RestrictPublicBuckets": true,
                },
            },
        }),
    );
    let mut bucket_policy = json!({
        "Type": "AWS::S3::BucketPolicy",
        "DependsOn": roles,
        "Properties": {
            // The reference makes CloudFormation wait for a bucket of its own.
            "Bucket": { "Fn::If": ["MakeBucket", { "Ref": "Bucket" }, plan.bucket] },
            "PolicyDocument": documents.bucket_policy.body,
        },
    });
    if roles.len() == 1 {
        bucket_policy["DependsOn"] = json!(roles[0]);
    }
    resources.insert("BucketPolicy".to_owned(), bucket_policy);
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The AWS side of an AgentKeys broker",
        "Parameters": {
            "CreateBucket": {
                "Type": "String",
                "Default": "true",
                "AllowedValues": ["true", "false"],
                "Description": "false where the bucket exists",
            },
        },
        "Conditions": { "MakeBucket": { "Fn::Equals": [{ "Ref": "CreateBucket" }, "true"] } },
        "Resources": resources,
    })
}
