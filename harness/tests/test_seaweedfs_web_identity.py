"""Broker → a real STS that verifies the JWT → a real S3, with no AWS key anywhere.

The role on the far side may read and write the whole bucket, so every refusal
below is the work of the session policy that the broker sent.
"""
from __future__ import annotations

import time

import pytest
from botocore.exceptions import ClientError

from expect import MINT_FIELDS, instant, mint_is_whole, new_wallet, refused


@pytest.fixture(scope="module")
def pair(seaweed_broker):
    """Two wallets, each with a session, a minted credential, a client and one object."""
    return [Tenant(seaweed_broker), Tenant(seaweed_broker)]


class Tenant:
    def __init__(self, broker) -> None:
        self.wallet = new_wallet()
        self.session = broker.session_issue(self.wallet)
        self.minted = broker.mint(self.session["token"])
        self.prefix = self.minted["environment"]["prefix"]

    def s3(self, seaweedfs):
        return seaweedfs.as_minted(self.minted)


def denied(call, **arguments) -> None:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, caught.value


def test_the_answer_has_the_shape_of_the_contract(seaweed_broker, seaweedfs, pair):
    tenant = pair[0]
    answer = seaweed_broker.try_mint(tenant.session["token"], duration_seconds=900)
    assert answer.status == 200, answer
    minted = answer.json()
    assert set(minted) == MINT_FIELDS
    mint_is_whole(minted, tenant.wallet, seaweedfs.role_arn)
    assert minted["region"] == "us-east-1"
    assert minted["environment"]["bucket"] == seaweedfs.bucket
    assert minted["environment"]["prefix"] == f"bots/{tenant.wallet}/"
    assert 800 < instant(minted["expiration"]) - time.time() <= 905
    assert answer.header("cache-control") == "no-store"
    assert answer.header("x-request-id")


def test_a_wallet_writes_reads_and_lists_its_own_prefix(seaweedfs, pair):
    for tenant in pair:
        s3, key = tenant.s3(seaweedfs), f"{tenant.prefix}mail/1"
        s3.put_object(Bucket=seaweedfs.bucket, Key=key, Body=tenant.wallet.encode())
        assert s3.get_object(Bucket=seaweedfs.bucket, Key=key)["Body"].read() == tenant.wallet.encode()
        listed = s3.list_objects_v2(Bucket=seaweedfs.bucket, Prefix=tenant.prefix)["Contents"]
        assert [item["Key"] for item in listed] == [key]


@pytest.mark.parametrize("me, other", [(0, 1), (1, 0)], ids=["A against B", "B against A"])
def test_a_wallet_reaches_nothing_of_another(seaweedfs, pair, me, other):
    s3, theirs = pair[me].s3(seaweedfs), pair[other].prefix
    seaweedfs.admin().put_object(Bucket=seaweedfs.bucket, Key=f"{theirs}secret", Body=b"theirs")
    bucket = seaweedfs.bucket
    denied(s3.get_object, Bucket=bucket, Key=f"{theirs}secret")
    denied(s3.head_object, Bucket=bucket, Key=f"{theirs}secret")
    denied(s3.put_object, Bucket=bucket, Key=f"{theirs}planted", Body=b"x")
    denied(s3.delete_object, Bucket=bucket, Key=f"{theirs}secret")
    denied(s3.list_objects_v2, Bucket=bucket, Prefix=theirs)
    denied(
        s3.copy_object,
        Bucket=bucket,
        Key=f"{pair[me].prefix}stolen",
        CopySource=f"{bucket}/{theirs}secret",
    )
    still = seaweedfs.admin().get_object(Bucket=bucket, Key=f"{theirs}secret")["Body"].read()
    assert still == b"theirs"


@pytest.mark.parametrize("prefix", ["", "bots/", "bots/0x", "other/"])
def test_no_listing_above_or_beside_the_own_prefix(seaweedfs, pair, prefix):
    denied(pair[0].s3(seaweedfs).list_objects_v2, Bucket=seaweedfs.bucket, Prefix=prefix)


def test_a_prefix_that_begins_like_the_own_is_another(seaweedfs, pair):
    """`bots/0xab…` must not open `bots/0xab…ff/`: the policy ends in a slash."""
    s3, sibling = pair[0].s3(seaweedfs), pair[0].prefix.rstrip("/") + "ff/"
    denied(s3.put_object, Bucket=seaweedfs.bucket, Key=f"{sibling}x", Body=b"x")
    denied(s3.list_objects_v2, Bucket=seaweedfs.bucket, Prefix=sibling)


def test_another_bucket_is_out_of_reach(seaweedfs, pair):
    admin = seaweedfs.admin()
    admin.create_bucket(Bucket="another-bucket")
    denied(pair[0].s3(seaweedfs).put_object, Bucket="another-bucket", Key=f"{pair[0].prefix}x", Body=b"x")


def test_a_checksummed_wallet_reaches_the_same_prefix(seaweed_broker, seaweedfs):
    """A spelling in mixed case that reached a policy would silently match nothing."""
    wallet = new_wallet()
    mixed = "0x" + wallet[2:].upper()
    session = seaweed_broker.session_issue(mixed)
    assert session["wallet"] == wallet
    minted = seaweed_broker.mint(session["token"])
    assert minted["environment"]["prefix"] == f"bots/{wallet}/"
    seaweedfs.as_minted(minted).put_object(Bucket=seaweedfs.bucket, Key=f"bots/{wallet}/x", Body=b"x")


def reads_only(seaweedfs, minted) -> None:
    prefix, bucket = minted["environment"]["prefix"], seaweedfs.bucket
    seaweedfs.admin().put_object(Bucket=bucket, Key=f"{prefix}mail", Body=b"hello")
    s3 = seaweedfs.as_minted(minted)
    assert s3.get_object(Bucket=bucket, Key=f"{prefix}mail")["Body"].read() == b"hello"
    s3.list_objects_v2(Bucket=bucket, Prefix=prefix)
    denied(s3.put_object, Bucket=bucket, Key=f"{prefix}new", Body=b"x")
    denied(s3.delete_object, Bucket=bucket, Key=f"{prefix}mail")


def test_a_read_only_session_reads_and_never_writes(seaweed_broker, seaweedfs):
    token = seaweed_broker.token(new_wallet(), read_only=True)
    reads_only(seaweedfs, seaweed_broker.mint(token))
    # And it cannot ask its way out.
    answer = seaweed_broker.try_mint(token, read_only=False)
    if answer.status == 200:
        reads_only(seaweedfs, answer.json())
    else:
        refused(answer, 403, "insufficient_scope")


def test_a_full_session_may_ask_for_a_read_only_credential(seaweed_broker, seaweedfs):
    reads_only(seaweedfs, seaweed_broker.mint(seaweed_broker.token(new_wallet()), read_only=True))


def test_a_revoked_session_is_refused_at_the_next_request(seaweed_broker):
    session = seaweed_broker.session_issue(new_wallet())
    seaweed_broker.mint(session["token"])
    assert seaweed_broker.cli("session", "revoke", session["session_id"]) == {"revoked": 1}
    refused(seaweed_broker.try_mint(session["token"]), 401, "invalid_token")


def test_a_role_outside_the_grants_is_refused(seaweed_broker, pair):
    answer = seaweed_broker.try_mint(pair[0].session["token"], role="administrator")
    assert answer.status == 403, answer
    assert answer.problem()["code"] in ("no_grant", "insufficient_scope")


def test_every_mint_is_in_the_audit_and_the_chain_holds(seaweed_broker, pair):
    minted = seaweed_broker.mint(pair[0].session["token"])
    records = seaweed_broker.audit_of(minted["mint_id"])
    assert set(records) == {"intent", "outcome"}
    outcome = records["outcome"]
    assert outcome["outcome"] == "granted" and outcome["action"] == "mint_aws_creds"
    assert outcome["wallet"] == pair[0].wallet
    assert outcome["session_id"] == pair[0].session["session_id"]
    assert minted["mint_id"] in outcome["session_name"], "one id finds the mint in CloudTrail too"
    assert outcome["source"] == "127.0.0.1" and outcome["kid"]
    assert records["intent"]["seq"] < outcome["seq"]
    verified = seaweed_broker.audit_verify()
    assert verified["ok"] is True and verified["records"] >= outcome["seq"] and verified["head"]


def test_the_jwt_alone_is_enough_for_the_real_sts(seaweed_broker, seaweedfs):
    """What `mint-oidc-jwt` hands out can be exchanged by hand, as AWS's own clients do."""
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config

    minted = seaweed_broker.mint_jwt(seaweed_broker.token(new_wallet()))
    sts = boto3.session.Session().client(
        "sts",
        endpoint_url=seaweedfs.endpoint,
        region_name="us-east-1",
        config=Config(signature_version=UNSIGNED),
    )
    answer = sts.assume_role_with_web_identity(
        RoleArn=seaweedfs.role_arn, RoleSessionName="by-hand", WebIdentityToken=minted["jwt"]
    )
    assert answer["SubjectFromWebIdentityToken"] == f"agentkeys:agent:{minted['wallet']}"
