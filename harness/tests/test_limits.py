"""Limits: who is slowed down, by what, and that nobody else is."""
from __future__ import annotations

import re
import time

import pytest

from brokerlib import NO_LIMITS, timed
from expect import each_once, no_credential
from load import Load
from peers.process import wait_until

POLICY = re.compile(r'"[a-z_]+";q=\d+;w=\d+(, "[a-z_]+";q=\d+;w=\d+)*')
STATE = re.compile(r'"[a-z_]+";r=\d+;t=\d+')


def limited(make, **limits):
    return make({"limits": {**NO_LIMITS, **limits}})


def is_429(answer) -> None:
    assert answer.status == 429, answer
    problem = answer.problem()
    assert problem["code"] == "rate_limited" and problem["retryable"] is True
    assert int(answer.header("retry-after")) >= 1
    assert POLICY.fullmatch(answer.header("ratelimit-policy")), answer.header("ratelimit-policy")
    assert STATE.fullmatch(answer.header("ratelimit")) and ";r=0;" in answer.header("ratelimit")
    no_credential(answer)


def test_per_session(role_broker, sts):
    broker = limited(role_broker, per_session="5/min")
    token, other = broker.token(), broker.token()
    answers = [broker.try_mint(token) for _ in range(8)]
    assert [answer.status for answer in answers] == [200] * 5 + [429] * 3
    for answer in answers[5:]:
        is_429(answer)
    assert broker.try_mint(other).status == 200, "another session has its own"
    assert len(sts.mint_calls()) == 6, "what is limited never reaches STS"


def test_every_answer_says_what_is_left(role_broker, sts):
    broker = limited(role_broker, per_session="5/min")
    token = broker.token()
    left = []
    for _ in range(4):
        answer = broker.try_mint(token)
        assert POLICY.fullmatch(answer.header("ratelimit-policy")) and STATE.fullmatch(answer.header("ratelimit"))
        left.append(int(re.search(r";r=(\d+)", answer.header("ratelimit")).group(1)))
    assert left == sorted(left, reverse=True) and each_once(left)


def test_waiting_as_told_is_enough(role_broker, sts):
    broker = limited(role_broker, per_session="2/s")
    token = broker.token()

    def until_limited():
        answer = broker.try_mint(token)
        return answer if answer.status == 429 else None

    answer = wait_until(until_limited, 20, "the limit is met")
    is_429(answer)
    time.sleep(int(answer.header("retry-after")))
    assert broker.try_mint(token).status == 200


def test_per_wallet_over_all_its_sessions(role_broker, sts):
    broker = limited(role_broker, per_wallet="4/min")
    wallet = "0x" + "cd" * 20
    tokens = [broker.token(wallet) for _ in range(6)]
    assert [broker.try_mint(token).status for token in tokens] == [200] * 4 + [429] * 2


def test_per_source_comes_before_authentication(role_broker, sts):
    broker = limited(role_broker, per_source="6/min")
    # Readiness and health belong to probes, not to clients: their use of the quota is not asserted.
    answers = [broker.try_mint(None) for _ in range(20)]
    assert answers[-1].status == 429
    is_429(answers[-1])
    assert broker.try_mint(broker.token()).status == 429, "a good token does not buy more"


def test_failed_authentication_has_its_own_harsher_limit(role_broker, sts):
    broker = limited(role_broker, failed_auth="3/min")
    good = broker.token()
    answers = [broker.try_mint("garbage") for _ in range(6)]
    assert [answer.status for answer in answers] == [401] * 3 + [429] * 3
    is_429(answers[-1])
    assert broker.try_mint(good).status == 200, "who guesses does not lock out who knows"


def test_spellings_of_a_wrong_token_share_one_counter(role_broker, sts):
    broker = limited(role_broker, failed_auth="4/min")
    spellings = ["Bearer x", "bearer x", "BEARER  x", "Bearer X", "Basic eA==", "Bearer x%20", "Bearer y", "Token x"]
    statuses = [broker.try_mint(None, headers={"Authorization": value}).status for value in spellings]
    assert statuses == [401] * 4 + [429] * 4


def test_a_forwarded_address_from_a_stranger_is_ignored(role_broker, sts):
    broker = limited(role_broker, failed_auth="3/min")
    statuses = [
        broker.try_mint("garbage", headers={"X-Forwarded-For": f"198.51.100.{n}"}).status for n in range(6)
    ]
    assert statuses == [401] * 3 + [429] * 3
    sources = {row["source"] for row in broker.audit() if row["phase"] == "refusal"}
    assert sources <= {"127.0.0.1"}


def test_a_forwarded_address_from_a_trusted_proxy_is_used(role_broker, sts):
    broker = limited(role_broker, failed_auth="2/min", trusted_proxies=["127.0.0.0/8"])

    def from_address(chain: str) -> int:
        return broker.try_mint("garbage", headers={"X-Forwarded-For": chain}).status

    assert [from_address("198.51.100.7") for _ in range(3)] == [401, 401, 429]
    assert from_address("198.51.100.8") == 401, "another client has its own"
    assert from_address("203.0.113.9, 198.51.100.7") == 429, "what the client itself claims is not believed"
    assert from_address("203.0.113.10, 198.51.100.7, 127.0.0.2") == 429, "a second trusted hop is passed over"
    minted = broker.post(
        "/v1/mint-aws-creds", {}, token=broker.token(), headers={"X-Forwarded-For": "198.51.100.20"}
    ).json()
    assert broker.audit_of(minted["mint_id"])["outcome"]["source"] == "198.51.100.20"


def test_an_unreadable_forwarded_address_is_closed_not_guessed(role_broker, sts):
    broker = limited(role_broker, trusted_proxies=["127.0.0.1/32"])
    answer = broker.try_mint(broker.token(), headers={"X-Forwarded-For": "unknown"})
    assert answer.status in (400, 403), answer
    no_credential(answer)


def test_an_oversize_body_is_limited_before_it_is_parsed(role_broker, sts):
    broker = limited(role_broker, per_source="3/min")
    for _ in range(12):
        answer = broker.post("/v1/mint-aws-creds", "[" * 60_000, headers={"Content-Type": "application/json"})
    assert answer.status == 429


FLOOD_THREADS = 6
FLOOD_EACH = 600


@pytest.mark.slow
def test_a_flood_of_refusals_neither_fills_the_audit_nor_slows_a_mint(role_broker, sts):
    broker = role_broker({"limits": {**NO_LIMITS, "failed_auth": "10/min"}})
    token = broker.token()
    broker.mint(token)
    audit = broker.data_dir / "audit.sqlite"

    def audit_bytes() -> int:
        return sum(p.stat().st_size for p in broker.data_dir.iterdir() if p.name.startswith(audit.name))

    records_before, bytes_before = broker.audit_verify()["records"], audit_bytes()
    flood = Load(
        broker.client, lambda c: c.request("POST", "/v1/mint-aws-creds", {}, token="garbage"), FLOOD_THREADS, FLOOD_EACH
    )
    slowest = 0.0
    with flood:
        for _ in range(20):
            answer, seconds = timed(broker.try_mint, token)
            assert answer.status == 200, answer
            slowest = max(slowest, seconds)
        tally = flood.join(90)
    assert sum(tally.statuses().values()) == FLOOD_THREADS * FLOOD_EACH and not tally.lost
    assert set(tally.statuses()) <= {401, 429}
    assert slowest < 2, f"a mint took {slowest:.2f} s during the flood"
    verified = broker.audit_verify()
    assert verified["ok"] is True
    assert verified["records"] - records_before < 1000, "a flood is summed up, not written one by one"
    assert audit_bytes() - bytes_before < 8 << 20
