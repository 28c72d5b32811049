"""The daemon replaces a credential before it ends, and whoever uses it notices nothing.

STS, not the product, makes the lives short: the double grants seconds where AWS
grants 15 minutes at least, and refuses a credential once it has ended.
"""
from __future__ import annotations

import time
from typing import List, Tuple

import boto3
import pytest
from botocore.config import Config
from botocore.credentials import CredentialResolver
from botocore.session import Session

from clientlib import SDK_SECONDS, Daemon, Machine
from expect import instant, new_wallet
from peers.process import wait_until

# The daemon hands nothing out that has less than 5 s left, and replaces at half
# life; with this it has about three seconds for a mint.
LIFE_SECONDS = 16
EXPIRIES = 2
CALLERS = 40


def mints(broker, wallet: str) -> List[dict]:
    """What the broker's audit says was granted to this wallet, oldest first."""
    rows = [
        row
        for row in broker.audit(200)
        if row["action"] == "mint_aws_creds" and row["outcome"] == "granted" and row["wallet"] == wallet
    ]
    return sorted(rows, key=lambda row: row["seq"])


@pytest.fixture
def served(role_broker, sts, home):
    """A broker, a machine that is logged in, and its wallet."""
    broker = role_broker()
    wallet = new_wallet()
    machine = Machine(home, broker.url)
    machine.log_in(broker.token(wallet))
    return broker, machine, wallet


def sdk_client(daemon: Daemon, endpoint: str):
    """A long-lived boto3 client that has its credentials from the daemon and from nowhere else."""
    core = Session()
    core.register_component("credential_provider", CredentialResolver([daemon.sdk_provider()]))
    return boto3.Session(botocore_session=core, region_name="us-east-1").client(
        "sts", endpoint_url=endpoint, config=Config(retries={"total_max_attempts": 1, "mode": "standard"})
    )


@pytest.mark.slow
def test_a_client_that_never_stops_asking_sees_no_expiry(served, sts):
    broker, machine, wallet = served
    sts.short_life(LIFE_SECONDS)
    with machine.daemon() as daemon:
        daemon.wait_serving()
        client = sdk_client(daemon, sts.endpoint)
        seen: List[Tuple[str, float]] = []
        slowest = 0.0
        ends_seen = set()

        def expiries_passed() -> bool:
            nonlocal slowest
            began = time.monotonic()
            answer = daemon.ask()
            slowest = max(slowest, time.monotonic() - began)
            assert answer.status == 200, answer
            body = answer.json()
            left = instant(body["Expiration"]) - time.time()
            assert left > 0, f"handed out {-left:.1f} s after its end"
            if not seen or seen[-1][0] != body["AccessKeyId"]:
                seen.append((body["AccessKeyId"], instant(body["Expiration"])))
            # Fetches from the daemon by itself, and STS judges what it got.
            assert client.get_caller_identity()["Account"] == sts.account
            ends_seen.update(end for _, end in seen if end <= time.time())
            return len(ends_seen) >= EXPIRIES

        wait_until(expiries_passed, 4 * LIFE_SECONDS, f"{EXPIRIES} credentials have ended")
        assert daemon.running
        log = daemon.log_tail(100_000)
    keys = [key for key, _ in seen]
    assert len(set(keys)) == len(keys) > EXPIRIES, "each is new, and none comes back"
    assert slowest < SDK_SECONDS, "an SDK would have given up"
    assert "no new credential" not in log and "has ended" not in log, log
    granted = mints(broker, wallet)
    assert len(granted) == len(keys), "and no mint was in vain"
    for after, (_, end) in zip(granted[1:], seen):
        ahead = end - after["at_ms"] / 1000
        assert ahead > 5, f"minted only {ahead:.1f} s ahead of the end"


def test_many_callers_at_the_first_mint_are_one_mint(served, sts):
    broker, machine, wallet = served
    sts.fault("latency", seconds=0.6)
    with machine.daemon() as daemon:
        daemon.wait_listening()
        answers = daemon.ask_many(CALLERS)
        daemon.wait_serving()
    assert [answer.status for answer in answers] == [200] * CALLERS, [str(answer) for answer in answers]
    assert len({answer.json()["AccessKeyId"] for answer in answers}) == 1
    assert len(mints(broker, wallet)) == 1
    assert len(sts.mint_calls()) == 1


def test_many_callers_after_an_end_are_one_mint(served, sts):
    """The credential ends while the broker is away; all who come back find the same new one."""
    broker, machine, wallet = served
    sts.short_life(8)
    with machine.daemon() as daemon:
        daemon.wait_serving()
        first = daemon.ask().json()["AccessKeyId"]
        sts.short_life(None)
        broker.kill9()
        daemon.wait_health(503, "broker_unavailable")
        broker.start()
        before = len(mints(broker, wallet))
        wait_until(lambda: daemon.ask().status == 200, 20, "the daemon serves again")
        answers = daemon.ask_many(CALLERS)
    keys = {answer.json()["AccessKeyId"] for answer in answers}
    assert len(keys) == 1 and first not in keys
    assert len(mints(broker, wallet)) == before + 1


def test_what_is_long_lived_is_not_minted_again(served, sts):
    broker, machine, wallet = served
    with machine.daemon() as daemon:
        daemon.wait_serving()
        for _ in range(3):
            daemon.ask_many(CALLERS)
        assert len(mints(broker, wallet)) == 1
        health = daemon.health().json()
    assert 3500 < instant(health["expiration"]) - time.time() <= 3600


def test_the_last_credential_of_a_session_is_served_to_its_end(role_broker, sts, home):
    """STS gives none under 15 minutes, so the session's last quarter of an hour brings no new one."""
    broker = role_broker()
    machine = Machine(home, broker.url)
    machine.log_in(broker.token(ttl="904s"))
    sts.short_life(LIFE_SECONDS)
    with machine.daemon() as daemon:
        daemon.wait_serving()
        end = instant(daemon.ask().json()["Expiration"])
        wait_until(lambda: daemon.ask().status != 200, 2 * LIFE_SECONDS, "it is handed out no more")
        left = end - time.time()
    assert 3 < left <= 5.5, f"taken away {left:.1f} s before its end"
