#!/bin/sh
# The AWS side of an AgentKeys broker. Run it with an administrator's credentials,
# never with the daemon key. It may run again.
set -eu
documents=$(mktemp -d)
trap 'rm -rf "$documents"' EXIT

cat >"$documents/oidc-provider.json" <<'JSON'
{
  "ClientIDList": [
    "sts.amazonaws.com"
  ],
  "Url": "https://broker.example.dev"
}
JSON

cat >"$documents/trust-policy.json" <<'JSON'
{
  "Statement": [
    {
      "Action": [
        "sts:AssumeRoleWithWebIdentity",
        "sts:TagSession"
      ],
      "Condition": {
        "Null": {
          "aws:RequestTag/agentkeys_user_wallet": "false"
        },
        "StringEquals": {
          "broker.example.dev:aud": "sts.amazonaws.com"
        }
      },
      "Effect": "Allow",
      "Principal": {
        "Federated": "arn:aws:iam::123456789012:oidc-provider/broker.example.dev"
      },
      "Sid": "OnlySessionsThatNameTheirWallet"
    }
  ],
  "Version": "2012-10-17"
}
JSON

cat >"$documents/role-policy.json" <<'JSON'
{
  "Statement": [
    {
      "Action": "s3:ListBucket",
      "Condition": {
        "StringLike": {
          "s3:prefix": "bots/${aws:PrincipalTag/agentkeys_user_wallet}/*"
        }
      },
      "Effect": "Allow",
      "Resource": "arn:aws:s3:::agentkeys-mail-123456789012",
      "Sid": "ListOwnPrefix"
    },
    {
      "Action": [
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject"
      ],
      "Effect": "Allow",
      "Resource": "arn:aws:s3:::agentkeys-mail-123456789012/bots/${aws:PrincipalTag/agentkeys_user_wallet}/*",
      "Sid": "UseOwnObjects"
    }
  ],
  "Version": "2012-10-17"
}
JSON

cat >"$documents/bucket-policy.json" <<'JSON'
{
  "Statement": [
    {
      "Action": "s3:*",
      "Condition": {
        "Bool": {
          "aws:SecureTransport": "false"
        }
      },
      "Effect": "Deny",
      "Principal": "*",
      "Resource": [
        "arn:aws:s3:::agentkeys-mail-123456789012",
        "arn:aws:s3:::agentkeys-mail-123456789012/*"
      ],
      "Sid": "NothingInTheClear"
    },
    {
      "Action": "s3:PutObject",
      "Condition": {
        "StringEquals": {
          "aws:SourceAccount": "123456789012"
        }
      },
      "Effect": "Allow",
      "Principal": {
        "Service": "ses.amazonaws.com"
      },
      "Resource": "arn:aws:s3:::agentkeys-mail-123456789012/*",
      "Sid": "MailFromThisAccountsSes"
    },
    {
      "Action": "s3:ListBucket",
      "Condition": {
        "StringLike": {
          "s3:prefix": "bots/${aws:PrincipalTag/agentkeys_user_wallet}/*"
        }
      },
      "Effect": "Allow",
      "Principal": {
        "AWS": [
          "arn:aws:iam::123456789012:role/agentkeys-agent"
        ]
      },
      "Resource": "arn:aws:s3:::agentkeys-mail-123456789012",
      "Sid": "AgentsListOwnPrefix"
    },
    {
      "Action": [
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject"
      ],
      "Effect": "Allow",
      "Principal": {
        "AWS": [
          "arn:aws:iam::123456789012:role/agentkeys-agent"
        ]
      },
      "Resource": "arn:aws:s3:::agentkeys-mail-123456789012/bots/${aws:PrincipalTag/agentkeys_user_wallet}/*",
      "Sid": "AgentsUseOwnObjects"
    }
  ],
  "Version": "2012-10-17"
}
JSON

aws iam get-open-id-connect-provider --open-id-connect-provider-arn arn:aws:iam::123456789012:oidc-provider/broker.example.dev >/dev/null 2>&1 ||
  aws iam create-open-id-connect-provider --cli-input-json "file://$documents/oidc-provider.json"

aws iam get-role --role-name agentkeys-agent >/dev/null 2>&1 ||
  aws iam create-role --role-name agentkeys-agent --path / \
    --assume-role-policy-document "file://$documents/trust-policy.json"
aws iam wait role-exists --role-name agentkeys-agent
aws iam update-assume-role-policy --role-name agentkeys-agent \
  --policy-document "file://$documents/trust-policy.json"
aws iam update-role --role-name agentkeys-agent --max-session-duration 3600
aws iam put-role-policy --role-name agentkeys-agent --policy-name agentkeys-own-prefix \
  --policy-document "file://$documents/role-policy.json"

aws s3api head-bucket --bucket agentkeys-mail-123456789012 --region us-east-1 >/dev/null 2>&1 ||
  aws s3api create-bucket --bucket agentkeys-mail-123456789012 --region us-east-1
aws s3api put-public-access-block --bucket agentkeys-mail-123456789012 --region us-east-1 \
  --public-access-block-configuration \
  BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
aws s3api put-bucket-policy --bucket agentkeys-mail-123456789012 --region us-east-1 \
  --policy "file://$documents/bucket-policy.json"
