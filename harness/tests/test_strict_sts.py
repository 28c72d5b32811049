"""What the broker sends to STS, and what it does with everything STS can answer.

Against the strict double, which alone enforces AWS's tags claim, and which
fails on demand.
"""
from __future__ import annotations

import json
import threading
import time

import pytest

from brokerlib import timed, wait_mint
from expect import each_once, mint_is_whole, new_wallet, no_credential, refused, unavailable
from peers.process import wait_until

TAG = "agentkeys_user_wallet"
TAGS_CLAIM = "https://aws.amazon.com/tags"

# How long any mint may take, whatever STS does.
BOUND_SECONDS = 25


@pytest.fixture(params=["web_identity", "assume_role"])
def either_broker(request, web_broker, role_broker):
    """Both exchanges stand behind one interface: what follows holds for each."""
    return {"web_identity": web_broker, "assume_role": role_broker}[request.param]()


# What is sent


def test_web_identity_sends_the_verified_tag_and_no_credential(web_broker, sts):
    broker, wallet = web_broker(), new_wallet()
    minted = broker.mint(broker.token(wallet), duration_seconds=1800)
    mint_is_whole(minted, wallet, sts.role_arn)
    (call,) = sts.mint_calls()
    assert call["operation"] == "AssumeRoleWithWebIdentity" and call["outcome"] == "ok"
    assert not call["has_authorization"] and not call["has_security_token"]
    claims = call["claims"]
    assert claims["iss"] == broker.issuer
    assert claims["sub"] == f"agentkeys:agent:{wallet}"
    assert claims["aud"] == "sts.amazonaws.com"
    assert claims["jti"] == minted["mint_id"]
    assert claims[TAG] == wallet
    assert claims[TAGS_CLAIM] == {"principal_tags": {TAG: [wallet]}, "transitive_tag_keys": [TAG]}
    for name in ("iat", "nbf", "exp"):
        assert type(claims[name]) is int
    assert claims["iat"] <= time.time() and claims["nbf"] <= time.time()
    assert call["jwt_header"]["alg"] == "ES256" and call["jwt_header"]["typ"] == "JWT"
    assert minted["mint_id"] in call["role_session_name"]
    assert call["duration_seconds"] == "1800"
    assert len(call["policy"]) <= 2048 and wallet in call["policy"]


def test_web_identity_sends_no_key_even_where_the_broker_holds_one(web_broker, sts):
    broker = web_broker(daemon_key=(sts.access_key_id, sts.secret_access_key))
    broker.mint(broker.token())
    (call,) = sts.mint_calls()
    assert not call["has_authorization"] and not call["has_security_token"]


def test_assume_role_sends_the_tag_and_marks_it_transitive(role_broker, sts):
    broker, wallet = role_broker(), new_wallet()
    minted = broker.mint(broker.token(wallet))
    mint_is_whole(minted, wallet, sts.role_arn)
    (call,) = sts.mint_calls()
    assert call["operation"] == "AssumeRole" and call["signed_by"] == sts.access_key_id
    assert call["tags"] == {TAG: wallet} and call["transitive_tag_keys"] == [TAG]
    assert minted["mint_id"] in call["role_session_name"]
    assert len(call["policy"]) <= 2048 and wallet in call["policy"]


def test_auto_means_assume_role_on_a_loopback_issuer(role_broker, sts):
    broker = role_broker({"aws": {"exchange": "auto"}})
    broker.mint(broker.token())
    assert [call["operation"] for call in sts.mint_calls()] == ["AssumeRole"]


# Isolation, each layer alone


@pytest.mark.parametrize("layer", ["tag", "whole_bucket"])
def test_tag_and_session_policy_each_isolate_alone(either_broker, sts, layer):
    """Under `tag` the role's own policy isolates; under `whole_bucket` only the session policy can."""
    sts.set_role_policy(layer)
    mine, theirs = new_wallet(), new_wallet()
    minted = either_broker.mint(either_broker.token(mine))
    for action in ("s3:GetObject", "s3:PutObject"):
        assert sts.authorize(minted, action, f"bots/{mine}/x")["allowed"], action
        verdict = sts.authorize(minted, action, f"bots/{theirs}/x")
        assert not verdict["allowed"]
        assert verdict["role_policy" if layer == "tag" else "session_policy"] != "allow"
    assert sts.authorize(minted, "s3:ListBucket", prefix=f"bots/{mine}/")["allowed"]
    for prefix in (f"bots/{theirs}/", "bots/", "", None):
        assert not sts.authorize(minted, "s3:ListBucket", prefix=prefix)["allowed"], prefix


def test_a_session_policy_is_always_sent(either_broker, sts):
    either_broker.mint(either_broker.token())
    either_broker.mint(either_broker.token(read_only=True))
    full, narrow = (json.loads(call["policy"]) for call in sts.mint_calls())
    assert full != narrow
    assert "PutObject" not in json.dumps(narrow)


def test_without_the_tag_the_trust_policy_would_refuse(sts):
    """The double's own guard, so that the two tests above cannot pass by accident."""
    with pytest.raises(Exception, match="AccessDenied"):
        sts.client().assume_role(RoleArn=sts.role_arn, RoleSessionName="untagged")


# Duration


@pytest.mark.parametrize("asked", [3601, 43200, 899, 0, -1])
def test_a_duration_outside_the_ceiling_is_clamped_or_refused(either_broker, sts, asked):
    answer = either_broker.try_mint(either_broker.token(), duration_seconds=asked)
    if answer.status == 200:
        (call,) = sts.mint_calls()
        assert 900 <= int(call["duration_seconds"]) <= 3600
    else:
        assert 400 <= answer.status < 500, answer
        assert sts.mint_calls() == []


# Faults: what the client is told


TRANSIENT = ["throttling", "http_500", "http_502", "http_503", "reset"]


@pytest.mark.parametrize("kind", TRANSIENT)
def test_throttled_or_unreachable_is_503_with_retry_after(either_broker, sts, kind):
    sts.fault(kind)
    answer, seconds = timed(either_broker.try_mint, either_broker.token())
    unavailable(answer, "sts_unavailable")
    assert seconds < BOUND_SECONDS
    assert 2 <= len(sts.mint_calls()) <= 5, "a transient failure is retried, but not for ever"


@pytest.mark.parametrize("kind", ["verification_key", "idp_communication"])
def test_a_transient_identity_failure_that_stays_is_not_a_grant(web_broker, sts, kind):
    broker = web_broker()
    sts.fault(kind)
    answer = broker.try_mint(broker.token())
    assert answer.status in (502, 503), answer
    no_credential(answer)
    assert 2 <= len(sts.mint_calls()) <= 4, "one try and at most three more"


@pytest.mark.parametrize(
    "kind, upstream",
    [
        ("access_denied", "AccessDenied"),
        ("malformed_policy", "MalformedPolicyDocument"),
        ("packed_policy", "PackedPolicyTooLarge"),
        ("region_disabled", "RegionDisabledException"),
        ("validation_error", "ValidationError"),
    ],
)
def test_a_refusal_is_502_with_stss_code_and_is_not_retried(either_broker, sts, kind, upstream):
    sts.fault(kind)
    problem = refused(either_broker.try_mint(either_broker.token()), 502, "sts_refused")
    assert problem["upstream_code"] == upstream
    assert len(sts.mint_calls()) == 1


@pytest.mark.parametrize(
    "kind, upstream",
    [("invalid_identity_token", "InvalidIdentityToken"), ("idp_rejected_claim", "IDPRejectedClaim")],
)
def test_a_rejected_token_is_502_and_is_not_retried(web_broker, sts, kind, upstream):
    broker = web_broker()
    sts.fault(kind)
    problem = refused(broker.try_mint(broker.token()), 502, "sts_refused")
    assert problem["upstream_code"] == upstream
    assert len(sts.mint_calls()) == 1


@pytest.mark.parametrize(
    "kind",
    [
        "html_200",
        "no_credentials",
        "empty_credentials",
        "other_account",
        "json",
        "expired_credentials",
        "oversize",
        "truncated",
    ],
)
def test_an_answer_that_cannot_be_trusted_hands_out_nothing(either_broker, sts, kind):
    sts.fault(kind)
    answer, seconds = timed(either_broker.try_mint, either_broker.token())
    assert answer.status in (502, 503), answer
    assert answer.problem()["code"] in ("sts_invalid_answer", "sts_unavailable")
    no_credential(answer)
    assert seconds < BOUND_SECONDS


@pytest.mark.parametrize("kind", ["no_credentials", "empty_credentials", "other_account", "expired_credentials"])
def test_a_lying_answer_has_its_own_code(either_broker, sts, kind):
    sts.fault(kind)
    refused(either_broker.try_mint(either_broker.token()), 502, "sts_invalid_answer")


def test_a_hanging_sts_is_bounded(either_broker, sts):
    sts.fault("hang", seconds=120)
    answer, seconds = timed(either_broker.try_mint, either_broker.token(), timeout=60)
    unavailable(answer, "sts_unavailable")
    assert seconds < BOUND_SECONDS


def test_a_dead_sts_is_503(role_broker, sts):
    from peers.ports import free_port

    broker = role_broker({"aws": {"sts_endpoint": f"http://127.0.0.1:{free_port()}"}}, ready=False)
    answer, seconds = timed(broker.try_mint, broker.token())
    unavailable(answer, "sts_unavailable")
    assert seconds < BOUND_SECONDS


def test_a_failed_exchange_never_falls_through_to_another_identity(web_broker, sts):
    """With a key at hand, a failing web identity must not become a signed AssumeRole."""
    broker = web_broker(daemon_key=(sts.access_key_id, sts.secret_access_key))
    sts.fault("throttling", operation="AssumeRoleWithWebIdentity")
    no_credential(broker.try_mint(broker.token()))
    assert {call["operation"] for call in sts.mint_calls()} == {"AssumeRoleWithWebIdentity"}


def test_a_failed_mint_leaves_intent_and_outcome(either_broker, sts):
    sts.fault("access_denied")
    either_broker.try_mint(either_broker.token())
    phases = [(row["phase"], row["outcome"]) for row in either_broker.audit() if row["phase"] in ("intent", "outcome")]
    assert sorted(phases) == [("intent", "pending"), ("outcome", "sts_refused")]


# Retries


def test_an_unretrievable_key_is_retried_with_a_freshly_signed_jwt(web_broker, sts):
    broker = web_broker()
    sts.fault("verification_key", count=2)
    minted = broker.mint(broker.token())
    calls = sts.mint_calls()
    assert len(calls) == 3
    assert each_once(call["jwt_sha256"] for call in calls), "the same JWT was sent again"
    issued = [call["claims"]["iat"] for call in calls]
    assert issued == sorted(issued)
    ids = [call["claims"]["jti"] for call in calls]
    assert all(jti.startswith(minted["mint_id"]) for jti in ids), "still one mint"


def test_an_expired_token_is_minted_again_once(web_broker, sts):
    broker = web_broker()
    token = broker.token()
    sts.fault("expired_token", count=1)
    broker.mint(token)
    first, second = sts.mint_calls()
    assert first["jwt_sha256"] != second["jwt_sha256"]
    sts.forget_calls()
    sts.fault("expired_token")
    problem = refused(broker.try_mint(token), 502, "sts_refused")
    assert problem["upstream_code"] == "ExpiredTokenException"
    assert len(sts.mint_calls()) == 2


@pytest.mark.parametrize("kind", ["throttling", "http_500", "http_503"])
def test_one_hiccup_is_invisible_to_the_client(either_broker, sts, kind):
    sts.fault(kind, count=1)
    minted = either_broker.mint(either_broker.token())
    calls = sts.mint_calls()
    assert len(calls) == 2
    assert all(minted["mint_id"] in call["role_session_name"] for call in calls)


# Breaker and concurrency


def test_the_breaker_opens_and_closes_again(role_broker, sts):
    broker = role_broker()
    token = broker.token()
    sts.fault("http_500")

    def refused_without_a_call() -> bool:
        before = len(sts.mint_calls())
        answer = broker.try_mint(token)
        unavailable(answer, "sts_unavailable")
        return len(sts.mint_calls()) == before

    wait_until(refused_without_a_call, 60, "the breaker opens")
    answer, seconds = timed(broker.try_mint, token)
    unavailable(answer, "sts_unavailable")
    assert seconds < 0.5, "an open breaker answers at once"
    sts.clear_faults()
    wait_mint(broker, token, timeout=60)


def test_refusals_do_not_open_the_breaker(role_broker, sts):
    """One wallet's AccessDenied must not shut out everybody."""
    broker = role_broker()
    token = broker.token()
    sts.fault("access_denied", count=30)
    for _ in range(30):
        assert broker.try_mint(token).status == 502
    broker.mint(token)


def test_calls_in_flight_are_capped(role_broker, sts):
    broker = role_broker({"limits": {"sts_in_flight": 2}})
    token = broker.token()
    sts.fault("latency", seconds=0.3)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(broker.try_mint(token))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(call["in_flight"] for call in sts.mint_calls()) <= 2
    assert len(answers) == 8
    for answer in answers:
        if answer.status != 200:
            unavailable(answer, "overloaded", "sts_unavailable")
    assert any(answer.status == 200 for answer in answers)


# Readiness and rotation


def test_readiness_never_calls_aws_per_probe(role_broker, sts):
    broker = role_broker()
    before = len(sts.calls())
    for _ in range(50):
        assert broker.get("/readyz").status == 200
        assert broker.get("/healthz").status == 200
    assert len(sts.calls()) - before <= 1


def test_it_serves_before_aws_can_be_reached_and_becomes_ready_by_itself(role_broker, sts):
    """`arn: auto` needs the account: unready until known, but up."""
    sts.fault("http_503", operation="GetCallerIdentity")
    broker = role_broker({"roles": {"agent": {"arn": "auto"}}, "environment": {"bucket": "auto"}}, ready=False)
    assert broker.get("/healthz").status == 200
    answer = broker.get("/readyz")
    assert answer.status == 503, answer
    token = broker.token()
    no_credential(broker.try_mint(token))
    sts.clear_faults()
    broker.wait_readyz(200, timeout=60)
    minted = broker.mint(token)
    assert minted["role_arn"] == sts.role_arn and minted["environment"]["bucket"] == sts.bucket


def test_a_mint_survives_key_rotation(web_broker, sts):
    broker = web_broker()
    token = broker.token()
    broker.mint(token)
    first = sts.mint_calls()[-1]["jwt_header"]["kid"]
    broker.cli_rows("keys", "generate")
    # The cache of a verifier runs out while the key is published and does not
    # sign yet: what `publish_before` is for.
    sts.forget_keys()
    broker.mint(token)
    broker.cli_rows("keys", "rotate", "--force")

    broker.mint(token)
    assert sts.mint_calls()[-1]["jwt_header"]["kid"] != first
