"""SIGTERM: what was accepted is answered, what is idle ends at once."""
from __future__ import annotations

import signal
import threading
import time

import pytest

from brokerlib import timed
from load import Load
from peers.process import wait_until
from raw_http import RawConnection, request


def test_an_idle_broker_ends_at_once(role_broker, sts):
    broker = role_broker()
    broker.mint(broker.token())
    code, seconds = timed(broker.terminate)
    assert code == 0
    assert seconds < 2, f"{seconds:.1f} s with nothing to do"


def test_idle_connections_do_not_hold_it_up(role_broker, sts):
    broker = role_broker()
    with RawConnection("127.0.0.1", broker.port) as used, RawConnection("127.0.0.1", broker.port):
        used.send(request("GET", "/healthz", {}))
        assert used.answer() is not None
        code, seconds = timed(broker.terminate)
    assert code == 0 and seconds < 3, f"{seconds:.1f} s"


def test_sigint_ends_it_too(role_broker, sts):
    broker = role_broker()
    broker.signal(signal.SIGINT)
    wait_until(lambda: not broker.running, 5, "it ends")
    assert broker.exit_code == 0


def test_a_request_in_flight_is_finished_and_readiness_says_so(role_broker, sts):
    broker = role_broker()
    token = broker.token()
    sts.fault("latency", seconds=2)
    answers = []
    minting = threading.Thread(target=lambda: answers.append(broker.try_mint(token)))
    minting.start()
    wait_until(lambda: sts.mint_calls(), 10, "STS has been asked")
    broker.signal(signal.SIGTERM)
    # As a load balancer asks: on a connection of its own each time.
    wait_until(lambda: broker.get("/readyz").status == 503, 1.5, "/readyz turns 503 while the mint is under way")
    minting.join(20)
    assert answers and answers[0].status == 200, answers
    wait_until(lambda: not broker.running, 10, "it ends")
    assert broker.exit_code == 0
    broker.start()
    assert broker.audit_of(answers[0].json()["mint_id"])["outcome"]["outcome"] == "granted"


@pytest.mark.slow
@pytest.mark.parametrize("attempt", range(3))
def test_under_load_no_accepted_request_is_lost(role_broker, sts, attempt):
    broker = role_broker()
    token = broker.token()
    with Load(broker.client, lambda c: c.request("POST", "/v1/mint-oidc-jwt", {}, token=token), 8) as load:
        wait_until(lambda: len(load.tally.answers) >= 200, 30, "load is on")
        code, seconds = timed(broker.terminate)
        tally = load.stop()
    assert code == 0 and seconds < 10
    assert tally.lost == [], f"{len(tally.lost)} of {len(tally.answers)} lost"
    # A mint refused because the broker is ending is an answer; a 5xx out of confusion is not.
    assert set(tally.statuses()) <= {200, 503}, tally.statuses()
    broker.start()
    granted = {row["mint_id"] for row in broker.audit_all() if row["outcome"] == "granted"}
    assert set(tally.granted_ids()) <= granted
    assert broker.audit_verify()["ok"] is True


def test_a_restart_on_the_same_port_needs_no_wait(role_broker, sts):
    broker = role_broker()
    for _ in range(3):
        assert broker.terminate() == 0
        started = time.monotonic()
        broker.start()
        assert time.monotonic() - started < 10


def test_no_socket_is_left_behind(role_broker, sts):
    broker = role_broker()
    assert (broker.data_dir / "admin.sock").exists()
    assert broker.terminate() == 0
    assert not (broker.data_dir / "admin.sock").exists()
    result = broker.run_cli("session", "list")
    assert result.exit_code != 0
    assert "admin.sock" in result.output, "it says where it looked"
