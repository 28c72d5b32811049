"""The operator's AWS account as the runbook sets it up, laid on an emulator.

A user `agentkeys-daemon` that may assume one role, and that role, which trusts
the user only for sessions that carry the wallet tag. The role itself reaches
the whole bucket, so that isolation can come from the broker's session policy alone.
"""
from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Callable, Tuple

USER_NAME = "agentkeys-daemon"
ROLE_NAME = "agentkeys-agent"
TAG = "agentkeys_user_wallet"


@dataclass
class AwsAccount:
    account_id: str
    role_arn: str
    user_arn: str
    access_key_id: str
    secret_access_key: str
    bucket: str
    # A key that is valid and may do nothing.
    powerless: Tuple[str, str]
    # A role that trusts nobody here.
    closed_role_arn: str


def provision(connect: Callable[[str], Any], account_id: str) -> AwsAccount:
    """`connect(service)` gives an administrator's boto3 client on the emulator."""
    iam = connect("iam")
    user_arn = iam.create_user(UserName=USER_NAME)["User"]["Arn"]
    key = iam.create_access_key(UserName=USER_NAME)["AccessKey"]
    role_arn = iam.create_role(
        RoleName=ROLE_NAME,
        AssumeRolePolicyDocument=json.dumps(trust_policy(user_arn)),
        MaxSessionDuration=3600,
    )["Role"]["Arn"]
    bucket = f"agentkeys-mail-{account_id}"
    iam.put_role_policy(
        RoleName=ROLE_NAME, PolicyName="WholeBucket", PolicyDocument=json.dumps(whole_bucket_policy(bucket))
    )
    connect("s3").create_bucket(Bucket=bucket)
    iam.create_user(UserName="powerless")
    powerless = iam.create_access_key(UserName="powerless")["AccessKey"]
    closed_role_arn = iam.create_role(
        RoleName="closed", AssumeRolePolicyDocument=json.dumps(trust_policy("arn:aws:iam::999999999999:root"))
    )["Role"]["Arn"]
    # Both, so that it is the closed role's own trust policy that refuses.
    iam.put_user_policy(
        UserName=USER_NAME,
        PolicyName="AssumeAgentRole",
        PolicyDocument=json.dumps(user_policy(role_arn, closed_role_arn)),
    )
    return AwsAccount(
        account_id,
        role_arn,
        user_arn,
        key["AccessKeyId"],
        key["SecretAccessKey"],
        bucket,
        (powerless["AccessKeyId"], powerless["SecretAccessKey"]),
        closed_role_arn,
    )


def trust_policy(user_arn: str) -> dict:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": user_arn},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Condition": {"Null": {f"aws:RequestTag/{TAG}": "false"}},
            }
        ],
    }


def user_policy(*role_arns: str) -> dict:
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["sts:AssumeRole", "sts:TagSession"], "Resource": list(role_arns)}],
    }


def whole_bucket_policy(bucket: str) -> dict:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"],
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
            }
        ],
    }
