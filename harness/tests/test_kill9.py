"""kill -9 under load: every mint that a client holds has its audit record.

The record is durable before the credential leaves, so however hard the process
dies, the audit knows at least what the clients know.
"""
from __future__ import annotations

import random

import pytest

from load import Load
from peers.process import wait_until

ROUNDS = 5
THREADS = 8


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_no_mint_is_lost_to_kill_9(role_broker, sts):
    broker = role_broker()
    token = broker.token()
    held = set()
    for number in range(ROUNDS):
        path = "/v1/mint-aws-creds" if number % 2 else "/v1/mint-oidc-jwt"
        wanted = random.randint(40, 200)
        with Load(broker.client, lambda c: c.request("POST", path, {}, token=token), THREADS) as load:
            wait_until(lambda: len(load.tally.answers) >= wanted, 30, f"{wanted} mints answered")
            broker.kill9()
            tally = load.stop()
        assert set(tally.statuses()) == {200}, tally.statuses()
        received = set(tally.granted_ids())
        assert len(received) >= wanted
        held |= received
        broker.start()
        granted = {
            row["mint_id"]
            for row in broker.audit_all()
            if row["phase"] == "outcome" and row["outcome"] == "granted"
        }
        missing = held - granted
        assert not missing, f"round {number}: {len(missing)} of {len(held)} mints have no record"
        verified = broker.audit_verify()
        assert verified["ok"] is True, verified
    assert broker.mint(token), "and it mints on"


def test_sessions_and_revocations_survive_kill_9(role_broker, sts):
    broker = role_broker()
    kept, revoked = broker.session_issue(), broker.session_issue()
    broker.cli("session", "revoke", revoked["session_id"])
    broker.kill9()
    broker.start()
    assert broker.get("/v1/session", token=kept["token"]).status == 200
    assert broker.get("/v1/session", token=revoked["token"]).status == 401
