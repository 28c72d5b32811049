"""Signed AssumeRole with the operator's key, against signatures, trust policy and session policy enforced.

This is the laptop's shape: `exchange: auto` on an http issuer, the account, the
role and the bucket all learned from the key.
"""
from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from expect import mint_is_whole, new_wallet, refused


def key_of(account) -> tuple:
    return account.access_key_id, account.secret_access_key


@pytest.fixture(scope="module")
def broker(broker_binary, ministack):
    from brokerlib import Broker

    # No role, no bucket and no mode: exactly what an operator on a fresh laptop sets.
    config = {"aws": {"sts_endpoint": ministack.endpoint}}
    with Broker(config, daemon_key=key_of(ministack.account)) as running:
        yield running


def denied(call, **arguments) -> None:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_everything_is_learned_from_the_key(broker, ministack):
    wallet = new_wallet()
    minted = broker.mint(broker.token(wallet))
    mint_is_whole(minted, wallet, ministack.account.role_arn)
    assert minted["environment"]["bucket"] == f"agentkeys-mail-{ministack.account.account_id}"
    assert "assume_role" in broker.logs(), "the chosen exchange is said at start"


def test_the_session_policy_isolates(broker, ministack):
    mine, theirs = new_wallet(), new_wallet()
    minted = broker.mint(broker.token(mine))
    s3, bucket = ministack.as_minted(minted), minted["environment"]["bucket"]
    s3.put_object(Bucket=bucket, Key=f"bots/{mine}/x", Body=b"1")
    assert s3.get_object(Bucket=bucket, Key=f"bots/{mine}/x")["Body"].read() == b"1"
    s3.list_objects_v2(Bucket=bucket, Prefix=f"bots/{mine}/")
    denied(s3.put_object, Bucket=bucket, Key=f"bots/{theirs}/x", Body=b"1")
    denied(s3.get_object, Bucket=bucket, Key=f"bots/{theirs}/x")
    denied(s3.list_objects_v2, Bucket=bucket, Prefix=f"bots/{theirs}/")
    denied(s3.list_objects_v2, Bucket=bucket)


def test_a_read_only_session_never_writes(broker, ministack):
    wallet = new_wallet()
    minted = broker.mint(broker.token(wallet, read_only=True))
    denied(
        ministack.as_minted(minted).put_object,
        Bucket=minted["environment"]["bucket"],
        Key=f"bots/{wallet}/x",
        Body=b"1",
    )


def test_the_credential_can_do_nothing_else(broker, ministack):
    minted = broker.mint(broker.token(new_wallet()))
    denied(ministack.as_minted(minted, "iam").list_users)
    denied(
        ministack.as_minted(minted, "sts").assume_role,
        RoleArn=ministack.account.role_arn,
        RoleSessionName="again",
    )
    who = ministack.as_minted(minted, "sts").get_caller_identity()
    assert minted["mint_id"] in who["Arn"], "the session name carries the mint id"


def failing(make_broker, ministack, key, role_arn=None):
    account = ministack.account
    config = {
        "aws": {"exchange": "assume_role", "sts_endpoint": ministack.endpoint},
        "roles": {"agent": {"arn": role_arn or account.role_arn}},
        "environment": {"bucket": account.bucket},
    }
    # Not ready: its key is wrong, and it says so. It must refuse all the same.
    return make_broker(config, daemon_key=key, ready=False)


def test_a_role_that_trusts_somebody_else(make_broker, ministack):
    broker = failing(make_broker, ministack, key_of(ministack.account), ministack.account.closed_role_arn)
    problem = refused(broker.try_mint(broker.token()), 502, "sts_refused")
    assert problem["upstream_code"] == "AccessDenied"


def test_a_key_without_permission(make_broker, ministack):
    broker = failing(make_broker, ministack, ministack.account.powerless)
    problem = refused(broker.try_mint(broker.token()), 502, "sts_refused")
    assert problem["upstream_code"] == "AccessDenied"


def test_a_wrong_secret(make_broker, ministack):
    wrong = (ministack.account.access_key_id, "wrong" * 8)
    broker = failing(make_broker, ministack, wrong)
    problem = refused(broker.try_mint(broker.token()), 502, "sts_refused")
    assert problem["upstream_code"] == "SignatureDoesNotMatch"
    assert ministack.account.access_key_id not in json.dumps(problem)


def test_an_unknown_key(make_broker, ministack):
    broker = failing(make_broker, ministack, ("AKIAIOSFODNN7UNKNOWN", "x" * 40))
    problem = refused(broker.try_mint(broker.token()), 502, "sts_refused")
    assert problem["upstream_code"] == "InvalidClientTokenId"


def test_a_failed_mint_is_in_the_audit(make_broker, ministack):
    broker = failing(make_broker, ministack, ministack.account.powerless)
    assert broker.try_mint(broker.token()).status == 502
    outcomes = [row for row in broker.audit() if row["phase"] == "outcome"]
    assert [row["outcome"] for row in outcomes] == ["sts_refused"]
    assert broker.audit_verify()["ok"] is True
