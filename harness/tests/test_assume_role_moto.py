"""A second, independent emulator: signed calls that work, and refusals in a shape that is not AWS's.

moto checks keys, signatures and the user's policy. It verifies no session
policy, so nothing here says anything about isolation. Its errors are wrapped in
`<Errors>` and typed as HTML, so the broker may or may not read STS's code in
them; what it must not do is hand out anything, or take them for a hiccup.
"""
from __future__ import annotations

import pytest

from expect import mint_is_whole, new_wallet, no_credential


def config(moto) -> dict:
    return {
        "aws": {"exchange": "assume_role", "sts_endpoint": moto.endpoint},
        "roles": {"agent": {"arn": moto.account.role_arn}},
        "environment": {"bucket": moto.account.bucket},
    }


def test_a_mint(make_broker, moto):
    key = (moto.account.access_key_id, moto.account.secret_access_key)
    broker, wallet = make_broker(config(moto), daemon_key=key), new_wallet()
    mint_is_whole(broker.mint(broker.token(wallet)), wallet, moto.account.role_arn)


def test_the_account_is_learned_from_the_key(make_broker, moto):
    key = (moto.account.access_key_id, moto.account.secret_access_key)
    broker = make_broker({"aws": {"sts_endpoint": moto.endpoint}}, daemon_key=key)
    minted = broker.mint(broker.token())
    assert minted["role_arn"] == moto.account.role_arn
    assert minted["environment"]["bucket"] == moto.account.bucket


@pytest.mark.parametrize(
    "key, upstream",
    [
        (lambda a: ("AKIAIOSFODNN7UNKNOWN", "x" * 40), "InvalidClientTokenId"),
        (lambda a: (a.access_key_id, "x" * 40), "SignatureDoesNotMatch"),
        (lambda a: a.powerless, "AccessDenied"),
    ],
    ids=["unknown key", "wrong secret", "no permission"],
)
def test_what_is_refused_is_a_502(make_broker, moto, key, upstream):
    broker = make_broker(config(moto), daemon_key=key(moto.account), ready=False)
    answer = broker.try_mint(broker.token())
    assert answer.status == 502, answer
    no_credential(answer)
    problem = answer.problem()
    assert problem["retryable"] is False
    assert problem["code"] in ("sts_refused", "sts_invalid_answer")
    if problem["code"] == "sts_refused":
        assert problem["upstream_code"] == upstream
