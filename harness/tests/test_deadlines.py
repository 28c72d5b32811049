"""Deadlines and caps of the edge: what is silent, slow or too much ends in time."""
from __future__ import annotations

import re
import time

import pytest

from brokerlib import NO_LIMITS, Broker
from conftest import double_config
from expect import no_credential
from peers.process import wait_until
from raw_http import RawConnection, request

MINT = "/v1/mint-aws-creds"
# For the scheduler of a busy machine with two cores.
SLACK = 2.5


def connect(broker) -> RawConnection:
    return RawConnection("127.0.0.1", broker.port)


def bearer(token: str) -> dict:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def hasty(broker_binary, strict_sts_process):
    """Deadlines of a second, so that the tests of them are short."""
    config = {
        **double_config(strict_sts_process, "assume_role"),
        "limits": {
            **NO_LIMITS,
            "deadlines": {"handshake": "1s", "head": "1s", "body": "1s", "idle": "1s"},
            "connections": {"total": 40, "per_source": 8},
        },
    }
    key = (strict_sts_process.access_key_id, strict_sts_process.secret_access_key)
    with Broker(config, daemon_key=key) as running:
        yield running


def served(connection: RawConnection) -> None:
    """A first request, so that what follows is a kept-alive connection's."""
    connection.send(request("GET", "/healthz", {}))
    answer = connection.answer()
    assert answer is not None and answer.status == 200


def test_a_silent_connection_is_closed(hasty):
    with connect(hasty) as connection:
        assert connection.seconds_until_closed(10) < 1 + SLACK


def test_half_a_head_is_closed(hasty):
    with connect(hasty) as connection:
        connection.send(b"GET /healthz HTTP/1.1\r\nHost: a\r\n")
        assert connection.seconds_until_closed(10) < 1 + SLACK


def test_a_head_byte_by_byte_is_closed(hasty):
    with connect(hasty) as connection:
        slowly = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"x" * 1000
        assert connection.seconds_until_closed(10, trickle=slowly) < 1 + SLACK


def test_a_second_head_byte_by_byte_is_closed(hasty):
    with connect(hasty) as connection:
        served(connection)
        slowly = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"x" * 1000
        assert connection.seconds_until_closed(10, trickle=slowly) < 2 + SLACK


def test_an_idle_connection_is_closed(hasty):
    with connect(hasty) as connection:
        served(connection)
        assert connection.seconds_until_closed(10) < 2 + SLACK


def test_an_idle_connection_is_not_held_to_the_deadline_of_a_head(make_broker):
    """A client that believes in the connection it keeps must not find it closed early."""
    broker = make_broker({"limits": {**NO_LIMITS, "deadlines": {"head": "1s", "idle": "4s"}}}, ready=False)
    held = [connect(broker) for _ in range(8)]
    try:
        for connection in held:
            connection.send(request("GET", "/healthz", {}))
            answer = connection.answer()
            assert answer is not None and answer.status == 200
        assert held[0].seconds_until_closed(10) > 3
        for connection in held[1:]:
            assert connection.seconds_until_closed(10) < SLACK, "all of them lived as long"
    finally:
        for connection in held:
            connection.close()


def test_a_body_byte_by_byte_ends(hasty):
    head = {**bearer(hasty.token()), "Content-Type": "application/json", "Content-Length": "1000"}
    with connect(hasty) as connection:
        connection.send(request("POST", MINT, head))
        # The body's deadline, then what the edge grants to an answer in flight.
        assert connection.seconds_until_closed(12, trickle=b" ") < 3 + SLACK
        answer = connection.answer()
    if answer is not None:
        assert answer.status in (400, 408), answer
        no_credential(answer)


def test_a_stranger_with_a_slow_body_is_answered_and_closed(hasty):
    head = {"Content-Type": "application/json", "Content-Length": "1000"}
    with connect(hasty) as connection:
        connection.send(request("POST", MINT, head))
        assert connection.seconds_until_closed(12, trickle=b" ") < 3 + SLACK
        answer = connection.answer()
    assert answer is not None and answer.status == 401


def test_a_slow_client_does_not_disturb_the_others(hasty):
    with connect(hasty), connect(hasty), connect(hasty):
        assert hasty.get("/healthz").status == 200


def test_connections_per_source_are_capped_and_given_back(hasty):
    wait_until(lambda: _open_connections(hasty) == 0, 10, "earlier connections are gone")
    held = [connect(hasty) for _ in range(8)]
    try:
        with connect(hasty) as ninth:
            assert ninth.seconds_until_closed(5) < 0.9, "over the cap: closed at once"
    finally:
        for connection in held:
            connection.close()
    wait_until(lambda: _answers(hasty), 10, "the places come back")


def _open_connections(broker) -> float:
    return sum(float(count) for count in re.findall(r'^agentkeys_broker_connections\{listener="(?!metrics)[^}]*\} (\S+)$', broker.metrics(), re.MULTILINE))


def _answers(broker) -> bool:
    try:
        return broker.get("/healthz", timeout=2).status == 200
    except OSError:
        return False
    except Exception:
        return False
